"""Asks the readers side by side, under one deadline that holds whatever they do."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from queue import Empty, SimpleQueue

from preflight.model.facts import Measured, Unknown
from preflight.probes.options import Options
from preflight.probes.reader import decode
from preflight.probes.spawn import Process, Reader, end
from preflight.probes.table import PROBES

_TICK = 0.1  # seconds between two signs of life

Lines = SimpleQueue[tuple[Reader, "bytes | None"]]


def collect(
    readers: dict[Reader, Process],
    options: Options,
    tick: Callable[[float], None] | None = None,
) -> Iterator[Measured]:
    """Yield what the probes deliver until all have ended or the time is over, then the rest.

    The rest is an Unknown for every declared fact; of two for one path, the first stands.
    `tick` is called with the seconds gone by while there is nothing to yield.
    """
    start = time.monotonic()
    lines: Lines = SimpleQueue()
    waiting = set(readers)
    for name, process in readers.items():
        _ask(process, options)
        threading.Thread(target=_pump, args=(name, process, lines), daemon=True).start()
    try:
        while waiting and (left := start + options.timeout - time.monotonic()) > 0:
            try:
                name, line = lines.get(timeout=min(_TICK, left))
            except Empty:
                if tick is not None:
                    tick(time.monotonic() - start)
                continue
            if line is None:
                waiting.discard(name)
            else:
                yield decode(line)
    finally:
        end(readers)
    yield from _rest(waiting, options.timeout)


def _ask(process: Process, options: Options) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(asdict(options)).encode("ascii") + b"\n")
        process.stdin.close()
    except OSError:
        pass  # it has ended: its facts will be missing


def _pump(name: Reader, process: Process, lines: Lines) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        lines.put((name, line))
    lines.put((name, None))


def _rest(late: set[Reader], timeout: float) -> Iterator[Measured]:
    for probe in PROBES:
        reason = (
            Unknown(f"not measured within {timeout:.3g} s", "timeout")
            if probe.reader in late
            else Unknown("its reader ended without it", "error")
        )
        for fact in probe.facts:
            if "*" not in fact.path:
                yield Measured(tuple(fact.path.split(".")), reason)
