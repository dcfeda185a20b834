"""Log files on disk: which belong together, opened so that none can hang us, read by every CPU."""

from __future__ import annotations

import os
import pickle  # nosec B403
import re
import signal
import stat
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple, TypeAlias

from preflight.cli.streams import complain, open_input
from preflight.model.problems import InputError

if TYPE_CHECKING:
    from preflight.check import Counted, LogReader

_LOGS = re.compile(r".*(?:\.log|\.txt|log|\.journal\.txt)", re.IGNORECASE)
_ROTATED = re.compile(
    r"(?P<base>.+?)(?:\.(?P<number>[0-9]{1,5})|[.-](?P<date>[0-9]{8}(?:[-_.]?[0-9]{2,6})?))?"
    r"(?P<packed>\.gz)?"
)
_LARGE = 2**26  # bytes, from which on a file is worth a second process
_MOST_PROCESSES = 4
_PACKED = (b"\x1f\x8b", b"\xff\xfe", b"\xfe\xff")  # read from the beginning alone


Span: TypeAlias = tuple[int, int]  # of bytes of a file


class Log(NamedTuple):
    """A file to read, by the name it has in the report."""

    name: str
    path: str


def find(name: str) -> list[Log]:
    """Return the logs that a name means, the oldest first.

    A folder is all logs in it; a file is itself after those that were rotated away from it
    (`api.log.2.gz`, `api.log.1`, `api.log`). Raises InputError where there is none.
    """
    try:
        kind = os.stat(name).st_mode
        if stat.S_ISDIR(kind):
            found = _in_folder(name)
        elif stat.S_ISREG(kind):
            found = _with_rotated(name)
        elif stat.S_ISBLK(kind) or (stat.S_ISCHR(kind) and name != os.devnull):
            raise InputError(f"cannot read {name}: it is a device")
        else:
            found = [Log(name, name)]
    except (OSError, ValueError) as fault:
        raise InputError(
            f"cannot read {name}: {getattr(fault, 'strerror', None) or fault}"
        ) from None
    if not found:
        raise InputError(f"{name} holds no log: no file ends with .log, .txt, .log.N or .gz")
    return found


def unread(logs: list[Log], read: set[tuple[int, int]]) -> list[Log]:
    """Return those that were not read under any other name, and note them as read.

    A shell's `api.log*` names what was rotated away too, and a link leads where its file does.
    """
    found = []
    for log in logs:
        with suppress(OSError):
            state = os.stat(log.path)
            if stat.S_ISREG(state.st_mode):
                if (state.st_dev, state.st_ino) in read:
                    continue
                read.add((state.st_dev, state.st_ino))
        found.append(log)
    return found


def _in_folder(folder: str) -> list[Log]:
    names = [n for n in sorted(os.listdir(folder)) if _is_log(folder, n)]
    names.sort(key=lambda name: (_parts(name)[0], _age(name)))
    return [Log(os.path.join(folder, name), os.path.join(folder, name)) for name in names]


def _is_log(folder: str, name: str) -> bool:
    base, _, packed = _parts(name)
    return (bool(_LOGS.fullmatch(base)) or packed) and os.path.isfile(os.path.join(folder, name))


def _with_rotated(name: str) -> list[Log]:
    folder, own = os.path.split(name)
    try:
        names = os.listdir(folder or ".")
    except OSError:
        names = []
    rotated = [n for n in names if n != own and _parts(n)[:2] == (own, True)]
    rotated = [n for n in rotated if os.path.isfile(os.path.join(folder, n))]
    rotated.sort(key=_age)
    return [Log(path, path) for path in (*(os.path.join(folder, n) for n in rotated), name)]


def _parts(name: str) -> tuple[str, bool, bool]:
    """Return the name a log had before it was rotated, whether it was, whether it is packed."""
    match = _ROTATED.fullmatch(name)
    if match is None:
        return name, False, False
    rotated = match["number"] is not None or match["date"] is not None
    return match["base"], rotated, match["packed"] is not None


def _age(name: str) -> tuple[int, int, str]:
    """Sort the oldest first: api.log-20260101 and .2 before .1, that before the log itself."""
    match = _ROTATED.fullmatch(name)
    if match is None or (match["number"] is None and match["date"] is None):
        return 2, 0, name
    if match["number"] is not None:
        return 1, -int(match["number"]), name
    return 0, 0, match["date"]


def read(log: Log, reader: LogReader) -> None:
    """Search a file up to the size that it has now; raises InputError where it can't be opened."""
    with _opened(log.path) as file:
        size = os.fstat(file.fileno()).st_size if _is_regular(file) else 0
        if size < _LARGE or not _in_parts(log, file, size, reader):
            file.seek(0) if size else None
            reader.add(log.name, file, size or None)


def is_zip(path: str) -> bool:
    """Whether a file begins as a bundle does."""
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            return False  # to open a pipe is to wait for somebody
        with open(path, "rb") as file:
            return file.read(4) == b"PK\x03\x04"
    except (OSError, ValueError):
        return False


def _is_regular(file: BinaryIO) -> bool:
    return stat.S_ISREG(os.fstat(file.fileno()).st_mode)


def _opened(path: str) -> BinaryIO:
    try:
        return open_input(path)
    except OSError as fault:
        raise InputError(f"cannot read {path}: {fault.strerror}") from None


# --- large files: a part for each CPU -----------------------------------------------------------


def _in_parts(log: Log, file: BinaryIO, size: int, reader: LogReader) -> bool:
    """Search a plain file by several processes; False where there is but one to be had."""
    count = _processes()
    if count < 2 or file.read(2) in _PACKED:
        return False
    bounds = [size * number // count for number in range(count + 1)]
    spans = list(pairwise(bounds))

    def search(span: Span) -> Counted:
        with Path(log.path).open("rb", buffering=0) as mine:
            if not os.path.sameopenfile(mine.fileno(), file.fileno()):
                raise OSError("it was rotated meanwhile")
            return reader.count_part(mine, *span, size)

    helpers: list[_Helper] = []
    try:
        for span in spans[1:]:
            helpers.append(_Helper(search, span))  # noqa: PERF401 - those before one fails are ended
        counted = reader.count_part(file, *spans[0], size)
        for helper, span in zip(helpers, spans[1:], strict=True):
            counted.join(helper.result() or reader.count_part(file, *span, size))
    except OSError as fault:
        raise InputError(f"cannot read {log.path}: {fault.strerror or fault}") from None
    finally:
        for helper in helpers:
            helper.end()
    reader.add_counted(log.name, counted)
    return True


def _processes() -> int:
    """Return how many processes may search: one where this one can't be doubled safely."""
    if sys.platform in ("win32", "darwin") or threading.active_count() > 1:
        return 1
    return min(len(os.sched_getaffinity(0)), _MOST_PROCESSES)


class _Helper:
    """A copy of this process that searches one part, and ends."""

    def __init__(self, work: Callable[[Span], Counted], span: Span) -> None:
        self._from, into = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._from)
            _serve(work, span, into)
        os.close(into)

    def result(self) -> Counted | None:
        """Return what it found, None where it was ended before."""
        with open(self._from, "rb", closefd=False) as answer:
            data = answer.read()
        try:
            counted: Counted = pickle.loads(data)  # of our own copy  # nosec B301
        except (pickle.UnpicklingError, EOFError):
            return None
        return counted

    def end(self) -> None:
        """End it, wherever it is."""
        with suppress(OSError):
            os.close(self._from)
        with suppress(OSError):
            os.kill(self._pid, signal.SIGKILL)
        with suppress(OSError):
            os.waitpid(self._pid, 0)


def _serve(work: Callable[[Span], Counted], span: Span, into: int) -> None:
    """Do the work, write what it comes to, and end without any of the program's own endings."""
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        data = pickle.dumps(work(span))
        with open(into, "wb") as out:
            out.write(data)
    finally:
        os._exit(0)


def announce(name: str, logs: list[Log]) -> None:
    """Say which logs a name was taken for."""
    if len(logs) > 1:
        complain(f"{name}: {len(logs)} logs, the oldest first")
