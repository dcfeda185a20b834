"""Asks the reader, under one deadline that holds whatever the probes do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue

from preflight.facts.collect.protocol import decode
from preflight.facts.collect.spawn import Process, end
from preflight.facts.options import Options
from preflight.facts.table import PROBES, missing
from preflight.model.facts import Measured, Unknown

_TICK = 0.1  # seconds between two signs of life


class Measuring:
    """A measuring that goes on in the reader while the program does something else."""

    def __init__(self, reader: Process, options: Options) -> None:
        self._start = time.monotonic()
        self._reader = reader
        self._timeout = options.timeout
        self._lines: SimpleQueue[bytes | None] = SimpleQueue()
        _ask(reader, options, self._start)
        threading.Thread(target=self._pump, daemon=True).start()

    def results(self, tick: Callable[[float], None] | None = None) -> Iterator[Measured]:
        """Yield what the probes deliver until they have ended or the time is over, then the rest.

        The rest is an Unknown for every declared fact; of two for one path, the first stands.
        `tick` is called with the seconds gone by while there is nothing to yield.
        """
        late = True
        try:
            while (left := self._start + self._timeout - time.monotonic()) > 0:
                try:
                    line = self._lines.get(timeout=min(_TICK, left))
                except Empty:
                    if tick is not None:
                        tick(time.monotonic() - self._start)
                    continue
                if line is None:
                    late = False
                    break
                yield decode(line)
        finally:
            end(self._reader)
        yield from _rest(
            Unknown(f"not measured within {self._timeout:.3g} s", "timeout")
            if late
            else Unknown("its reader ended without it", "error")
        )

    def _pump(self) -> None:
        assert self._reader.stdout is not None
        for line in self._reader.stdout:
            self._lines.put(line)
        self._lines.put(None)


class NoMeasuring:
    """What is left where not even a reader can be started: every fact is unknown, and why."""

    def __init__(self, reason: str) -> None:
        self._reason = reason

    def results(self, _tick: Callable[[float], None] | None = None) -> Iterator[Measured]:
        """Yield an Unknown for every declared fact."""
        return _rest(Unknown(self._reason, "error"))


def _ask(reader: Process, options: Options, since: float) -> None:
    assert reader.stdin is not None
    try:
        reader.stdin.write(json.dumps([options._asdict(), since]).encode("ascii") + b"\n")
        reader.stdin.close()
    except OSError:
        pass  # it has ended: its facts will be missing


def _rest(reason: Unknown) -> Iterator[Measured]:
    for probe in PROBES:
        yield from missing(probe, reason)
