"""Runs the program in a fork of the test process, where its modules are imported already.

The fork has its own standard streams, folder, environment and exit code, and takes a tenth of the
time of a new process. Tests about starting the program start a process instead.
"""

from __future__ import annotations

import io
import os
import pkgutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib import import_module
from pathlib import Path
from typing import IO

import preflight

_imported: list[str] = []


def run(
    *arguments: str,
    cwd: Path,
    env: Mapping[str, str | None] | None = None,
    input: str = "",
    timeout: float = 60,
) -> subprocess.CompletedProcess[str]:
    """Run `preflight`; variables of `env` are added, or removed if None. Its output is text."""
    merged = {**os.environ, **(env or {})}
    environ = {name: value for name, value in merged.items() if value is not None}
    if not hasattr(os, "fork"):
        return subprocess.run(
            [sys.executable, "-m", "preflight", *arguments], cwd=cwd, env=environ, input=input,
            capture_output=True, text=True, timeout=timeout,
        )  # fmt: skip
    if not _imported:
        _import_all()
    with ExitStack() as stack:
        files = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)]
        files[0].write(input.encode())
        files[0].seek(0)
        pid = os.fork()
        if pid == 0:
            _run_program(arguments, cwd, environ, files)
        code = _wait(pid, arguments, timeout)
        texts = []
        for file in files[1:]:
            file.seek(0)
            texts.append(file.read().decode("utf-8", "replace"))
    return subprocess.CompletedProcess(["preflight", *arguments], code, *texts)


def _import_all() -> None:
    for module in pkgutil.walk_packages(preflight.__path__, "preflight."):
        if ".roles" not in module.name and not module.name.endswith("__main__"):
            import_module(module.name)
            _imported.append(module.name)


def _run_program(
    arguments: tuple[str, ...], cwd: Path, environ: Mapping[str, str], files: Sequence[IO[bytes]]
) -> None:
    """Turn this fork into the program, and exit with its code."""
    code: object = 70
    try:
        os.chdir(cwd)
        tempfile.tempdir = None  # it was chosen for the TMPDIR of the tests
        os.environ.clear()
        os.environ.update(environ)
        for number, file in enumerate(files):
            os.dup2(file.fileno(), number)
        sys.stdin = io.TextIOWrapper(io.FileIO(0, closefd=False), "utf-8")
        sys.stdout, sys.stderr = (
            io.TextIOWrapper(io.BufferedWriter(io.FileIO(number, "w", closefd=False)), "utf-8")
            for number in (1, 2)
        )
        sys.argv = ["preflight", *arguments]
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_DFL)
        from preflight.cli import main

        main()
        code = 0
    except SystemExit as exit_:
        code = exit_.code or 0
    except BaseException:  # noqa: BLE001 - a fork must not go on as a second test run
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except (OSError, ValueError):
                pass
        os._exit(code if isinstance(code, int) else 1)


def _wait(pid: int, arguments: tuple[str, ...], timeout: float) -> int:
    """Return the exit code; raises TimeoutExpired, as a process would."""
    deadline, pause = time.monotonic() + timeout, 0.001
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        if time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise subprocess.TimeoutExpired(["preflight", *arguments], timeout)
        time.sleep(pause)
        pause = min(pause * 1.5, 0.02)
