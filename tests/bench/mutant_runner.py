"""Run tests against mutants, for `mutants.py`: pytest collects once and forks for each mutant.

Tests that detected other mutants of the function run first, then those that did so in the same
file, then those of the same package, fast ones first; the first failure ends a mutant's run. mutmut
itself starts pytest for each mutant and doesn't order the tests, which takes hours.

    python mutant_runner.py NAMES_FILE RESULTS_FILE    (both JSON; see `mutants.py`)
"""

from __future__ import annotations

import gc
import json
import os
import resource
import signal
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, NoReturn

import hypothesis
import pytest
from _pytest.runner import runtestprotocol
from mutmut.configuration import config
from mutmut.mutation import trampoline

MAX_CHILDREN = int(os.environ.get("MUTANTS_MAX_CHILDREN", "2"))
MAX_CPU_SECONDS = float(os.environ.get("MUTANTS_MAX_CPU_SECONDS", "inf"))  # for one mutant
MAX_ADDRESS_SPACE_BYTES = 4 * 2**30  # a mutant may allocate without end
MAX_EXAMPLES = 15  # of a Hypothesis test
HUNG_OR_CRASHED = "time"


class Child(NamedTuple):
    """A process that tests a mutant; it writes the ids of failing tests to a pipe."""

    mutant: str
    pipe: int
    deadline: float


class Runner:
    """A pytest plugin that replaces the loop over the tests by one over the mutants."""

    def __init__(self, mutants: list[str], results_file: Path) -> None:
        stats = json.loads(Path("mutmut-stats.json").read_text("utf-8"))
        self._tests_by_function: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self._seconds_by_test: dict[str, float] = stats["duration_by_test"]
        self._waiting, self._results_file = mutants[::-1], results_file
        self._results: dict[str, str | None] = {}
        self._detections_by_function: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._detections_by_file: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._running: dict[int, Child] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each mutant against its tests, several in parallel."""
        self._items = {item.nodeid: item for item in session.items}
        for item in session.items:
            limit_examples(getattr(item, "obj", None))
        gc.collect()
        gc.freeze()  # so that children share these pages
        for test in self._find_unusable_tests():
            del self._items[test]
        count = len(self._waiting)
        while self._waiting or self._running:
            while self._waiting and len(self._running) < MAX_CHILDREN:
                self._start(self._waiting.pop())
            if self._collect_ended() and len(self._results) % 100 == 0:
                survivors = sum(test is None for test in self._results.values())
                print(f"{len(self._results)} of {count}, {survivors} not detected", flush=True)
                self._write_results()
        self._write_results()
        return True

    def _write_results(self) -> None:
        self._results_file.write_text(json.dumps(self._results, ensure_ascii=False))

    def _find_unusable_tests(self) -> list[str]:
        """Return the tests that fail in a child without a mutant: they'd detect every mutant."""
        _, pipe = self._fork("", list(self._items.values()))
        with open(pipe, encoding="utf-8") as lines:
            failing = lines.read().splitlines()
        os.wait()
        print(f"{len(self._items)} tests, without those that fail here: {failing}", flush=True)
        return failing

    def _start(self, mutant: str) -> None:
        tests = self._order_tests(mutant)
        seconds = sum(self._seconds_by_test.get(item.nodeid, 1) for item in tests)
        pid, pipe = self._fork(mutant, tests)
        self._running[pid] = Child(mutant, pipe, time.monotonic() + 60 + 10 * seconds)

    def _fork(self, mutant: str, tests: list[pytest.Item]) -> tuple[int, int]:
        """Start a child that runs tests; return its pid and the pipe of failing tests' ids."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            run_tests(mutant, tests, self._seconds_by_test, write)
        os.close(write)
        return pid, read

    def _order_tests(self, mutant: str) -> list[pytest.Item]:
        """Return the tests that execute the mutated function, the most promising first."""
        function = mutant.partition("__mutmut_")[0]
        file = function.rpartition(".")[0]
        detections = self._detections_by_function[function], self._detections_by_file[file]
        unit_tests = f"tests/unit/{function.split('.')[1]}/"

        def rank(test: str) -> tuple[float, ...]:
            is_elsewhere = not test.startswith(unit_tests)
            counts = (-counter[test] for counter in detections)
            return (*counts, is_elsewhere, self._seconds_by_test.get(test, 1))

        tests = [test for test in self._tests_by_function.get(function, ()) if test in self._items]
        return [self._items[test] for test in sorted(tests, key=rank)]

    def _collect_ended(self) -> bool:
        """Kill children past their deadline; note the result of one that ended, if one did."""
        for pid, child in list(self._running.items()):
            if time.monotonic() > child.deadline:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        pid, status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            time.sleep(0.005)
            return False
        child = self._running.pop(pid)
        with open(child.pipe, encoding="utf-8") as lines:
            test = lines.readline().strip()
        function = child.mutant.partition("__mutmut_")[0]
        if test:
            self._detections_by_function[function][test] += 1
            self._detections_by_file[function.rpartition(".")[0]][test] += 1
        has_crashed = os.waitstatus_to_exitcode(status) != 0
        self._results[child.mutant] = test or (HUNG_OR_CRASHED if has_crashed else None)
        return True


def limit_examples(test: object) -> None:
    """Let a Hypothesis test try few examples; what only many would detect isn't worth the time."""
    settings = getattr(test, "_hypothesis_internal_use_settings", None)  # set by @settings
    if settings is not None:
        max_examples = min(settings.max_examples, MAX_EXAMPLES)
        limited = hypothesis.settings(settings, max_examples=max_examples)
        test._hypothesis_internal_use_settings = limited  # type: ignore[attr-defined]


def run_tests(
    mutant: str, items: Iterable[pytest.Item], seconds_by_test: dict[str, float], pipe: int
) -> NoReturn:
    """Run tests in this process until one fails, or all if there is no mutant; write who failed."""
    code = 70
    try:
        null = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(null, standard)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MAX_ADDRESS_SPACE_BYTES, MAX_ADDRESS_SPACE_BYTES))
        trampoline.get_mutant_under_test = lambda: mutant  # its own reads the environment twice
        tests, start = list(items), time.process_time()
        for item, following in zip(tests, [*tests[1:], None], strict=True):
            if mutant and time.process_time() - start > MAX_CPU_SECONDS:
                break
            # CPU seconds, so that a busy machine doesn't count as a hang
            signal.setitimer(signal.ITIMER_PROF, 5 + 20 * seconds_by_test.get(item.nodeid, 1))
            reports = runtestprotocol(item, log=False, nextitem=following)
            if any(report.failed for report in reports):
                os.write(pipe, f"{item.nodeid}\n".encode())
                if mutant:
                    break
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    """Collect the tests once, then run the mutants that the names file lists."""
    trampoline.get_mutant_under_test = lambda: ""
    # any failing example will do: no time is spent to find the smallest
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    ci = hypothesis.settings.get_profile("ci")
    hypothesis.settings.register_profile("mutants", ci, phases=phases)
    options = [
        option.replace("--hypothesis-profile=ci", "--hypothesis-profile=mutants")
        for option in config().pytest_add_cli_args
    ]
    selection = config().pytest_add_cli_args_test_selection
    os.chdir("mutants")
    sys.path.insert(0, os.path.abspath("src"))
    runner = Runner(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
    options += ["--rootdir=.", "-p", "no:terminalreporter", "-o", "tmp_path_retention_policy=none"]
    sys.exit(pytest.main([*options, *selection], plugins=[runner]))


if __name__ == "__main__":
    main()
