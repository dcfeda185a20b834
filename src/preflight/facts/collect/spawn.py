"""Starts the reader process; imports next to nothing, so that it can come first of all."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import Any, TypeAlias

Process: TypeAlias = "subprocess.Popen[bytes]"

_BOOT = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[1:];"
    "from preflight.facts.collect.worker import main; main()"
)


def start_reader() -> Process:
    """Start the reader; it waits to be told what to measure, and ends when its input does.

    It gets our own module path, and nothing of the current folder is in it, unless we are there
    ourselves: a `docker.py` of the user's project must not be taken for the SDK.
    """
    apart: dict[str, Any] = {"start_new_session": True}
    if sys.platform == "win32":
        apart = {"creationflags": subprocess.CREATE_NO_WINDOW}
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    path = [entry for entry in sys.path if entry and (entry != _here() or entry == ours)]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _BOOT, *path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **apart,
    )


def _here() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was removed under us


def end(process: Process) -> None:
    """End the reader, whatever it is at; one that the kernel holds is left to the kernel."""
    if process.poll() is None:
        _kill(process)
    try:
        process.wait(0.05)
    except subprocess.TimeoutExpired:
        process.returncode = -9
    try:
        assert process.stdin is not None
        process.stdin.close()
    except OSError:
        pass  # it has gone and left something unread


def _kill(process: Process) -> None:
    """Kill the reader with what it has started; it leads a group of its own."""
    if hasattr(os, "killpg"):
        with suppress(OSError):
            os.killpg(process.pid, 9)
    process.kill()
