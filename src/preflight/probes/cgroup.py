"""The limits that control groups set, v1, v2 and hybrid, taken from a group and its ancestors.

A child group reads "no limit" under a limited parent, so every level up to the mount counts.
Sources: Linux Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst, proc(5).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

from preflight.probes.mounts import Mount, parse_mounts

Reading: TypeAlias = Callable[[Path], Iterator[tuple[Path, float]]]

NO_LIMIT = 2**60  # v1 writes "none" as the largest page count, about 2**63 less a page


class Limit(NamedTuple):
    """The lowest limit of a walk and the file it was read from; None where no level sets one."""

    value: float | None
    source: str


def parse_groups(text: str) -> dict[str, str]:
    """Read /proc/PID/cgroup: the path by controller, the v2 path under the empty name."""
    groups = {}
    for line in text.splitlines():
        parts = line.split(":", 2)
        if len(parts) == 3:
            groups.update(dict.fromkeys(parts[1].split(","), parts[2]))
    return groups


class Cgroups:
    """The groups of a process, read below `root` (a fixture in tests).

    Raises OSError from every reading where the system doesn't show its groups.
    """

    def __init__(self, root: Path = Path("/"), pid: str = "self") -> None:
        self.root = root
        self.groups = parse_groups(_text(root / "proc" / pid / "cgroup"))
        self.mounts = parse_mounts(_text(root / "proc" / "self" / "mountinfo"))

    def version(self, controller: str) -> int:
        """Return 1 or 2: which hierarchy holds the controller (a hybrid host has both)."""
        return 1 if self._v1_mount(controller) is not None else 2

    def memory_limit(self, place: str | None = None) -> Limit:
        """Return the lowest memory limit in bytes over `place` (else this process's group)."""
        if self.version("memory") == 1:
            return self._lowest("memory", place, _v1_memory)
        return self._lowest("memory", place, _v2_memory)

    def cpu_quota(self, place: str | None = None) -> Limit:
        """Return the lowest CPU quota in cores over `place` (else this process's group)."""
        if self.version("cpu") == 1:
            return self._lowest("cpu", place, _v1_cpu)
        return self._lowest("cpu", place, _v2_cpu)

    def memory_usage(self, place: str) -> int | None:
        """Return the bytes in use at `place`, page cache included, None where it isn't there."""
        name = "memory.usage_in_bytes" if self.version("memory") == 1 else "memory.current"
        folder = next(self._levels("memory", place), None)
        value = _number(folder / name) if folder else None
        return None if value is None else int(value)

    def _lowest(self, controller: str, place: str | None, read: Reading) -> Limit:
        lowest = Limit(None, "no cgroup sets a limit")
        levels = list(self._levels(controller, place))
        if not levels:
            raise FileNotFoundError(f"the {controller} cgroup of this process is not mounted here")
        for folder in levels:
            for file, value in read(folder):
                if lowest.value is None or value < lowest.value:
                    shown = PurePosixPath("/") / file.relative_to(self.root).as_posix()
                    lowest = Limit(value, str(shown))
        return lowest

    def _levels(self, controller: str, place: str | None) -> Iterator[Path]:
        """Yield the folders from the group up to the mount, those that are there."""
        mount = self._v1_mount(controller)
        name = controller
        if mount is None:
            mount, name = next((m for m in self.mounts if m.filesystem == "cgroup2"), None), ""
        if mount is None:
            return
        top = self.root / mount.point.lstrip("/")
        path = self.groups.get(name, "/") if place is None else place
        below = _below(path, mount.root)
        for level in (below, *below.parents):
            folder = top / level
            if folder.is_dir():
                yield folder

    def _v1_mount(self, controller: str) -> Mount | None:
        return next(
            (m for m in self.mounts if m.filesystem == "cgroup" and controller in m.options), None
        )


def _below(path: str, root: str) -> PurePosixPath:
    """Return a group's path below a mount's root; outside of it only the mount itself is seen."""
    if root != "/" and not (path == root or path.startswith(root.rstrip("/") + "/")):
        return PurePosixPath()
    inner = path[len(root) :] if root != "/" else path
    clean = PurePosixPath(inner.lstrip("/"))
    return PurePosixPath() if ".." in clean.parts else clean


def _v1_memory(folder: Path) -> Iterator[tuple[Path, float]]:
    limit = _number(folder / "memory.limit_in_bytes")
    if limit is not None and 0 < limit < NO_LIMIT:
        yield folder / "memory.limit_in_bytes", limit
    stat = _optional(folder / "memory.stat")
    match = re.search(r"^hierarchical_memory_limit (\d+)$", stat, re.MULTILINE)
    if match and 0 < int(match[1]) < NO_LIMIT:
        yield folder / "memory.stat", int(match[1])


def _v2_memory(folder: Path) -> Iterator[tuple[Path, float]]:
    limit = _number(folder / "memory.max")
    if limit is not None:
        yield folder / "memory.max", limit


def _v1_cpu(folder: Path) -> Iterator[tuple[Path, float]]:
    quota = _number(folder / "cpu.cfs_quota_us")
    period = _number(folder / "cpu.cfs_period_us")
    if quota and period and quota > 0 and period > 0:
        yield folder / "cpu.cfs_quota_us", quota / period


def _v2_cpu(folder: Path) -> Iterator[tuple[Path, float]]:
    match = re.match(r"(\d+) (\d+)\s*\Z", _optional(folder / "cpu.max"))
    if match and int(match[2]) > 0:
        yield folder / "cpu.max", int(match[1]) / int(match[2])


def _text(file: Path) -> str:
    return file.read_text(encoding="utf-8", errors="surrogateescape")


def _optional(file: Path) -> str:
    try:
        return _text(file)
    except OSError:
        return ""


def _number(file: Path) -> float | None:
    text = _optional(file).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None
