"""The measuring keeps its deadline, loses no fact, and leaves no process behind."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine_server import drip_without_end, listening
from preflight.facts.collect import worker, worker_process
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import (
    MeasurementOptions,
    RunningMeasurement,
    parse_worker_line,
)
from preflight.facts.collect.worker import encode_fact_as_line
from preflight.facts.table import ALL_FACTS, PROBES, Probe, make_unknown_facts
from preflight.model.facts import (
    UNKNOWN_KINDS,
    FactDeclaration,
    Measured,
    Unknown,
    build_facts,
    join_path,
)
from processes import MARK_VARIABLE, find_marked_processes, wait_until

Run = Callable[..., "subprocess.CompletedProcess[str]"]
DECLARED = {
    join_path(one.path) for probe in PROBES for one in make_unknown_facts(probe, Unknown(""))
}

texts = st.text(st.characters())  # lone surrogates too: an undecodable path has them
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner) | st.dictionaries(texts, inner),
    max_leaves=10,
)
unknowns = st.builds(Unknown, texts, st.sampled_from(UNKNOWN_KINDS))
paths = st.lists(texts, min_size=1).map(tuple)


@given(
    st.builds(Measured, paths, values, texts) | st.builds(Measured, paths, unknowns, st.just(""))
)
def test_a_figure_comes_back_from_its_line_as_it_was(one: Measured) -> None:
    line = encode_fact_as_line(one)
    assert line.count(b"\n") == 1
    back = parse_worker_line(line)
    assert back == one
    assert type(back.value) is type(one.value)


def fake(script: str) -> subprocess.Popen[bytes]:
    """A worker that does what a script says."""
    return subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )


ONE = 'print(\'[["docker", "cpus"], 4, "GET /info", false]\', flush=True)\n'
STUBBORN = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"


@pytest.mark.parametrize(
    ("script", "kind", "reason"),
    [
        (ONE, "error", "the worker process ended too early"),
        (f"{ONE}import os; os._exit(9)", "error", "the worker process ended too early"),
        (f"{ONE}import time; time.sleep(60)", "timeout", "not measured within 1.5 s"),
        (f"{STUBBORN}{ONE}time.sleep(60)", "timeout", "not measured within 1.5 s"),
        (ONE + "print('[[\"a\"], \"cut o', end='')", "error", "the worker process ended too early"),
    ],
    ids=["ends", "dies", "hangs", "hangs and won't be told", "ends within a line"],
)
def test_what_came_stands_and_the_rest_is_unknown(script: str, kind: str, reason: str) -> None:
    process = fake(script)
    start = time.monotonic()
    measured = list(RunningMeasurement(MeasurementOptions(timeout=1.5), process).receive_facts())
    took = time.monotonic() - start
    assert took < 15  # the script sleeps for a minute
    assert process.returncode is not None
    facts = build_facts(measured, measured_at="", version="")
    problem = {"problem": {"kind": "timeout"}} if kind == "timeout" else {}
    assert facts.values == {"docker": {"cpus": 4, **problem}}
    known = {"docker.cpus", *(f"docker.{name}.kind" for name in problem)}
    assert set(facts.unknown) == DECLARED - known
    reasons = {reason, reason.replace("not measured", "Docker did not answer")}
    assert {unknown.reason for unknown in facts.unknown.values()} == reasons
    assert {unknown.kind for unknown in facts.unknown.values()} == {kind}


def test_a_worker_that_is_dead_already_is_no_crash() -> None:
    process = fake("pass")
    process.wait(10)
    measured = list(RunningMeasurement(MeasurementOptions(timeout=5), process).receive_facts())
    assert {join_path(one.path) for one in measured} == DECLARED


def test_signs_of_life_while_there_is_nothing_to_tell() -> None:
    ticks: list[float] = []
    process = fake("import time; time.sleep(60)")
    list(RunningMeasurement(MeasurementOptions(timeout=0.5), process).receive_facts(ticks.append))
    assert len(ticks) >= 2
    assert ticks == sorted(ticks)
    assert 0 < ticks[0] <= ticks[-1] < 15


def test_without_a_worker_every_fact_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(worker_process, "start_worker", refuse)
    measured = list(RunningMeasurement(MeasurementOptions()).receive_facts())
    assert {join_path(one.path) for one in measured} == DECLARED
    assert {one.value for one in measured} == {
        Unknown("the worker process could not be started: no more processes", "error")
    }


def test_a_probe_that_fails_halfway_keeps_what_it_had(
    capfdbinary: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measure(*_: object) -> Iterator[Measured]:
        yield Measured(("a",), 1, "here")
        raise MemoryError("no more")

    probe = Probe((FactDeclaration("a", "number", ""), FactDeclaration("b", "number", "")), "none")
    monkeypatch.setattr(Probe, "import_function", lambda _: measure)
    worker._send_facts_to_main_process(
        worker.run_probe(probe, MeasurementContext(MeasurementOptions()))
    )
    lines = capfdbinary.readouterr().out.splitlines()
    facts = build_facts(map(parse_worker_line, lines), measured_at="", version="")
    assert facts.values == {"a": 1}
    assert facts.unknown == {"b": Unknown("MemoryError: no more", "error")}


OF_PROJECT = [probe for probe in PROBES if probe.needs_project]


@pytest.mark.parametrize("probe", OF_PROJECT, ids=lambda probe: probe.module)
def test_without_a_compose_file_nothing_of_a_project_is_there(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    worker._send_facts_to_main_process(
        worker.run_probe(
            probe, MeasurementContext(MeasurementOptions(docker_host="unix:///nowhere/docker.sock"))
        )
    )
    told = [parse_worker_line(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert {one.path for one in told} == {
        one.path for one in make_unknown_facts(probe, Unknown(""))
    }
    for one in told:
        if one.path[0] == "docker":
            assert one.value == Unknown("preflight measures this only if there is a compose file")
        else:
            assert (one.value, one.source) == (None, "no compose file found")


@pytest.mark.parametrize("probe", OF_PROJECT, ids=lambda probe: probe.module)
def test_a_compose_file_that_cannot_be_used_is_the_reason_for_all_of_its_project(
    probe: Probe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "/nonexistent")  # our own reader stands in for Compose
    (tmp_path / "compose.yaml").write_text("services: 7\n")
    worker._send_facts_to_main_process(
        worker.run_probe(
            probe, MeasurementContext(MeasurementOptions(docker_host="unix:///nowhere/docker.sock"))
        )
    )
    told = [parse_worker_line(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert {one.path for one in told} == {
        one.path for one in make_unknown_facts(probe, Unknown(""))
    }
    for one in told:
        if one.path == ("compose", "problem"):
            assert one.value == "compose.yaml: services: expected a mapping"
            continue
        assert isinstance(one.value, Unknown)
        assert one.value.kind == "invalid"
        assert "compose.yaml" in one.value.reason


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[str]:
    """Takes connections and never says a word."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "s"))
        listener.listen()
        yield f"unix://{tmp_path}/s"


@pytest.fixture
def slow_engine(head: bytes | None, silent: str, tmp_path: Path) -> Iterator[str]:
    """The address of an engine that says nothing, or drips after its head."""
    if head is None:
        yield silent
    else:
        with listening(tmp_path / "drip", drip_without_end(head)) as address:
            yield address


linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")


@linux
@pytest.mark.parametrize(
    "head", [None, b"", b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{"],
    ids=["silent", "drips its head", "drips its body"],
)  # fmt: skip
def test_the_program_is_gone_in_time_and_leaves_nobody(
    head: bytes | None, slow_engine: str, run_preflight: Run
) -> None:
    mark = f"{os.getpid()}-{time.monotonic()}"
    start = time.monotonic()
    done = run_preflight(
        "facts",
        "-f",
        "json",
        "--timeout",
        "2",
        "--docker-host",
        slow_engine,
        env={MARK_VARIABLE: mark},
    )
    took = time.monotonic() - start
    snapshot = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert took < 15
    facts = snapshot["facts"]
    for fact in ALL_FACTS:
        if fact.path.startswith("host."):  # what the engine does costs no figure of this host
            assert snapshot["unknown"].get(fact.path, {}).get("kind") != "timeout", fact.path
    assert facts["host"]["memory"]["total"] > 0
    assert facts["host"]["disk"]["total"] > 0
    assert snapshot["unknown"]["docker.reachable"]["kind"] == "timeout"
    assert facts["docker"]["endpoint"] == slow_engine
    assert snapshot["unknown"]["docker.memory.total"]["kind"] == "timeout"
    assert wait_until(lambda: not find_marked_processes(mark), 5), find_marked_processes(mark)


@linux
@pytest.mark.parametrize(
    ("how", "code"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)], ids=["interrupted", "killed"]
)
def test_the_worker_does_not_outlive_the_program(
    how: signal.Signals, code: int, silent: str, clean_environment: Path
) -> None:
    mark = f"{os.getpid()}-{time.monotonic()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", "facts", "--timeout", "4", "--docker-host", silent],
        env={**os.environ, MARK_VARIABLE: mark}, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert wait_until(
            lambda: len(find_marked_processes(mark)) == 2, 10
        )  # so that the search finds a worker at all
        time.sleep(0.5)
        process.send_signal(how)
        _, said = process.communicate(timeout=10)
    finally:
        process.kill()
    assert process.returncode == code
    assert "Traceback" not in said
    assert wait_until(lambda: not find_marked_processes(mark), 5), find_marked_processes(mark)


def test_modules_of_the_current_folder_are_not_the_workers(
    run_preflight: Run, silent: str, tmp_path: Path
) -> None:
    """`python -m` puts the current folder first, for the program; the worker doesn't take it on."""
    project = tmp_path / "project"
    project.mkdir()
    for name in ("docker", "psutil"):
        (project / f"{name}.py").write_text("raise SystemExit('taken from the project')")
    arguments = ("facts", "-f", "json", "--timeout", "2", "--docker-host", silent)
    snapshot = json.loads(run_preflight(*arguments, cwd=project).stdout)
    assert snapshot["facts"]["host"]["memory"]["total"] > 0


def test_a_current_folder_that_is_gone_costs_only_its_disk(
    run_preflight: Run, silent: str, tmp_path: Path
) -> None:
    gone = 'mkdir "$0" && cd "$0" && rmdir "$0" && exec "$@"'
    done = run_preflight(
        *("facts", "-f", "json", "--timeout", "2", "--docker-host", silent),
        prefix=("sh", "-c", gone, str(tmp_path / "gone")),
    )
    assert done.returncode == 0, done.stderr
    snapshot = json.loads(done.stdout)
    assert snapshot["facts"]["host"]["memory"]["total"] > 0
    assert "host.disk.free" in snapshot["unknown"]


def test_facts_of_any_name_are_measured_if_they_are_named(run_preflight: Run, silent: str) -> None:
    options = ("--docker-host", silent, "--timeout", "3", "-f", "json")
    names = ("host.tools.sh.path", "host.tools.no-such-tool.path", "host.time.synchronized")
    named = json.loads(run_preflight("facts", *names, *options).stdout)
    assert named["facts"]["host"]["tools"]["sh"]["path"] == shutil.which("sh")
    assert named["facts"]["host"]["tools"]["no-such-tool"] == {"path": None}
    plain = json.loads(run_preflight("facts", *options).stdout)
    assert "tools" not in plain["facts"]["host"]
    for snapshot in (named, plain):  # a fact with one name is in each
        known = "time" in snapshot["facts"]["host"]
        assert known is not ("host.time.synchronized" in snapshot["unknown"])
