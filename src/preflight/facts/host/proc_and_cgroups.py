"""What Linux says of mounts and control groups: reading /proc and cgroup files can't hang.

The limits of cgroups (v1, v2 and hybrid): a child cgroup reads "no limit" under a limited parent,
so every level up to the mount counts. A container's cgroup is read only where the engine's
processes are visible here; that spares the engine's own sample, for which dockerd makes all but the
first container wait a second. Sources: Linux Documentation/admin-guide/cgroup-v1/memory.rst
(memory.oom_control) and cgroup-v2.rst (memory.events), proc(5); docker/cli, stats_helpers.go.
"""

import errno
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from preflight.model.facts import Unknown, make_unknown_from_error

MIN_UNLIMITED_BYTES = 2**60  # v1 writes "no limit" as the largest page count, about 2**63
# by kind and version of control groups: the files of a limit, and how they write that there is none
_LIMIT_FILES_BY_KIND_AND_VERSION = {
    ("memory", 1): (("memory.limit_in_bytes",), None),
    ("memory", 2): (("memory.max",), "max"),
    ("high", 2): (("memory.high",), "max"),
    ("cpu", 1): (("cpu.cfs_quota_us", "cpu.cfs_period_us"), "-1"),
    ("cpu", 2): (("cpu.max",), "max"),
}
_USAGE_FILE_BY_CGROUP_VERSION = {1: "memory.usage_in_bytes", 2: "memory.current"}
_INACTIVE_FILE_KEY_BY_CGROUP_VERSION = {
    1: "total_inactive_file",
    2: "inactive_file",
}  # of memory.stat
# of memory.stat: what counts as used, and as available of the machine too
_RECLAIMABLE_KEYS_BY_CGROUP_VERSION = {
    1: ("total_active_file", "total_inactive_file"),
    2: ("active_file", "inactive_file", "slab_reclaimable"),
}
_OOM_COUNT_FILE_BY_CGROUP_VERSION = {1: "memory.oom_control", 2: "memory.events"}


class Mount(NamedTuple):
    """One line of mountinfo: `root` of the filesystem is visible at `point`, on mount `parent`.

    `flags` belong to this mount alone, `options` to the filesystem, wherever it is mounted.
    """

    id: str
    parent: str
    device: str
    root: str
    point: str
    flags: frozenset[str]
    filesystem: str
    options: frozenset[str]


class SystemMemory(NamedTuple):
    """Memory or swap in bytes, and what new programs can use of it."""

    total: int
    available: int


def read_memory(root: Path = Path("/")) -> SystemMemory:
    """Read the machine's memory; raises whatever psutil's parsing of /proc meets.

    psutil estimates what a kernel before 3.14 doesn't say. Its import takes as long as all else
    that is measured without a project, so it is left to other systems and kernels.
    """
    figures = _read_meminfo(root)
    total, available = figures.get("MemTotal", 0), figures.get("MemAvailable", 0)
    if 0 < available <= total:
        return SystemMemory(total, available)
    import psutil

    memory = psutil.virtual_memory()
    return SystemMemory(memory.total, memory.available)


def read_swap(root: Path = Path("/")) -> SystemMemory:
    """Read the machine's swap; raises whatever psutil's parsing of /proc meets."""
    figures = _read_meminfo(root)
    if figures.keys() >= {"SwapTotal", "SwapFree"}:
        return SystemMemory(figures["SwapTotal"], figures["SwapFree"])
    import psutil

    swap = psutil.swap_memory()
    return SystemMemory(swap.total, swap.free)


def count_cores(root: Path = Path("/")) -> int | None:
    """Return the number of CPU cores, of which each may have several logical CPUs."""
    folder = root / "sys/devices/system/cpu"
    cores = set()
    for name in os.listdir(folder) if folder.is_dir() else ():
        if name.startswith("cpu") and name[3:].isdecimal():
            with suppress(FileNotFoundError):  # it is offline
                cores.add((folder / name / "topology/thread_siblings_list").read_bytes())
    if cores:
        return len(cores)
    import psutil

    return psutil.cpu_count(logical=False)


def _read_meminfo(root: Path) -> dict[str, int]:
    """Return the bytes of /proc/meminfo by name; none without such a file."""
    try:
        text = (root / "proc/meminfo").read_text("utf-8", "replace")
    except OSError:
        return {}
    lines = (line.split() for line in text.split("\n"))  # such as `MemTotal:  24684100 kB`
    sizes = [words for words in lines if words[2:] == ["kB"] and words[1].isdecimal()]
    return {name.rstrip(":"): int(kibibytes) * 1024 for name, kibibytes, _ in sizes}


@lru_cache(maxsize=8)  # most that is measured looks at the same mounts
def read_mounts(root: Path = Path("/"), pid: str = "self") -> Sequence[Mount]:
    """Read the mounts of a process, paths spelled as `os` does; raises OSError."""
    return parse_mounts(os.fsdecode((root / "proc" / pid / "mountinfo").read_bytes()))


def parse_mounts(text: str) -> Sequence[Mount]:
    """Parse /proc/PID/mountinfo, where spaces, tabs and newlines in paths are octal escapes."""
    mounts = []
    for line in filter(None, text.split("\n")):
        head, tail = (part.split(" ") for part in line.split(" - ", 1))
        number, parent, device, root, point, flags = head[:6]
        if "\\" in line:
            root, point = (
                re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
                for path in (root, point)
            )
        flag_set, options = frozenset(flags.split(",")), frozenset(tail[2].split(","))
        mounts.append(Mount(number, parent, device, root, point, flag_set, tail[0], options))
    return tuple(mounts)


def find_mount(path: str, mounts: Sequence[Mount]) -> Mount | None:
    """Return the mount that a real path lies on, found as the kernel does: from the top down.

    The longest match won't do: a mount hides what was mounted below its point before.
    """
    ids = {mount.id for mount in mounts}
    tops = {mount.id for mount in mounts if mount.parent == mount.id or mount.parent not in ids}
    left = [mount for mount in mounts if is_within_folder(path, mount.point)]
    current: Mount | None = None
    while children := [m for m in left if m.id in tops or (current and m.parent == current.id)]:
        current = min(reversed(children), key=lambda mount: len(mount.point))
        left.remove(current)
    return current


def is_within_folder(path: str, folder: str) -> bool:
    """Whether a path is `folder` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def find_device_and_inner_path(path: str, mounts: Sequence[Mount]) -> tuple[str, str] | None:
    """Return the device number of a real path's filesystem, and the path inside of it.

    Two processes that get the same location for a path see the same files there.
    """
    mount = find_mount(path, mounts)
    if mount is None:
        return None
    relative = path[len(mount.point) :].strip("/")
    return mount.device, f"{mount.root.rstrip('/')}/{relative}".rstrip("/")


class CgroupLimit(NamedTuple):
    """The lowest limit over a cgroup and the file that sets it; None if no level sets one."""

    value: float | None
    source: str


class Cgroups:
    """The cgroups of a process, read below `root` (a fixture in tests).

    Every reading raises OSError if this system doesn't show the cgroup or shows garbage.
    """

    def __init__(self, root: Path = Path("/"), pid: str = "self") -> None:
        self._root = root
        text = os.fsdecode((root / "proc" / pid / "cgroup").read_bytes())
        self._paths: dict[str, str] = {  # by controller; v2 has an empty one
            controller: path
            for _, controllers, path in (
                line.split(":", 2) for line in text.split("\n") if line.count(":") >= 2
            )
            for controller in controllers.split(",")
        }
        self._mounts = read_mounts(root)

    def version(self, controller: str) -> int:
        """Return 1 or 2: the hierarchy that holds the controller (a hybrid host has both)."""
        return 1 if controller in self._paths else 2

    def path(self, controller: str) -> str:
        """Return the path of this process's cgroup in the hierarchy of a controller."""
        return self._paths.get(controller, self._paths.get("", "/"))

    def limit(self, kind: str, path: str | None = None) -> CgroupLimit:
        """Return the lowest limit over `path`, else over this process.

        The kind is memory, in bytes; cpu, in cores; or high: the bytes above which v2 throttles.
        """
        controller = "memory" if kind == "high" else kind
        levels = self._list_ancestor_folders(controller, path or self.path(controller))
        version = self.version(controller)
        limits = [
            limit for level in levels for limit in _read_limits_of_level(level, kind, version)
        ]
        value, file = min(limits, default=(MIN_UNLIMITED_BYTES, self._root))
        if value < MIN_UNLIMITED_BYTES:
            return CgroupLimit(value, str(file))
        if not levels or (path is None and not levels[0].is_dir()):
            raise FileNotFoundError(f"the {controller} cgroup of this process isn't visible")
        return CgroupLimit(None, "no cgroup sets a limit")

    def memory_folder(self, path: str) -> Path | None:
        """Return the folder of a memory cgroup, or None if it isn't visible or doesn't exist."""
        levels = self._list_ancestor_folders("memory", path)
        return levels[0] if levels and levels[0].is_dir() else None

    def memory_usage(self, path: str) -> int:
        """Return the bytes in use, page cache included, at `path` or its nearest ancestor.

        0 where no level counts: the root of v2 doesn't.
        """
        for level in self._list_ancestor_folders("memory", path):
            with suppress(FileNotFoundError):
                return int(
                    (level / _USAGE_FILE_BY_CGROUP_VERSION[self.version("memory")]).read_text()
                )
        return 0

    def _list_ancestor_folders(self, controller: str, path: str) -> list[Path]:
        """Return the folders of a cgroup and its ancestors up to the mount.

        They may not exist (yet). Empty where the cgroup lies outside of every mount; of several
        mounts, the one that shows it, or most ancestors.
        """
        candidates: list[list[Path]] = []
        filesystem = "cgroup" if self.version(controller) == 1 else "cgroup2"
        for mount in self._mounts:
            if mount.filesystem != filesystem or not is_within_folder(path, mount.root):
                continue
            relative = PurePosixPath(path[len(mount.root.rstrip("/")) :].lstrip("/"))
            has_controller = filesystem == "cgroup2" or controller in mount.options
            if has_controller and ".." not in relative.parts:
                mount_folder = self._root / mount.point.lstrip("/")
                candidates.append([mount_folder / level for level in (relative, *relative.parents)])
        return max(candidates, key=lambda levels: (levels[0].is_dir(), len(levels)), default=[])


def _read_limits_of_level(folder: Path, kind: str, version: int) -> Iterator[tuple[float, Path]]:
    """Yield the limits that one level sets; raises OSError if a file has other text."""
    if (kind, version) not in _LIMIT_FILES_BY_KIND_AND_VERSION:
        return
    names, unlimited = _LIMIT_FILES_BY_KIND_AND_VERSION[kind, version]
    with suppress(FileNotFoundError):
        file = folder / names[0]
        text = " ".join((folder / name).read_text("utf-8", "replace").strip() for name in names)
        limit, *period = text.split(" ")
        numbers = period if limit == unlimited else [limit, *period]
        if len(period) != (kind == "cpu") or not all(map(_is_positive_number, numbers)):
            raise OSError(errno.EINVAL, f"{limit[:40]!r} isn't a valid number", str(file))
        if limit != unlimited:
            yield int(limit) / int(*period) if period else int(limit), file
    if (kind, version) == ("memory", 1):
        file = folder / "memory.stat"  # also counts ancestors that a container can't see
        with suppress(FileNotFoundError, KeyError):
            yield _read_named_counters(file)["hierarchical_memory_limit"], file


def _is_positive_number(text: str) -> bool:
    """Whether it can be a limit: no process could live under one of zero."""
    return text.isdecimal() and text.isascii() and text[0] != "0" and len(text) <= 20


def _read_named_counters(file: Path) -> dict[str, int]:
    """Read a file of lines such as `oom_kill 2`."""
    lines = (line.partition(" ") for line in file.read_text("utf-8", "replace").split("\n"))
    return {key: int(number) for key, _, number in lines if number.isdecimal()}


class ContainerCgroup(NamedTuple):
    """What the kernel reports about a container.

    `limit` is the lowest over the container in bytes, `parent_limit` the lowest over `parent`.
    `usage` is in bytes without page cache, as in `docker stats`; `total_usage` with all of `cache`,
    which the machine can take back. `oom_kills` counts its processes
    that were killed for lack of memory since it started; kernels before 4.13 don't count on v1.
    """

    parent: str
    limit: CgroupLimit
    parent_limit: CgroupLimit
    usage: int
    usage_source: str
    total_usage: int
    cache: int
    oom_kills: int | None
    oom_source: str


def read_container_memory_cgroup(
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
            return Unknown("the container's cgroup isn't visible to preflight", "unsupported")
        version = cgroups.version("memory")
        usage_file, oom_file = (
            folder / _USAGE_FILE_BY_CGROUP_VERSION[version],
            folder / _OOM_COUNT_FILE_BY_CGROUP_VERSION[version],
        )
        usage, stat = int(usage_file.read_text()), _read_named_counters(folder / "memory.stat")
        return ContainerCgroup(
            str(path.parent),
            cgroups.limit("memory", str(path)),
            cgroups.limit("memory", str(path.parent)),
            max(usage - stat.get(_INACTIVE_FILE_KEY_BY_CGROUP_VERSION[version], 0), 0) or usage,
            f"{usage_file} less {_INACTIVE_FILE_KEY_BY_CGROUP_VERSION[version]}",
            usage,
            min(
                usage, sum(stat.get(key, 0) for key in _RECLAIMABLE_KEYS_BY_CGROUP_VERSION[version])
            ),
            _read_named_counters(oom_file).get("oom_kill"),
            str(oom_file),
        )
    except (FileNotFoundError, ProcessLookupError):
        return Unknown("the container's process has just ended")
    except OSError as error:
        return make_unknown_from_error(error)
