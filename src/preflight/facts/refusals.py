"""What the engine refuses: what services, networks and volumes ask for, and what it has.

Judged by rules; here stands only what takes more than two facts. What the engines do in each case
was tried with Docker 20.10 and Podman 4.3.1. Sources: moby, daemon/daemon_unix.go,
daemon/oci_linux.go, pkg/plugins/discovery.go; runc, libcontainer/configs/validate.
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.compose.facts import (
    has_healthcheck,
    list_devices,
    read_dependencies,
    read_pairs,
    read_resource,
)
from preflight.facts.compose.project import Project, find_source, read_field
from preflight.facts.engine.api import (
    get_label,
    get_nested_object,
    list_or_empty,
    unreported_value,
)
from preflight.facts.engine.drivers import EngineDrivers, require_engine
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.engine_facts import (
    CPUSET_PATTERN,
    find_containers_cgroup,
    find_cpuset,
    read_cgroup_limit,
)
from preflight.facts.engine.images import inspect_image
from preflight.facts.engine.locality import is_rootless
from preflight.facts.host.kernel import explain_os_error
from preflight.facts.ports import published_ports
from preflight.model.facts import Measured, Unknown, Value
from preflight.model.quantities import parse_version

ServiceFact: TypeAlias = tuple[
    str, Value | Unknown, tuple[str, ...]
]  # name, value, key in the file

# what Docker and Podman say
_DEVICE_REFUSALS = (
    'error gathering device information while adding custom device "{}": no such file or directory',
    "stat {}: no such file or directory",
)
_UNPRIVILEGED_PORT_FILE = "proc/sys/net/ipv4/ip_unprivileged_port_start"
_SYSCTL_OF_IPC_PATTERN = re.compile(
    r"kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\..+"
)
_SYSCTL_OF_UTS_PATTERN = re.compile(r"kernel\.(?:domainname|hostname)")
_MIN_VERSION_OF_SHIM_RUNTIMES = (23,)  # Docker that runs any shim of containerd by its name


def measure(
    context: MeasureContext, project: Project, root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield the facts of services, then of networks and volumes; an engine's silence is unknown."""
    engine = context.engine_or_unknown()
    cpuset = engine if isinstance(engine, Unknown) else find_cpuset(engine, root)[0]
    drivers = EngineDrivers(engine, root)
    for name, config in project.services.items():
        service = _Service(project, name, config, engine, drivers, cpuset, root)
        for read, default_fact in _SERVICE_READERS:
            for fact, value, key in _read_or_unknown(service, read, default_fact):
                place = find_source(project, ("services", name, *key))
                collection = "compose" if fact == "filled_targets" else "start"
                yield Measured((collection, "services", name, fact), value, place)
    yield from _resource_facts(project, engine, drivers)


class _Service(NamedTuple):
    """A service, and what it is held against."""

    project: Project
    name: str
    config: Mapping[str, Any]
    engine_or_unknown: Engine | Unknown
    drivers: EngineDrivers
    cpuset: str | Unknown
    root: Path

    @property
    def engine(self) -> Engine:
        """The engine; raises EngineError where it gave no answer."""
        return require_engine(self.engine_or_unknown)


def _read_or_unknown(
    service: _Service, read: Callable[[_Service], Iterator[ServiceFact]], fact: str
) -> Iterator[ServiceFact]:
    """Yield what a reader finds, nothing where the service doesn't ask for what it reads.

    Where that can't be read, its fact is unknown.
    """
    try:
        yield from read(service)
    except EngineError as error:
        yield fact, error.unknown, ()
    except OSError as error:
        yield fact, explain_os_error(error), ()


def _cpuset_facts(service: _Service) -> Iterator[ServiceFact]:
    """What is said to CPUs that aren't there; without a cpuset controller the key is dropped."""
    asked = str(service.config.get("cpuset") or "").replace(" ", "")
    if not asked:
        return
    value: str | Unknown | None = None
    if CPUSET_PATTERN.fullmatch(asked) is None:
        value = f"Invalid value {asked} for cpuset cpus"
    elif service.engine.info.get("CPUSet") is False:
        value = None
    elif isinstance(service.cpuset, Unknown):
        value = service.cpuset
    elif not parse_cpuset(asked) <= parse_cpuset(service.cpuset):
        available = service.cpuset
        value = f"Requested CPUs are not available - requested {asked}, available: {available}"
    yield "cpuset_refused", value, ("cpuset",)


def parse_cpuset(text: str) -> set[int]:
    """Read CPUs as the kernel writes them: `0-2,7`."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _cpus_limit_facts(service: _Service) -> Iterator[ServiceFact]:
    """The quota over the cgroup in which its containers will run."""
    cpus, key = read_resource(service.config, "limits", "cpus")
    if cpus is None:
        return
    yield "cpus", cpus, key
    hidden = service.engine.visibility.cgroups_hidden
    if hidden is not None:
        yield "cpus_limit", hidden, ("cgroup_parent",)
        return
    parent = str(service.config.get("cgroup_parent") or "")
    engine = service.engine
    cgroup = _cgroup_path(parent) if parent else find_containers_cgroup(engine.api, engine.info)
    limit = read_cgroup_limit("cpu", cgroup)
    value = limit if isinstance(limit, Unknown) else limit.value
    yield "cpus_limit", value, ("cgroup_parent",)


def _cgroup_path(parent: str) -> str:
    """Return the path of a cgroup; systemd's `a-b.slice` lies in `a.slice`, systemd.slice(5)."""
    if not parent.endswith(".slice") or "/" in parent:
        return parent if parent.startswith("/") else f"/{parent}"
    parts = parent.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))


def _device_facts(service: _Service) -> Iterator[ServiceFact]:
    """The devices that aren't on the engine's machine."""
    devices = list_devices(service.config)
    if not devices:
        return
    visibility, missing, unknown = service.engine.visibility, [], None
    for device in devices:
        hidden = visibility.processes_hidden or visibility.path_hidden(device)
        unknown = unknown or hidden
        if hidden is None and not _path_exists(service.root / device.lstrip("/")):
            missing.append(device)
    yield "devices_missing", missing or unknown, ("devices",)
    if missing:
        words = _DEVICE_REFUSALS[service.engine.name == "podman"]
        yield "device_refused", words.format(missing[0]), ("devices",)


def _path_exists(path: Path) -> bool:
    """Return whether a path is there; raises OSError where that can't be seen."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def _name_facts(service: _Service) -> Iterator[ServiceFact]:
    """What is said to a name that another container has.

    Compose keeps or replaces the container of the same service.
    """
    name = service.config.get("container_name")
    if not name:
        return
    refusal = None
    for row in service.engine.api.containers():
        labels = (get_label(row, f"com.docker.compose.{key}") for key in ("project", "service"))
        is_own = tuple(labels) == (service.project.name, service.name)
        if str(name) in _container_names(row) and not is_own:
            is_podman = service.engine.name == "podman"
            words = 'the container name "{}" is already in use by {}'
            if not is_podman:
                words = 'The container name "/{}" is already in use by container "{}"'
            refusal = words.format(name, row.get("Id"))
    yield "name_refused", refusal, ("container_name",)


def _container_names(row: Mapping[str, Any]) -> set[str]:
    """Return what a container is called; `/web/db` is what `web` calls it, not its own name."""
    names = (str(name).lstrip("/") for name in list_or_empty(row.get("Names")))
    return {name for name in names if "/" not in name}


def _container_facts(service: _Service) -> Iterator[ServiceFact]:
    """The containers outside the project whose namespaces or volumes it shares."""
    config = service.config
    given = [str(config.get(key) or "") for key in ("network_mode", "pid", "ipc")]
    given += map(str, config.get("volumes_from") or ())
    names = [text.split(":")[1] for text in given if text.startswith("container:")]
    if not names:
        return
    rows = service.engine.api.containers()
    known = {str(other.get("container_name")) for other in service.project.services.values()}
    known = known.union(*map(_container_names, rows))
    ids = [str(row.get("Id")) for row in rows]
    missing = [n for n in names if n not in known and not any(id_.startswith(n) for id_ in ids)]
    yield "containers_missing", missing or None, ("network_mode",)


def _runtime_facts(service: _Service) -> Iterator[ServiceFact]:
    """What is said to a runtime that the engine hasn't; Podman takes its own in any case."""
    runtime = str(service.config.get("runtime") or "")
    if not runtime or service.engine.name == "podman":
        return
    runtimes = get_nested_object(service.engine.info, "Runtimes")
    is_newer = _is_docker_from(service.engine, _MIN_VERSION_OF_SHIM_RUNTIMES)
    words = "unknown or invalid runtime name:" if is_newer else "Unknown runtime specified"
    value: str | Unknown | None = f"{words} {runtime}"
    if not runtimes:
        value = unreported_value("Runtimes")
    elif runtime in runtimes:
        value = None
    elif is_newer and "." in runtime:
        value = Unknown(f"whether containerd has the shim {runtime} can't be asked", "unsupported")
    yield "runtime_refused", value, ("runtime",)


def _is_docker_from(engine: Engine, version: tuple[int, ...]) -> bool:
    try:
        return parse_version(str(engine.version.get("Version"))) >= version
    except ValueError:
        return True


def _log_driver_facts(service: _Service) -> Iterator[ServiceFact]:
    driver = read_field(service.config, "logging.driver")
    if driver:
        yield "log_driver_refused", service.drivers.refusal("log", str(driver)), ("logging",)


def _sysctl_facts(service: _Service) -> Iterator[ServiceFact]:
    """The kernel settings that no namespace of the container has, as runc says it."""
    refused = []
    mode, ipc = (str(service.config.get(key) or "") for key in ("network_mode", "ipc"))
    for name in map(_dotted_sysctl, read_pairs(service.config.get("sysctls"))):
        if name.startswith("net."):
            if mode == "host":
                refused.append(f'sysctl "{name}" not allowed in host network namespace')
        elif _SYSCTL_OF_IPC_PATTERN.fullmatch(name):
            if ipc == "host":
                refused.append(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
        elif not _SYSCTL_OF_UTS_PATTERN.fullmatch(name):
            refused.append(f'sysctl "{name}" is not in a separate kernel namespace')
    if refused:
        yield "sysctls_refused", refused, ("sysctls",)


def _dotted_sysctl(name: str) -> str:
    """Return a name with dots; written with slashes, its dots stand for slashes: sysctl(8)."""
    first = re.search(r"[./]", name)
    return name.translate({46: "/", 47: "."}) if first and first[0] == "/" else name


def _privileged_port_facts(service: _Service) -> Iterator[ServiceFact]:
    """The ports that an engine without root may not publish: below a bound of the kernel."""
    only_this = service.project._replace(
        config={**service.project.config, "services": {service.name: service.config}}
    )
    ports = [port for port in published_ports(only_this) if port.first < 1024]
    if not ports or not is_rootless(service.engine.info):
        return
    hidden = service.engine.visibility.network_hidden
    value: list[str] | Unknown | None = hidden
    if hidden is None:
        start = int((service.root / _UNPRIVILEGED_PORT_FILE).read_text())
        value = [port.with_protocol for port in ports if port.first < start] or None
    if value and not hidden and service.engine.name != "podman":
        value = _forgive_capable_rootlesskit(value)
    yield "privileged_ports", value, ("ports",)


def _forgive_capable_rootlesskit(ports: Any) -> Any:
    """Return None where Docker's rootlesskit was given the capability to publish such ports."""
    import shutil

    program = shutil.which("rootlesskit")
    if program is None or not hasattr(os, "getxattr"):
        return Unknown("whether rootlesskit may publish ports below 1024 isn't visible here")
    try:
        return None if os.getxattr(program, "security.capability") else ports
    except OSError:
        return ports


def _healthcheck_facts(service: _Service) -> Iterator[ServiceFact]:
    """The services for whose health it waits, and that have no check in the file or the image."""
    missing, absent, unknown = [], [], None
    for name, condition in read_dependencies(service.config).items():
        other = service.project.services.get(name)
        if condition != "service_healthy" or other is None:
            continue
        check = has_healthcheck(other)
        image = str(other.get("image") or "")
        if check is None and other.get("build") and not image:
            image = f"{service.project.name}-{name}"
        if check is None:  # what the file doesn't say the image does
            inspected = inspect_image(service.engine.api, image)
            if isinstance(inspected, Unknown):
                absent.append(image)
                unknown = inspected
                continue
            test = read_field(inspected, "Config.Healthcheck.Test")
            check = bool(test) and test != ["NONE"]
        if not check:
            missing.append(name)
    if missing or absent:
        yield "healthchecks_missing", missing or unknown, ("depends_on",)
        yield "images_missing", absent if absent and not missing else None, ("depends_on",)
    if missing:
        own = service.project.services[missing[0]].get("container_name")
        container = own or f"{service.project.name}-{missing[0]}-1"
        refusal = f"dependency failed to start: container {container} has no healthcheck configured"
        yield "dependency_refused", refusal, ("depends_on",)


def _data_facts(service: _Service) -> Iterator[ServiceFact]:
    """The paths that are mounted and hold something: a volume that exists, a folder with files."""
    filled, unknown = [], None
    volumes: set[str] | None = None
    for mount in service.config.get("volumes") or ():
        source, target = str(mount.get("source") or ""), str(mount.get("target"))
        if mount.get("type") == "volume" and source:
            if volumes is None:
                rows = list_or_empty(service.engine.api.get_object("/volumes").get("Volumes"))
                volumes = {str(row.get("Name")) for row in rows}
            defined = (service.project.config.get("volumes") or {}).get(source) or {}
            if _name_resource(service.project, source, defined).name in volumes:
                filled.append(target)
        elif mount.get("type") == "bind":
            hidden = service.engine.visibility.path_hidden(source)
            unknown = unknown or hidden
            if hidden is None and _holds_something(source):
                filled.append(target)
    if filled or unknown:
        yield "filled_targets", filled or unknown, ("volumes",)


def _holds_something(path: str) -> bool:
    try:
        with os.scandir(path) as entries:
            return next(entries, None) is not None
    except NotADirectoryError:
        return True
    except FileNotFoundError:
        return False


def _mount_facts(service: _Service) -> Iterator[ServiceFact]:
    if not any(mount.get("type") == "bind" for mount in service.config.get("volumes") or ()):
        return
    from preflight.facts.mounts import find_mount_problems

    if isinstance(service.engine_or_unknown, Unknown):
        return  # what the files alone say is judged without it
    problems = find_mount_problems(service.project, service.name, service.config, service.engine)
    for name, found in problems._asdict().items():
        if found:
            yield f"mounts_{name}", list(found.values()), ("volumes",)


# what reads the facts of a service, and the fact that is unknown where it can't
_SERVICE_READERS = (
    (_cpuset_facts, "cpuset_refused"),
    (_cpus_limit_facts, "cpus_limit"),
    (_device_facts, "devices_missing"),
    (_name_facts, "name_refused"),
    (_container_facts, "containers_missing"),
    (_runtime_facts, "runtime_refused"),
    (_log_driver_facts, "log_driver_refused"),
    (_sysctl_facts, "sysctls_refused"),
    (_privileged_port_facts, "privileged_ports"),
    (_healthcheck_facts, "healthchecks_missing"),
    (_data_facts, "filled_targets"),
    (_mount_facts, "mounts_mismatched"),
)


def _resource_facts(
    project: Project, engine: Engine | Unknown, drivers: EngineDrivers
) -> Iterator[Measured]:
    """Yield the facts of the networks and volumes that services use."""
    used = {
        "networks": {name for s in project.services.values() for name in list_networks(s)},
        "volumes": {
            str(mount.get("source"))
            for service in project.services.values()
            for mount in service.get("volumes") or ()
            if mount.get("type") == "volume" and mount.get("source")
        },
    }
    for kind, names in used.items():
        defined = project.config.get(kind) or {}
        own = {
            name: _name_resource(project, name, defined.get(name) or {}) for name in sorted(names)
        }
        rows: list[dict[str, Any]] | Unknown | None = None
        for name, resource in own.items():
            is_plain = not resource.external and not resource.driver and not resource.subnets
            if rows is None and not is_plain:
                rows = _list_resources(engine, kind)
            place = find_source(project, (kind, name))
            for fact, value in _facts_of_resource(kind, resource, rows, drivers, own.values()):
                yield Measured(("start", kind, name, fact), value, place)


class Resource(NamedTuple):
    """A network or volume of the file; `subnets` are of a network alone."""

    name: str
    external: bool
    driver: str | None
    subnets: tuple[str, ...]


def list_networks(service: Mapping[str, Any]) -> list[str]:
    """Return the networks of a service by their names in the file."""
    if service.get("network_mode"):
        return []
    return [str(name) for name in service.get("networks") or ("default",)]


def _name_resource(project: Project, key: str, config: Mapping[str, Any]) -> Resource:
    external = config.get("external") or False
    name = config.get("name") or (external.get("name") if isinstance(external, Mapping) else None)
    subnets = read_field(config, "ipam.config") or ()
    return Resource(
        str(name or (key if external else f"{project.name}_{key}")),
        bool(external),
        None if external else config.get("driver"),
        tuple(str(row["subnet"]) for row in subnets if row.get("subnet")) if not external else (),
    )


def _list_resources(engine: Engine | Unknown, kind: str) -> list[dict[str, Any]] | Unknown:
    """Return the networks or volumes that the engine has."""
    try:
        api = require_engine(engine).api
        if kind == "networks":
            return api.get_rows("/networks")
        rows = list_or_empty(api.get_object("/volumes").get("Volumes"))
        return [row for row in rows if isinstance(row, dict)]
    except EngineError as error:
        return error.unknown


def _facts_of_resource(
    kind: str,
    resource: Resource,
    rows: list[dict[str, Any]] | Unknown | None,
    drivers: EngineDrivers,
    own: Iterable[Resource],
) -> Iterator[tuple[str, Value | Unknown]]:
    """Yield the facts of a network or volume; without `rows` it asks for nothing special."""
    yield "name", resource.name
    yield "external", resource.external
    if resource.driver:
        yield "driver", resource.driver
    if rows is None:
        return
    if isinstance(rows, Unknown):
        yield "exists", rows
        return
    exists = any(resource.name in (row.get("Name"), row.get("Id")) for row in rows)
    yield "exists", exists
    if exists or resource.external:  # an existing one isn't made again
        return
    if resource.driver:
        try:
            yield "driver_refused", drivers.refusal(kind.removesuffix("s"), resource.driver)
        except EngineError as error:
            yield "driver_refused", error.unknown
    if resource.subnets:
        yield "overlap", _find_overlap(resource, rows, own)


def _find_overlap(
    resource: Resource, rows: list[dict[str, Any]], own: Iterable[Resource]
) -> str | None:
    """Return the network whose subnet overlaps, and its subnet.

    The addresses of a Swarm are a space of their own.
    """
    others = [
        (f"network {row.get('Name')}", str(pool.get("Subnet")))
        for row in rows
        if (row.get("Scope") == "swarm") == (resource.driver == "overlay")
        for pool in list_or_empty(get_nested_object(row, "IPAM").get("Config"))
        if isinstance(pool, dict)
    ]
    for other in own:
        if other.name == resource.name:
            break  # of two in the file the second is refused
        if (other.driver == "overlay") == (resource.driver == "overlay"):
            others += [(f"network {other.name}", subnet) for subnet in other.subnets]
    for name, subnet in others:
        if any(_subnets_overlap(subnet, wanted) for wanted in resource.subnets):
            return f"{name}, {subnet}"
    return None


def _subnets_overlap(subnet: str, other: str) -> bool:
    try:
        first, second = (ipaddress.ip_network(text, strict=False) for text in (subnet, other))
    except ValueError:
        return False
    return first.version == second.version and first.overlaps(second)
