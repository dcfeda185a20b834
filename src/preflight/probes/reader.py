"""The reader process: runs every probe side by side and writes each figure as it comes.

It is told what to measure on standard input, and ends by itself at its deadline or when nobody
reads any more. Each probe has a thread, so that a hung one doesn't hold the others back; and the
process is one that the program can kill, or leave behind where the kernel won't let go of it.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from preflight.model.facts import Measured, Unknown
from preflight.probes.child import end_all
from preflight.probes.machine import Machine
from preflight.probes.options import Options
from preflight.probes.table import PROBES, Probe, missing
from preflight.probes.wire import encode

Measure: TypeAlias = Callable[[Machine], Iterator[Measured]]

HEADSTART = 0.1  # seconds that the reader ends before its caller gives it up


def main() -> None:
    """Serve one request, then end the process, hung threads and all."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)  # not needed after all
    options = Options(**json.loads(line))
    ends = time.monotonic() + max(options.timeout - HEADSTART, options.timeout / 2)
    machine = Machine(options)
    threads = [
        threading.Thread(target=_run, args=(probe, machine), daemon=True) for probe in PROBES
    ]
    for thread in reversed(threads):  # the engine's first: the others fit into its waiting
        thread.start()
    for probe, thread in zip(PROBES, threads, strict=True):
        thread.join(max(0.0, ends - time.monotonic()))
        late = getattr(probe.load(), "late", None) if thread.is_alive() else None
        if late is not None:
            _write(late(f"within {options.timeout:.3g} s"))
    end_all()
    os._exit(0)


def _run(probe: Probe, machine: Machine, measure: Measure | None = None) -> None:
    complete = []
    try:
        for one in (measure or probe.load().measure)(machine):
            if one.value == {}:
                complete.append(one)  # a collection is told once all that is in it has been
            else:
                _write([one])
        _write(complete)
    except Exception as fault:  # noqa: BLE001 - whatever a probe raises is a reason
        _fail(probe, f"{type(fault).__name__}: {fault}")


def _fail(probe: Probe, reason: str) -> None:
    _write(missing(probe, Unknown(reason, "error")))  # what came before stands


def _write(measured: Iterable[Measured]) -> None:
    for one in measured:
        line = json.dumps(encode(one)).encode("ascii") + b"\n"
        try:
            with _WRITING:
                while line:
                    line = line[os.write(1, line) :]
        except OSError:
            end_all()
            os._exit(0)  # nobody reads any more


_WRITING = threading.Lock()
