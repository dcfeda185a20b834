"""Runs other programs: bounded in time and in output, and ended with what they have started.

A leaf that any layer may import. It knows nothing about the programs that it runs.
"""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence
from typing import IO, NamedTuple


class Result(NamedTuple):
    """How a program ended; `exit_code` is None if it gave none, and `error` says why."""

    exit_code: int | None
    output: str
    error: str


class Program:
    """A program that has been started; its output is read while it runs.

    It stays in the process group of its caller, which ends what the program has started by
    ending that group.
    """

    def __init__(
        self, arguments: Sequence[str], environ: Mapping[str, str], max_bytes: int
    ) -> None:
        self._max_bytes = max_bytes
        self._output: dict[str, bytes] = {}
        self._start_error = ""
        try:
            self._process = subprocess.Popen(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env=dict(environ),
            )
        except OSError as error:
            self._start_error = f"can't be run: {error.strerror}"
            return
        streams = (("output", self._process.stdout), ("error", self._process.stderr))
        self._threads = [threading.Thread(target=self._read, args=s, daemon=True) for s in streams]
        for thread in self._threads:
            thread.start()

    def _read(self, name: str, stream: IO[bytes]) -> None:
        self._output[name] = stream.read(self._max_bytes + 1)
        if len(self._output[name]) > self._max_bytes:
            self._process.kill()

    def wait(self, timeout: float) -> Result:
        """Wait `timeout` seconds at most, then end it."""
        if self._start_error:
            return Result(None, "", self._start_error)
        try:
            exit_code = self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return Result(None, "", f"did not finish within {timeout:.3g} s")
        finally:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(1)  # what the program has started may hold the pipe
        if any(len(part) > self._max_bytes for part in self._output.values()):
            return Result(None, "", f"printed more than {self._max_bytes // 2**20} MiB")
        if exit_code < 0:
            return Result(None, "", f"was ended by signal {-exit_code}")
        output, error = (
            self._output.get(name, b"").decode("utf-8", "replace") for name in ("output", "error")
        )
        return Result(exit_code, output, error)
