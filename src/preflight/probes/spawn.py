"""Starts the reader processes; imports next to nothing, so that it can come first of all."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, Literal, TypeAlias

Reader: TypeAlias = Literal["host", "engine"]
Process: TypeAlias = "subprocess.Popen[bytes]"
READERS: tuple[Reader, ...] = ("engine", "host")  # in the order of their start: slowest first

_BOOT = (
    "import sys; sys.path[:] = sys.argv[2:];"
    "from preflight.probes.reader import main; main(sys.argv[1])"
)


def start_readers() -> dict[Reader, Process]:
    """Start every reader; each waits to be told what to measure, and ends when its input does."""
    return {name: _start(name) for name in READERS}


def _start(name: Reader) -> Process:
    """Start a reader with our own module path and nothing of the current folder in it."""
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NO_WINDOW}
    path = [entry for entry in sys.path if entry]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _BOOT, name, *path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **apart,
    )


def end(processes: dict[Reader, Process]) -> None:
    """End the readers, whatever they are at; one that the kernel holds is left to the kernel."""
    for process in processes.values():
        if process.poll() is None:
            process.kill()
    for process in processes.values():
        try:
            process.wait(0.05)
        except subprocess.TimeoutExpired:
            process.returncode = -9
        try:
            assert process.stdin is not None
            process.stdin.close()
        except OSError:
            pass  # the reader has gone and left something unread
