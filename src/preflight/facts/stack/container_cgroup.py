"""The memory group of one running container: limits over it, what it uses, kills counted in it.

Only for an engine whose processes are seen from here; then it spares the engine's own sample, for
which dockerd makes all but the first container wait a second. Sources: Linux
Documentation/admin-guide/cgroup-v1/memory.rst (memory.oom_control), cgroup-v2.rst (memory.events);
docker/cli, stats_helpers.go.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from preflight.facts.host.cgroups import Cgroups, Limit
from preflight.model.facts import Unknown


class ContainerCgroup(NamedTuple):
    """`limit` is the lowest over the container in bytes, `above` the lowest over its parent.

    `usage` is what it uses in bytes, page cache taken off as `docker stats` does. `kills` counts
    its processes that were killed for lack of memory since it started. Both are None where the
    kernel doesn't say; `gauge` and `counter` are the files that do.
    """

    limit: Limit
    above: Limit
    usage: int | None
    gauge: str
    kills: int | None
    counter: str


def read_container_cgroup(
    pid: int, container: str, root: Path = Path("/")
) -> ContainerCgroup | Unknown:
    """Read the group of the container with the id `container`, whose first process is `pid`."""
    try:
        groups = Cgroups(root, str(pid))
        place = find_container_cgroup(
            groups.groups.get("memory", groups.groups.get("", "")), container
        )
        if place is None or not groups.has(str(place)):
            return Unknown("its cgroup is not seen from here", "unsupported")
        limit, above = (groups.memory_limit(str(one)) for one in (place, place.parent))
        return ContainerCgroup(limit, above, *_usage(groups, place), *_kills(groups, place))
    except (FileNotFoundError, ProcessLookupError):
        return Unknown("its process has just ended")
    except OSError as fault:
        kind = isinstance(fault, PermissionError)
        return Unknown(f"its cgroup: {fault}", "permission" if kind else "error")


def find_container_cgroup(path: str, container: str) -> PurePosixPath | None:
    """Return the own group of the container with that id, of whose process this is the path.

    Its name holds the id; a process may be deeper. None where no name does: the group is one that
    others share, as under a rootless engine on v1, or the process isn't the container's.
    """
    place = PurePosixPath(path)
    return next((one for one in (*reversed(place.parents), place) if container in one.name), None)


def _usage(groups: Cgroups, place: PurePosixPath) -> tuple[int | None, str]:
    v1 = groups.version("memory") == 1
    gauge = "memory.usage_in_bytes" if v1 else "memory.current"
    usage, shown = _find(groups, place, gauge, "^([0-9]{1,20})$")
    key = "total_inactive_file" if v1 else "inactive_file"
    cache, _ = _find(groups, place, "memory.stat", f"^{key} ([0-9]{{1,20}})$")
    if usage is None or cache is None:
        return None, ""
    return (usage - cache if cache < usage else usage), f"{shown} less {key}"


def _kills(groups: Cgroups, place: PurePosixPath) -> tuple[int | None, str]:
    name = "memory.oom_control" if groups.version("memory") == 1 else "memory.events"
    return _find(groups, place, name, "^oom_kill ([0-9]{1,20})$")


def _find(groups: Cgroups, place: PurePosixPath, name: str, pattern: str) -> tuple[int | None, str]:
    """Return the figure that a file of the group holds, and the file."""
    for folder in _folders(groups, place):
        try:
            text = (folder / name).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue
        match = re.search(pattern, text, re.MULTILINE)
        shown = PurePosixPath("/") / (folder / name).relative_to(groups.root).as_posix()
        return (int(match[1]) if match else None), str(shown)
    return None, ""


def _folders(groups: Cgroups, place: PurePosixPath) -> Iterator[Path]:
    """Yield where the group may be: below each mount of the hierarchy that holds memory."""
    v1 = groups.version("memory") == 1
    for mount in groups.mounts:
        fits = "memory" in mount.options if v1 else True
        if fits and mount.filesystem == ("cgroup" if v1 else "cgroup2"):
            try:
                below = place.relative_to(mount.root)
            except ValueError:
                continue  # outside of what is mounted here
            yield groups.root / mount.point.lstrip("/") / below
