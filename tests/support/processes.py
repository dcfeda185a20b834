"""Finds the processes that a test has started, by a variable that they inherit, and waits."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

MARK_VARIABLE = "PF_TEST_MARK"


def find_marked_processes(mark: str) -> set[int]:
    """Return the pids of running processes whose environment has the mark, in any session."""
    pids = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"{MARK_VARIABLE}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                pids.add(int(pid))
        except OSError:
            continue
    return pids


def wait_until(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether a condition becomes true within these seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)
    return True
