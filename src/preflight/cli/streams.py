"""Standard streams and files: what the terminal can show; files whole or not at all."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import TextIO

from preflight.model.problems import InputError
from preflight.model.rules import DEFAULT, MAX_BYTES
from preflight.render.look import Look, clean

_SPINNER = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
_PATIENCE = 0.3  # seconds before the spinner shows


def look(*, quiet: bool = False, verbose: bool = False) -> Look:
    """Return what standard output can show: its width, colour, and whether only ASCII."""
    environ = os.environ
    dumb = environ.get("TERM") == "dumb"
    if environ.get("NO_COLOR") or (dumb and not environ.get("FORCE_COLOR")):
        color = False
    else:
        color = bool(environ.get("FORCE_COLOR")) or _is_terminal(sys.stdout)
    return Look(
        width=shutil.get_terminal_size((80, 24)).columns,
        color=color,
        ascii=not _can_show("✔✖▲⊘·≥…▇▒├└◀×", sys.stdout),
        quiet=quiet,
        verbose=verbose,
    )


def file_look(*, quiet: bool = False, verbose: bool = False) -> Look:
    """Return the look of a report in a file: wide enough to read, no colour."""
    return Look(width=100, quiet=quiet, verbose=verbose)


def _is_terminal(stream: TextIO | None) -> bool:
    return stream is not None and not stream.closed and stream.isatty()


def _can_show(text: str, stream: TextIO | None) -> bool:
    try:
        text.encode((stream and stream.encoding) or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def write(text: str) -> None:
    """Write to standard output; a reader that has gone is no fault, and the verdict stands."""
    if sys.stdout is None:
        return
    try:
        encoding = sys.stdout.encoding or "ascii"
        sys.stdout.write(text.encode(encoding, "replace").decode(encoding))
        sys.stdout.flush()
    except BrokenPipeError:
        silence_stdout()
    except OSError as fault:
        silence_stdout()
        raise InputError(f"cannot write to standard output: {fault.strerror}") from None


def silence_stdout() -> None:
    """Let what is still buffered go nowhere, so that the interpreter ends without a complaint."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def complain(*lines: str) -> None:
    """Write lines to standard error, harmless for a terminal."""
    try:
        encoding = (sys.stderr and sys.stderr.encoding) or "ascii"
        for line in lines:
            text = clean(f"preflight: {line}").encode(encoding, "replace").decode(encoding)
            print(text, file=sys.stderr, flush=True)  # noqa: T201
    except (OSError, ValueError):
        pass  # nobody listens


def write_file(path: str, text: str) -> str | None:
    """Write a file whole or not at all; returns why not, in a line."""
    import tempfile

    target = Path(path)
    temporary = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            return f"cannot write {path}: it is a folder"
        handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, _mode(target))
        os.replace(temporary, target)
        temporary = None
    except OSError as fault:
        return f"cannot write {path}: {fault.strerror or fault}"
    finally:
        if temporary is not None:
            os.unlink(temporary)
    return None


def _mode(target: Path) -> int:
    """The mode that the file has, or that a new file gets here."""
    try:
        return target.stat().st_mode & 0o777
    except OSError:
        mask = os.umask(0)
        os.umask(mask)
        return 0o666 & ~mask


def read_input(name: str, most: int) -> bytes:
    """Return a file's bytes, or standard input's for `-`; raises InputError with the reason."""
    try:
        if name == "-":
            data = sys.stdin.buffer.read(most + 1)
        else:
            with open(name, "rb") as file:
                data = file.read(most + 1)
    except (OSError, ValueError) as fault:
        raise InputError(
            f"cannot read {name}: {getattr(fault, 'strerror', None) or fault}"
        ) from None
    return data


def read_rules(name: str) -> bytes:
    """Return a rule file's bytes, the bundled one's for DEFAULT. Raises OSError."""
    path = bundled_rules() if name == DEFAULT else Path(name)
    with path.open("rb") as file:
        return file.read(MAX_BYTES + 1)


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
