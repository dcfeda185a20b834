"""The worker process: runs all probes at once, and sends the facts of each as soon as it ends.

It reads its request from standard input, and later the facts that are measured only if a rule asks
for them. It writes one JSON line for each fact, and ends at its deadline or when nobody reads its
output any more. Each probe with something to measure has a thread, so that one that hangs doesn't
delay the others; and a process can be killed, or left behind if it hangs in the kernel.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import ContainerLogRequest, MeasurementOptions
from preflight.facts.compose.project import Project
from preflight.facts.table import (
    FACT_DECLARATIONS_BY_SUBJECT,
    PROBES,
    Probe,
    make_facts_for_missing_project,
    make_unknown_facts,
)
from preflight.model.facts import (
    NEEDS_ONLINE_REASON,
    Measured,
    NotMeasuredError,
    Path,
    Unknown,
    make_unknown_from_error,
)
from preflight.processes import SIGKILL_NUMBER

_THREAD_SWITCH_SECONDS = 0.02  # long enough for the engine's thread to get to its first wait


def serve_request() -> None:
    """Serve one request, then end the process with its hung threads and its programs."""
    line = sys.stdin.readline()
    if not line:
        os._exit(0)  # the program didn't need it after all
    fields, deadline = json.loads(line)
    options = MeasurementOptions(*fields)
    context = MeasurementContext(options, deadline, _read_requested_fact_paths)
    sys.setswitchinterval(_THREAD_SWITCH_SECONDS)
    threads: list[threading.Thread] = []

    def start(task: Iterable[Measured]) -> bool:
        thread = threading.Thread(target=_send_facts_to_main_process, args=(task,), daemon=True)
        try:
            thread.start()
        except RuntimeError:  # a limit on processes or memory allows no more threads
            return False
        threads.append(thread)
        return True

    # the engine's first, then Compose's: they wait most, and the others are measured meanwhile
    docker, *probes = sorted(
        PROBES, key=lambda p: p.facts is not FACT_DECLARATIONS_BY_SUBJECT["docker"]
    )
    docker.import_function()  # beside other threads it would take turns with them at each file
    tasks = [
        run_probe(docker, context),
        _start_probes_with_work([p for p in probes if p.needs_project], context, start),
        *(run_probe(p, context) for p in probes if not (p.needs_project or p.asked_only)),
        _start_probes_with_work([p for p in probes if p.asked_only], context, start),
    ]
    if options.logs is not None:
        from preflight.facts.stack import config_and_logs

        tasks.append(
            config_and_logs.measure_config_and_logs(context, ContainerLogRequest(*options.logs))
        )
    for task in [task for task in tasks if not start(task)]:
        _send_facts_to_main_process(task)
    for thread in threads:  # which one of them may still add to
        thread.join(max(0.0, deadline - time.monotonic()))
    _write_lines(b"", send=True)  # what a probe has written that isn't at its end
    _exit_process_group()


def _start_probes_with_work(
    probes: Iterable[Probe],
    context: MeasurementContext,
    start: Callable[[Iterator[Measured]], bool],
) -> Iterator[Measured]:
    """Start those that have something to measure, and yield what is known of the others' facts.

    All wait for one thing, the project or the paths that rules name: a thread takes 0.1 ms.
    """
    for probe in probes:
        is_needed = False
        with suppress(Exception):  # a folder that is gone: `run_probe` says why
            if probe.asked_only:
                is_needed = bool(probe.select_requested_paths(context.requested_paths()))
            else:
                is_needed = isinstance(context.project_or_unknown(), Project)
        task = run_probe(probe, context)
        if not (is_needed and start(task)):
            yield from task


def _read_requested_fact_paths() -> list[Path]:
    """Return the facts that the rules ask for, which come once the rules are loaded."""
    line = sys.stdin.readline()
    return [tuple(path) for path in json.loads(line)] if line else []


def _send_facts_to_main_process(facts: Iterable[Measured]) -> None:
    """Write each fact, and send all that is written once the last has come."""
    collections = []
    for fact in facts:
        if fact.value == {}:
            collections.append(fact)  # it is complete once its members are written
        else:
            _write_lines(encode_fact_as_line(fact))
    _write_lines(b"".join(map(encode_fact_as_line, collections)), send=True)


def run_probe(probe: Probe, context: MeasurementContext) -> Iterator[Measured]:
    """Measure one subject; why it fails is the reason for the facts that are missing then.

    Of two values for a fact the first stands. A probe that has nothing to do is not even imported.
    """
    asked: Sequence[Path] = ()
    try:
        if probe.asked_only:
            asked = probe.select_requested_paths(context.requested_paths())
            if asked and (context.options.online or not probe.needs_online):
                yield from probe.import_function()(context, asked)
            return
        project = context.project_or_unknown() if probe.needs_project else None
        if probe.needs_project and (project is None or isinstance(project, Unknown)):
            yield from make_facts_for_missing_project(probe, project)
        elif probe.needs_online and not context.options.online:
            for fact in make_unknown_facts(probe, Unknown(NEEDS_ONLINE_REASON)):
                yield Measured(fact.path, None, NEEDS_ONLINE_REASON)
        elif probe.needs_project:
            yield from probe.import_function()(context, project)
        else:
            yield from probe.import_function()(context)
    except (NotMeasuredError, OSError) as error:
        yield from make_unknown_facts(probe, make_unknown_from_error(error), asked)
    except Exception as error:  # noqa: BLE001 - whatever a probe raises is a reason
        reason = Unknown(f"{type(error).__name__}: {error}", "error")
        yield from make_unknown_facts(probe, reason, asked)


def encode_fact_as_line(fact: Measured) -> bytes:
    """Return a fact as a line: its path, value and source, and whether it is unknown."""
    return json.dumps([*fact, isinstance(fact.value, Unknown)]).encode("ascii") + b"\n"


def _write_lines(data: bytes, *, send: bool = False) -> None:
    """Write whole lines, and send what any thread has written: to send each alone takes longer."""
    output = sys.stdout.buffer
    try:
        output.write(data)  # it has a lock: lines of several threads don't mix
        if send:
            output.flush()
    except OSError:
        _exit_process_group()  # nobody reads any more


def _exit_process_group() -> None:
    """End this process and the programs it runs, which are in its process group.

    It isn't gone while a thread hangs in the kernel: the closed pipe tells that this was all.
    """
    with suppress(OSError):
        os.close(1)
    if hasattr(os, "killpg") and os.getsid(0) == os.getpid():
        os.killpg(0, SIGKILL_NUMBER)
    os._exit(0)
