"""What is seen of an engine that runs on this very system: its disk, its cgroups, its containers.

Looked at only where this process really sees them, which `sight` tells.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from preflight.facts.engine.api import EngineApi, EngineError, get_label
from preflight.facts.engine.locality import PathHidden, is_rootless
from preflight.facts.host.cgroups import Cgroups, parse_groups
from preflight.facts.host.mounts import mount_of, read_mounts
from preflight.facts.stack.container_cgroup import (
    ContainerCgroup,
    find_container_cgroup,
    read_container_cgroup,
)
from preflight.model.facts import Unknown

_CONTAINERD_ROOT = "/var/lib/containerd"
_MOST_STATS = 50  # containers of this stack whose memory is read
_MOST_INSPECTED = 5  # containers that are asked where they run


def free_disk(
    root: str | None, driver_status: list[Any], files: PathHidden
) -> tuple[int | Unknown, str]:
    """Return the room in bytes where the engine keeps its data, the least of its places."""
    if root is None:
        return Unknown("the engine does not say where it keeps its data"), ""
    places = [root]
    if any("containerd" in str(row) for row in driver_status):
        places.append(_CONTAINERD_ROOT)  # the containerd image store ignores data-root
    hidden = next((why for place in places if (why := files(place))), None)
    if hidden is not None:
        return hidden, ""
    try:
        rooms = {place: _room(place) for place in places if place == root or os.path.exists(place)}
    except OSError as fault:
        return Unknown(f"{fault.strerror}: {fault.filename}"), ""
    least = min(rooms, key=rooms.__getitem__)
    return rooms[least], f"statvfs of the filesystem of {least}, f_bavail"


def _room(place: str) -> int:
    """Room on the filesystem of a folder, by its mount where the folder itself is closed to us."""
    try:
        os.stat(place)
    except PermissionError:
        mount = mount_of(place, read_mounts())
        if mount is None:
            raise
        place = mount.point
    stat = os.statvfs(place)
    return stat.f_bavail * stat.f_frsize


def containers_cgroup(api: EngineApi, info: Mapping[str, Any]) -> str:
    """Return the cgroup that holds containers that ask for none themselves.

    A running one shows it; else it is the engine's default: daemon/oci_linux.go of moby, libpod's
    `--cgroup-manager`. Raises OSError, EngineError.
    """
    default = _default_cgroup(info)
    for container in api.running_containers()[:_MOST_INSPECTED]:
        name = str(container.get("Id"))
        pid, parent = api.pid_and_cgroup_parent(name)
        group = (
            find_container_cgroup(_memory_group(pid), name)
            if pid and parent in ("", default)
            else None
        )
        if group is not None:
            return str(group.parent)
    return default if Cgroups().has(default) else "/"  # made at the top with the first container


def _default_cgroup(info: Mapping[str, Any]) -> str:
    podman = "Rootless" in info
    if is_rootless(info):
        return f"/user.slice/user-{os.getuid()}.slice"
    if info.get("CgroupDriver") == "systemd":
        return "/machine.slice" if podman else "/system.slice"
    return "/libpod_parent" if podman else "/docker"


def _memory_group(pid: int) -> str:
    """Return the memory cgroup of a process, nothing where it has just ended."""
    try:
        text = Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return ""
    groups = parse_groups(text)
    return groups.get("memory" if Cgroups().version("memory") == 1 else "", "/")


def available_memory(
    api: EngineApi, place: str, limit: float | None, project: str | None = None
) -> tuple[int | Unknown, str]:
    """Return the bytes free for this stack: what its own containers use counts as free.

    Its own are those of the compose project, else those that were started from this folder.
    """
    import psutil

    room: float = psutil.virtual_memory().available
    try:
        if limit is not None:
            room = min(room, max(0, limit - (Cgroups().memory_usage(place) or 0)))
        own = sum(_in_use(api, one) for one in _own_containers(api, project))
    except EngineError as fault:
        return Unknown(f"what this stack's containers use: {fault}", fault.kind), ""
    except OSError as fault:
        return Unknown(f"what the containers' cgroup uses: {fault}"), ""
    source = "psutil.virtual_memory().available" + (" and this stack's containers" if own else "")
    return int(room + own), source


def _in_use(api: EngineApi, container: str) -> int:
    """Return the bytes a container uses, by its cgroup, else by what the engine says."""
    pid, _ = api.pid_and_cgroup_parent(container)
    group = read_container_cgroup(pid, container) if pid else None
    if isinstance(group, ContainerCgroup) and group.usage is not None:
        return group.usage
    return api.memory_in_use(container)


def _own_containers(api: EngineApi, project: str | None) -> list[str]:
    """Return the ids of the running containers of the project, else of the current folder's."""
    if project is not None:
        key, values = "com.docker.compose.project", {project}
    else:
        key = "com.docker.compose.project.working_dir"
        values = {os.path.realpath("."), os.path.abspath(".")}
    own = [one for one in api.running_containers() if get_label(one, key) in values]
    return [str(one.get("Id")) for one in own[:_MOST_STATS]]
