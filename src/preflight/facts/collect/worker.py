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

from preflight.facts.collect.context import MeasureContext
from preflight.facts.collect.protocol import encode
from preflight.facts.compose.project import Project
from preflight.facts.options import Options
from preflight.facts.table import PROBES, Probe, missing, without_project
from preflight.model.facts import Measured, Unknown

Measure: TypeAlias = Callable[[MeasureContext], Iterator[Measured]]

_FIRST = {"docker"}  # it waits most: the others fit into its waiting
_SWITCH = 0.02  # seconds that a thread keeps going on, so that the first comes to its waiting
HEADSTART = 0.2  # seconds that the reader ends before its caller gives it up


def main() -> None:
    """Serve one request, then end the process, hung threads and all."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)  # not needed after all
    asked, since = json.loads(line)
    options = Options(**asked)
    ends = deadline(since, options.timeout, time.monotonic())
    context = MeasureContext(options)
    threads = [
        threading.Thread(target=_run, args=(probe, context), daemon=True) for probe in PROBES
    ]
    sys.setswitchinterval(_SWITCH)
    for index in sorted(range(len(PROBES)), key=lambda i: PROBES[i].module not in _FIRST):
        threads[index].start()
    for probe, thread in zip(PROBES, threads, strict=True):
        thread.join(max(0.0, ends - time.monotonic()))
        late = getattr(probe.load(), "late", None) if thread.is_alive() else None
        if late is not None:
            _write(late(context, f"within {options.timeout:.3g} s"))
    _exit()


def deadline(since: float, timeout: float, now: float) -> float:
    """Return when to end: the caller counts from when it asked, however late this process came.

    The monotonic clock is one for all processes of a machine; where it should not be, now counts.
    """
    asked = since if 0 <= now - since < timeout else now
    return asked + max(timeout - HEADSTART, timeout / 2)


def _run(probe: Probe, context: MeasureContext, measure: Measure | None = None) -> None:
    complete = []
    try:
        for one in (measure or _measure_of(probe, context))(context):
            if one.value == {}:
                complete.append(one)  # a collection is told once all that is in it has been
            else:
                _write([one])
        _write(complete)
    except Exception as fault:  # noqa: BLE001 - whatever a probe raises is a reason
        _fail(probe, f"{type(fault).__name__}: {fault}")


def _measure_of(probe: Probe, context: MeasureContext) -> Measure:
    """Return what measures; a probe that has nothing to do is not even imported."""
    if not probe.of_project:
        measure: Measure = probe.load().measure
        return measure
    project = context.project_or_unknown()
    if not isinstance(project, Project):
        return lambda _: without_project(probe, project)
    return lambda _: probe.load().measure(context, project)


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
            _exit()  # nobody reads any more


_WRITING = threading.Lock()


def _exit() -> None:
    """End the process, and what a probe has started with it."""
    child = sys.modules.get("preflight.facts.collect.programs")
    if child is not None:
        child.end_all()
    os._exit(0)
