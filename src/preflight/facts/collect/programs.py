"""Runs a program that a probe asks: bounded in time and in what it says, ended with the reader."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import IO, NamedTuple

_RUNNING: set[subprocess.Popen[bytes]] = set()


class Done(NamedTuple):
    """What came of it: the exit code, None where there is none and `error` says why."""

    code: int | None
    out: str
    error: str


class Child:
    """A program that has been started; its output is read while it runs."""

    def __init__(self, arguments: Sequence[str], environ: Mapping[str, str], most: int) -> None:
        self._most = most
        self._parts: dict[str, bytes] = {}
        self._threads: list[threading.Thread] = []
        self._fault = ""
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
            )
        except OSError as fault:
            self._fault = f"can't be run: {fault.strerror}"
            return
        _RUNNING.add(self._process)
        for name, stream in (("out", self._process.stdout), ("error", self._process.stderr)):
            assert stream is not None
            thread = threading.Thread(target=self._drain, args=(name, stream), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _drain(self, name: str, stream: IO[bytes]) -> None:
        self._parts[name] = stream.read(self._most + 1)
        if len(self._parts[name]) > self._most:
            self._process.kill()

    def finish(self, timeout: float) -> Done:
        """Wait `timeout` seconds at most, then end it."""
        if self._fault:
            return Done(None, "", self._fault)
        try:
            code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return Done(None, "", f"gave no answer within {timeout:.3g} s")
        finally:
            _RUNNING.discard(self._process)
        for thread in self._threads:
            thread.join(1)  # a grandchild may hold the pipe
        if any(len(part) > self._most for part in self._parts.values()):
            return Done(None, "", f"says more than {self._most // 2**20} MiB")
        if code < 0:
            return Done(None, "", f"was ended by signal {-code}")
        out, error = (
            self._parts.get(name, b"").decode("utf-8", "replace") for name in ("out", "error")
        )
        return Done(code, out, error)


def end_all() -> None:
    """End every program that still runs, and what it started: nothing outlives the reader."""
    if _RUNNING and hasattr(os, "killpg") and os.getpgrp() == os.getpid():
        os.killpg(0, 9)  # the reader leads a group of its own, and ends here too
    for process in list(_RUNNING):
        with suppress(OSError):
            process.kill()
