"""The memory cgroup of one running container: limits over it, its use, kills counted in it.

Only for an engine whose processes are visible here. It spares the engine's own sample, for which
dockerd makes all but the first container wait a second. Sources: Linux
Documentation/admin-guide/cgroup-v1/memory.rst (memory.oom_control), cgroup-v2.rst (memory.events);
docker/cli, stats_helpers.go.
"""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from preflight.facts.host.cgroups import Cgroups, Limit
from preflight.model.facts import Unknown

_CGROUP_FILES = {  # by version: bytes in use, the cache to subtract, kills
    1: ("memory.usage_in_bytes", "total_inactive_file", "memory.oom_control"),
    2: ("memory.current", "inactive_file", "memory.events"),
}


class ContainerCgroup(NamedTuple):
    """What the kernel reports about a container; `usage` and `oom_kills` are None if it doesn't.

    `limit` is the lowest over the container in bytes, `parent_limit` the lowest over `parent`.
    `usage` is in bytes without page cache, as in `docker stats`. `oom_kills` counts its processes
    that were killed for lack of memory since it started.
    """

    parent: str
    limit: Limit
    parent_limit: Limit
    usage: int | None
    usage_source: str
    oom_kills: int | None
    oom_source: str


def read_container_cgroup(
    pid: int, container_id: str, root: Path = Path("/")
) -> ContainerCgroup | Unknown:
    """Read the cgroup of a container, whose first process is `pid`."""
    try:
        cgroups = Cgroups(root, str(pid))
        path = find_container_path(cgroups.path("memory"), container_id)
        folder = cgroups.memory_folder(path) if path is not None else None
        if path is None or folder is None:
            return Unknown("its cgroup is not visible from here", "unsupported")
        usage_file, cache_key, oom_file = _CGROUP_FILES[cgroups.version("memory")]
        usage = _read_number(folder / usage_file)
        cache = _read_number(folder / "memory.stat", f"{cache_key} ")
        if usage is not None and cache is not None and cache < usage:
            usage -= cache
        parent = str(PurePosixPath(path).parent)
        return ContainerCgroup(
            parent, cgroups.memory_limit(path), cgroups.memory_limit(parent),
            usage if cache is not None else None,
            f"{cgroups.display_path(folder / usage_file)} less {cache_key}",
            _read_number(folder / oom_file, "oom_kill "), cgroups.display_path(folder / oom_file),
        )  # fmt: skip
    except (FileNotFoundError, ProcessLookupError):
        return Unknown("its process has just ended")
    except OSError as error:
        denied = isinstance(error, PermissionError)
        return Unknown(f"its cgroup: {error}", "permission" if denied else "error")


def find_container_path(path: str, container_id: str) -> str | None:
    """Return the cgroup of a container, by the path of its process, which may be deeper.

    Its name holds the id. None where no name does: the cgroup is one that others share, as under
    a rootless engine on v1, or the process isn't the container's.
    """
    levels = (PurePosixPath(path), *PurePosixPath(path).parents)
    return next((str(level) for level in reversed(levels) if container_id in level.name), None)


def _read_number(file: Path, key: str = "") -> int | None:
    """Return the number after `key` at the start of a line; None where the file has none."""
    try:
        text = file.read_text(encoding="ascii", errors="replace")
    except FileNotFoundError:
        return None
    match = re.search(rf"^{key}([0-9]{{1,20}})$", text, re.MULTILINE)
    return int(match[1]) if match else None
