"""What is mounted where, from /proc/PID/mountinfo (proc(5)): reading it can't hang."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple


class Mount(NamedTuple):
    """One line of mountinfo: `root` of the filesystem is seen at `point`, on the mount `parent`.

    `flags` are of this mount alone, `options` of the filesystem, wherever it is mounted.
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
    """Read the mounts of a process, its paths as `os` spells them; raises OSError."""
    return parse_mounts(os.fsdecode((root / "proc" / pid / "mountinfo").read_bytes()))


def parse_mounts(text: str) -> list[Mount]:
    """Read /proc/PID/mountinfo; blank, tab and newline in paths are octal there, no other space."""
    mounts = []
    for line in text.split("\n"):
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if len(fields) >= 6 and len(rest) >= 2:
            number, parent, device, root, point, flags = fields[:6]
            places = (_unescape(root), _unescape(point))
            options = rest[2] if len(rest) > 2 else ""
            mounts.append(
                Mount(number, parent, device, *places, _set(flags), rest[0], _set(options))
            )
    return mounts


def _set(options: str) -> frozenset[str]:
    return frozenset(options.split(","))


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def mount_of(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that a real path lies on, found as the kernel does: from the top down.

    The longest match won't do: a mount hides what was mounted below its point before.
    """
    known = {mount.id for mount in mounts}
    tops = {mount.id for mount in mounts if mount.parent == mount.id or mount.parent not in known}
    left = [mount for mount in mounts if within(path, mount.point)]
    found: Mount | None = None
    while below := [m for m in left if m.id in tops or (found and m.parent == found.id)]:
        found = min(reversed(below), key=lambda mount: len(mount.point))
        left.remove(found)
    return found


def within(path: str, top: str) -> bool:
    """Whether a path is `top` or lies below it."""
    return path == top or path.startswith(top.rstrip("/") + "/")


def location(path: str, mounts: list[Mount]) -> tuple[str, str] | None:
    """Return the filesystem that a real path lies on, by its number, and the path in it.

    Two processes that have the same location at a path see the same there, however it is mounted.
    """
    mount = mount_of(path, mounts)
    if mount is None:
        return None
    inside = path[len(mount.point) :].strip("/")
    return mount.device, f"{mount.root.rstrip('/')}/{inside}".rstrip("/")
