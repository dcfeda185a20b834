"""The worker process starts with nothing of the program's, and ends when it is asked to."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker_process import start_worker, stop_worker
from preflight.facts.table import NO_COMPOSE_FILE_REASON, PROBES
from processes import wait_until

linux = pytest.mark.skipif(sys.platform != "linux", reason="no fork elsewhere")


def test_a_worker_that_is_not_asked_ends_by_itself() -> None:
    process = start_worker()
    assert process.stdin is not None
    process.stdin.close()
    assert process.stdout is not None
    assert process.stdout.read() == b""  # at its end
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert process.returncode == 0


def test_ending_is_possible_twice_and_at_once() -> None:
    process = start_worker()
    start = time.monotonic()
    stop_worker(process)
    stop_worker(process)
    assert time.monotonic() - start < 5
    assert process.returncode is not None


@linux
def test_a_worker_is_ended_where_the_end_of_children_is_ignored() -> None:
    before = signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    try:
        process = start_worker()
        stop_worker(process)
        assert process.returncode is not None
        assert wait_until(lambda: not Path(f"/proc/{process.pid}").exists(), 10)
    finally:
        signal.signal(signal.SIGCHLD, before)


def test_a_worker_that_runs_has_no_exit_code() -> None:
    process = start_worker()
    assert process.poll() is None
    stop_worker(process)
    assert process.returncode == -signal.SIGKILL


@linux
def test_a_worker_has_a_session_of_its_own_and_no_file_of_the_program() -> None:
    """Whoever reads what the program writes would wait for a worker that hangs."""
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    process = start_worker()
    os.close(writing)
    assert os.read(reading, 1) == b""
    assert process.returncode is None
    assert os.getsid(process.pid) == process.pid
    stop_worker(process)
    os.close(reading)


def test_a_worker_that_can_have_no_threads_measures_one_after_the_other() -> None:
    """As under a limit on processes or on memory."""
    code = """
import threading
def refuse(self): raise RuntimeError("can't start new thread")
threading.Thread.start = refuse
from preflight.facts.collect.worker import serve_request
serve_request()
"""
    request = json.dumps([MeasurementOptions(docker_host="unix:///nowhere"), time.monotonic() + 20])
    arguments = [sys.executable, "-c", code]
    done = subprocess.run(arguments, input=f"{request}\n[]\n", capture_output=True, text=True)
    facts = {".".join(fact[0]): fact for fact in map(json.loads, done.stdout.splitlines())}
    assert facts["host.memory.total"][1] > 0
    assert facts["docker.reachable"][1][0].startswith("no socket at unix:///nowhere")
    assert done.returncode == 0, done.stderr


def test_a_probe_without_anything_to_measure_has_no_thread(tmp_path: Path) -> None:
    """Those that need a project share one, and so do those of which rules name nothing."""
    code = """
import sys, threading
started, start = [], threading.Thread.start
threading.Thread.start = lambda self: (started.append(self), start(self))
from preflight.facts.collect import worker
end = worker._exit_process_group
worker._exit_process_group = lambda: (print(len(started), file=sys.stderr, flush=True), end())
worker.serve_request()
"""
    request = json.dumps([MeasurementOptions(docker_host="unix:///nowhere"), time.monotonic() + 20])
    arguments = [sys.executable, "-c", code]
    done = subprocess.run(
        arguments, input=f"{request}\n[]\n", capture_output=True, text=True, cwd=tmp_path
    )
    others = [probe for probe in PROBES if not (probe.needs_project or probe.asked_only)]
    assert int(done.stderr) == len(others) + 2 < len(PROBES)
    facts = {".".join(fact[0]): fact for fact in map(json.loads, done.stdout.splitlines())}
    assert facts["compose.services"][1:3] == [None, NO_COMPOSE_FILE_REASON]
