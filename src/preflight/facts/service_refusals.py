"""What the engine refuses: what services ask for, and what it has.

Judged by rules; here stands only what takes more than two facts. What the engines do in each case
was tried with Docker 20.10 and Podman 4.3.1. Sources: moby, daemon/daemon_unix.go,
daemon/oci_linux.go; runc, libcontainer/configs/validate.
"""

import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

from preflight.facts import networks_and_volumes
from preflight.facts.collect.context import Engine, MeasurementContext, Service, run_service_readers
from preflight.facts.compose.compose_facts import (
    count_replicas,
    has_healthcheck,
    list_requested_host_devices,
    parse_text_mapping,
    read_limit_or_reservation,
)
from preflight.facts.compose.project import (
    Project,
    list_service_image_names,
    read_start_dependencies,
)
from preflight.facts.engine.api import NotFoundError, get_label, list_own_container_names
from preflight.facts.engine.engine_facts import (
    CPUSET_PATTERN,
    find_containers_cgroup,
    find_engine_cpuset,
)
from preflight.facts.engine.host_visibility import is_rootless
from preflight.facts.engine.kernel_settings import convert_sysctl_name_to_path, read_sysctl
from preflight.facts.host.proc_and_cgroups import Cgroups
from preflight.facts.nested_values import (
    get_nested_object,
    get_nested_value,
    make_unreported_unknown,
)
from preflight.facts.ports import list_published_ports
from preflight.model.facts import Measured, NotMeasuredError, Unknown, require_visible
from preflight.processes import find_program

# what Docker and Podman say
_MISSING_DEVICE_MESSAGES = (
    'error gathering device information while adding custom device "{}": no such file or directory',
    "stat {}: no such file or directory",
)
_CONTAINER_NAME_IN_USE_MESSAGES = (
    'The container name "/{}" is already in use by container "{}"',
    'the container name "{}" is already in use by {}',
)
_UNPRIVILEGED_PORT_FILE = "proc/sys/net/ipv4/ip_unprivileged_port_start"
_IPC_NAMESPACE_SYSCTL_PATTERN = (
    r"kernel\.(?:msgmax|msgmnb|msgmni|sem|shmall|shmmax|shmmni|shm_rmid_forced)|fs\.mqueue\..+"
)
# without those of interfaces, and of modules that are loaded when they are needed
_NETWORK_NAMESPACE_SYSCTL_PATTERN = r"net\.(?:core|ipv4)\.(?!conf|neigh).+"
_SYSCTL_NUMBERS_PATTERN = r"(?i)\s*(?:-?(?:0x[\da-f]+|\d+)(?:\s+|$))+"
_SWAP_DOTS_AND_SLASHES_TABLE = str.maketrans("./", "/.")
_UTS_NAMESPACE_SYSCTL_PATTERN = r"kernel\.(?:domainname|hostname)"
_MAX_NAMES_PER_SERVICE = 1000  # of one service
_MIN_ENGINE_VERSION_WITH_SHIM_RUNTIMES = 23  # Docker that runs any shim of containerd by its name


def measure_refusals(
    context: MeasurementContext, project: Project, root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield the facts of services, then of networks and volumes; an engine's silence is unknown."""
    yield from run_service_readers(context, project, root, _SERVICE_MEASURE_FUNCTIONS)
    yield from networks_and_volumes.measure_networks_and_volumes(context, project, root)


def _measure_cpuset_refusals(service: Service) -> Iterator[Measured]:
    """What is said to CPUs that aren't there; without a cpuset controller the key is dropped."""
    asked = str(service.config.get("cpuset") or "")
    if not asked:
        return
    refusal = None
    bounds = (part.partition("-") for part in asked.split(","))
    is_valid = CPUSET_PATTERN.fullmatch(asked) is not None
    if not is_valid or any(last and int(first) > int(last) for first, _, last in bounds):
        refusal = f"Invalid value {asked} for cpuset cpus"
    elif service.engine.info.get("CPUSet") is not False:
        available, _ = find_engine_cpuset(service.engine, service.root)
        if not parse_cpuset(asked) <= parse_cpuset(available):
            cpus = f"requested {asked}, available: {available}"
            refusal = f"Requested CPUs are not available - {cpus}"
    yield service.make_fact("cpuset_refused", refusal, "cpuset")


def parse_cpuset(text: str) -> set[int]:
    """Read CPUs as the kernel writes them: `0-2,7`."""
    numbers: set[int] = set()
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        numbers.update(range(int(first), int(last or first) + 1))
    return numbers


def _measure_parent_cgroup_cpus(service: Service) -> Iterator[Measured]:
    """The quota over the cgroup in which its containers will run."""
    cpus, key = read_limit_or_reservation(service.config, "limits", "cpus")
    if cpus is None:
        return
    yield service.make_fact("cpus", cpus, *key)
    engine, cgroup = service.engine, str(service.config.get("cgroup_parent") or "")
    require_visible(engine.visibility.cgroups_hidden)
    if cgroup.endswith(".slice") and "/" not in cgroup:  # a-b in a: systemd.slice(5)
        parts = cgroup.removesuffix(".slice").split("-")
        levels = range(1, len(parts) + 1)
        cgroup = "".join(f"/{'-'.join(parts[:level])}.slice" for level in levels)
    elif cgroup and not cgroup.startswith("/"):
        cgroup = f"/{cgroup}"
    limit = Cgroups().limit("cpu", cgroup or find_containers_cgroup(engine.api, engine.info))
    yield service.make_fact("cpus_limit", limit.value, "cgroup_parent")


def _measure_missing_devices(service: Service) -> Iterator[Measured]:
    """The devices that aren't on the engine's machine."""
    devices = list_requested_host_devices(service.config, only_required=True)
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
    yield service.make_fact("devices_missing", missing or unknown, "devices")
    if missing:
        words = _MISSING_DEVICE_MESSAGES[service.engine.name == "podman"]
        yield service.make_fact("device_refused", words.format(missing[0]), "devices")


def _measure_container_name_conflicts(service: Service) -> Iterator[Measured]:
    """What is said to a name that another container has.

    Compose keeps or replaces the container of the same service.
    """
    prefix, numbers = (
        f"{service.project.name}-{service.name}-",
        range(count_replicas(service.config)),
    )
    names = {service.config.get("container_name")} - {None, ""}
    names = names or {f"{prefix}{number + 1}" for number in numbers[:_MAX_NAMES_PER_SERVICE]}
    words = _CONTAINER_NAME_IN_USE_MESSAGES[service.engine.name == "podman"]
    refusal = None
    for row in service.engine.api.containers():
        labels = (get_label(row, f"com.docker.compose.{key}") for key in ("project", "service"))
        is_own = tuple(labels) == (service.project.name, service.name)
        for name in names.intersection(list_own_container_names(row)) if not is_own else ():
            refusal = words.format(name, row.get("Id"))
    yield service.make_fact("name_refused", refusal, "container_name")


def _measure_missing_referenced_containers(service: Service) -> Iterator[Measured]:
    """The containers outside the project whose namespaces or volumes it shares."""
    config = service.config
    given = [str(config.get(key) or "") for key in ("network_mode", "pid", "ipc")]
    given += map(str, config.get("volumes_from") or ())
    names = [text.split(":")[1] for text in given if text.startswith("container:")]
    if not names:
        return
    rows = service.engine.api.containers()
    known = {str(other.get("container_name")) for other in service.project.services.values()}
    known = known.union(*map(list_own_container_names, rows))
    ids = [str(row.get("Id")) for row in rows]
    missing = [n for n in names if n not in known and not any(id_.startswith(n) for id_ in ids)]
    yield service.make_fact("containers_missing", missing or None, "network_mode")


def _measure_runtime_refusals(service: Service) -> Iterator[Measured]:
    """What is said to a runtime that the engine hasn't; Podman takes its own in any case."""
    runtime = str(service.config.get("runtime") or "")
    if not runtime or service.engine.name == "podman":
        return
    runtimes = get_nested_object(service.engine.info, "Runtimes")
    is_newer = not service.engine.is_older_than(
        _MIN_ENGINE_VERSION_WITH_SHIM_RUNTIMES, default=False
    )
    words = "unknown or invalid runtime name:" if is_newer else "Unknown runtime specified"
    value: str | Unknown | None = f"{words} {runtime}"
    if not runtimes:
        value = make_unreported_unknown("Runtimes")
    elif runtime in runtimes:
        value = None
    elif is_newer and "." in runtime:
        value = Unknown(
            f"preflight can't tell whether containerd has the shim {runtime}", "unsupported"
        )
    yield service.make_fact("runtime_refused", value, "runtime")


def _measure_missing_log_driver(service: Service) -> Iterator[Measured]:
    if driver := get_nested_value(service.config, "logging.driver"):
        explain = networks_and_volumes.predict_missing_driver_refusal
        refusal = explain(service.engine, "log", str(driver), service.root)
        yield service.make_fact("log_driver_refused", refusal, "logging")


def _measure_sysctl_refusals(service: Service) -> Iterator[Measured]:
    """The kernel settings that no namespace of the container has, as runc says it."""
    refused: list[str] = []
    if not (given := parse_text_mapping(service.config.get("sysctls"))):
        return
    is_visible = service.engine.visibility.processes_hidden is None and sys.platform == "linux"
    mode, ipc = (str(service.config.get(key) or "") for key in ("network_mode", "ipc"))
    for given_name, given_value in given.items():
        name = convert_sysctl_name_to_path(given_name).translate(_SWAP_DOTS_AND_SLASHES_TABLE)
        if name.startswith("net."):
            file = f"/proc/sys/{convert_sysctl_name_to_path(given_name)}"
            is_known = is_visible and re.fullmatch(_NETWORK_NAMESPACE_SYSCTL_PATTERN, name)
            value = read_sysctl(given_name, service.root) if is_known else 0
            holds_numbers = is_known and re.fullmatch(_SYSCTL_NUMBERS_PATTERN, str(value))
            if mode == "host":
                refused.append(f'sysctl "{name}" not allowed in host network namespace')
            elif value is None:
                refused.append(f"open {file}: no such file or directory")
            elif (
                is_known
                and holds_numbers
                and not re.fullmatch(_SYSCTL_NUMBERS_PATTERN, given_value or "0")
            ):
                refused.append(f"write {file}: invalid argument")
        elif re.fullmatch(_IPC_NAMESPACE_SYSCTL_PATTERN, name):
            if ipc == "host":
                refused.append(f'sysctl "{name}" is not allowed in the hosts ipc namespace')
            elif not re.fullmatch(_SYSCTL_NUMBERS_PATTERN, given_value or "0"):
                refused.append(
                    f"write /proc/sys/{convert_sysctl_name_to_path(given_name)}: invalid argument"
                )
        elif not re.fullmatch(_UTS_NAMESPACE_SYSCTL_PATTERN, name):
            is_podman = service.engine.name == "podman"
            words = f'sysctl "{name}" is not in a separate kernel namespace'
            refused.append(f"sysctl '{name}' is not allowed" if is_podman else words)
    if refused:
        yield service.make_fact("sysctls_refused", refused, "sysctls")


def _measure_setting_refusals(service: Service) -> Iterator[Measured]:
    """What Docker or Compose says to settings that are never valid, or not with this image.

    Podman checks other things.
    """
    engine = service.engine
    is_linux = str(engine.version.get("Os") or "linux").lower() == "linux"
    if engine.name == "podman" or not is_linux or not count_replicas(service.config):
        return
    from preflight.facts import (
        desktop_shares,
        network_and_volume_refusals,
        service_setting_refusals,
    )

    refusals = [
        *service_setting_refusals.find_service_setting_refusals(service),
        *network_and_volume_refusals.find_network_and_volume_refusals(service),
    ]
    refusals = refusals or [*desktop_shares.find_unshared_mount_refusals(service)]
    if refusals:
        text = "; ".join(words for words, _ in refusals)
        yield service.make_fact("settings_refused", text, refusals[0][1])


def _measure_privileged_ports(service: Service) -> Iterator[Measured]:
    """The ports that an engine without root may not publish: below a bound of the kernel."""
    only_this = service.project._replace(config={"services": {service.name: service.config}})
    ports = [port for port in list_published_ports(only_this) if port.first < 1024]
    if not ports or not is_rootless(service.engine.info):
        return
    require_visible(service.engine.visibility.network_hidden)
    start = int((service.root / _UNPRIVILEGED_PORT_FILE).read_text())
    refused = [port.with_protocol for port in ports if port.first < start]
    if refused and service.engine.name != "podman" and _has_rootlesskit_capability():
        refused = []
    yield service.make_fact("privileged_ports", refused or None, "ports")
    if refused:
        refusal = f"cannot expose privileged port {re.split('[/-]', refused[0])[0]}"
        yield service.make_fact("privileged_refused", refusal, "ports")
        lowest = min(port.first for port in list_published_ports(service.project))
        yield service.make_fact("lowest_port_of_project", lowest, "ports")


def _has_rootlesskit_capability() -> bool:
    """Whether Docker's rootlesskit was given the capability to publish such ports."""
    program = find_program("rootlesskit")
    if program is None or not hasattr(os, "getxattr"):
        reason = "can't tell whether rootlesskit may publish ports below 1024"
        raise NotMeasuredError(reason)
    try:
        return bool(os.getxattr(program, "security.capability"))
    except OSError:
        return False


def _measure_missing_healthchecks(service: Service) -> Iterator[Measured]:
    """The services for whose health it waits, and that have no check in the file or the image."""
    missing, absent, unknown = [], [], None
    for name, condition in read_start_dependencies(service.config).items():
        other = service.project.services.get(name)
        if condition != "service_healthy" or other is None or not count_replicas(other):
            continue
        check = has_healthcheck(other)
        if check is None:  # what the file doesn't say the image does
            image = list_service_image_names(service.project, name)[0]
            try:
                inspected = service.engine.api.inspect_image(image)
            except NotFoundError as error:
                absent.append(image)
                unknown = error.unknown
                continue
            test = get_nested_value(inspected, "Config.Healthcheck.Test")
            if test is None and service.engine.name == "podman":  # Docker's API leaves it out
                path = f"/libpod/images/{inspected.get('Id')}/json"
                podman_answer = service.engine.api.get_object(path)
                test = get_nested_value(podman_answer, "Healthcheck.Test")
            check = bool(test) and test != ["NONE"]
        if not check:
            missing.append(name)
    if missing or absent:
        yield service.make_fact("healthchecks_missing", missing or unknown, "depends_on")
        yield service.make_fact("images_missing", None if missing else absent, "depends_on")
    if missing:
        own = service.project.services[missing[0]].get("container_name")
        container = own or f"{service.project.name}-{missing[0]}-1"
        refusal = f"dependency failed to start: container {container} has no healthcheck configured"
        yield service.make_fact("dependency_refused", refusal, "depends_on")


def _measure_non_empty_mounts(service: Service) -> Iterator[Measured]:
    """The paths that are mounted and hold something: a volume that exists, a folder with files."""
    filled, unknown = [], None
    for mount in service.volumes:
        source, is_filled = str(mount.get("source") or ""), False
        if mount.get("type") == "volume" and source:
            volume = networks_and_volumes.read_network_or_volume(service.project, "volumes", source)
            rows = networks_and_volumes.list_existing_networks_or_volumes(
                service.context, "volumes"
            )
            is_filled = any(row.get("Name") == volume.name for row in rows)
        elif mount.get("type") == "bind":
            from preflight.facts.bind_mount_problems import is_file_or_filled_folder

            hidden = service.engine.visibility.path_hidden(source)
            unknown = unknown or hidden
            is_filled = hidden is None and is_file_or_filled_folder(source)
        if is_filled:
            filled.append(str(mount.get("target")))
    if filled or unknown:  # never a part of them
        yield service.make_fact("filled_targets", unknown or filled, "volumes")


def _measure_mount_problems(service: Service) -> Iterator[Measured]:
    is_asked = any(mount.get("type") == "bind" for mount in service.volumes)
    # what the files alone say is judged without the engine
    if is_asked and isinstance(service.context.engine_or_unknown(), Engine):
        from preflight.facts.bind_mount_problems import find_mount_problems

        for kind, texts in find_mount_problems(service).items():
            if texts:
                yield service.make_fact(f"mounts_{kind}", list(texts.values()), "volumes")


# what reads the facts of a service, and the fact that is unknown where it can't
_SERVICE_MEASURE_FUNCTIONS = (
    (_measure_cpuset_refusals, "cpuset_refused"),
    (_measure_parent_cgroup_cpus, "cpus_limit"),
    (_measure_missing_devices, "devices_missing"),
    (_measure_container_name_conflicts, "name_refused"),
    (_measure_missing_referenced_containers, "containers_missing"),
    (_measure_runtime_refusals, "runtime_refused"),
    (_measure_missing_log_driver, "log_driver_refused"),
    (_measure_sysctl_refusals, "sysctls_refused"),
    (_measure_setting_refusals, "settings_refused"),
    (_measure_privileged_ports, "privileged_ports"),
    (_measure_missing_healthchecks, "healthchecks_missing"),
    (_measure_non_empty_mounts, "filled_targets"),
    (_measure_mount_problems, "mounts_mismatched"),
)
