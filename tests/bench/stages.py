"""Runs preflight and writes down when each stage ends: for where.py, which starts it.

The arguments are a folder for the results, the time.monotonic() of the start, and preflight's own.
"""

from __future__ import annotations

import gc
import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

_STAGE_BY_FUNCTION = {
    "load_rules": "load the rules",
    "make_rule_selection": "select rules",
    "judge_facts": "judge",
    "write_reports": "show and write",
}
marks: list[tuple[str, float, float]] = []  # each stage with its end, elapsed and CPU time
probes: dict[str, tuple[float, float]] = {}


def mark(stage: str) -> None:
    """Write down that a stage ends here."""
    marks.append((stage, time.monotonic(), time.process_time()))


def watch(owner: Any, name: str, stage: str, before: str) -> None:
    """Make a function a stage, and what was done between the one before it and this one too."""
    function = getattr(owner, name)

    def run(*values: Any, **named: Any) -> Any:
        mark(before)
        try:
            return function(*values, **named)
        finally:
            mark(stage)

    setattr(owner, name, run)


def watch_command(build_parser: Callable[[str], Any]) -> Callable[[str], Any]:
    """Return what imports a command and watches its stages."""

    def build(name: str) -> Any:
        if not name:
            return build_parser(name)
        mark("parse the command line")
        parser = build_parser(name)
        from preflight.cli import options

        module = importlib.import_module(f"preflight.cli.{name}")
        for owner in (options, module):
            for function, stage in _STAGE_BY_FUNCTION.items():
                if hasattr(owner, function):
                    watch(owner, function, stage, "the rest of the command")
        watch(options.FactsSource, "collect_facts", "wait for the facts", "the rest of the command")
        mark("import and declare the command")
        return parser

    return build


def watch_worker(folder: Path) -> None:
    """Write what the worker does: its imports, then the time of each probe and of its thread."""
    marks.clear()
    mark("the fork")
    from preflight.facts.collect import worker

    mark("imports")
    measure, end = worker.run_probe, worker._exit_process_group

    def measure_and_time(probe: Any, context: Any) -> Iterator[Any]:
        start, start_cpu = time.monotonic(), time.thread_time()
        yield from measure(probe, context)
        probes[probe.module] = time.monotonic() - start, time.thread_time() - start_cpu

    def write_and_end() -> None:
        mark("all probes")
        (folder / "worker.json").write_text(json.dumps([marks, probes]))
        end()

    worker.run_probe, worker._exit_process_group = measure_and_time, write_and_end


def main() -> None:
    """Run preflight as `preflight.cli.main` does."""
    gc.disable()
    folder, marks[:] = Path(sys.argv[1]), [("start", float(sys.argv[2]), 0.0)]
    sys.argv = ["preflight", *sys.argv[3:]]
    mark("the interpreter")
    from preflight import cli

    worker = None
    if cli._is_measuring_command(sys.argv[1], sys.argv[1:]):
        from preflight.facts.collect import worker_process

        worker_process.import_shared_modules()
        mark("imports that both processes use")
        serve = worker_process._serve_and_exit
        worker_process._serve_and_exit = lambda *values: (watch_worker(folder), serve(*values))  # type: ignore
        worker = worker_process.start_worker()
        mark("fork the worker")
    from preflight.cli import app

    mark("imports of the command line")
    app.build_parser = watch_command(app.build_parser)
    try:
        app.run_program(worker)
    finally:
        mark("the rest of the command")
        (folder / "program.json").write_text(json.dumps([marks, {}]))


if __name__ == "__main__":
    main()
