"""Finds the processes that a test has started, by a variable that they inherit."""

from __future__ import annotations

import os
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
