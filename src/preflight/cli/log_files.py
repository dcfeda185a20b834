"""Log files on disk: which ones a name means, in which order, opened so that none can hang."""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from preflight.cli.streams import cannot_read, open_input
from preflight.model.problems import InputError

if TYPE_CHECKING:
    from preflight.logs.log_reader import LogReader

_LOG_NAME = re.compile(r".*(?:\.log|\.txt|log|\.journal\.txt)", re.IGNORECASE)
_ROTATED_NAME = re.compile(
    r"(?P<base>.+?)(?:\.(?P<number>[0-9]{1,5})|[.-](?P<date>[0-9]{8}(?:[-_.]?[0-9]{2,6})?))?"
    r"(?:\.gz)?",
    re.DOTALL,
)
_NOT_ROTATED = (2, 0, "")


class _Log(NamedTuple):
    """A file by the name that it had before it was rotated or compressed; the oldest sorts first.

    That is api.log-20260101, then api.log.2, api.log.1 and api.log.
    """

    base: str
    age: tuple[int, int, str]
    path: str


def find_logs(name: str, already_read: set[tuple[int, int]]) -> list[str]:
    """Return the paths of the logs that a name means, the oldest first.

    A folder means all logs in it; a file, itself after those that were rotated away from it
    (`api.log.2.gz`, `api.log.1`, `api.log`). Those that were read already are left out: a shell's
    `api.log*` names rotated logs too, and a link leads to the same file. Raises InputError where
    there are none.
    """
    paths = [name]
    try:
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            logs = _list_files(name)
            paths = [
                log.path
                for log in logs
                if _LOG_NAME.fullmatch(log.base) or log.path.endswith(".gz")
            ]
        elif stat.S_ISREG(mode):
            folder, base = os.path.split(name)
            with suppress(OSError):
                logs = [log for log in _list_files(folder) if log.base == base]
                paths = [*(log.path for log in logs if log.age < _NOT_ROTATED), name]
        elif stat.S_ISBLK(mode) or (stat.S_ISCHR(mode) and name != os.devnull):
            raise InputError(f"cannot read {name}: it is a device")
        files = {path: os.stat(path) for path in paths}
    except (OSError, ValueError) as error:
        raise cannot_read(name, error) from None
    if not paths:
        raise InputError(f"{name} has no logs: no file name ends in .log, .txt, .log.N or .gz")
    unread = []
    for path, state in files.items():
        if (state.st_dev, state.st_ino) not in already_read:
            already_read.add((state.st_dev, state.st_ino))
            unread.append(path)
    return unread


def _list_files(folder: str) -> list[_Log]:
    logs = []
    for name in os.listdir(folder or "."):
        match = _ROTATED_NAME.fullmatch(name)
        base, number, date = match.groups() if match else (name, None, None)
        age = (0, 0, date) if date else (1, -int(number), "") if number else _NOT_ROTATED
        logs.append(_Log(base, age, os.path.join(folder, name)))
    return sorted(log for log in logs if os.path.isfile(log.path))


def read_log(path: str, reader: LogReader) -> None:
    """Search a file up to the size that it has now; raises InputError where it can't be opened."""
    try:
        file = open_input(path)
    except OSError as error:
        raise cannot_read(path, error) from None
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
