"""Whether this process runs inside a container, and what the engine says of that container.

Inside, the network, the files, the processes and the cgroups are the container's own, unless it
was given the machine's.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.engine.api import EngineApi, EngineError
from preflight.facts.engine.responses import get_object, list_or_empty, text_or_none
from preflight.facts.host.mounts import mount_of, read_mounts, within

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


class Own(NamedTuple):
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


def own_container(api: EngineApi, root: Path = Path("/")) -> Own | None:
    """Ask the engine for the container that this process is in; None where it has no such one."""
    try:
        container = own_id(root)
        if container is None:
            return None
        told = api.inspect(container)
        shared = any(_joins(one, container, told) for one in api.running_containers())
    except (EngineError, OSError):
        return None
    config = get_object(told, "HostConfig")
    network = text_or_none(config.get("NetworkMode")) or "container:"
    known = not network.startswith("container:")
    mounts = {} if shared else dict(_mounts(told))
    return Own(config.get("PidMode") == "host", network == "host" if known else None, mounts)


def own_id(root: Path = Path("/")) -> str | None:
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


def _mounts(told: Mapping[str, Any]) -> Iterator[tuple[str, str | None]]:
    for row in list_or_empty(told.get("Mounts")):
        if isinstance(row, dict):
            point, source = (str(row.get(key)).rstrip("/") for key in ("Destination", "Source"))
            yield point, source if row.get("Type") == "bind" else None
