"""The worker process: runs all probes at once, and writes each fact as soon as it has it.

It reads its request from standard input, writes one JSON line for each fact, and ends at its
deadline or when nobody reads its output any more. Each probe has a thread, so that one that hangs
doesn't delay the others; and a process can be killed, or left behind if it hangs in the kernel.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeAlias

from preflight.facts.collect.context import MeasureContext
from preflight.facts.collect.measurement import Options
from preflight.facts.compose.project import Project
from preflight.facts.table import PROBES, Probe, facts_without_project, unknown_facts
from preflight.model.facts import Measured, Unknown

Measure: TypeAlias = Callable[[MeasureContext], Iterator[Measured]]

_FIRST = "engine.engine_facts"  # it waits most, and the others are measured meanwhile
_SWITCH_INTERVAL = 0.02  # seconds; long enough for the engine's thread to get to its first wait
MARGIN = 0.2  # seconds by which the worker ends before the program stops waiting for it


def main() -> None:
    """Serve one request, then end the process with its hung threads and its programs."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)  # the program didn't need it after all
    fields, requested_at = json.loads(line)
    options = Options(**fields)
    deadline = compute_deadline(requested_at, options.timeout, time.monotonic())
    context = MeasureContext(options)
    threads = {
        probe: threading.Thread(target=_run, args=(probe, context), daemon=True) for probe in PROBES
    }
    sys.setswitchinterval(_SWITCH_INTERVAL)
    for probe in sorted(PROBES, key=lambda probe: probe.module != _FIRST):
        threads[probe].start()
    for probe, thread in threads.items():
        thread.join(max(0.0, deadline - time.monotonic()))
        at_timeout = getattr(probe.load(), "late", None) if thread.is_alive() else None
        if at_timeout is not None:
            _write(at_timeout(context, f"within {options.timeout:.3g} s"))
    _end()


def compute_deadline(requested_at: float, timeout: float, now: float) -> float:
    """Return when to end: the program counts from its request, however late the worker came.

    All processes of a machine share the monotonic clock; if they don't, now counts.
    """
    start = requested_at if 0 <= now - requested_at < timeout else now
    return start + max(timeout - MARGIN, timeout / 2)


def _run(probe: Probe, context: MeasureContext, measure: Measure | None = None) -> None:
    collections = []
    try:
        for fact in (measure or _measure_function(probe, context))(context):
            if fact.value == {}:
                collections.append(fact)  # it is complete once its members are written
            else:
                _write([fact])
        _write(collections)
    except Exception as error:  # noqa: BLE001 - whatever a probe raises is a reason
        reason = Unknown(f"{type(error).__name__}: {error}", "error")
        _write(unknown_facts(probe, reason))  # what was written before stands


def _measure_function(probe: Probe, context: MeasureContext) -> Measure:
    """Return what measures; a probe that has nothing to do is not even imported."""
    if not probe.needs_project:
        measure: Measure = probe.load().measure
        return measure
    project = context.project_or_unknown()
    if not isinstance(project, Project):
        return lambda _: facts_without_project(probe, project)
    return lambda _: probe.load().measure(context, project)


_write_lock = threading.Lock()


def encode(fact: Measured) -> bytes:
    """Return a fact as a line: path, value and source; or path and [reason, kind]."""
    if isinstance(fact.value, Unknown):
        fields: list[object] = [fact.path, list(fact.value)]
    else:
        fields = [fact.path, fact.value, fact.source]
    return json.dumps(fields).encode("ascii") + b"\n"


def _write(facts: Iterable[Measured]) -> None:
    for fact in facts:
        line = encode(fact)
        try:
            with _write_lock:
                while line:
                    line = line[os.write(1, line) :]
        except OSError:
            _end()  # nobody reads any more


def _end() -> None:
    """End this process and the programs it runs, which are in its process group."""
    if hasattr(os, "killpg") and os.getsid(0) == os.getpid():
        os.killpg(0, signal.SIGKILL)
    os._exit(0)
