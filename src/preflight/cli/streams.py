"""Standard streams and files: what the terminal can show; files whole or not at all."""

from __future__ import annotations

import errno
import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO, TypeAlias

from preflight.model.problems import InputError
from preflight.model.rules import DEFAULT_RULES, MAX_RULE_FILE_BYTES
from preflight.render import RenderOptions
from preflight.render.sanitize import clean

Text: TypeAlias = str | bytes | Iterable[str]  # pieces, where all of it would be too much at once

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PATIENCE = 0.3  # seconds before the spinner shows
_WRITER_COMES = 3_000  # milliseconds for somebody to write to a pipe
_NONBLOCK = getattr(os, "O_NONBLOCK", 0)


def terminal_options(*, quiet: bool = False, verbose: bool = False) -> RenderOptions:
    """Return what standard output can show: its width, colour, and whether only ASCII."""
    environ = os.environ
    dumb = environ.get("TERM") == "dumb"
    if environ.get("NO_COLOR") or (dumb and not environ.get("FORCE_COLOR")):
        color = False
    else:
        color = bool(environ.get("FORCE_COLOR")) or _is_terminal(sys.stdout)
    return RenderOptions(
        width=shutil.get_terminal_size((80, 24)).columns,
        color=color,
        ascii=not _can_show("✔✖▲⊘·≥…▇▒├└◀×", sys.stdout),
        quiet=quiet,
        verbose=verbose,
    )


def file_options(*, quiet: bool = False, verbose: bool = False) -> RenderOptions:
    """Return the options for a report in a file: wide enough to read, no colour."""
    return RenderOptions(width=100, quiet=quiet, verbose=verbose)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _can_show(text: str, stream: TextIO | None) -> bool:
    try:
        text.encode((stream and stream.encoding) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write_stdout(text: str) -> str | None:
    """Write to standard output; returns why not, in a line.

    A reader that has gone is no fault, and the verdict stands.
    """
    if sys.stdout is None:
        return None
    try:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as fault:
        silence_stdout()
        return f"cannot write to standard output: {fault.strerror}"
    return None


def write(text: str) -> None:
    """Write all that a command has to say; raises InputError where it can't be written."""
    if (fault := write_stdout(text)) is not None:
        raise InputError(fault)


def silence_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter ends without a complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(*lines: str) -> None:
    """Write lines of our own name to standard error."""
    talk(*(f"preflight: {line}" for line in lines))


def talk(*lines: str) -> None:
    """Write lines to standard error, harmless for a terminal."""
    try:
        encoding = (sys.stderr and sys.stderr.encoding) or "ascii"
        for line in lines:
            text = clean(line).encode(encoding, "replace").decode(encoding)
            print(text, file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        pass  # nobody listens


def write_file(path: str, text: Text, mode: int | None = None) -> str | None:
    """Write a file whole or not at all; returns why not, in a line.

    What a link leads to is written, the link stays. A device or a pipe is written as it is. The
    file keeps its `mode`, or has the one that is given.
    """
    try:
        if path.endswith(("/", os.sep)):
            raise IsADirectoryError
        if not _is_replaceable(path):
            return append_file(path, text)
        _replace(Path(os.path.realpath(path)), text, mode)
    except (OSError, ValueError) as fault:
        return _cannot_write(path, fault)
    return None


def append_file(path: str, text: Text) -> str | None:
    """Write to the end of a file, a device or a pipe that somebody reads; returns why not."""
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _NONBLOCK
    try:
        handle = os.open(path, flags, 0o666)  # a pipe that nobody reads is told, not waited for
        if hasattr(os, "set_blocking"):
            os.set_blocking(handle, True)
        with os.fdopen(handle, "wb") as file:
            file.writelines(_bytes(text))
    except (OSError, ValueError) as fault:
        return _cannot_write(path, fault)
    return None


def _is_replaceable(path: str) -> bool:
    """Whether another file can take its place: it is a regular one, or isn't there yet."""
    try:
        kind = os.stat(path).st_mode
    except FileNotFoundError:
        return True
    return stat.S_ISREG(kind) and not path.startswith(("/dev/", "/proc/"))


def _replace(target: Path, text: Text, mode: int | None) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    # named before it is there: a signal may come as soon as it is
    temporary = target.with_name(f".{target.name[:30]}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    try:
        with open(os.open(temporary, flags, 0o600), "wb") as file:
            file.writelines(_bytes(text))
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target) if mode is None else mode)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # it may have its name by now
            os.unlink(temporary)
        raise


def _bytes(text: Text) -> Iterator[bytes]:
    for part in (text,) if isinstance(text, str | bytes) else text:
        yield part if isinstance(part, bytes) else part.encode("utf-8", "replace")


def _cannot_write(path: str, fault: OSError | ValueError) -> str:
    if isinstance(fault, IsADirectoryError):
        return f"cannot write {path}: it is a folder"
    return f"cannot write {path}: {getattr(fault, 'strerror', None) or fault}"


def _mode(target: Path) -> int:
    """The mode that the file has, or that a new file gets here."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def ask(question: str) -> bool | None:
    """Ask whoever sits at the terminal; None where nobody does."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        return None
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def wait_for_streams() -> None:
    """Let reading and writing wait, where whoever shares our streams has them do otherwise.

    What a pipe could not take at once would be lost, and what is still to come not be read.
    """
    for stream in filter(None, (sys.stdin, sys.stdout, sys.stderr)):
        with suppress(AttributeError, OSError, ValueError):  # Windows has it for pipes alone
            os.set_blocking(stream.fileno(), True)


def standard_input() -> BinaryIO:
    """Return standard input's bytes; raises InputError where it was closed."""
    if sys.stdin is None:
        raise InputError("there is no standard input")
    return sys.stdin.buffer


def read_input(name: str, most: int) -> bytes:
    """Return a file's bytes, or standard input's for `-`; raises InputError with the reason."""
    try:
        if name == "-":
            data = standard_input().read(most + 1)
        else:
            with open_input(name) as file:
                data = _read(file, most + 1)
    except (OSError, ValueError) as fault:
        raise InputError(
            f"cannot read {name}: {getattr(fault, 'strerror', None) or fault}"
        ) from None
    return data


def open_input(path: str) -> BinaryIO:
    """Open a file to read, unbuffered; a pipe that nobody writes to is told, not waited for.

    Raises OSError.
    """
    handle = os.open(path, os.O_RDONLY | _NONBLOCK | getattr(os, "O_BINARY", 0))
    file = open(handle, "rb", buffering=0)  # noqa: SIM115 - the caller closes it
    try:
        if stat.S_ISFIFO(os.fstat(handle).st_mode) and not _has_writer(handle):
            raise OSError(errno.ENXIO, "a pipe that nobody writes to")
        if _NONBLOCK:
            os.set_blocking(handle, True)
    except BaseException:
        file.close()
        raise
    return file


def _has_writer(handle: int) -> bool:
    import select

    waiting = select.poll()
    waiting.register(handle, select.POLLIN)
    return bool(waiting.poll(_WRITER_COMES))


def _read(file: BinaryIO, most: int) -> bytes:
    """Read to the end, and so many bytes at most: a pipe gives them piece by piece."""
    pieces: list[bytes] = []
    while most > 0 and (piece := file.read(most)):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def read_rules(name: str) -> bytes:
    """Return a rule file's bytes, the bundled one's for DEFAULT. Raises OSError."""
    with open_input(str(bundled_rules()) if name == DEFAULT_RULES else name) as file:
        return _read(file, MAX_RULE_FILE_BYTES + 1)


def rules_reader(first: str) -> Callable[[str], bytes]:
    """Return what reads a rule file and those that it extends.

    A rule file may come from anybody: it extends what lies in its own folder or in the current
    one, or below. The reader raises OSError, and ValueError for a file elsewhere.
    """
    roots = set()
    with suppress(OSError):  # the current folder may have been deleted
        roots |= {os.path.realpath(os.path.dirname(first)), os.path.realpath(os.getcwd())}
    roots.discard(os.sep)  # everything is below it

    def read(name: str) -> bytes:
        if name not in (first, DEFAULT_RULES) and not _is_below(os.path.realpath(name), roots):
            raise ValueError("it lies neither in the folder of the rule file nor in this one")
        return read_rules(name)

    return read


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(path.startswith(os.path.join(root, "")) for root in roots)


def bundled_rules() -> Path:
    """Return where the bundled rules are: in the package, or at the top of a source checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "rules.yaml"
    return inside if inside.exists() else package.parent.parent / "rules.yaml"


class Spinner:
    """Shows that measuring goes on, where standard error is a terminal and it takes a while."""

    def __init__(self) -> None:
        self._on = _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._frames = _SPINNER if _can_show(_SPINNER, sys.stderr) else "|/-\\"
        self._shown = False

    def __enter__(self) -> Spinner:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def tick(self, seconds: float) -> None:
        """Show the time gone by, once it is worth a line."""
        if self._on and seconds >= _PATIENCE:
            self._shown = True
            frame = self._frames[int(seconds * 10) % len(self._frames)]
            sys.stderr.write(f"\r{frame} measuring, {seconds:.0f} s")
            sys.stderr.flush()


class Progress:
    """A bar of what is done, where standard error is a terminal."""

    _WIDTH = 24

    def __init__(self, what: str) -> None:
        self._what = what
        self._on = _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        self._marks = "▇▒" if _can_show("▇▒", sys.stderr) else "#."

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._on:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()

    def tick(self, done: int, all_: int) -> None:
        """Show how many of all are done."""
        if self._on:
            full = self._WIDTH * done // max(all_, 1)
            bar = self._marks[0] * full + self._marks[1] * (self._WIDTH - full)
            sys.stderr.write(f"\r\x1b[K{bar} {done} of {all_} {self._what}")
            sys.stderr.flush()
