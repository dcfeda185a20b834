"""Runs tests against mutants, for `mutants.py`: a fork of one collected pytest for each mutant.

Tests that found others of the same function come first, then of the same file, then those of the
same part of the program, quick ones first; the first that fails ends it. That is what makes all
mutants affordable: mutmut itself starts pytest anew for each, and orders nothing.
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

AT_ONCE = int(os.environ.get("MUTANTS_AT_ONCE", "2"))
SECONDS = float(os.environ.get("MUTANTS_SECONDS", "inf"))  # of the processor, for one mutant
MEMORY = 4 * 2**30  # bytes of address space: a mutant may grow without end
EXAMPLES = 15
TIME = "time"


class Child(NamedTuple):
    """A mutant under test."""

    mutant: str
    read: int
    ends: float


class Runner:
    """A plugin of pytest that takes the place of its loop."""

    def __init__(self, mutants: list[str], told: Path) -> None:
        stats = json.loads(Path("mutmut-stats.json").read_text("utf-8"))
        self._tests: dict[str, list[str]] = stats["tests_by_mangled_function_name"]
        self._seconds: dict[str, float] = stats["duration_by_test"]
        self._left, self._told = mutants[::-1], told
        self._found: dict[str, str | None] = {}
        self._by_function: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._by_file: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._running: dict[int, Child] = {}

    def pytest_runtestloop(self, session: pytest.Session) -> bool:
        """Run each mutant against its tests, some at once."""
        self._items = {item.nodeid: item for item in session.items}
        for item in session.items:
            _shorten(getattr(item, "obj", None))
        gc.collect()
        gc.freeze()  # so that children share what is there
        for test in self._unsteady():
            del self._items[test]
        count = len(self._left)
        while self._left or self._running:
            while self._left and len(self._running) < AT_ONCE:
                self._start(self._left.pop())
            if self._one_ended() and len(self._found) % 100 == 0:
                alive = sum(by is None for by in self._found.values())
                print(f"{len(self._found)} of {count}, {alive} not found", flush=True)
                self._told.write_text(json.dumps(self._found, ensure_ascii=False))
        self._told.write_text(json.dumps(self._found, ensure_ascii=False))
        return True

    def _unsteady(self) -> list[str]:
        """Return the tests that fail in a child with no mutant: they would find every one."""
        _, read = self._fork("", list(self._items.values()))
        with open(read, encoding="utf-8") as said:
            failing = said.read().splitlines()
        os.wait()
        print(f"{len(self._items)} tests, not used: {failing}", flush=True)
        return failing

    def _start(self, mutant: str) -> None:
        tests = self._ordered(mutant)
        seconds = sum(self._seconds.get(item.nodeid, 1) for item in tests)
        pid, read = self._fork(mutant, tests)
        self._running[pid] = Child(mutant, read, time.monotonic() + 60 + 10 * seconds)

    def _fork(self, mutant: str, tests: list[pytest.Item]) -> tuple[int, int]:
        """Start a child that runs tests; return its pid, and where it tells what failed."""
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.close(read)
            _test(mutant, tests, self._seconds, write)
        os.close(write)
        return pid, read

    def _ordered(self, mutant: str) -> list[pytest.Item]:
        function = mutant.partition("__mutmut_")[0]
        here = self._by_function[function], self._by_file[function.rpartition(".")[0]]
        mirror = f"tests/{function.split('.')[1]}/"

        def rank(test: str) -> tuple[float, ...]:
            elsewhere = not test.startswith(mirror)
            return (*(-counts[test] for counts in here), elsewhere, self._seconds.get(test, 1))

        tests = (test for test in self._tests.get(function, ()) if test in self._items)
        return [self._items[test] for test in sorted(tests, key=rank)]

    def _one_ended(self) -> bool:
        for pid, child in list(self._running.items()):
            if time.monotonic() > child.ends:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        done, status = os.waitpid(-1, os.WNOHANG)
        if not done:
            time.sleep(0.005)
            return False
        child = self._running.pop(done)
        with open(child.read, encoding="utf-8") as said:
            by = said.readline().strip()
        function = child.mutant.partition("__mutmut_")[0]
        if by:
            self._by_function[function][by] += 1
            self._by_file[function.rpartition(".")[0]][by] += 1
        crashed = os.waitstatus_to_exitcode(status) != 0
        self._found[child.mutant] = by or (TIME if crashed else None)
        return True


def _shorten(test: object) -> None:
    """Let a property try few examples: what many are needed for is found by other tests, too."""
    settings = getattr(test, "_hypothesis_internal_use_settings", None)  # set by @settings
    if settings is not None:
        fewer = hypothesis.settings(settings, max_examples=min(settings.max_examples, EXAMPLES))
        test._hypothesis_internal_use_settings = fewer  # type: ignore[attr-defined]


def _test(
    mutant: str, items: Iterable[pytest.Item], seconds: dict[str, float], write: int
) -> NoReturn:
    """Run the tests in this process until one fails, without a mutant all; tell which failed."""
    code = 70
    try:
        out = os.open(os.devnull, os.O_RDWR)
        for standard in (0, 1, 2):
            os.dup2(out, standard)
        os.setsid()
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        trampoline.get_mutant_under_test = lambda: mutant  # its own asks the environment twice
        tests, begun = list(items), time.process_time()
        for item, following in zip(tests, [*tests[1:], None], strict=True):
            if mutant and time.process_time() - begun > SECONDS:
                break
            # seconds of the processor, so that a busy machine finds no mutant
            signal.setitimer(signal.ITIMER_PROF, 5 + 20 * seconds.get(item.nodeid, 1))
            reports = runtestprotocol(item, log=False, nextitem=following)
            if any(report.failed for report in reports):
                os.write(write, f"{item.nodeid}\n".encode())
                if mutant:
                    break
        code = 0
    finally:
        os._exit(code)


def main() -> None:
    """Collect once, then run what the file names."""
    trampoline.get_mutant_under_test = lambda: ""
    # a failure is enough: the smallest one isn't looked for
    phases = [hypothesis.Phase.explicit, hypothesis.Phase.generate]
    ci = hypothesis.settings.get_profile("ci")
    hypothesis.settings.register_profile("mutants", ci, phases=phases)
    options = [
        one.replace("--hypothesis-profile=ci", "--hypothesis-profile=mutants")
        for one in config().pytest_add_cli_args
    ]
    selection = config().pytest_add_cli_args_test_selection
    os.chdir("mutants")
    sys.path.insert(0, os.path.abspath("src"))
    runner = Runner(json.loads(Path(sys.argv[1]).read_text("utf-8")), Path(sys.argv[2]))
    options += ["--rootdir=.", "-p", "no:terminalreporter", "-o", "tmp_path_retention_policy=none"]
    sys.exit(pytest.main([*options, *selection], plugins=[runner]))


if __name__ == "__main__":
    main()
