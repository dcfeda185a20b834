"""What is mounted where, from /proc/PID/mountinfo (proc(5)): reading it can't hang."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple


class Mount(NamedTuple):
    """One line of mountinfo: `root` of the filesystem is seen at `point`, on the mount `parent`."""

    id: str
    parent: str
    root: str
    point: str
    filesystem: str
    options: frozenset[str]


def read_mounts(root: Path = Path("/")) -> list[Mount]:
    """Read this process's mounts, its paths as `os` spells them; raises OSError."""
    return parse_mounts(os.fsdecode((root / "proc/self/mountinfo").read_bytes()))


def parse_mounts(text: str) -> list[Mount]:
    """Read /proc/PID/mountinfo; blank, tab and newline in paths are octal there, no other space."""
    mounts = []
    for line in text.split("\n"):
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(" "), tail.split(" ")
        if len(fields) >= 6 and len(rest) >= 2:
            number, parent, _, root, point, options = fields[:6]
            every = {*options.split(","), *(rest[2].split(",") if len(rest) > 2 else ())}
            mounts.append(
                Mount(number, parent, _unescape(root), _unescape(point), rest[0], frozenset(every))
            )
    return mounts


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def mount_of(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that a real path lies on, found as the kernel does: from the top down.

    The longest match won't do: a mount hides what was mounted below its point before.
    """
    known = {mount.id for mount in mounts}
    tops = {mount.id for mount in mounts if mount.parent == mount.id or mount.parent not in known}
    left = [m for m in mounts if path == m.point or path.startswith(m.point.rstrip("/") + "/")]
    found: Mount | None = None
    while below := [m for m in left if m.id in tops or (found and m.parent == found.id)]:
        found = min(reversed(below), key=lambda mount: len(mount.point))
        left.remove(found)
    return found
