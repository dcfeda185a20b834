"""Log files on disk: which ones a name means, in which order, opened so that none can hang."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from preflight.cli.streams import open_input
from preflight.model.problems import InputError

if TYPE_CHECKING:
    from preflight.logs.log_reader import LogReader

_LOG_NAME = re.compile(r".*(?:\.log|\.txt|log|\.journal\.txt)", re.IGNORECASE)
_ROTATED_NAME = re.compile(
    r"(?P<base>.+?)(?:\.(?P<number>[0-9]{1,5})|[.-](?P<date>[0-9]{8}(?:[-_.]?[0-9]{2,6})?))?"
    r"(?P<gz>\.gz)?"
)


class _Name(NamedTuple):
    """The name that a log had before it was rotated or compressed, and what came after it."""

    base: str
    number: str | None = None
    date: str | None = None
    gz: str | None = None

    def is_rotated(self) -> bool:
        return self.number is not None or self.date is not None

    def age(self) -> tuple[int, int, str]:
        """Sort the oldest first: api.log-20260101, then api.log.2, api.log.1 and api.log."""
        if self.date is not None:
            return 0, 0, self.date
        return (2, 0, "") if self.number is None else (1, -int(self.number), "")


def find_logs(name: str) -> list[str]:
    """Return the paths of the logs that a name means, the oldest first.

    A folder means all logs in it; a file, itself after those that were rotated away from it
    (`api.log.2.gz`, `api.log.1`, `api.log`). Raises InputError where there are none.
    """
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            paths = _logs_in_folder(name)
        elif stat.S_ISREG(mode):
            paths = [*_rotated_from(name), name]
        elif stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and name != os.devnull):
            raise InputError(f"cannot read {name}: it is a device")
        else:
            paths = [name]
    except (OSError, ValueError) as error:
        raise _cannot_read(name, error) from None
    if not paths:
        raise InputError(f"{name} has no logs: no file name ends in .log, .txt, .log.N or .gz")
    return paths


def _logs_in_folder(folder: str) -> list[str]:
    names = [
        (name, parts)
        for name in sorted(os.listdir(folder))
        if _LOG_NAME.fullmatch((parts := _parse_name(name)).base) or parts.gz
    ]
    names.sort(key=lambda pair: (pair[1].base, pair[1].age()))
    paths = [os.path.join(folder, name) for name, _ in names]
    return [path for path in paths if os.path.isfile(path)]


def _rotated_from(path: str) -> list[str]:
    folder, own_name = os.path.split(path)
    names = []
    with suppress(OSError):
        names = [(name, _parse_name(name)) for name in os.listdir(folder or ".")]
    rotated = [
        (parts.age(), os.path.join(folder, name))
        for name, parts in names
        if name != own_name and parts.base == own_name and parts.is_rotated()
    ]
    return [path for _, path in sorted(rotated) if os.path.isfile(path)]


def _parse_name(name: str) -> _Name:
    match = _ROTATED_NAME.fullmatch(name)
    return _Name(*match.groups()) if match else _Name(name)


def leave_out_read(paths: list[str], already_read: set[tuple[int, int]]) -> list[str]:
    """Return the files that were not read under another name, and remember them.

    A shell's `api.log*` names rotated logs too, and a link leads to the same file.
    """
    unread = []
    for path in paths:
        with suppress(OSError):
            state = os.stat(path)
            if stat.S_ISREG(state.st_mode):
                if (state.st_dev, state.st_ino) in already_read:
                    continue
                already_read.add((state.st_dev, state.st_ino))
        unread.append(path)
    return unread


def read_log(path: str, reader: LogReader) -> None:
    """Search a file up to the size that it has now; raises InputError where it can't be opened."""
    try:
        file = open_input(path)
    except OSError as error:
        raise _cannot_read(path, error) from None
    with file:
        state = os.fstat(file.fileno())
        size = state.st_size if stat.S_ISREG(state.st_mode) else 0
        reader.add(path, file, size or None)  # files in /proc have no size


def is_zip(path: str) -> bool:
    """Return whether a file begins as a bundle does."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False  # opening a pipe would wait for a writer
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False


def _cannot_read(name: str, error: OSError | ValueError) -> InputError:
    return InputError(f"cannot read {name}: {getattr(error, 'strerror', None) or error}")
