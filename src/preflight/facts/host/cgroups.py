"""The limits that control groups set, v1, v2 and hybrid, taken from a group and its ancestors.

A child group reads "no limit" under a limited parent, so every level up to the mount counts.
Sources: Linux Documentation/admin-guide/cgroup-v1/memory.rst and cgroup-v2.rst, proc(5).
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple, TypeAlias

from preflight.facts.host.mounts import Mount, read_mounts

Reading: TypeAlias = Callable[[Path], Iterator[tuple[Path, float]]]

NO_LIMIT = 2**60  # v1 writes "none" as the largest page count, about 2**63 less a page
_FIGURE = "[1-9][0-9]{0,19}"  # a limit of nothing would have no process in it


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

    Raises OSError from every reading where the system doesn't show its groups, or shows what is
    no figure.
    """

    def __init__(self, root: Path = Path("/"), pid: str = "self") -> None:
        self.root = root
        self.groups = parse_groups(_text(root / "proc" / pid / "cgroup"))
        self.mounts = read_mounts(root)

    def version(self, controller: str) -> int:
        """Return 1 or 2: which hierarchy holds the controller (a hybrid host has both)."""
        return 1 if controller in self.groups else 2

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

    def has(self, place: str) -> bool:
        """Whether the memory group `place` is there."""
        return self._levels("memory", place)[1]

    def memory_usage(self, place: str) -> int | None:
        """Return the bytes in use at `place`, or the nearest group above that is there.

        Page cache counts; None where no group says.
        """
        name = "memory.usage_in_bytes" if self.version("memory") == 1 else "memory.current"
        folders, _ = self._levels("memory", place)
        text = _text(folders[0] / name, "").strip() if folders else ""
        return int(text) if re.fullmatch("[0-9]{1,20}", text) else None

    def _lowest(self, controller: str, place: str | None, read: Reading) -> Limit:
        lowest = Limit(None, "no cgroup sets a limit")
        folders, whole = self._levels(controller, place)
        for folder in folders:
            for file, value in read(folder):
                if lowest.value is None or value < lowest.value:
                    shown = PurePosixPath("/") / file.relative_to(self.root).as_posix()
                    lowest = Limit(value, str(shown))
        if not folders or (place is None and not whole and lowest.value is None):
            raise FileNotFoundError(f"the {controller} cgroup of this process is not seen here")
        return lowest

    def _levels(self, controller: str, place: str | None) -> tuple[list[Path], bool]:
        """Return the folders from the group up to the mount, and whether the group is among them.

        It isn't where it lies outside of what is mounted here, or isn't there (yet).
        """
        name = controller if self.version(controller) == 1 else ""
        path = self.groups.get(name, "/") if place is None else place
        seen = [self._seen(path, mount) for mount in self.mounts if _holds(mount, name)]
        return max(seen, key=lambda one: (one[1], len(one[0])), default=([], False))

    def _seen(self, path: str, mount: Mount) -> tuple[list[Path], bool]:
        below = _below(path, mount.root)
        group = self.root / mount.point.lstrip("/") / (below or "")
        levels = (group, *group.parents[: len(below.parts) if below else 0])
        folders = [folder for folder in levels if folder.is_dir()]
        return folders, below is not None and group in folders


def _holds(mount: Mount, name: str) -> bool:
    """Whether it is the hierarchy of a v1 controller, or the v2 one, which has no name."""
    if not name:
        return mount.filesystem == "cgroup2"
    return mount.filesystem == "cgroup" and name in mount.options


def _below(path: str, root: str) -> PurePosixPath | None:
    """Return a group's path below a mount's root, None where it lies outside of it."""
    top = root.rstrip("/")
    if path != top and not path.startswith(top + "/"):
        return None
    below = PurePosixPath(path[len(top) :].lstrip("/"))
    return None if ".." in below.parts else below


def _v1_memory(folder: Path) -> Iterator[tuple[Path, float]]:
    file = folder / "memory.limit_in_bytes"
    limit = _number(file)
    if limit is not None and limit < NO_LIMIT:
        yield file, limit
    file = folder / "memory.stat"
    match = re.search(rf"^hierarchical_memory_limit ({_FIGURE})$", _text(file, ""), re.MULTILINE)
    if match and int(match[1]) < NO_LIMIT:
        yield file, int(match[1])


def _v2_memory(folder: Path) -> Iterator[tuple[Path, float]]:
    limit = _number(folder / "memory.max")
    if limit is not None:
        yield folder / "memory.max", limit


def _v1_cpu(folder: Path) -> Iterator[tuple[Path, float]]:
    file = folder / "cpu.cfs_quota_us"
    quota, period = _number(file, none="-1"), _number(folder / "cpu.cfs_period_us")
    if quota is not None and period is not None:
        yield file, quota / period


def _v2_cpu(folder: Path) -> Iterator[tuple[Path, float]]:
    file = folder / "cpu.max"
    text = _text(file, "max 1").strip()
    match = re.fullmatch(rf"(max|{_FIGURE}) ({_FIGURE})", text)
    if match is None:
        raise _no_figure(file, text)
    if match[1] != "max":
        yield file, int(match[1]) / int(match[2])


def _text(file: Path, missing: str | None = None) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="surrogateescape")
    except FileNotFoundError:
        if missing is None:
            raise
        return missing


def _number(file: Path, none: str = "max") -> int | None:
    """Return the figure that a file holds, None where it says that there is none or isn't there."""
    text = _text(file, none).strip()
    if text == none:
        return None
    if not re.fullmatch(_FIGURE, text):
        raise _no_figure(file, text)
    return int(text)


def _no_figure(file: Path, text: str) -> OSError:
    return OSError(errno.EINVAL, f"{text[:40]!r} is no figure", str(file))
