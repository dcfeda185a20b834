"""What is mounted where, from /proc/PID/mountinfo (proc(5)): reading it can't hang."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple


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


def read_mounts(root: Path = Path("/"), pid: str = "self") -> list[Mount]:
    """Read the mounts of a process, paths spelled as `os` does; raises OSError."""
    return parse_mounts(os.fsdecode((root / "proc" / pid / "mountinfo").read_bytes()))


def parse_mounts(text: str) -> list[Mount]:
    """Parse /proc/PID/mountinfo, where spaces, tabs and newlines in paths are octal escapes."""
    mounts = []
    for line in filter(None, text.split("\n")):
        head, tail = line.split(" - ", 1)
        number, parent, device, root, point, flags, *_ = head.split(" ")
        filesystem, _, options = tail.split(" ", 2)
        mount = Mount(
            number, parent, device, _unescape(root), _unescape(point),
            frozenset(flags.split(",")), filesystem, frozenset(options.split(",")),
        )  # fmt: skip
        mounts.append(mount)
    return mounts


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def find_mount(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that a real path lies on, found as the kernel does: from the top down.

    The longest match won't do: a mount hides what was mounted below its point before.
    """
    ids = {mount.id for mount in mounts}
    tops = {mount.id for mount in mounts if mount.parent == mount.id or mount.parent not in ids}
    left = [mount for mount in mounts if is_within(path, mount.point)]
    current: Mount | None = None
    while children := [m for m in left if m.id in tops or (current and m.parent == current.id)]:
        current = min(reversed(children), key=lambda mount: len(mount.point))
        left.remove(current)
    return current


def is_within(path: str, folder: str) -> bool:
    """Whether a path is `folder` or lies below it."""
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def find_location(path: str, mounts: list[Mount]) -> tuple[str, str] | None:
    """Return the device number of a real path's filesystem, and the path inside of it.

    Two processes that get the same location for a path see the same files there.
    """
    mount = find_mount(path, mounts)
    if mount is None:
        return None
    relative = path[len(mount.point) :].strip("/")
    return mount.device, f"{mount.root.rstrip('/')}/{relative}".rstrip("/")
