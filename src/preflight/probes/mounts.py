"""What is mounted where, from /proc/PID/mountinfo (proc(5)): reading it can't hang."""

from __future__ import annotations

import re
from typing import NamedTuple


class Mount(NamedTuple):
    """One line of mountinfo: `root` of the filesystem is seen at `point`."""

    root: str
    point: str
    filesystem: str
    options: frozenset[str]


def parse_mounts(text: str) -> list[Mount]:
    """Read /proc/PID/mountinfo; blanks in paths are octal there."""
    mounts = []
    for line in text.splitlines():
        head, _, tail = line.partition(" - ")
        fields, rest = head.split(), tail.split()
        if len(fields) >= 6 and len(rest) >= 2:
            options = {*fields[5].split(","), *(rest[2].split(",") if len(rest) > 2 else ())}
            mounts.append(
                Mount(_unescape(fields[3]), _unescape(fields[4]), rest[0], frozenset(options))
            )
    return mounts


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)


def mount_of(path: str, mounts: list[Mount]) -> Mount | None:
    """Return the mount that a real path lies on: the longest, of equal ones the last."""
    best = None
    for mount in mounts:
        point = mount.point.rstrip("/")
        covers = path == mount.point or path.startswith(point + "/")
        if covers and (best is None or len(mount.point) >= len(best.point)):
            best = mount
    return best
