"""Starts and ends the worker process, in which everything is measured.

On Linux it is a fork, taken before the program has threads: what both use is imported once, and
shares its memory. Elsewhere a fork isn't safe, and an interpreter is started.
"""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from importlib import import_module
from typing import IO, TYPE_CHECKING, NoReturn, TypeAlias

from preflight.processes import SIGKILL_NUMBER, close_file_descriptors_from

if TYPE_CHECKING:
    import subprocess

_WORKER_PYTHON_CODE = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[1:];"
    "from preflight.facts.collect.worker import serve_request; serve_request()"
)
_MAX_SECONDS_AFTER_KILL = 0.05  # to wait for a worker that was killed
_SHARED_MODULES = (
    "json", "shlex", "threading", "preflight.facts.collect.measurement",
    "preflight.facts.language_model", "preflight.facts.table", "preflight.processes",
)  # fmt: skip


class ForkedWorker:
    """A fork of this process, with what is used here of a subprocess.Popen."""

    def __init__(self, pid: int, stdin: IO[bytes], stdout: IO[bytes]) -> None:
        self.pid, self.stdin, self.stdout = pid, stdin, stdout
        self.returncode: int | None = None

    def kill(self) -> None:
        """End it, even if it has ended by itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, SIGKILL_NUMBER)

    def poll(self) -> int | None:
        """Return its exit code once it has ended."""
        try:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
        except ChildProcessError:  # it has ended; whoever started us ignores SIGCHLD
            pid, status = self.pid, 0
        if pid:
            self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode


Worker: TypeAlias = "subprocess.Popen[bytes] | ForkedWorker"


def start_worker() -> Worker:
    """Start a worker; it waits for its request, and ends when its standard input is closed.

    It gets our module path without the current folder, unless we are installed there: a
    `docker.py` of the user's project must not be taken for the SDK. Raises OSError.
    """
    program_folder = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    current = ""
    with suppress(OSError):  # it was deleted
        current = os.getcwd()
    path = [entry for entry in sys.path if entry and (entry != current or entry == program_folder)]
    if sys.platform == "linux":
        return _fork_worker(path)
    import subprocess  # takes as long to import as what both processes need of our own

    return subprocess.Popen(
        [sys.executable, "-S", "-c", _WORKER_PYTHON_CODE, *path],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),  # on Windows
    )  # fmt: skip


def stop_worker(worker: Worker) -> None:
    """End a worker and the programs it runs; one that hangs in the kernel is left behind."""
    if worker.returncode is not None:
        return
    with suppress(OSError, AttributeError):  # Windows has no process groups
        os.killpg(worker.pid, SIGKILL_NUMBER)
    worker.kill()
    end = time.monotonic() + _MAX_SECONDS_AFTER_KILL
    while worker.poll() is None and time.monotonic() < end:
        time.sleep(0.0001)
    if worker.returncode is None:
        worker.returncode = -SIGKILL_NUMBER
    assert worker.stdin is not None
    with suppress(OSError):  # it ended without reading its request
        worker.stdin.close()


def import_shared_modules() -> None:
    """Import what the program and the worker will both use, before they part."""
    for module in _SHARED_MODULES:
        import_module(module)


def _fork_worker(path: list[str]) -> ForkedWorker:
    import_shared_modules()
    (request, stdin), (stdout, answer) = os.pipe(), os.pipe()
    pid = os.fork()
    if pid == 0:
        _serve_and_exit(request, answer, path)
    os.close(request)
    os.close(answer)
    return ForkedWorker(pid, os.fdopen(stdin, "wb"), os.fdopen(stdout, "rb"))


def _serve_and_exit(request: int, answer: int, path: list[str]) -> NoReturn:
    """Become the worker: with a session and streams of its own, and no other open file."""
    try:
        os.setsid()
        os.dup2(request, 0)
        os.dup2(answer, 1)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        close_file_descriptors_from(3)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        sys.path[:] = path
        from preflight.facts.collect.worker import serve_request

        serve_request()
    finally:  # whatever happens, it must not go on as the program
        os._exit(1)
