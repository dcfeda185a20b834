"""Which parts of the engine's host this process can see: processes, network, cgroups, files.

They are compared with what the kernel shows of the daemon's process (below /proc/PID, which
everybody may read, proc(5)), and with what the engine reports about the container that this
process is in. Where neither tells, a process outside of a container is taken to share them with
the engine, and one inside isn't.
"""

import os
import re
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.host.proc_and_cgroups import (
    Cgroups,
    Mount,
    find_device_and_inner_path,
    find_mount,
    is_within_folder,
    read_memory,
    read_mounts,
)
from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_object,
    get_nested_text,
    get_nested_value,
)
from preflight.model.facts import Unknown
from preflight.processes import REMOTE_FILESYSTEM_PREFIXES

ExplainHiddenPath: TypeAlias = Callable[[str], Unknown | None]

# by engine: what is in the lines of its operating system, host name and address
VM_ENGINE_SIGNS = {
    "docker-desktop": ("docker desktop", "\ndocker-desktop\n"),
    "orbstack": ("orbstack",),
    "rancher-desktop": ("rancher desktop", "\nlima-rancher-desktop\n", "/.rd/"),
    "colima": ("\ncolima", "/.colima/"),
}
_CONTAINER_KIND_BY_FILE = {".dockerenv": "docker", "run/.containerenv": "podman"}
_CONTAINER_KIND_BY_CGROUP = {
    "/kubepods": "kubernetes", "/docker/": "docker", "/docker-": "docker", "/libpod": "podman",
    "/lxc.": "lxc", "/lxc/": "lxc",
}  # fmt: skip
_MAX_CONTAINER_KIND_CHARS = 100
_LOCAL_DISK_FILESYSTEMS = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
_ENGINE_PROGRAMS = {"dockerd", "podman", "systemd"}  # systemd listens for a daemon that it starts
_DOCKER_OPTIONS_TO_SHOW_CGROUPS = "--pid host --cgroupns host -v /sys/fs/cgroup:/sys/fs/cgroup:ro"
_NETWORK_HIDDEN_REASON = Unknown(
    "the engine's ports aren't visible from inside this container: run preflight on the host",
    "unsupported",
)
# files that an engine mounts from its folder for the container, which is named by the id
_FILES_MOUNTED_BY_ENGINE = ("/run/.containerenv", "/etc/hostname", "/etc/hosts", "/etc/resolv.conf")
_CONTAINER_FOLDER_PATTERN = "/(?:overlay-)?containers/([0-9a-f]{64})/"


def is_in_container(root: Path = Path("/")) -> tuple[bool, str]:
    """Return whether this process is in a container, and the evidence."""
    kind, evidence = find_current_container(root)
    return bool(kind), evidence


@lru_cache(maxsize=1)  # many facts depend on it
def find_current_container(root: Path = Path("/")) -> tuple[str, str]:
    """Return the kind of container that this process is in, "" outside of any, and the evidence.

    A virtual machine made from a container image keeps the markers, but its root is a whole disk,
    which a container's never is. The order is that of systemd-detect-virt(1).
    """
    kind, marker = next(_find_container_markers(root), ("", "no sign of a container"))
    mount = find_mount("/", _read_mounts(root, "self")) if kind else None
    if mount is not None and mount.root == "/" and mount.filesystem in _LOCAL_DISK_FILESYSTEMS:
        return "", f"{marker} is there, but the root is a whole {mount.filesystem} disk"
    return "podman" if kind == "oci" else kind[:_MAX_CONTAINER_KIND_CHARS], marker


def _find_container_markers(root: Path) -> Iterator[tuple[str, str]]:
    with suppress(OSError):
        if kind := (root / "run/systemd/container").read_text(errors="replace").strip():
            yield kind, "/run/systemd/container"
    for file, kind in _CONTAINER_KIND_BY_FILE.items():
        if os.path.exists(root / file):
            yield kind, f"/{file}"
    if kind := os.environ.get("container", ""):  # noqa: SIM112 - its name
        yield kind, "the environment variable container"
    with suppress(OSError):
        own_cgroups = os.fsdecode((root / "proc/self/cgroup").read_bytes())
        for name, kind in _CONTAINER_KIND_BY_CGROUP.items():
            if name in own_cgroups:
                yield kind, "/proc/self/cgroup"
    if os.environ.get("KUBERNETES_SERVICE_HOST"):
        yield "kubernetes", "the environment variable KUBERNETES_SERVICE_HOST"


class HostVisibility(NamedTuple):
    """Why parts of the engine's host aren't visible from here; None if they are.

    Cgroups are visible only where processes are. `path_hidden` decides for one path: whether this
    process finds the engine's files there.
    """

    processes_hidden: Unknown | None
    network_hidden: Unknown | None
    cgroups_hidden: Unknown | None
    path_hidden: ExplainHiddenPath


_MAX_FILESYSTEM_ANSWER_SECONDS = 2.0  # an automounter may have to mount it first


def hide_unresponsive_paths(visibility: HostVisibility) -> HostVisibility:
    """Return the visibility, without paths on filesystems that don't answer: a lost share.

    Nothing can end a call that waits for one: a thread makes it, and is given up.
    """
    mounts = _read_mounts(Path("/"), "self")
    silent: dict[str, Unknown] = {}  # by mount point

    def path_hidden(path: str) -> Unknown | None:
        mount = find_mount(os.path.abspath(path), mounts)
        point = mount.point if mount else path
        if point not in silent:
            thread = threading.Thread(target=os.path.exists, args=(path,), daemon=True)
            thread.start()
            thread.join(_MAX_FILESYSTEM_ANSWER_SECONDS)
            if not thread.is_alive():
                return visibility.path_hidden(path)
            seconds = f"{_MAX_FILESYSTEM_ANSWER_SECONDS:g} s"
            reason = f"{path}: its filesystem did not answer within {seconds}"
            silent[point] = Unknown(reason, "timeout")
        return silent[point]

    can_be_slow = any(mount.filesystem.startswith(REMOTE_FILESYSTEM_PREFIXES) for mount in mounts)
    return visibility._replace(path_hidden=path_hidden) if can_be_slow else visibility


_ENGINE_ELSEWHERE_REASON = Unknown(
    "the engine runs in a VM, on another host, or outside this container", "unsupported"
)
NO_HOST_VISIBILITY = HostVisibility(
    _ENGINE_ELSEWHERE_REASON,
    _ENGINE_ELSEWHERE_REASON,
    _ENGINE_ELSEWHERE_REASON,
    lambda _: _ENGINE_ELSEWHERE_REASON,
)
# an engine in a VM gives its containers the network and the files of the machine around it
LOCAL_VM_VISIBILITY = HostVisibility(
    _ENGINE_ELSEWHERE_REASON, None, _ENGINE_ELSEWHERE_REASON, lambda _: None
)


def identify_engine(version: Mapping[str, Any], info: Mapping[str, Any], url: str) -> str:
    """Return the engine's name; a VM that calls itself docker is recognised by its host names."""
    if "Podman Engine" in str(version.get("Components")):
        return "podman"
    lines = f"\n{info.get('OperatingSystem')}\n{info.get('Name')}\n{url}\n".lower()
    for name, signs in VM_ENGINE_SIGNS.items():
        if any(sign in lines for sign in signs):
            return name
    return "docker"


def find_host_visibility(
    api: EngineApi, engine_name: str, info: Mapping[str, Any]
) -> HostVisibility:
    """Find out what is visible of an engine's host; `info` is its answer to GET /info."""
    inside, url = is_in_container()[0], api.endpoint.url
    is_vm = engine_name in VM_ENGINE_SIGNS
    if is_vm and api.endpoint.is_local and not inside:
        return LOCAL_VM_VISIBILITY
    if not (sys.platform.startswith("linux") and url.startswith("unix://")):
        return NO_HOST_VISIBILITY
    if info.get("KernelVersion") != os.uname().release:
        return NO_HOST_VISIBILITY
    if not inside and find_engine_info_mismatch(engine_name, info) is not None:
        return NO_HOST_VISIBILITY  # also the end of a tunnel to a machine with the same kernel
    container = inspect_self_container(api) if inside else None
    sees_processes = not is_vm and (container is None or container.host_processes)
    pid = _find_daemon_pid(url, inside=inside) if sees_processes else 0
    if not pid and not inside:
        return NO_HOST_VISIBILITY
    # the engine publishes ports, and has its files, outside of its own namespaces
    has_own_namespaces = is_vm or (engine_name != "podman" and is_rootless(info))
    explain = partial(_explain_hidden_namespace, inside=inside)
    shared = container.host_network if container is not None else None
    shared = is_in_our_network_namespace(pid) if shared is None else shared
    options = "--network host" if shared is False else "--network host --pid host"
    network_hidden = explain("the network", shared, options)
    if has_own_namespaces:
        network_hidden = _NETWORK_HIDDEN_REASON if inside else None
    processes = explain("the processes", True if pid else None, "--pid host")
    cgroups = explain(
        "the cgroups", is_process_cgroup_visible(pid), _DOCKER_OPTIONS_TO_SHOW_CGROUPS
    )
    own_mounts = _read_mounts(Path("/"), "self")
    engine_mounts = () if has_own_namespaces else _read_mounts(Path("/"), str(pid))

    def path_hidden(path: str) -> Unknown | None:
        shared = has_same_files_at_path(path, own_mounts, engine_mounts)
        if container is not None and all(
            map(container.has_host_path, _list_path_and_link_target(path))
        ):
            shared = True
        options = f"-v {path}:{path}:ro" + ("" if container or engine_mounts else " --pid host")
        return explain(f"the files at {path}", shared, options)

    return HostVisibility(processes, network_hidden, processes or cgroups, path_hidden)


def find_engine_info_mismatch(engine_name: str, info: Mapping[str, Any]) -> str | None:
    """Return a key of GET /info that doesn't match this machine; None if all match.

    A VM on this machine isn't another one; except on Linux, every engine runs in a VM.
    """
    if not sys.platform.startswith("linux") or engine_name in VM_ENGINE_SIGNS:
        return None
    own: dict[str, Any] = {"KernelVersion": os.uname().release}
    with suppress(Exception):  # psutil raises what its parsing of /proc meets
        own["MemTotal"] = read_memory().total
    # in a container, of ours or of the engine's, the hostname is the container's
    if "containerized" not in str(info.get("OperatingSystem")) and not is_in_container()[0]:
        own["Name"] = os.uname().nodename
    return next((key for key in own if info.get(key) and own[key] and info[key] != own[key]), None)


def is_rootless(info: Mapping[str, Any]) -> bool:
    """Whether an engine runs without root."""
    return "rootless" in str(info.get("SecurityOptions")) or info.get("Rootless") is True


def _find_daemon_pid(url: str, *, inside: bool) -> int:
    """Return the pid that listens on a socket; 0 where it is in no PID namespace of ours.

    Inside a container the listener may be a program that only forwards to the engine, as socat
    does.
    """
    pid = find_unix_socket_listener_pid(url.removeprefix("unix://"))
    try:
        program = Path(f"/proc/{pid}/comm").read_text(errors="replace") if inside else ""
    except OSError:
        return 0
    return pid if not inside or program.strip() in _ENGINE_PROGRAMS else 0


def find_unix_socket_listener_pid(path: str) -> int:
    """Return the pid that listens on a Unix socket, or 0 if that can't be known: unix(7)."""
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(1)
            connection.connect(path)
            credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    except OSError:
        return 0
    return int.from_bytes(credentials[:4], sys.byteorder)  # its user and group follow


def _explain_hidden_namespace(
    what: str, shared: bool | None, options: str, *, inside: bool
) -> Unknown | None:
    """Return None if the engine shares something with us; outside of a container, if it may."""
    if shared or (shared is None and not inside):
        return None
    reason = f"the engine doesn't share {what} with this process"
    if inside:
        reason = f"inside a container {what} may not be the machine's: run it with {options}"
    return Unknown(reason, "unsupported")


def is_in_our_network_namespace(pid: int) -> bool | None:
    """Whether a process is in our network namespace; None if it can't be known."""
    try:
        # the kernel has one such file for each network namespace
        return os.path.samefile("/proc/self/net/dev", f"/proc/{pid}/net/dev")
    except OSError:
        return None


def is_process_cgroup_visible(pid: int, root: Path = Path("/")) -> bool | None:
    """Whether the memory cgroup of a process is visible here; None if it can't be known."""
    try:
        cgroups = Cgroups(root, str(pid))
        return cgroups.memory_folder(cgroups.path("memory")) is not None
    except OSError:
        return None


def has_same_files_at_path(
    path: str, own_mounts: Sequence[Mount], engine_mounts: Sequence[Mount]
) -> bool | None:
    """Whether two processes find the same at a path, by their mounts; None if unknown."""
    if not own_mounts or not engine_mounts:
        return None
    return all(
        find_device_and_inner_path(name, own_mounts)
        == find_device_and_inner_path(name, engine_mounts)
        for name in _list_path_and_link_target(path)
    )


def _list_path_and_link_target(path: str) -> set[str]:
    """Return a path, and what it links to: both have to be the same."""
    return {os.path.abspath(path), os.path.realpath(path)}


def _read_mounts(root: Path, pid: str) -> Sequence[Mount]:
    try:
        return read_mounts(root, pid)
    except OSError:
        return ()


class SelfContainer(NamedTuple):
    """The container that this process is in, as the engine reports it.

    `host_processes` and `host_network` are whether it shares the host's; `host_network` is None
    where that depends on another container. `mounts` maps mount points to the host's path, None
    for what isn't a bind mount.
    """

    host_processes: bool
    host_network: bool | None
    mounts: Mapping[str, str | None]

    def has_host_path(self, path: str) -> bool:
        """Whether a path of the host is mounted at that very path."""
        nearest = max((p for p in self.mounts if is_within_folder(path, p)), key=len, default=None)
        return nearest is not None and self.mounts[nearest] == nearest


def inspect_self_container(api: EngineApi) -> SelfContainer | None:
    """Ask the engine for the container that this process is in; None if it doesn't have it."""
    try:
        own_id = find_self_container_id()
        if own_id is None:
            return None
        answer, others = api.inspect(own_id), api.running_containers()
    except (EngineError, OSError):
        return None
    config = get_nested_object(answer, "HostConfig")
    # one that shares this one's network has the same files mounted, so it may be the one we are in
    modes = [str(get_nested_value(other, "HostConfig.NetworkMode")) for other in others]
    targets = [mode.removeprefix("container:") for mode in modes if mode.startswith("container:")]
    name = str(answer.get("Name")).lstrip("/")
    is_shared = any(own_id.startswith(target) or target == name for target in targets)
    mounts: dict[str, str | None] = {}
    for row in [] if is_shared else get_nested_list(answer, "Mounts"):
        source = str(row.get("Source")).rstrip("/") if row.get("Type") == "bind" else None
        mounts[str(row.get("Destination")).rstrip("/")] = source
    network = get_nested_text(config, "NetworkMode") or "container:"
    host_network = None if network.startswith("container:") else network == "host"
    return SelfContainer(config.get("PidMode") == "host", host_network, mounts)


def find_self_container_id(root: Path = Path("/")) -> str | None:
    """Return the id of this container by the files that the engine mounted for it.

    Docker mounts those of another container where that one's network is shared. Raises OSError.
    """
    mounted = {
        mount.point: re.search(_CONTAINER_FOLDER_PATTERN, mount.root) for mount in read_mounts(root)
    }
    matches = (mounted.get(point) for point in _FILES_MOUNTED_BY_ENGINE)
    return next((match[1] for match in matches if match), None)
