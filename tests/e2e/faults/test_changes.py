"""What changes in the middle of a check: the verdicts are those of before, of after, or unknown.

A relay stands between the check and a real engine. The first request that names `/info` is held
until the change is made, so that it is always the middle.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from engines import Engine, restart, start_dockerd, stop
from processes import MARK_VARIABLE, find_marked_processes
from rows import nightly_except

RULES = """\
version: 1
name: changes
rules:
  - {id: memory, title: Memory, fact: host.memory.total, require: {at_least: 1B}}
  - {id: engine, title: Engine, fact: docker.reachable, require: {equals: true}}
  - {id: its-memory, title: Its memory, fact: docker.memory.total, require: {at_least: 1B}}
  - {id: too-much, title: Too much, fact: host.memory.total, require: {at_least: 1000TB}}
"""
SAME = {"memory": "pass", "engine": "pass", "its-memory": "pass", "too-much": "fail"}
JSON = ("-f", "json", "--rules", "rules.yaml")
DAY = 24 * 3600
CGROUP = Path("/sys/fs/cgroup/memory")


class Relay:
    """A socket that passes on to an engine, and runs `event` when `/info` is first asked for."""

    def __init__(self, place: Path, engine: Engine, event: Callable[[], None]) -> None:
        self.url, self.met, self.event_ended = f"unix://{place}", False, threading.Event()
        self._to, self._event = engine.url.removeprefix("unix://"), event
        self._lock = threading.Lock()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(place))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client = self._listener.accept()[0]
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, socket.socket(socket.AF_UNIX) as upstream, suppress(OSError):
            upstream.connect(self._to)
            threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
            while data := client.recv(65536):
                if b"/info " in data:
                    self._once()
                upstream.sendall(data)

    def _once(self) -> None:
        with self._lock:
            if not self.met:
                self.met = True
                self._event()
                self.event_ended.set()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


Through = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def through(tmp_path: Path) -> Iterator[Through]:
    """Run a command of preflight by way of a relay; nothing of it stays."""
    relays = []
    (tmp_path / "rules.yaml").write_text(RULES)

    def run(
        engine: Engine, event: Callable[[], None], *command: str,
        prefix: tuple[str, ...] = (), env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:  # fmt: skip
        mark = f"changes-{os.getpid()}-{tmp_path.name}-{len(relays)}"
        relays.append(Relay(tmp_path / f"s{len(relays)}", engine, event))
        words = command or ("check", *JSON, "--timeout", "20")
        done = subprocess.run(
            [*prefix, sys.executable, "-m", "preflight", *words],
            env={**os.environ, **(env or {}), "DOCKER_HOST": relays[-1].url, MARK_VARIABLE: mark},
            cwd=tmp_path, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert not find_marked_processes(mark)
        assert (relays[-1].met, done.stderr) == (True, "")
        assert relays[-1].event_ended.wait(60)  # a restart may take longer than the program
        return done

    yield run
    for relay in relays:
        relay.close()


def verdicts(done: subprocess.CompletedProcess[str]) -> dict[str, str]:
    return {one["id"]: one["verdict"] for one in json.loads(done.stdout)["results"]}


def nothing() -> None:
    """Change nothing."""


# --- the engine ---------------------------------------------------------------------------------


class Daemon:
    """A dockerd that can be killed, stopped and started again at the same address."""

    def __init__(self) -> None:
        self.engine, self.process = start_dockerd()

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(20)

    def restart(self) -> None:
        self.process.terminate()
        self.process.wait(30)
        self.process = restart(self.engine)

    def freeze(self) -> None:
        self.process.send_signal(signal.SIGSTOP)


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    if sys.platform != "linux" or os.geteuid() != 0 or not shutil.which("dockerd"):
        pytest.skip("it takes root, and dockerd")
    made = Daemon()
    yield made
    stop(made.process, made.engine.folder)


@pytest.mark.parametrize("change", nightly_except(["kill", "restart"], ["restart"]))
def test_an_engine_that_stops_is_reported_and_its_facts_are_unknown(
    change: str, daemon: Daemon, through: Through
) -> None:
    done = through(daemon.engine, getattr(daemon, change))
    found = verdicts(done)
    assert done.returncode == 1  # too-much
    assert (found["memory"], found["too-much"]) == ("pass", "fail")
    assert (found["engine"], found["its-memory"]) in {("pass", "pass"), ("fail", "unknown")}
    if change == "restart":
        assert verdicts(through(daemon.engine, nothing)) == SAME


def test_an_engine_that_freezes_is_waited_for_until_the_deadline(
    daemon: Daemon, through: Through
) -> None:
    done = through(daemon.engine, daemon.freeze, "check", *JSON, "--timeout", "2")
    results = {one["id"]: one for one in json.loads(done.stdout)["results"]}
    assert results["memory"]["verdict"] == "pass"
    assert results["its-memory"]["verdict"] == "unknown"
    assert "answer" in results["its-memory"]["evidence"]
    assert results["its-memory"]["evidence"].endswith(" within 2 s")


# --- the clock ----------------------------------------------------------------------------------


def clock(folder: Path, seconds: int) -> Callable[[], None]:
    def set_it() -> None:
        (folder / "new").write_text(f"{seconds:+d}")
        (folder / "new").replace(folder / "offset")

    return set_it


# libfaketime reckons the end of a sleep by the faked clock, though it goes by the monotonic one
SLEEP = "import select, time\ntime.sleep = lambda seconds: select.select([], [], [], seconds)\n"
JUMPS = {
    "a day ahead": (0, DAY),
    "a day back": (0, -DAY),
    "from 1980 to now": (-46 * 365 * DAY, 0),  # set by NTP after the start
    "from now to 2100": (0, 74 * 365 * DAY),
    "2100 from the start": (74 * 365 * DAY, 74 * 365 * DAY),
}


@pytest.mark.parametrize(
    "name",
    nightly_except(JUMPS, ["a day back"]),
)
def test_a_clock_that_jumps_changes_no_verdict(
    name: str, docker_engine: Engine, through: Through, tmp_path: Path
) -> None:
    library = next(iter(glob("/usr/lib/*/faketime/libfaketime.so.1")), None)
    if library is None:
        assert not os.environ.get("PREFLIGHT_REQUIRE_ENGINES"), "faketime is not installed"
        pytest.skip("faketime is not installed")
    before, after = JUMPS[name]
    clock(tmp_path, before)()
    (tmp_path / "site").mkdir()
    (tmp_path / "site/sitecustomize.py").write_text(SLEEP)
    env = {"LD_PRELOAD": library, "FAKETIME_TIMESTAMP_FILE": str(tmp_path / "offset"),
           "FAKETIME_NO_CACHE": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
           "PYTHONPATH": str(tmp_path / "site")}  # fmt: skip
    done = through(docker_engine, clock(tmp_path, after), env=env)
    assert (done.returncode, verdicts(done)) == (1, SAME)
    year = int(json.loads(done.stdout)["measured_at"][:4])
    assert year in {_year(before, library), _year(after, library)}


def _year(offset: int, library: str) -> int:
    done = subprocess.run(
        ["date", "-u", "+%Y"], capture_output=True, text=True,
        env={**os.environ, "LD_PRELOAD": library, "FAKETIME": f"{offset:+d}"},
    )  # fmt: skip
    return int(done.stdout)


# --- the limit of a control group ---------------------------------------------------------------


@pytest.fixture
def group() -> Iterator[Path]:
    if os.geteuid() != 0 or not (CGROUP / "cgroup.procs").exists():
        pytest.skip("needs root and the memory controller of cgroup v1")
    made = CGROUP / f"preflight-changes-{os.getpid()}"
    made.mkdir()
    yield made
    made.rmdir()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (400, 300),
        pytest.param(400, None, marks=pytest.mark.nightly),
        pytest.param(None, 400, marks=pytest.mark.nightly),
    ],
)
def test_a_limit_that_changes_is_the_one_of_before_or_of_after(
    before: int | None, after: int | None, group: Path, docker_engine: Engine, through: Through
) -> None:
    def set_to(mebibytes: int | None) -> None:
        file = group / "memory.limit_in_bytes"
        file.write_text("-1" if mebibytes is None else f"{mebibytes}M")

    def facts(event: Callable[[], None]) -> dict[str, Any]:
        enter = ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
        done = through(docker_engine, event, "facts", "-f", "json", prefix=enter)
        memory: dict[str, Any] = json.loads(done.stdout)["facts"]["host"]["memory"]
        return memory

    set_to(before)
    during = facts(lambda: set_to(after))
    later = facts(nothing)
    of_before, of_after = (one and one * 2**20 for one in (before, after))
    assert during["limit"] in (of_before, of_after)
    assert later["limit"] == of_after
    for found in (during, later):
        assert found["usable"] == (found["limit"] or found["total"])
