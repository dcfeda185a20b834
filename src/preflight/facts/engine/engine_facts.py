"""The facts `docker.*` of the engine itself: whether it is reachable, what it has and enforces.

A value that is zero, null or missing in a response wasn't measured: it is unknown. Disk and
memory are read from the machine, only where `host_visibility` finds that they are visible here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import (
    EngineApi,
    LazyValue,
    NotFoundError,
    get_label,
    parse_memory_stats,
)
from preflight.facts.engine.endpoint import EngineError, find_other_engine_sockets
from preflight.facts.engine.host_visibility import VM_ENGINE_SIGNS, is_rootless
from preflight.facts.host.disk import read_disk_total_and_free, read_free_inodes
from preflight.facts.host.machine import read_available_host_memory
from preflight.facts.host.proc_and_cgroups import (
    CgroupLimit,
    Cgroups,
    ContainerCgroup,
    read_container_memory_cgroup,
)
from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_object,
    get_nested_text,
    get_nested_value,
    get_nested_whole_number,
    make_unreported_unknown,
    value_or_unreported,
)
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    Unknown,
    make_fact,
    measure_fact,
    read_or_unknown,
    require_visible,
)

DEFAULT_LOG_DRIVER = "json-file"
PLUGIN_KINDS = ("volume", "network", "log")
_REPORTED_SECURITY_OPTIONS = ("selinux", "apparmor", "seccomp", "userns")
_CPUSET_FILES = (  # of the root of cgroup v1 and v2, else all that are switched on
    "sys/fs/cgroup/cpuset/cpuset.cpus",
    "sys/fs/cgroup/cpuset.cpus.effective",
    "sys/devices/system/cpu/online",
)
CPUSET_PATTERN = re.compile(r"[0-9]{1,5}(?:-[0-9]{1,5})?(?:,[0-9]{1,5}(?:-[0-9]{1,5})?)*")
_POSITIVE_SIZE_PATTERN = r"(?i)[0-9.]*[1-9][0-9.]*\s*[a-z]*"
_CONTAINERD_DATA_FOLDER = "/var/lib/containerd"
_MAX_MEASURED_CONTAINERS = 50  # containers of this stack whose memory use is read
_MAX_INSPECTED_CONTAINERS = 5  # containers that may show where containers run


def measure_engine_facts(context: MeasurementContext) -> Iterator[Measured]:
    """Yield the engine's facts as they come; an engine that can't be reached is a finding."""
    asked_url = ""
    try:
        endpoint = context.endpoint()
        asked_url = endpoint.url
        yield make_fact("docker.endpoint", endpoint.url, endpoint.named_by)
        yield make_fact("docker.context", endpoint.context, endpoint.named_by)
        yield make_fact("docker.local", *context.is_engine_local())
        engine = context.engine()
    except EngineError as error:
        yield from _make_unreachable_engine_facts(error.unknown, context, asked_url)
        raise  # the worker makes all others unknown
    yield make_fact("docker.reachable", True, "GET /version, GET /info")
    for name in ("problem.kind", "problem.reason", "candidates", "alternative_endpoint"):
        yield make_fact(f"docker.{name}", None, "it is reachable")
    yield make_fact("docker.engine", engine.name, "GET /version, GET /info")
    source = "the address, the kernel, the daemon's process"
    yield make_fact("docker.native", engine.visibility.processes_hidden is None, source)
    yield from parse_engine_info(engine.version, engine.info)
    yield measure_fact(("docker", "cpuset"), find_engine_cpuset, engine)
    yield from _measure_docker_disk(engine)
    yield from _measure_docker_memory(engine, context)


def _make_unreachable_engine_facts(
    reason: Unknown, context: MeasurementContext, asked_url: str
) -> Iterator[Measured]:
    """Yield the facts of an engine that didn't answer: unreachable, why, and what else is there."""
    if not asked_url:
        yield make_fact("docker.local", True, "nothing names another host")
    package_missing = reason.kind == "unsupported" and "package" in reason.reason
    is_late = reason.kind == "timeout" and not context.gave_engine_enough_time()
    reachable = reason if package_missing or is_late else False
    yield make_fact("docker.reachable", reachable, reason.reason)
    yield make_fact("docker.problem.kind", reason.kind, "the connection")
    yield make_fact("docker.problem.reason", reason.reason, "the connection")
    others = [] if reason.kind == "timeout" else find_other_engine_sockets(asked_url)
    yield make_fact("docker.candidates", others or None, "the usual places")
    yield make_fact("docker.alternative_endpoint", next(iter(others), None), "docker.candidates")


def parse_engine_info(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Measured]:
    """Yield the facts that /version and /info report."""
    release = get_nested_text(version, "Version") or get_nested_text(info, "ServerVersion")
    system, processor = get_nested_text(version, "Os"), get_nested_text(version, "Arch")
    platform = f"{system}/{processor}" if system and processor else None
    cgroup = get_nested_text(info, "CgroupVersion")
    swarm_state = get_nested_text(info, "Swarm.LocalNodeState")
    reports_rootless = "Rootless" in info or "SecurityOptions" in info  # Podman has the first
    rootless = is_rootless(info) if reports_rootless else None
    log_driver, root = (get_nested_text(info, key) for key in ("LoggingDriver", "DockerRootDir"))
    confined_by = _read_security_options(info)
    for name, request, key, value in (
        ("version", "/version", "Version", release),
        ("api", "/version", "ApiVersion", get_nested_text(version, "ApiVersion")),
        ("platform", "/version", "Os, Arch", platform),
        ("cpus", "/info", "NCPU", get_nested_whole_number(info, "NCPU") or None),
        ("memory.total", "/info", "MemTotal", get_nested_whole_number(info, "MemTotal") or None),
        ("cgroup.version", "/info", "CgroupVersion", int(cgroup) if cgroup in ("1", "2") else None),
        ("limits.memory", "/info", "MemoryLimit", _enforces_limits(info, "MemoryLimit")),
        ("limits.swap", "/info", "SwapLimit", _enforces_limits(info, "SwapLimit")),
        ("cgroup.driver", "/info", "CgroupDriver", get_nested_text(info, "CgroupDriver")),
        ("limits.cpus", "/info", "CpuCfsQuota", _enforces_limits(info, "CpuCfsQuota")),
        ("rootless", "/info", "SecurityOptions", rootless),
        ("disk.root", "/info", "DockerRootDir", root),
        ("snap", "/info", "DockerRootDir", root and root.startswith("/var/snap/")),
        ("storage.driver", "/info", "Driver", get_nested_text(info, "Driver")),
        ("log.driver", "/info", "LoggingDriver", log_driver),
        ("swarm.state", "/info", "Swarm.LocalNodeState", swarm_state),
        ("runtimes", "/info", "Runtimes", sorted(get_nested_object(info, "Runtimes")) or None),
        ("warnings", "/info", "Warnings", list(map(str, get_nested_list(info, "Warnings")))),
        *(
            (f"security.{name}", "/info", "SecurityOptions", is_confining)
            for name, is_confining in confined_by.items()
        ),
    ):
        yield make_fact(f"docker.{name}", value_or_unreported(value, key), f"GET {request} {key}")
    builder = get_nested_value(version, "Platform.Name")  # "" of a distribution's package
    edition = (
        builder or None if isinstance(builder, str) else make_unreported_unknown("Platform.Name")
    )
    yield make_fact("docker.edition", edition, "GET /version Platform.Name")
    for kind in PLUGIN_KINDS:
        key = f"Plugins.{kind.capitalize()}"
        names = get_nested_value(info, key)
        reported = value_or_unreported(names if isinstance(names, list) else None, key)
        yield make_fact(f"docker.plugins.{kind}", reported, f"GET /info {key}, those in use")
    # the driver's options aren't in /info
    rotated = (
        is_log_rotated(log_driver, None) if log_driver else make_unreported_unknown("LoggingDriver")
    )
    yield make_fact("docker.log.rotated", rotated, f"the driver {log_driver}")


def _enforces_limits(info: Mapping[str, Any], key: str) -> Any:
    """Whether limits are enforced, by booleans and the driver, never by the text of warnings.

    Windows limits containers with job objects, and its engine answers false for what Linux has.
    """
    if info.get("OSType") == "windows":
        return True if key != "SwapLimit" else Unknown("Windows has no swap limit", "unsupported")
    if info.get("CgroupDriver") == "none":
        return False
    value = info.get(key)
    return value if isinstance(value, bool) else None


def _read_security_options(info: Mapping[str, Any]) -> dict[str, bool | Unknown | None]:
    """Return what can confine containers, and whether it does: name=seccomp,profile=builtin."""
    options = info.get("SecurityOptions")
    if info.get("OSType") == "windows":
        reason = Unknown("these security options don't exist on Windows", "unsupported")
        return dict.fromkeys(_REPORTED_SECURITY_OPTIONS, reason)
    if not isinstance(options, list):
        return dict.fromkeys(_REPORTED_SECURITY_OPTIONS)
    texts = [str(option).removeprefix("name=") for option in options]
    names = {text.partition(",")[0] for text in texts if not text.endswith("profile=unconfined")}
    return {name: name in names for name in _REPORTED_SECURITY_OPTIONS}


def find_engine_cpuset(engine: Engine, root: Path = Path("/")) -> tuple[str, str]:
    """Return the CPUs of the engine's machine, and the source; a VM's are numbered from 0 on.

    Raises NotMeasuredError.
    """
    count = get_nested_whole_number(engine.info, "NCPU")
    if engine.name in VM_ENGINE_SIGNS and count:
        return f"0-{count - 1}", "GET /info NCPU"
    require_visible(engine.visibility.processes_hidden)
    for file in _CPUSET_FILES:
        with suppress(OSError):
            text = (root / file).read_text("utf-8", "replace").strip()
            if CPUSET_PATTERN.fullmatch(text):
                return text, f"/{file}"
    raise NotMeasuredError("no cgroup file lists this machine's CPUs")


def _measure_docker_disk(engine: Engine) -> Iterator[Measured]:
    folder = read_or_unknown(_find_fullest_data_folder, engine)
    if isinstance(folder, Unknown):
        yield make_fact("docker.disk.free", folder)
        yield make_fact("docker.disk.inodes.free", folder)
    else:
        inodes, source = read_free_inodes(folder)
        yield make_fact("docker.disk.inodes.free", inodes, source)
        free = 0  # what has no inode can't have a file
        if inodes != 0:
            _, free = read_disk_total_and_free(folder)
            source = f"statvfs of the filesystem of {folder}, f_bavail"
        yield make_fact("docker.disk.free", free, source)
    yield measure_fact(("docker", "disk", "reclaimable"), _sum_unused_image_sizes, engine.api)


def _find_fullest_data_folder(engine: Engine) -> str:
    """Return the folder of the engine's data with the least room; raises NotMeasuredError."""
    root = get_nested_text(engine.info, "DockerRootDir")
    if root is None:
        raise NotMeasuredError("the engine doesn't report where it keeps its data")
    if engine.name in VM_ENGINE_SIGNS:  # its own files aren't visible either
        raise NotMeasuredError("the engine's data is visible only inside its VM", "unsupported")
    folders = [root]
    if "containerd" in str(engine.info.get("DriverStatus")) and os.path.exists(
        _CONTAINERD_DATA_FOLDER
    ):
        folders.append(_CONTAINERD_DATA_FOLDER)  # the containerd image store ignores data-root
    require_visible(*map(engine.visibility.path_hidden, folders))
    return min(folders, key=lambda folder: read_disk_total_and_free(folder)[1])


def _sum_unused_image_sizes(api: EngineApi) -> tuple[int, str]:
    images = api.get_object_list("/images/json")
    in_use = {str(container.get("ImageID")) for container in api.containers()}
    unused = [image for image in images if str(image.get("Id")) not in in_use]
    sizes = [get_nested_whole_number(image, "Size") for image in unused]
    if None in sizes:
        raise NotMeasuredError("the engine doesn't report the size of every image")
    source = "GET /images/json less those of GET /containers/json; shared layers count twice"
    return sum(size or 0 for size in sizes), source


def _measure_docker_memory(engine: Engine, context: MeasurementContext) -> Iterator[Measured]:
    """Yield the limits above the containers, and what is left for this stack now."""
    visibility = engine.visibility
    cgroup = LazyValue(lambda: find_containers_cgroup(engine.api, engine.info))

    def measure_limit(name: str, kind: str) -> Measured:
        def read() -> CgroupLimit:
            require_visible(visibility.cgroups_hidden)
            return Cgroups().limit(kind, cgroup())

        return measure_fact(("docker", *name.split(".")), read)

    yield measure_limit("cpus_limit", "cpu")
    yield (high := measure_limit("memory.high", "high"))
    limit = measure_limit("memory.limit", "memory")
    usable = get_nested_whole_number(engine.info, "MemTotal") or None
    caveat, limit_bytes = "; a cgroup limit above it can't be seen", None
    source = f"GET /info MemTotal{caveat}"
    if not isinstance(limit.value, Unknown):
        caveat, limit_bytes = "", limit.value
        source = "min(docker.memory.total, docker.memory.limit)"
        limit = limit._replace(source=f"{limit.source}, over {cgroup()}")
        usable = usable and int(min(usable, limit_bytes or usable))
    yield limit
    if isinstance(high.value, int):
        source += f"; above {high.value} bytes {high.source} throttles them"
    yield make_fact("docker.memory.usable", value_or_unreported(usable, "MemTotal"), source)
    project = context.project_or_unknown()
    project_name = project.name if isinstance(project, Project) else None

    def read_available() -> tuple[int, str]:
        require_visible(visibility.processes_hidden)
        own = "" if limit_bytes is None else cgroup()
        available, source = read_memory_available_to_stack(
            engine.api, own, limit_bytes, project_name
        )
        return int(min(available, usable or available)), source + caveat

    yield measure_fact(("docker", "memory", "available"), read_available)


def find_containers_cgroup(api: EngineApi, info: Mapping[str, Any]) -> str:
    """Return the cgroup of containers that don't name one themselves.

    A running one shows it; else it is the engine's default: daemon/oci_linux.go of moby, libpod's
    `--cgroup-manager`. Raises OSError, EngineError.
    """
    is_podman = "Rootless" in info
    default = "/libpod_parent" if is_podman else "/docker"
    if is_rootless(info):
        default = f"/user.slice/user-{os.getuid()}.slice"
    elif info.get("CgroupDriver") == "systemd":
        default = "/machine.slice" if is_podman else "/system.slice"
    for row in api.running_containers()[:_MAX_INSPECTED_CONTAINERS]:
        requested_parent, cgroup = _inspect_container_cgroup(api, row)
        if cgroup is not None and (requested_parent or default) == default:
            return cgroup.parent
    # where it isn't there, the engine creates it below the root with the first container
    return "/" if Cgroups().memory_folder(default) is None else default


def _inspect_container_cgroup(
    api: EngineApi, row: Mapping[str, Any], root: Path = Path("/")
) -> tuple[Any, ContainerCgroup | None]:
    """Return the parent that a container asks for, and its cgroup where that can be read."""
    container = str(row.get("Id"))
    try:
        inspected = api.inspect(container)
    except NotFoundError:
        return None, None
    pid = get_nested_whole_number(inspected, "State.Pid")
    cgroup = read_container_memory_cgroup(pid, container, root) if pid else None
    parent = get_nested_value(inspected, "HostConfig.CgroupParent")
    return parent, cgroup if isinstance(cgroup, ContainerCgroup) else None


def read_memory_available_to_stack(
    api: EngineApi, cgroup: str, limit: float | None, project: str | None, root: Path = Path("/")
) -> tuple[int, str]:
    """Return the bytes free for this stack, and the source; raises OSError, NotMeasuredError.

    What the project's own containers use counts as free: of the machine's memory without their page
    cache, which is available anyway. `limit` is that of `cgroup`, in which containers run, and page
    cache counts against it.
    """
    available, source = read_available_host_memory(root)
    rows = api.running_containers() if project is not None else []
    own = [row for row in rows if get_label(row, "com.docker.compose.project") == project]
    usages = [
        _read_container_memory_usage(api, row, root) for row in own[:_MAX_MEASURED_CONTAINERS]
    ]
    used = sum(total for total, _ in usages)
    available += used - sum(cache for _, cache in usages)
    if limit is not None:
        free = max(0, limit - Cgroups(root).memory_usage(cgroup)) + used
        available = int(min(available, free, limit))
    return available, source + (" and this stack's containers" if used else "")


def _read_container_memory_usage(
    api: EngineApi, row: Mapping[str, Any], root: Path
) -> tuple[int, int]:
    """Return the bytes that a container is charged for, and how many of them are cache."""
    _, cgroup = _inspect_container_cgroup(api, row, root)
    if cgroup is not None:
        return cgroup.total_usage, cgroup.cache
    try:
        return parse_memory_stats(api.stats(str(row.get("Id"))))[1:]
    except NotFoundError:
        return 0, 0


def is_log_rotated(driver: str, options: Mapping[str, Any] | None) -> bool | Unknown:
    """Return whether a driver drops old logs; `options` is None if they aren't known.

    json-file, and Podman's k8s-file, grow without limit unless `max-size` is a positive size;
    `max-file` has no effect without it. `local` keeps 5 files of 20 MB by default. journald keeps
    its journal within SystemMaxUse, by default a tenth of the disk; `none` keeps nothing. All
    others hand logs to a service, and what that drops isn't known. Sources: Docker's documentation,
    engine/logging/drivers/json-file, /local, /journald and engine/logging/dual-logging;
    journald.conf(5); moby daemon/logger/jsonfilelog and /local.
    """
    if driver in ("journald", "none"):
        return True
    if driver not in (DEFAULT_LOG_DRIVER, "k8s-file", "local"):
        reason = f"the log driver {driver} doesn't report where it keeps its logs"
        return Unknown(reason, "unsupported")
    if options is None and driver != "local":
        reason = f"the API doesn't report the options of the log driver {driver}"
        return Unknown(reason, "unsupported")
    size = (options or {}).get("max-size")
    if size is None:
        return driver == "local"
    return re.fullmatch(_POSITIVE_SIZE_PATTERN, str(size).strip()) is not None
