"""Starts and ends the worker process; imports next to nothing, so that it can come first."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress
from typing import TypeAlias

from preflight.processes import NEW_GROUP, kill_group

Worker: TypeAlias = "subprocess.Popen[bytes]"

_CODE = (
    "import gc, sys; gc.disable(); sys.path[:] = sys.argv[1:];"
    "from preflight.facts.collect.worker import main; main()"
)


def start_worker() -> Worker:
    """Start a worker; it waits for its request, and ends when its standard input is closed.

    It gets our module path without the current folder, unless we are installed there: a
    `docker.py` of the user's project must not be taken for the SDK. Raises OSError.
    """
    ours = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    current = _current_folder()
    path = [entry for entry in sys.path if entry and (entry != current or entry == ours)]
    return subprocess.Popen(
        [sys.executable, "-S", "-c", _CODE, *path],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        **NEW_GROUP,
    )


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:
        return ""  # it was deleted


def stop_worker(worker: Worker) -> None:
    """End a worker and the programs it runs; one that hangs in the kernel is left behind."""
    if worker.returncode is not None:
        return
    kill_group(worker)
    try:
        worker.wait(0.05)
    except subprocess.TimeoutExpired:
        worker.returncode = -9
    assert worker.stdin is not None
    with suppress(OSError):  # it ended without reading its request
        worker.stdin.close()
