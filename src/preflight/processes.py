"""Runs other programs, bounded in time and output, and asks filesystems that may not answer.

A leaf that any layer may import. It knows nothing about the programs that it runs.
"""

import errno
import os
import stat
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from functools import cache, partial
from typing import IO, NamedTuple, NoReturn

MAX_FILESYSTEM_ANSWER_SECONDS = 3.0  # to wait for a filesystem
SIGKILL_NUMBER = 9  # Windows' `signal` hasn't got it, and its import takes long
_filesystem_timeout = ContextVar("_filesystem_timeout", default=MAX_FILESYSTEM_ANSWER_SECONDS)
REMOTE_FILESYSTEM_PREFIXES = (
    "fuse", "nfs", "cifs", "smb", "9p", "ceph", "lustre", "afs", "gpfs", "virtiofs", "ocfs2", "gfs2"
)  # fmt: skip
"""How the names begin of those that another machine or a program serves, and that may be silent."""


class ProgramResult(NamedTuple):
    """How a program ended; `exit_code` is None if it gave none, and `error` says why."""

    exit_code: int | None
    output: str
    error: str


def make_resource_limiter(name: str, max_bytes: int | None) -> Callable[[], None] | None:
    """Return what limits a child before it becomes the program, such as its `RLIMIT_AS`.

    None without a limit, and on systems that have none.
    """
    if max_bytes is None or sys.platform == "win32":
        return None
    import resource

    return partial(resource.setrlimit, getattr(resource, name), (max_bytes, max_bytes))


def _write_and_close(stream: IO[bytes], data: bytes) -> None:
    with suppress(OSError), stream:
        stream.write(data)


class StartedProgram:
    """A program that has been started; its output is read while it runs.

    It stays in the process group of its caller, which ends what the program has started by
    ending that group. `max_memory` bytes are its address space, on Linux. It reads `text` on
    standard input.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        environ: Mapping[str, str],
        max_bytes: int,
        max_memory: int | None = None,
        text: str = "",
    ) -> None:
        self._max_bytes = max_bytes
        self._output = {"output": bytearray(), "error": bytearray()}
        self._start_error = ""
        import subprocess  # most runs start no program, and it takes long to import

        on_linux = sys.platform == "linux"
        limit_memory = make_resource_limiter("RLIMIT_AS", max_memory if on_linux else None)
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.PIPE if text else subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
                preexec_fn=limit_memory,  # noqa: PLW1509 - it takes no lock
            )
        except OSError as error:
            self._start_error = f"failed to start: {error.strerror}"
            return
        streams = (("output", self._process.stdout), ("error", self._process.stderr))
        self._threads = [
            threading.Thread(target=self._read_output, args=s, daemon=True) for s in streams
        ]
        for thread in self._threads:
            thread.start()
        if stdin := self._process.stdin:
            writer = threading.Thread(
                target=_write_and_close, args=(stdin, text.encode()), daemon=True
            )
            writer.start()

    def _read_output(self, name: str, stream: IO[bytes]) -> None:
        while data := os.read(stream.fileno(), 2**16):
            self._output[name] += data
            if len(self._output[name]) > self._max_bytes:
                self._process.kill()
                return

    def wait(self, timeout: float) -> ProgramResult:
        """Wait `timeout` seconds at most, then end it."""
        if self._start_error:
            return ProgramResult(None, "", self._start_error)
        from subprocess import TimeoutExpired

        end = time.monotonic() + timeout
        try:
            exit_code = self._process.wait(timeout)
        except TimeoutExpired:
            return ProgramResult(None, "", f"didn't finish within {timeout:.3g} s")
        finally:
            self._process.kill()
            self._process.wait()
        seconds_left = max(0.1, min(1.0, end - time.monotonic()))
        end = time.monotonic() + seconds_left  # what the program has started may hold the pipes
        for thread in self._threads:
            thread.join(max(0.0, end - time.monotonic()))
        if any(len(part) > self._max_bytes for part in self._output.values()):
            return ProgramResult(None, "", f"printed more than {self._max_bytes:,} bytes")
        if exit_code < 0:
            return ProgramResult(None, "", f"was ended by signal {-exit_code}")
        output, error = (
            self._output[name].decode("utf-8", "replace") for name in ("output", "error")
        )
        return ProgramResult(exit_code, output, error)


def find_program(name: str, environ: Mapping[str, str] = os.environ) -> str | None:
    """Return the path of a program on PATH, or None if it doesn't exist.

    Relative entries are left out: a stranger's project may have a program of that name.
    """
    folders = [*filter(os.path.isabs, environ.get("PATH", os.defpath).split(os.pathsep))]
    if sys.platform == "win32":
        import shutil  # also tries the extensions of programs

        return shutil.which(name, path=os.pathsep.join(folders))
    files = (os.path.join(folder, name) for folder in folders)
    return next((f for f in files if os.path.isfile(f) and os.access(f, os.X_OK)), None)


def set_filesystem_timeout(seconds: float) -> None:
    """Wait so long for a filesystem from now on, in all commands, and never more than 3 s."""
    _filesystem_timeout.set(min(seconds, MAX_FILESYSTEM_ANSWER_SECONDS))


def check_filesystem_responds(path: str) -> None:
    """Raise OSError if a filesystem over a network, or of a program, doesn't answer.

    It is asked for a file, or for a folder and the files in it. A process that waits for it can't
    be ended, and whoever holds one of its pipes waits too: so a child without our streams asks.
    """
    if not _is_remote_filesystem_mounted():
        return
    from select import select  # hardly any machine needs it

    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        _probe_path_and_exit(path, writing)
    os.close(writing)
    with open(reading, "rb", buffering=0) as answers:
        while select([answers], [], [], _filesystem_timeout.get())[0]:
            if not answers.read(4096):  # it has ended
                with suppress(ChildProcessError):  # whoever started us ignores SIGCHLD
                    os.waitpid(child, 0)
                return
    os.kill(child, SIGKILL_NUMBER)
    problem = f"its filesystem did not answer within {_filesystem_timeout.get():g} s"
    raise OSError(errno.ETIMEDOUT, problem)


def close_file_descriptors_from(first: int) -> None:
    """Close all open files from this number on.

    os.closerange tries each number on kernels before 5.9, and the limit may be a billion.
    """
    try:
        numbers = list(map(int, os.listdir("/proc/self/fd")))
    except OSError:  # /proc isn't mounted
        numbers = list(range(256))
    for number in numbers:
        if number >= first:
            with suppress(OSError):  # the number of the listing itself
                os.close(number)


def list_siblings(path: str) -> list[str]:
    """Return the files and folders beside a path, written as the path is: to suggest one."""
    folder = os.path.dirname(path)
    try:
        with os.scandir(folder or ".") as entries:
            usable = [entry.name for entry in entries if entry.is_file() or entry.is_dir()]
        return [os.path.join(folder, name) for name in usable]
    except (OSError, ValueError):
        return []


@cache
def _is_remote_filesystem_mounted() -> bool:
    try:
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            text = mounts.read()
        return any(f" - {name}" in text for name in REMOTE_FILESYSTEM_PREFIXES)
    except OSError:
        return False


def _probe_path_and_exit(path: str, answers: int) -> NoReturn:
    """Read the beginning of a file, or look at each file of a folder; write a byte for each."""
    try:
        os.dup2(answers, 0)
        close_file_descriptors_from(1)
        mode = os.stat(path).st_mode
        if stat.S_ISREG(mode):
            os.read(os.open(path, os.O_RDONLY), 1)
        for name in os.listdir(path) if stat.S_ISDIR(mode) else ():
            os.path.exists(os.path.join(path, name))
            os.write(0, b".")
    finally:
        os._exit(0)
