"""What the engine refuses: what services ask for, and what it has.

Judged by rules; here stands only what takes more than two facts. What the engines do in each case
was tried with Docker 20.10 and Podman 4.3.1. Sources: moby, daemon/daemon_unix.go,
daemon/oci_linux.go; runc, libcontainer/configs/validate.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from preflight.facts import networks_and_volumes
from preflight.facts.collect.context import Engine, MeasureContext, require_engine
from preflight.facts.compose.facts import (
    has_healthcheck,
    list_devices,
    parse_text_mapping,
    read_dependencies,
    read_resource,
)
from preflight.facts.compose.project import Project, find_source, get_nested_value, list_image_names
from preflight.facts.engine.api import (
    get_label,
    get_nested_object,
    list_container_names,
    unreported_value,
)
from preflight.facts.engine.drivers import explain_missing_driver
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.engine_facts import (
    CPUSET_PATTERN,
    find_containers_cgroup,
    find_cpuset,
    read_cgroup_limit,
)
from preflight.facts.engine.locality import is_rootless
from preflight.facts.engine.settings import normalize_sysctl_name
from preflight.facts.host.kernel import explain_os_error
from preflight.facts.ports import list_published_ports
from preflight.model.facts import Measured, Unknown, Value
from preflight.model.quantities import is_older_version
from preflight.processes import find_program

# name, value, key in the file
ServiceFact: TypeAlias = tuple[str, Value | Unknown, tuple[str, ...]]

# what Docker and Podman say
_DEVICE_REFUSALS = (
    'error gathering device information while adding custom device "{}": no such file or directory',
    "stat {}: no such file or directory",
)
_CONTAINER_NAME_REFUSALS = (
    'The container name "/{}" is already in use by container "{}"',
    'the container name "{}" is already in use by {}',
)
_UNPRIVILEGED_PORT_FILE = "proc/sys/net/ipv4/ip_unprivileged_port_start"
_SYSCTL_OF_IPC_PATTERN = re.compile(
    r"kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\..+"
)
_SWAPPED_DOTS_AND_SLASHES = str.maketrans("./", "/.")
_SYSCTL_OF_UTS_PATTERN = re.compile(r"kernel\.(?:domainname|hostname)")
_MIN_VERSION_OF_SHIM_RUNTIMES = (23,)  # Docker that runs any shim of containerd by its name


def measure(
    context: MeasureContext, project: Project, root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield the facts of services, then of networks and volumes; an engine's silence is unknown."""
    engine = context.engine_or_unknown()
    for name, config in project.services.items():
        service = _CheckedService(project, name, config, engine, root)
        for read, default_fact in _SERVICE_READERS:
            for fact, value, key in _read_or_unknown(service, read, default_fact):
                place = find_source(project, ("services", name, *key))
                collection = "compose" if fact == "filled_targets" else "start"
                yield Measured((collection, "services", name, fact), value, place)
    yield from networks_and_volumes.measure(project, engine, root)


class _CheckedService(NamedTuple):
    """A service, and what it is held against."""

    project: Project
    name: str
    config: Mapping[str, Any]
    engine_or_unknown: Engine | Unknown
    root: Path

    @property
    def engine(self) -> Engine:
        """The engine; raises EngineError if it gave no answer."""
        return require_engine(self.engine_or_unknown)


def _read_or_unknown(
    service: _CheckedService, read: Callable[[_CheckedService], Iterator[ServiceFact]], fact: str
) -> Iterator[ServiceFact]:
    """Yield what a reader finds, or nothing if the service doesn't ask for what it reads.

    Where that can't be read, its fact is unknown.
    """
    try:
        yield from read(service)
    except EngineError as error:
        yield fact, error.unknown, ()
    except OSError as error:
        yield fact, explain_os_error(error), ()


def _cpuset_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """What is said to CPUs that aren't there; without a cpuset controller the key is dropped."""
    asked = str(service.config.get("cpuset") or "").replace(" ", "")
    if not asked:
        return
    value: str | Unknown | None = None
    if CPUSET_PATTERN.fullmatch(asked) is None:
        value = f"Invalid value {asked} for cpuset cpus"
    elif service.engine.info.get("CPUSet") is not False:
        available = find_cpuset(service.engine, service.root)[0]
        if isinstance(available, Unknown):
            value = available
        elif not parse_cpuset(asked) <= parse_cpuset(available):
            value = f"Requested CPUs are not available - requested {asked}, available: {available}"
    yield "cpuset_refused", value, ("cpuset",)


def parse_cpuset(text: str) -> set[int]:
    """Read CPUs as the kernel writes them: `0-2,7`."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _cpu_quota_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The quota over the cgroup in which its containers will run."""
    cpus, key = read_resource(service.config, "limits", "cpus")
    if cpus is None:
        return
    yield "cpus", cpus, key
    engine, parent = service.engine, str(service.config.get("cgroup_parent") or "")
    value: Value | Unknown = engine.visibility.cgroups_hidden
    if value is None:
        cgroup = (
            _make_cgroup_path(parent) if parent else find_containers_cgroup(engine.api, engine.info)
        )
        limit = read_cgroup_limit("cpu", cgroup)
        value = limit if isinstance(limit, Unknown) else limit.value
    yield "cpus_limit", value, ("cgroup_parent",)


def _make_cgroup_path(parent: str) -> str:
    """Return the path of a cgroup; systemd's `a-b.slice` lies in `a.slice`, systemd.slice(5)."""
    if not parent.endswith(".slice") or "/" in parent:
        return parent if parent.startswith("/") else f"/{parent}"
    parts = parent.removesuffix(".slice").split("-")
    return "".join(f"/{'-'.join(parts[: end + 1])}.slice" for end in range(len(parts)))


def _device_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The devices that aren't on the engine's machine."""
    devices = list_devices(service.config)
    if not devices:
        return
    visibility, missing, unknown = service.engine.visibility, [], None
    for device in devices:
        hidden = visibility.processes_hidden or visibility.path_hidden(device)
        unknown = unknown or hidden
        if hidden is None:
            try:
                os.stat(service.root / device.lstrip("/"))
            except (FileNotFoundError, NotADirectoryError):
                missing.append(device)
    yield "devices_missing", missing or unknown, ("devices",)
    if missing:
        words = _DEVICE_REFUSALS[service.engine.name == "podman"]
        yield "device_refused", words.format(missing[0]), ("devices",)


def _container_name_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """What is said to a name that another container has.

    Compose keeps or replaces the container of the same service.
    """
    name = str(service.config.get("container_name") or "")
    if not name:
        return
    words = _CONTAINER_NAME_REFUSALS[service.engine.name == "podman"]
    refusal = None
    for row in service.engine.api.containers():
        labels = (get_label(row, f"com.docker.compose.{key}") for key in ("project", "service"))
        is_own = tuple(labels) == (service.project.name, service.name)
        if name in list_container_names(row) and not is_own:
            refusal = words.format(name, row.get("Id"))
    yield "name_refused", refusal, ("container_name",)


def _referenced_container_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The containers outside the project whose namespaces or volumes it shares."""
    config = service.config
    given = [str(config.get(key) or "") for key in ("network_mode", "pid", "ipc")]
    given += map(str, config.get("volumes_from") or ())
    names = [text.split(":")[1] for text in given if text.startswith("container:")]
    if not names:
        return
    rows = service.engine.api.containers()
    known = {str(other.get("container_name")) for other in service.project.services.values()}
    known = known.union(*map(list_container_names, rows))
    ids = [str(row.get("Id")) for row in rows]
    missing = [n for n in names if n not in known and not any(id_.startswith(n) for id_ in ids)]
    yield "containers_missing", missing or None, ("network_mode",)


def _runtime_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """What is said to a runtime that the engine hasn't; Podman takes its own in any case."""
    runtime = str(service.config.get("runtime") or "")
    if not runtime or service.engine.name == "podman":
        return
    runtimes = get_nested_object(service.engine.info, "Runtimes")
    version = str(service.engine.version.get("Version"))
    is_newer = not is_older_version(version, _MIN_VERSION_OF_SHIM_RUNTIMES, default=False)
    words = "unknown or invalid runtime name:" if is_newer else "Unknown runtime specified"
    value: str | Unknown | None = f"{words} {runtime}"
    if not runtimes:
        value = unreported_value("Runtimes")
    elif runtime in runtimes:
        value = None
    elif is_newer and "." in runtime:
        value = Unknown(f"can't tell whether containerd has the shim {runtime}", "unsupported")
    yield "runtime_refused", value, ("runtime",)


def _log_driver_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    driver = get_nested_value(service.config, "logging.driver")
    if driver:
        refusal = explain_missing_driver(service.engine, "log", str(driver), service.root)
        yield "log_driver_refused", refusal, ("logging",)


def _sysctl_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The kernel settings that no namespace of the container has, as runc says it."""
    refused = []
    mode, ipc = (str(service.config.get(key) or "") for key in ("network_mode", "ipc"))
    for given_name in parse_text_mapping(service.config.get("sysctls")):
        name = normalize_sysctl_name(given_name).translate(_SWAPPED_DOTS_AND_SLASHES)
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


def _privileged_port_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The ports that an engine without root may not publish: below a bound of the kernel."""
    only_this = service.project._replace(config={"services": {service.name: service.config}})
    ports = [port for port in list_published_ports(only_this) if port.first < 1024]
    if not ports or not is_rootless(service.engine.info):
        return
    hidden = service.engine.visibility.network_hidden
    value: list[str] | Unknown | None = hidden
    if hidden is None:
        start = int((service.root / _UNPRIVILEGED_PORT_FILE).read_text())
        value = [port.with_protocol for port in ports if port.first < start] or None
    if value and not hidden and service.engine.name != "podman":
        value = _check_rootlesskit_capability(value)
    yield "privileged_ports", value, ("ports",)
    if isinstance(value, list):
        refusal = f"cannot expose privileged port {value[0].partition('/')[0].partition('-')[0]}"
        yield "privileged_refused", refusal, ("ports",)
        lowest = min(port.first for port in list_published_ports(service.project))
        yield "lowest_port_of_project", lowest, ("ports",)


def _check_rootlesskit_capability(ports: Any) -> Any:
    """Return None where Docker's rootlesskit was given the capability to publish such ports."""

    program = find_program("rootlesskit")
    if program is None or not hasattr(os, "getxattr"):
        return Unknown("can't tell from here whether rootlesskit may publish ports below 1024")
    try:
        return None if os.getxattr(program, "security.capability") else ports
    except OSError:
        return ports


def _healthcheck_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The services for whose health it waits, and that have no check in the file or the image."""
    missing, absent, unknown = [], [], None
    for name, condition in read_dependencies(service.config).items():
        other = service.project.services.get(name)
        if condition != "service_healthy" or other is None:
            continue
        check = has_healthcheck(other)
        if check is None:  # what the file doesn't say the image does
            image = list_image_names(service.project, name)[0]
            inspected = service.engine.api.inspect_image(image)
            if isinstance(inspected, Unknown):
                absent.append(image)
                unknown = inspected
                continue
            test = get_nested_value(inspected, "Config.Healthcheck.Test")
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


def _filled_target_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    """The paths that are mounted and hold something: a volume that exists, a folder with files."""
    filled, unknown, project = [], None, service.project
    for mount in service.config.get("volumes") or ():
        source, target = str(mount.get("source") or ""), str(mount.get("target"))
        if mount.get("type") == "volume" and source:
            defined = (project.config.get("volumes") or {}).get(source) or {}
            volume = networks_and_volumes.read_resource(project, source, defined)
            rows = networks_and_volumes.list_existing(service.engine_or_unknown, "volumes")
            if isinstance(rows, Unknown):
                yield "filled_targets", rows, ("volumes",)
                return
            if any(row.get("Name") == volume.name for row in rows):
                filled.append(target)
        elif mount.get("type") == "bind":
            from preflight.facts.mounts import is_file_or_filled_folder

            hidden = service.engine.visibility.path_hidden(source)
            unknown = unknown or hidden
            if hidden is None and is_file_or_filled_folder(source):
                filled.append(target)
    if filled or unknown:
        yield "filled_targets", unknown or filled, ("volumes",)  # never a part of them


def _mount_facts(service: _CheckedService) -> Iterator[ServiceFact]:
    if not any(mount.get("type") == "bind" for mount in service.config.get("volumes") or ()):
        return
    from preflight.facts.mounts import find_mount_problems

    if isinstance(service.engine_or_unknown, Unknown):
        return  # what the files alone say is judged without it
    problems = find_mount_problems(service.project, service.name, service.engine)
    for kind, texts in problems.items():
        if texts:
            yield f"mounts_{kind}", list(texts.values()), ("volumes",)


# what reads the facts of a service, and the fact that is unknown where it can't
_SERVICE_READERS = (
    (_cpuset_facts, "cpuset_refused"),
    (_cpu_quota_facts, "cpus_limit"),
    (_device_facts, "devices_missing"),
    (_container_name_facts, "name_refused"),
    (_referenced_container_facts, "containers_missing"),
    (_runtime_facts, "runtime_refused"),
    (_log_driver_facts, "log_driver_refused"),
    (_sysctl_facts, "sysctls_refused"),
    (_privileged_port_facts, "privileged_ports"),
    (_healthcheck_facts, "healthchecks_missing"),
    (_filled_target_facts, "filled_targets"),
    (_mount_facts, "mounts_mismatched"),
)
