"""The container engine over its API: whether it answers, and what it has and enforces.

Zero, null and missing in an answer are no measurement. The engine's own disk and cgroups are
looked at only where this process really sees them: not in a VM, on another host, or from inside
a container.
"""

from __future__ import annotations

import os
import platform
import socket
import struct
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from preflight.model.facts import Fact, Measured, Unknown
from preflight.probes.cgroup import Cgroups, parse_groups
from preflight.probes.endpoint import Endpoint, EndpointError, candidates, resolve
from preflight.probes.engine_api import EngineApi, EngineError
from preflight.probes.mounts import mount_of, parse_mounts
from preflight.probes.options import Options

FACTS = (
    Fact("docker.endpoint", "text", "the engine's address", sensitive=True),
    Fact("docker.context", "text", "the docker context in use"),
    Fact("docker.local", "boolean", "whether the address is one of this machine's own"),
    Fact("docker.reachable", "boolean", "whether an engine answers there"),
    Fact("docker.problem.kind", "text", "what keeps it from answering; absent where it answers"),
    Fact("docker.problem.reason", "text", "the same in words; absent where it answers"),
    Fact("docker.candidates", "list", "sockets of other engines; absent where none or not needed"),
    Fact(
        "docker.engine", "text", "docker, docker-desktop, podman, colima, orbstack, rancher-desktop"
    ),
    Fact("docker.version", "version", "the engine's version"),
    Fact("docker.api", "version", "the newest API version it speaks"),
    Fact("docker.platform", "text", "the system and processor that its containers see"),
    Fact("docker.native", "boolean", "whether its files and processes are seen from here"),
    Fact("docker.rootless", "boolean", "whether it runs without root"),
    Fact("docker.warnings", "list", "what it warns of itself"),
    Fact(
        "docker.memory.total", "bytes", "RAM as the daemon sees it: the VM's under Docker Desktop"
    ),
    Fact(
        "docker.memory.limit",
        "bytes",
        "the lowest cgroup limit over its containers; absent where none",
    ),
    Fact("docker.memory.usable", "bytes", "min(total, limit)"),
    Fact(
        "docker.memory.available",
        "bytes",
        "free for this stack now; its own containers count as free",
    ),
    Fact("docker.cpus", "cores", "CPUs as the daemon sees them"),
    Fact("docker.cgroup.version", "number", "1 or 2"),
    Fact("docker.limits.memory", "boolean", "whether memory limits of containers bind"),
    Fact("docker.limits.cpus", "boolean", "whether CPU limits of containers bind"),
    Fact("docker.disk.root", "text", "the folder where the engine keeps its data", sensitive=True),
    Fact("docker.disk.free", "bytes", "what can still be written there"),
    Fact(
        "docker.disk.reclaimable", "bytes", "size of images that no container uses: an upper bound"
    ),
    Fact("docker.storage.driver", "text", "the storage driver"),
    Fact("docker.log.driver", "text", "the default logging driver"),
    Fact("docker.log.rotated", "boolean", "whether that driver drops old logs by itself"),
    Fact("docker.swarm.state", "text", "inactive, pending, active, error or locked"),
)

_ALWAYS = {"endpoint", "context", "local", "reachable", "problem", "candidates"}
_VIRTUAL_MACHINES = {"docker-desktop", "colima", "orbstack", "rancher-desktop"}
_CONTAINERD_ROOT = "/var/lib/containerd"
_MOST_STATS = 50  # containers of this stack whose memory is read


def measure(options: Options) -> Iterator[Measured]:
    """Yield the engine's facts as they come; an engine that can't be reached is a finding."""
    try:
        endpoint = resolve(options.docker_host, options.context)
    except EndpointError as fault:
        unknown = Unknown(str(fault), "invalid")
        yield Measured(("docker", "endpoint"), unknown)
        yield Measured(("docker", "context"), unknown)
        yield Measured(("docker", "local"), True, "nothing that is there names another host")
        yield from unreachable(unknown)
        return
    yield Measured(("docker", "endpoint"), endpoint.url, endpoint.named_by)
    yield Measured(("docker", "context"), endpoint.context, endpoint.named_by)
    yield Measured(("docker", "local"), endpoint.local, "the address")
    api = EngineApi(endpoint, options.timeout)
    try:
        version = api.version()
        info = api.info()
    except EngineError as fault:
        yield from unreachable(Unknown(str(fault), fault.kind))
        return
    yield from _reached(api, endpoint, version, info)


def late(how_long: str) -> Iterator[Measured]:
    """Yield what it means that time ran out: an engine that answers too slowly is not reachable."""
    return unreachable(Unknown(f"no answer from the engine {how_long}", "timeout"))


def unreachable(why: Unknown) -> Iterator[Measured]:
    """Yield what is known of an engine that didn't answer: false, why, and what else is there.

    An engine that can't be asked for want of a package here may be well: that is unknown.
    """
    reached = why if why.kind == "unsupported" and "package" in why.reason else False
    yield Measured(("docker", "reachable"), reached, why.reason)
    yield Measured(("docker", "problem", "kind"), why.kind, "the attempt")
    yield Measured(("docker", "problem", "reason"), why.reason, "the attempt")
    yield Measured(("docker", "candidates"), candidates() or None, "the usual places")
    for fact in FACTS:
        path = tuple(fact.path.split("."))
        if path[1] not in _ALWAYS:
            yield Measured(path, why)


def _reached(
    api: EngineApi, endpoint: Endpoint, version: Mapping[str, Any], info: Mapping[str, Any]
) -> Iterator[Measured]:
    yield Measured(("docker", "reachable"), True, "GET /version, GET /info")
    for name in (("problem", "kind"), ("problem", "reason"), ("candidates",)):
        yield Measured(("docker", *name), None, "it answers")
    engine = engine_of(version, info, endpoint.url)
    native = is_native(endpoint, engine, info)
    yield Measured(("docker", "engine"), engine, "GET /version, GET /info")
    yield Measured(("docker", "native"), native, "the address, the kernel, the daemon's process")
    yield from parse_info(version, info)
    yield from _disk(api, info, native)
    yield from _memory(api, info, native)


def engine_of(version: Mapping[str, Any], info: Mapping[str, Any], url: str) -> str:
    """Tell the engine by what it says of itself, and a VM that looks like docker by its names."""
    components = [c.get("Name") for c in _list(version.get("Components")) if isinstance(c, dict)]
    if "Podman Engine" in components:
        return "podman"
    system = str(info.get("OperatingSystem") or "").lower()
    name = str(info.get("Name") or "").lower()
    if "docker desktop" in system or name == "docker-desktop":
        return "docker-desktop"
    if "orbstack" in system or "orbstack" in url:
        return "orbstack"
    if "rancher desktop" in system or name == "lima-rancher-desktop" or "/.rd/" in url:
        return "rancher-desktop"
    if name.startswith("colima") or "/.colima/" in url:
        return "colima"
    return "docker"


def is_native(endpoint: Endpoint, engine: str, info: Mapping[str, Any]) -> bool:
    """Whether the daemon runs on this kernel and its process can be seen from here.

    The kernel tells a socket's listener by SO_PEERCRED (unix(7)); 0 stands for a process that is
    in no PID namespace of ours: then this is a container with the socket mounted into it.
    """
    if not sys.platform.startswith("linux") or not endpoint.url.startswith("unix://"):
        return False
    if engine in _VIRTUAL_MACHINES or info.get("KernelVersion") != platform.release():
        return False
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(endpoint.url.removeprefix("unix://"))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return False
    pid: int = struct.unpack("3i", credentials)[0]
    return pid > 0


def parse_info(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Measured]:
    """Yield the facts that /version and /info state."""
    yield _stated("version", _text(version.get("Version") or info.get("ServerVersion")), "Version")
    yield _stated("api", _text(version.get("ApiVersion")), "ApiVersion")
    system, processor = _text(version.get("Os")), _text(version.get("Arch"))
    yield _stated("platform", f"{system}/{processor}" if system and processor else None, "Os, Arch")
    yield _stated("cpus", _positive(info.get("NCPU")), "NCPU")
    yield _stated("memory.total", _positive(info.get("MemTotal")), "MemTotal")
    cgroup = _text(info.get("CgroupVersion"))
    yield _stated("cgroup.version", int(cgroup) if cgroup in ("1", "2") else None, "CgroupVersion")
    yield from _limits(info)
    options = info.get("SecurityOptions")
    rootless = info.get("Rootless")  # Podman's
    if not isinstance(rootless, bool):
        known = isinstance(options, list)
        rootless = any("rootless" in str(one) for one in _list(options)) if known else None
    yield _stated("rootless", rootless, "SecurityOptions")
    warnings = [str(one) for one in _list(info.get("Warnings"))]
    yield Measured(("docker", "warnings"), warnings, "GET /info Warnings")
    yield _stated("disk.root", _text(info.get("DockerRootDir")), "DockerRootDir")
    yield _stated("storage.driver", _text(info.get("Driver")), "Driver")
    driver = _text(info.get("LoggingDriver"))
    yield _stated("log.driver", driver, "LoggingDriver")
    yield _rotated(driver)
    swarm = info.get("Swarm")
    state = _text(swarm.get("LocalNodeState")) if isinstance(swarm, dict) else None
    yield _stated("swarm.state", state, "Swarm.LocalNodeState")


def _stated(name: str, value: Any, key: str) -> Measured:
    path = ("docker", *name.split("."))
    if value is None:
        return Measured(path, Unknown(f"the engine does not say: {key} is zero, null or missing"))
    return Measured(path, value, f"GET /info {key}")


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _positive(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _limits(info: Mapping[str, Any]) -> Iterator[Measured]:
    """Whether limits bind, by the booleans and the driver, never by the text of warnings."""
    unmanaged = info.get("CgroupDriver") == "none"
    for name, key in (("memory", "MemoryLimit"), ("cpus", "CpuCfsQuota")):
        value = info.get(key)
        path = ("docker", "limits", name)
        if unmanaged:
            yield Measured(path, False, "GET /info CgroupDriver none")
        elif isinstance(value, bool):
            yield Measured(path, value, f"GET /info {key}")
        else:
            yield _stated(f"limits.{name}", None, key)


def _rotated(driver: str | None) -> Measured:
    """`local` rotates by default, json-file only by options that /info doesn't tell."""
    path = ("docker", "log", "rotated")
    if driver in ("local", "journald", "none"):
        return Measured(path, driver != "none" or None, f"the driver {driver}")
    if driver is None:
        return Measured(path, Unknown("the engine does not say its logging driver"))
    return Measured(path, Unknown(f"the API does not tell the options of {driver}", "unsupported"))


def _disk(api: EngineApi, info: Mapping[str, Any], native: bool) -> Iterator[Measured]:
    yield Measured(
        ("docker", "disk", "free"), *_free(_text(info.get("DockerRootDir")), info, native)
    )
    try:
        images, containers = api.images(), api.containers()
    except EngineError as fault:
        yield Measured(("docker", "disk", "reclaimable"), Unknown(str(fault), fault.kind))
        return
    used = {container.get("ImageID") for container in containers}
    sizes = [image.get("Size") for image in images if image.get("Id") not in used]
    total = sum(size for size in sizes if isinstance(size, int) and size > 0)
    source = "GET /images/json less those of GET /containers/json; shared layers count twice"
    yield Measured(("docker", "disk", "reclaimable"), total, source)


def _free(root: str | None, info: Mapping[str, Any], native: bool) -> tuple[int | Unknown, str]:
    """Room on the filesystem of the engine's data, by its mount: the folder itself is closed."""
    if not native:
        return Unknown("its disk is in a VM, on another host or outside of this container"), ""
    if root is None:
        return Unknown("the engine does not say where it keeps its data"), ""
    places = [root]
    if any("containerd" in str(row) for row in _list(info.get("DriverStatus"))):
        places.append(_CONTAINERD_ROOT)  # the containerd image store ignores data-root
    rooms = {}
    for place in places:
        try:
            os.stat(place)
        except PermissionError:
            pass  # there, but closed to us
        except OSError as fault:
            if place == root:
                return Unknown(f"{fault.strerror}: {place}"), ""
            continue
        try:
            text = Path("/proc/self/mountinfo").read_text(
                encoding="utf-8", errors="surrogateescape"
            )
            mount = mount_of(place, parse_mounts(text))
            stat = os.statvfs(mount.point if mount else place)
        except OSError as fault:
            return Unknown(f"{fault.strerror}: {place}"), ""
        rooms[place] = stat.f_bavail * stat.f_frsize
    place = min(rooms, key=rooms.__getitem__)
    return rooms[place], f"statvfs of the filesystem of {place}, f_bavail"


def _memory(api: EngineApi, info: Mapping[str, Any], native: bool) -> Iterator[Measured]:
    """The limit over the containers, and what is left for this stack now."""
    limit, usable, available = (("docker", "memory", n) for n in ("limit", "usable", "available"))
    total = _positive(info.get("MemTotal"))
    hidden = Unknown(
        "its cgroups are in a VM, on another host or outside of this container", "unsupported"
    )
    lowest: float | None = None
    if not native:
        yield Measured(limit, hidden)
    else:
        try:
            cgroups = Cgroups()
            place = _place(api, info, cgroups)
            found = cgroups.memory_limit(place)
            lowest = found.value
            yield Measured(limit, lowest, f"{found.source}, over {place}")
        except (OSError, EngineError) as fault:
            yield Measured(limit, Unknown(str(fault)))
    if total is None:
        nothing = Unknown("the engine does not say: MemTotal is zero, null or missing")
        yield Measured(usable, nothing)
    elif lowest is None:
        yield Measured(usable, total, "GET /info MemTotal" + ("" if native else "; limits unseen"))
    else:
        yield Measured(usable, min(total, lowest), "min(total, limit)")
    if not native:
        yield Measured(
            available, Unknown("the API does not tell what is free there", "unsupported")
        )
        return
    yield Measured(available, *_available(api, lowest, place if lowest is not None else None))


def _available(api: EngineApi, limit: float | None, place: str | None) -> tuple[int | Unknown, str]:
    import psutil

    room: float = psutil.virtual_memory().available
    if limit is not None and place is not None:
        room = min(room, max(0, limit - (Cgroups().memory_usage(place) or 0)))
    try:
        own = sum(map(api.memory_in_use, _own_containers(api)))
    except EngineError as fault:
        return Unknown(f"what this stack's containers use: {fault}", fault.kind), ""
    source = "psutil.virtual_memory().available" + (" and this stack's containers" if own else "")
    return int(room + own), source


def _own_containers(api: EngineApi) -> list[str]:
    """Return the ids of the running containers that compose started from the current folder."""
    here = os.path.realpath(".")
    label = "com.docker.compose.project.working_dir"
    return [
        str(container.get("Id"))
        for container in api.containers()
        if container.get("State") == "running"
        and _label(container, label) in (here, os.path.abspath("."))
    ][:_MOST_STATS]


def _label(container: Mapping[str, Any], name: str) -> Any:
    labels = container.get("Labels")
    return labels.get(name) if isinstance(labels, dict) else None


def _place(api: EngineApi, info: Mapping[str, Any], cgroups: Cgroups) -> str:
    """Return the cgroup that holds the containers: from a running one, else the engine's default.

    Defaults: daemon/oci_linux.go of moby, libpod's `--cgroup-manager`.
    """
    running = next((c for c in api.containers() if c.get("State") == "running"), None)
    if running is not None:
        pid = api.pid(str(running.get("Id")))
        if pid:
            text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
            groups = parse_groups(text)
            own = groups.get("memory" if cgroups.version("memory") == 1 else "", "/")
            return os.path.dirname(own) or "/"
    podman = "Rootless" in info
    if info.get("CgroupDriver") == "systemd":
        return "/machine.slice" if podman else "/system.slice"
    return "/libpod_parent" if podman else "/docker"
