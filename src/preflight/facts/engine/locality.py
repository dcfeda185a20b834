"""What of the engine's machine is seen from here: its processes, network, files and cgroups.

Nothing here is taken for the machine's own against what the kernel tells of the daemon's process,
which everybody may read below /proc/PID (proc(5)), or what the engine tells of the container that
this process is in. Where neither tells, it is the machine's outside of a container, and isn't
inside one.
"""

from __future__ import annotations

import os
import platform
import re
import socket
import struct
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.engine.api import EngineApi, EngineError
from preflight.facts.engine.responses import get_object, list_or_empty, text_or_none
from preflight.facts.host.cgroups import Cgroups
from preflight.facts.host.mounts import Mount, location, mount_of, read_mounts, within
from preflight.model.facts import Unknown

_DISK_FILESYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
_MARKS = ("/docker/", "/docker-", "/kubepods", "/libpod", "/lxc/", "/lxc.payload")
# files that an engine mounts from its folder for the container, which is named by the id
_OWN_FILES = ("/run/.containerenv", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_OWN_FOLDER = re.compile("/(?:overlay-)?containers/([0-9a-f]{64})/")


def in_container(root: Path = Path("/")) -> tuple[bool, str]:
    """Look for the marks that container runtimes leave; return whether, and what tells it.

    A virtual machine made from a container image keeps the marks, but its root is a whole disk,
    which a container's never is.
    """
    mark = _mark(root)
    if mark is None:
        return False, "no mark of a container"
    try:
        mount = mount_of("/", read_mounts(root))
    except OSError:
        mount = None
    if mount is not None and mount.root == "/" and mount.filesystem in _DISK_FILESYSTEMS:
        return False, f"{mark} is there, but the root is a whole {mount.filesystem} disk"
    return True, mark


def _mark(root: Path) -> str | None:
    for mark in (".dockerenv", "run/.containerenv", "run/systemd/container"):
        if os.path.exists(root / mark):
            return f"/{mark}"
    for name in ("container", "KUBERNETES_SERVICE_HOST"):
        if os.environ.get(name):
            return f"the environment variable {name}"
    try:
        groups = os.fsdecode((root / "proc/self/cgroup").read_bytes())
    except OSError:
        return None
    return "/proc/self/cgroup" if any(mark in groups for mark in _MARKS) else None


PathHidden: TypeAlias = Callable[[str], Unknown | None]

VIRTUAL_MACHINES = {"docker-desktop", "colima", "orbstack", "rancher-desktop"}
HIDDEN = Unknown("it is in a VM, on another host or outside of this container", "unsupported")
_ENGINES = {"dockerd", "podman", "systemd"}  # systemd listens for a daemon that it starts
_SOCKETS = "net/dev"  # of each network the kernel has such a file of its own


class HostVisibility(NamedTuple):
    """What is seen here of the engine's machine: None where it is seen, else why it isn't.

    `files` answers for one path: whether what is there for this process is what is there for the
    engine.
    """

    processes_hidden: Unknown | None
    network_hidden: Unknown | None
    cgroups_hidden: Unknown | None
    path_hidden: PathHidden

    @property
    def native(self) -> bool:
        """Whether the daemon runs on this kernel and its process is seen."""
        return self.processes_hidden is None


NOTHING_VISIBLE = HostVisibility(HIDDEN, HIDDEN, HIDDEN, lambda _: HIDDEN)


def find_host_visibility(
    api: EngineApi, engine: str, info: Mapping[str, Any], root: Path = Path("/")
) -> HostVisibility:
    """Find out what is seen of the machine of an engine, which is called so and said `info`."""
    inside, _ = in_container(root)
    virtual = engine in VIRTUAL_MACHINES
    if not _may_be_here(api.endpoint.url, info) or (virtual and not inside):
        return NOTHING_VISIBLE
    if not inside and find_differing_info_key(info, root) is not None:
        return NOTHING_VISIBLE  # at the other end of a tunnel, on a machine with the same kernel
    own = inspect_self_container(api, root) if inside else None
    pid = 0 if virtual else _daemon(api.endpoint.url)
    if (own is not None and not own.processes) or (inside and not _is_engine(pid, root)):
        pid = 0  # what listens passes on what it hears, such as socat
    if not pid and not inside:
        return NOTHING_VISIBLE
    apart = virtual or (engine != "podman" and is_rootless(info))
    return HostVisibility(
        None if pid else _unseen("its processes are the container's own", "--pid host"),
        _network(pid, own, root, inside=inside, apart=apart),
        _cgroups(pid, root, inside=inside),
        _files(0 if apart else pid, own, root, inside=inside),
    )


def find_differing_info_key(info: Mapping[str, Any], root: Path = Path("/")) -> str | None:
    """Return the key of /info that isn't as on this machine, None where nothing tells so.

    What is in a container has a name of its own.
    """
    own = {"KernelVersion": platform.release(), "MemTotal": _memory()}
    if "containerized" not in str(info.get("OperatingSystem")) and not in_container(root)[0]:
        own["Name"] = platform.node()
    told = {key: info.get(key) for key in own}
    return next((key for key in own if told[key] and own[key] and told[key] != own[key]), None)


def _memory() -> int | None:
    """Return the RAM of this machine in bytes, None where /proc doesn't say."""
    import psutil

    try:
        return int(psutil.virtual_memory().total)
    except Exception:  # noqa: BLE001 - psutil raises what its parsing of /proc meets
        return None


def is_rootless(info: Mapping[str, Any]) -> bool:
    """Whether an engine runs without root."""
    return "rootless" in str(info.get("SecurityOptions")) or info.get("Rootless") is True


def _may_be_here(url: str, info: Mapping[str, Any]) -> bool:
    known = sys.platform.startswith("linux") and url.startswith("unix://")
    return known and info.get("KernelVersion") == platform.release()


def _daemon(url: str) -> int:
    """Return the process that listens on a socket, 0 where it isn't seen.

    The kernel tells it by SO_PEERCRED (unix(7)); 0 is a process in no PID namespace of ours.
    """
    try:
        with socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(1)
            probe.connect(url.removeprefix("unix://"))
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return 0
    pid: int = struct.unpack("3i", credentials)[0]
    return pid


def _is_engine(pid: int, root: Path) -> bool:
    try:
        return (root / "proc" / str(pid) / "comm").read_text(errors="replace").strip() in _ENGINES
    except OSError:
        return False


def _unseen(what: str, options: str) -> Unknown:
    return Unknown(f"inside a container {what}: run it with {options}", "unsupported")


def _network(
    pid: int, own: SelfContainer | None, root: Path, *, inside: bool, apart: bool
) -> Unknown | None:
    """`apart` is an engine that publishes ports outside of its own network."""
    if apart:
        on_it = "run preflight on the machine itself"
        words = f"inside a container the network that has the engine's ports isn't seen: {on_it}"
        return Unknown(words, "unsupported") if inside else None
    same = own.network if own is not None else None
    if same is None:
        same = same_network(pid, root)
    if same or (same is None and not inside):
        return None
    if not inside:
        return Unknown("the engine has another network than this process", "unsupported")
    if same is False:
        return _unseen("the network is the container's own", "--network host")
    return _unseen("the network is not known to be the machine's", "--network host --pid host")


def same_network(pid: int, root: Path = Path("/")) -> bool | None:
    """Whether a process has our network, None where it can't be told."""
    try:
        ours, theirs = (os.stat(root / "proc" / one / _SOCKETS) for one in ("self", str(pid)))
    except OSError:
        return None
    return os.path.samestat(ours, theirs)


def _cgroups(pid: int, root: Path, *, inside: bool) -> Unknown | None:
    same = is_cgroup_visible(pid, root)
    if same or (same is None and not inside):
        return None
    if not inside:
        return Unknown("the engine's cgroup is not seen from here", "unsupported")
    mounted = "--pid host --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro"
    return _unseen("the cgroups are the container's own", mounted)


def is_cgroup_visible(pid: int, root: Path = Path("/")) -> bool | None:
    """Whether the memory group of a process is among those seen here, None where it isn't told."""
    try:
        groups = Cgroups(root, str(pid))
        return groups.has(groups.groups.get("memory", groups.groups.get("", "")))
    except OSError:
        return None


def _files(pid: int, own: SelfContainer | None, root: Path, *, inside: bool) -> PathHidden:
    ours, theirs = (_mounts(root, one) for one in ("self", str(pid)))

    def hidden(path: str) -> Unknown | None:
        told = own is not None and all(map(own.has, _names(path)))
        same = told or same_files(path, ours, theirs)
        if same or (same is None and not inside):
            return None
        if not inside:
            return Unknown(f"the engine has other files at {path} than this process", "unsupported")
        way = f"-v {path}:{path}:ro" + ("" if own or theirs else " --pid host")
        return _unseen(f"{path} is not known to be the machine's", way)

    return hidden


def same_files(path: str, ours: list[Mount], theirs: list[Mount]) -> bool | None:
    """Whether two processes see the same at a path, by their mounts; None where it isn't told."""
    if not ours or not theirs:
        return None
    names = _names(path)
    return all(location(name, ours) == location(name, theirs) for name in names)


def _names(path: str) -> set[str]:
    """A path, and what it leads to by links: both have to be the same."""
    return {os.path.abspath(path), os.path.realpath(path)}


def _mounts(root: Path, pid: str) -> list[Mount]:
    try:
        return read_mounts(root, pid)
    except OSError:
        return []


class SelfContainer(NamedTuple):
    """This container as the engine tells it.

    `processes` and `network` are whether it has the machine's, None where it can't be told;
    `mounts` leads from the places of its mounts to what is there: a path of the machine, None for
    what is none.
    """

    processes: bool
    network: bool | None
    mounts: Mapping[str, str | None]

    def has(self, path: str) -> bool:
        """Whether a path of the machine is mounted at that very path."""
        nearest = max((one for one in self.mounts if within(path, one)), key=len, default=None)
        return nearest is not None and self.mounts[nearest] == nearest


def inspect_self_container(api: EngineApi, root: Path = Path("/")) -> SelfContainer | None:
    """Ask the engine for the container that this process is in; None where it has no such one."""
    try:
        container = find_self_id(root)
        if container is None:
            return None
        told = api.inspect(container)
        shared = any(_joins(one, container, told) for one in api.running_containers())
    except (EngineError, OSError):
        return None
    config = get_object(told, "HostConfig")
    network = text_or_none(config.get("NetworkMode")) or "container:"
    known = not network.startswith("container:")
    mounts = {} if shared else dict(_parse_container_mounts(told))
    return SelfContainer(
        config.get("PidMode") == "host", network == "host" if known else None, mounts
    )


def find_self_id(root: Path = Path("/")) -> str | None:
    """Return the id of this container by the files that the engine mounted for it.

    Docker mounts those of another container where that one's network is shared. Raises OSError.
    """
    ids = {}
    for mount in read_mounts(root):
        match = _OWN_FOLDER.search(mount.root)
        if match and mount.point in _OWN_FILES:
            ids[mount.point] = match[1]
    return next((ids[point] for point in _OWN_FILES if point in ids), None)


def _joins(row: Mapping[str, Any], container: str, told: Mapping[str, Any]) -> bool:
    """Whether a container shares the network of this one, so that it may be the one we are in."""
    mode = str(get_object(row, "HostConfig").get("NetworkMode"))
    target = mode.removeprefix("container:")
    named = container.startswith(target) or target == str(told.get("Name")).lstrip("/")
    return mode.startswith("container:") and named


def _parse_container_mounts(told: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for row in list_or_empty(told.get("Mounts")):
        if isinstance(row, dict):
            point, source = (str(row.get(key)).rstrip("/") for key in ("Destination", "Source"))
            yield point, source if row.get("Type") == "bind" else None
