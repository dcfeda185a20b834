"""Receives facts from the worker, under one deadline that holds whatever the probes do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

from preflight.facts.collect.worker_process import Worker, start_worker, stop_worker
from preflight.facts.options import Options
from preflight.facts.table import PROBES, unknown_facts
from preflight.model.facts import FileLine, Measured, Source, Unknown

_WAIT_INTERVAL = 0.1  # seconds between two calls of `on_wait`


class Measurement:
    """A measurement that runs in the worker while the program does something else."""

    def __init__(self, options: Options, worker: Worker | None = None) -> None:
        self._start = time.monotonic()
        self._timeout = options.timeout
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        self._failure = "the worker process ended too early"
        self._worker = worker
        try:
            self._worker = self._worker or start_worker()
            threading.Thread(target=self._read_lines, args=(self._worker,), daemon=True).start()
        except (OSError, RuntimeError) as error:  # no more processes or threads here
            self._failure = f"the worker process could not be started: {error}"
            self._lines.put(None)
            return
        assert self._worker.stdin is not None
        request = json.dumps([options._asdict(), self._start]).encode("ascii") + b"\n"
        with suppress(OSError):  # the worker has ended: its facts will be missing
            self._worker.stdin.write(request)
            self._worker.stdin.close()

    def results(self, on_wait: Callable[[float], None] | None = None) -> Iterator[Measured]:
        """Yield facts as they come, then an Unknown for every declared fact.

        Of two values for one path the first counts. `on_wait` is called with the seconds gone by
        while there is nothing to yield.
        """
        missing = Unknown(f"not measured within {self._timeout:.3g} s", "timeout")
        try:
            while (left := self._start + self._timeout - time.monotonic()) > 0:
                try:
                    line = self._lines.get(timeout=min(_WAIT_INTERVAL, left))
                except Empty:
                    if on_wait is not None:
                        on_wait(time.monotonic() - self._start)
                    continue
                if line is None:
                    missing = Unknown(self._failure, "error")
                    break
                yield decode(line)
        finally:
            if self._worker is not None:
                stop_worker(self._worker)
        for probe in PROBES:
            yield from unknown_facts(probe, missing)

    def _read_lines(self, worker: Worker) -> None:
        assert worker.stdout is not None
        for line in worker.stdout:
            self._lines.put(line)
        self._lines.put(None)


def decode(line: bytes) -> Measured:
    """Return the fact in a line of the worker's output."""
    path, value, *rest = json.loads(line)
    if not rest:
        return Measured(tuple(path), Unknown(*value))
    source = rest[0]
    if isinstance(source, list):
        text, place = source
        source = Source(text, None if place is None else FileLine(*place))
    return Measured(tuple(path), value, source)
