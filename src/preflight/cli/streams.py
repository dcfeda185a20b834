"""Standard streams and files: what the terminal can show; files written whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, TextIO

from preflight.model.problems import InputError, did_you_mean
from preflight.model.rules import (
    BUNDLED_FILE_BY_SET,
    DEFAULT_RULE_SET,
    EMBEDDED_RULES_KEY,
    MAX_RULE_FILE_BYTES,
)
from preflight.processes import check_filesystem_responds, list_siblings
from preflight.render import RenderOptions
from preflight.render.sanitize import clean_text, format_safe_json

RULE_FILE_MESSAGE_PREFIX = "the rule file "  # before its name in a message
_SPINNER_FRAMES = "|/-\\"
_SPINNER_DELAY_SECONDS = 0.3
_PIPE_WRITER_TIMEOUT_SECONDS = 3.0  # to wait for somebody to write to a pipe
_O_NONBLOCK = getattr(os, "O_NONBLOCK", 0)
_O_BINARY = getattr(os, "O_BINARY", 0)


# --- standard streams ---------------------------------------------------------------------------


def make_terminal_render_options(*, quiet: bool = False, verbose: bool = False) -> RenderOptions:
    """Return what standard output can show: its width, colour, and whether only ASCII."""
    is_terminal, is_dumb = _is_terminal(sys.stdout), os.environ.get("TERM") == "dumb"
    is_colored = bool(os.environ.get("FORCE_COLOR")) or (is_terminal and not is_dumb)
    color = is_colored and not os.environ.get("NO_COLOR")
    signs = "✔✖▲⊘·≥…▇▒├└◀×"
    encoding = sys.stdout.encoding
    is_lossy = signs.encode(encoding, "replace").decode(encoding) != signs
    is_ascii = is_lossy or (is_terminal and is_dumb)
    return RenderOptions(get_terminal_columns(), color, is_ascii, quiet, verbose)


def get_terminal_columns() -> int:
    """Return the width of the terminal, 80 if there is none; COLUMNS comes before it."""
    with suppress(ValueError):
        if (columns := int(os.environ.get("COLUMNS", ""))) > 0:
            return columns
    with suppress(OSError):
        return os.get_terminal_size().columns or 80  # a terminal may say that it has none
    return 80


def make_file_render_options(*, quiet: bool = False, verbose: bool = False) -> RenderOptions:
    """Return the options of a report in a file: wide enough to read, no colour."""
    return RenderOptions(width=100, quiet=quiet, verbose=verbose)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def prepare_streams() -> None:
    """Make standard streams usable whatever they are: closed, non-blocking, of few characters."""
    # one that is closed would be None, and its number that of the next file
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream in filter(None, (sys.stdin, sys.stdout, sys.stderr)):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
        # another user of it may have made it non-blocking: what a full pipe can't take is lost
        with suppress(AttributeError, OSError, ValueError):  # Windows has it for pipes alone
            os.set_blocking(stream.fileno(), True)


def write_stdout(text: str | bytes) -> None:
    """Write the output of a command; raises InputError if it can't be written.

    A reader that has gone away is not an error: the verdict stands.
    """
    try:
        if isinstance(text, bytes):
            sys.stdout.buffer.write(text)
        else:
            sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # what is still buffered is discarded, so that the interpreter doesn't complain at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not isinstance(error, BrokenPipeError):
            raise InputError(f"cannot write to standard output: {error.strerror}") from None


def write_json_output(value: object) -> None:
    """Write the output of a command as JSON; raises InputError if it can't be written."""
    write_stdout(format_safe_json(value) + "\n")


def write_message(*lines: str) -> None:
    """Write lines that begin with the program's name to standard error."""
    write_stderr(*(f"preflight: {line}" for line in lines))


def write_stderr(*lines: str) -> None:
    """Write lines to standard error, harmless for a terminal."""
    with suppress(OSError, ValueError):  # it may be closed
        for line in lines:
            print(clean_text(line), file=sys.stderr, flush=True)  # noqa: T201


def ask_for_confirmation(question: str) -> bool | None:
    """Ask the user at the terminal; return None without one."""
    if not (_is_terminal(sys.stdin) and _is_terminal(sys.stderr)):
        return None
    sys.stderr.write(f"{question} [y/N] ")
    sys.stderr.flush()
    return sys.stdin.readline().strip().lower() in ("y", "yes")


@contextmanager
def show_status_line() -> Iterator[Callable[[str], None]]:
    """Yield a function that shows progress in a line on standard error, if that is a terminal."""
    is_enabled = _is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
    is_shown = False

    def show(text: str) -> None:
        nonlocal is_shown
        if is_enabled and text:
            is_shown = True
            sys.stderr.write(f"\r{text}")  # never shorter than the text before
            sys.stderr.flush()

    try:
        yield show
    finally:
        if is_shown:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def format_spinner(seconds: float) -> str:
    """Return a text that shows the elapsed time, once there is reason to."""
    frame = _SPINNER_FRAMES[int(seconds * 10) % len(_SPINNER_FRAMES)]
    return f"{frame} measuring, {seconds:.0f} s" if seconds >= _SPINNER_DELAY_SECONDS else ""


# --- files to write -----------------------------------------------------------------------------


def write_file(
    path: str | None, text: str | bytes, mode: int | None = None, *, append: bool = False
) -> None:
    """Write a file whole or not at all; None and `-` are standard output.

    A link stays, and what it leads to is written; so are devices and pipes. The file keeps its
    mode unless `mode` is given. Raises InputError if it can't be written.
    """
    if path is None or path == "-":
        write_stdout(text)
        return
    data = text if isinstance(text, bytes) else text.encode("utf-8", "replace")
    try:
        check_filesystem_responds(path)
        existing = stat.S_IFREG  # or nothing
        with suppress(FileNotFoundError):
            existing = os.stat(path).st_mode
            mode = existing & 0o777 if mode is None else mode
        is_special = not stat.S_ISREG(existing) or path.startswith(("/dev/", "/proc/"))
        if append or is_special or path.endswith("/"):
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | _O_NONBLOCK
            with os.fdopen(os.open(path, flags, 0o666), "wb") as file:
                if _O_NONBLOCK:  # opening a pipe without a reader has failed by now
                    os.set_blocking(file.fileno(), True)
                file.write(data)
        else:
            _replace_file(os.path.realpath(path), data, mode)
    except IsADirectoryError:
        raise InputError(f"cannot write {path}: it is a folder") from None
    except (OSError, ValueError) as error:
        raise InputError(f"cannot write {path}: {_format_read_error(error)}") from None


def _replace_file(target: str, data: bytes, mode: int | None) -> None:
    folder, name = os.path.split(target)
    os.makedirs(folder, exist_ok=True)
    # named before it exists: a signal may come as soon as it does
    temporary = os.path.join(folder, f".{name[:30]}.{os.urandom(8).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | _O_BINARY
    try:
        with os.fdopen(os.open(temporary, flags, 0o666 if mode is None else mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if mode is not None:  # the umask may have taken some of it
            os.chmod(temporary, mode)
        os.replace(temporary, target)
    except BaseException:
        with suppress(OSError):  # it may have its final name already
            os.unlink(temporary)
        raise


# --- files to read ------------------------------------------------------------------------------


def open_standard_input() -> BinaryIO:
    """Return standard input's bytes; raises InputError if it was closed."""
    if sys.stdin is None:
        raise InputError("standard input is closed")
    return sys.stdin.buffer


def read_input(name: str, max_bytes: int) -> bytes:
    """Return a file's bytes, or standard input's for `-`, and one more than allowed at most.

    Raises InputError with the reason.
    """
    try:
        if name == "-":
            return open_standard_input().read(max_bytes + 1)
        with io.BufferedReader(open_without_hanging(name)) as file:
            return file.read(max_bytes + 1)
    except (OSError, ValueError) as error:
        raise make_unreadable_input_error(name, error) from None


def get_file_identity(file: str) -> object:
    """Return a key that is the same for all paths of one file."""
    try:
        status = os.stat(file)
    except (OSError, ValueError):
        return os.path.realpath(file.replace("\0", ""))
    return (status.st_dev, status.st_ino)


def check_filesystems_respond(names: str | Iterable[str] | None) -> None:
    """Raise InputError if the filesystem of a named file doesn't answer."""
    for name in [names] if isinstance(names, str) else names or ():
        try:
            check_filesystem_responds(name)
        except OSError as error:
            raise make_unreadable_input_error(name, error) from None


def make_unreadable_input_error(name: str, error: OSError | ValueError) -> InputError:
    """Return the error for an input that can't be read."""
    hint = ""
    if isinstance(error, FileNotFoundError):
        file = name.removeprefix(RULE_FILE_MESSAGE_PREFIX)
        names = [*BUNDLED_FILE_BY_SET] if file != name else []
        hint = did_you_mean(file, [*names, *list_siblings(file)])
    return InputError(f"cannot read {name}: {_format_read_error(error)}{hint}")


def _format_read_error(error: OSError | ValueError) -> object:
    return getattr(error, "strerror", None) or error


def open_without_hanging(path: str) -> io.FileIO:
    """Open a file to read, unbuffered; raises OSError, for a pipe that nobody writes to as well."""
    check_filesystem_responds(path)
    file = io.FileIO(os.open(path, os.O_RDONLY | _O_NONBLOCK | _O_BINARY))
    if stat.S_ISFIFO(os.fstat(file.fileno()).st_mode):
        from select import select

        is_written_to, _, _ = select([file], [], [], _PIPE_WRITER_TIMEOUT_SECONDS)
        if not is_written_to:
            file.close()
            raise OSError(errno.ENXIO, "no program is writing to this pipe")
    if _O_NONBLOCK:
        os.set_blocking(file.fileno(), True)
    return file


@contextmanager
def limit_reading_time(seconds: float | None) -> Iterator[None]:
    """Raise InputError if what is read within takes longer, even if nothing comes."""

    def stop(*_: object) -> None:
        raise InputError(f"the input could not be read within {seconds:g} s (--timeout)")

    if seconds is None or not hasattr(signal, "setitimer"):
        yield
        return
    signal.signal(signal.SIGALRM, stop)
    # each 0.1 s after that: what is raised in a callback of Hyperscan is lost
    signal.setitimer(signal.ITIMER_REAL, seconds, 0.1)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def read_rule_bytes(name: str) -> bytes:
    """Return a file's bytes, one more than a rule file may have at most; raises OSError."""
    with io.BufferedReader(open_without_hanging(name)) as file:
        return file.read(MAX_RULE_FILE_BYTES + 1)


def read_rule_file(name: str) -> bytes:
    """Return a rule file's bytes, or a bundled set's by its name; of a compose file only its rules.

    Raises OSError, and InputError for a compose file whose rules are empty, or for a file that
    isn't what its lock says.
    """
    if name in BUNDLED_FILE_BY_SET:
        with open(find_bundled_rule_file(name), "rb") as bundled:
            return bundled.read()
    data = read_rule_bytes(name)
    files = dict.fromkeys((name, os.path.realpath(name)))  # a link is held to its file's lock too
    for file in files:
        if os.path.lexists(f"{file}.lock"):
            from preflight.cli.pull import check_rule_file_lock

            check_rule_file_lock(file, data)
    if EMBEDDED_RULES_KEY not in data:
        return data
    from preflight.rules.embedded import extract_embedded_rules

    return extract_embedded_rules(data, name) or data


def make_rule_file_reader(first: str, files: dict[str, bytes]) -> Callable[[str], bytes]:
    """Return a function that reads a rule file and those that it extends, and adds to `files`.

    A rule file may come from anybody, so it may only extend files in or below its own folder or
    the current one. The function raises OSError, and ValueError for a file elsewhere.
    """
    folders = set()
    with suppress(OSError):  # the current folder may have been deleted
        folders = {os.path.realpath(os.path.dirname(first)), os.path.realpath(os.getcwd())}
    folders.discard(os.sep)  # everything is below it

    def read(name: str) -> bytes:
        if name != first and name not in BUNDLED_FILE_BY_SET:
            check_filesystem_responds(name)
            path = os.path.realpath(name)
            if not any(path.startswith(os.path.join(folder, "")) for folder in folders):
                raise ValueError(
                    "the file must be in the rule file's folder or in the current folder"
                )
        files[name] = read_rule_file(name)
        return files[name]

    return read


def find_bundled_rule_file(name: str = DEFAULT_RULE_SET) -> str:
    """Return the path of a bundled set: in the package, or in a source checkout."""
    package = os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    inside = os.path.join(package, BUNDLED_FILE_BY_SET[name])
    if os.path.exists(inside):
        return inside
    return os.path.join(package, "../..", BUNDLED_FILE_BY_SET[name])
