"""Finds what a test has started, by a variable that its children inherit."""

from __future__ import annotations

import os
from pathlib import Path

MARK = "PF_TEST_MARK"


def marked(mark: str) -> set[int]:
    """Return the living processes that inherited the mark, the reader's own session too."""
    found = set()
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if f"{MARK}={mark}".encode() in Path(f"/proc/{pid}/environ").read_bytes():
                found.add(int(pid))
        except OSError:
            continue
    return found
