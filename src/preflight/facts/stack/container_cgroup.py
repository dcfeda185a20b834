"""The memory cgroup of one running container: limits over it, its use, kills counted in it.

Only for an engine whose processes are visible here. It spares the engine's own sample, for which
dockerd makes all but the first container wait a second. Sources: Linux
Documentation/admin-guide/cgroup-v1/memory.rst (memory.oom_control), cgroup-v2.rst (memory.events);
docker/cli, stats_helpers.go.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import NamedTuple

from preflight.facts.host.cgroups import Cgroups, Limit
from preflight.model.facts import Unknown

_CGROUP_FILES = {  # by version: bytes in use, the cache to subtract, kills
    1: ("memory.usage_in_bytes", "total_inactive_file", "memory.oom_control"),
    2: ("memory.current", "inactive_file", "memory.events"),
}


class ContainerCgroup(NamedTuple):
    """What the kernel reports about a container.

    `limit` is the lowest over the container in bytes, `parent_limit` the lowest over `parent`.
    `usage` is in bytes without page cache, as in `docker stats`. `oom_kills` counts its processes
    that were killed for lack of memory since it started; kernels before 4.13 don't count on v1.
    """

    parent: str
    limit: Limit
    parent_limit: Limit
    usage: int
    usage_source: str
    oom_kills: int | None
    oom_source: str


def read_container_cgroup(
    pid: int, container_id: str, root: Path = Path("/")
) -> ContainerCgroup | Unknown:
    """Read the cgroup of a container, whose first process is `pid` and may be deeper.

    The container's cgroup is named by its id. Where none is, others share it, as under a rootless
    engine on v1, or the process isn't the container's.
    """
    try:
        cgroups = Cgroups(root, str(pid))
        process_path = PurePosixPath(cgroups.path("memory"))
        levels = (process_path, *process_path.parents)
        path = next((level for level in reversed(levels) if container_id in level.name), None)
        folder = cgroups.memory_folder(str(path)) if path is not None else None
        if path is None or folder is None:
            return Unknown("its cgroup is not visible from here", "unsupported")
        usage_file, cache_key, oom_file = _CGROUP_FILES[cgroups.version("memory")]
        usage = int((folder / usage_file).read_text())
        cache = _read_fields(folder / "memory.stat")[cache_key]
        return ContainerCgroup(
            str(path.parent), cgroups.memory_limit(str(path)),
            cgroups.memory_limit(str(path.parent)), usage - cache if cache < usage else usage,
            f"{cgroups.display_path(folder / usage_file)} less {cache_key}",
            _read_fields(folder / oom_file).get("oom_kill"),
            cgroups.display_path(folder / oom_file),
        )  # fmt: skip
    except (FileNotFoundError, ProcessLookupError):
        return Unknown("its process has just ended")
    except (OSError, ValueError, KeyError) as error:
        denied = isinstance(error, PermissionError)
        return Unknown(f"its cgroup: {error}", "permission" if denied else "error")


def _read_fields(file: Path) -> dict[str, int]:
    """Read a file of lines such as `oom_kill 2`."""
    rows = (line.split() for line in file.read_text().splitlines())
    return {key: int(value) for key, value in rows}
