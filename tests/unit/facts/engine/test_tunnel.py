"""An engine behind a port of loopback: this machine's own, or one at the other end of a tunnel."""

from __future__ import annotations

import json
import os
import platform
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from contexts import completed
from docker_facts import facts_of
from engine_server import INFO, VERSION, Answer, engine, listening
from engines import Engine
from preflight.facts import ollama
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.model.facts import build_facts

HERE = {
    **INFO,
    "OperatingSystem": "Debian GNU/Linux 12 (bookworm)",
    "KernelVersion": platform.release(),
    "MemTotal": psutil.virtual_memory().total,
    "Name": platform.node(),
}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Tunnel:
    """A port of loopback; each connection is handled in a thread."""

    def __init__(self, handle: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._handle = handle
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._one, args=(connection,), daemon=True).start()

    def _one(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self._handle(connection)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


@pytest.fixture
def tunnel() -> Iterator[Callable[[Callable[[socket.socket], None]], str]]:
    opened: list[Tunnel] = []

    def start(handle: Callable[[socket.socket], None]) -> str:
        opened.append(Tunnel(handle))
        return opened[-1].url

    yield start
    for one in opened:
        one.close()


def answering(answer: Answer) -> Callable[[socket.socket], None]:
    return lambda connection: answer(connection, connection.recv(65536))


def to(engine: Engine) -> Callable[[socket.socket], None]:
    """Carry every byte to the socket of an engine and back, as ssh -L does."""

    def carry(one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

    def handle(connection: socket.socket) -> None:
        with socket.socket(socket.AF_UNIX) as far:
            far.connect(engine.url.removeprefix("unix://"))
            threading.Thread(target=carry, args=(connection, far), daemon=True).start()
            carry(far, connection)

    return handle


@pytest.mark.parametrize(
    ("changed", "local", "said"),
    [
        ({}, True, "names no other machine"),
        ({"NCPU": 64}, True, "names no other machine"),  # the daemon's affinity
        ({"KernelVersion": "5.10.0-1-amd64"}, False, "KernelVersion"),
        ({"MemTotal": 8_000_000_000}, False, "MemTotal"),
        ({"Name": "build-17"}, False, "Name"),
        ({"Name": "0a1b2c", "OperatingSystem": "Alpine Linux v3.20 (containerized)"}, True, ""),
        ({"KernelVersion": "", "MemTotal": 0, "Name": None}, True, "names no other machine"),
        ({"Name": "docker-desktop", "OperatingSystem": "Docker Desktop", "MemTotal": 9}, True, ""),
    ],
)
@pytest.mark.skipif(not os.path.exists("/proc/self"), reason="elsewhere every engine is in a VM")
def test_what_the_engine_says_of_its_machine_decides(
    tunnel: Any, changed: dict[str, Any], local: bool, said: str
) -> None:
    url = tunnel(answering(engine({**HERE, **changed}, VERSION)))
    facts = facts_of(url)
    assert facts.get(("docker", "reachable")) is True
    assert facts.get(("docker", "local")) is local
    assert said in facts.source(("docker", "local"))


@pytest.mark.parametrize(("key", "value"), [("MemTotal", 8_000_000_000), ("Name", "build-17")])
def test_a_tunnel_that_ends_in_a_socket_shows_nothing_of_this_machine(
    key: str, value: Any, tmp_path: Path
) -> None:
    """Machines of one fleet have the same kernel."""
    told = {**HERE, "DockerRootDir": str(tmp_path)}
    with listening(tmp_path / "own", engine(told, VERSION)) as url:
        assert isinstance(facts_of(url).get(("docker", "disk", "free")), int)
    with listening(tmp_path / "far", engine({**told, key: value}, VERSION)) as url:
        facts = facts_of(url)
    assert facts.get(("docker", "native")) is False
    for path in ("docker.disk.free", "docker.memory.available", "docker.memory.limit"):
        assert "another host" in facts.unknown[path].reason


def test_an_engine_that_does_not_answer_leaves_the_address(tunnel: Any) -> None:
    facts = facts_of(tunnel(lambda connection: connection.close()))
    assert facts.get(("docker", "reachable")) is False
    assert facts.get(("docker", "local")) is True
    assert "may be the end of a tunnel" in facts.source(("docker", "local"))


def test_an_engine_that_hangs_leaves_the_address(tunnel: Any, run_preflight: Run) -> None:
    """The rules about this machine are judged all the same."""
    url = tunnel(lambda _: time.sleep(30))
    done = run_preflight("check", "-f", "json", "--timeout", "2.9", "--docker-host", url)
    verdicts = {one["id"]: one["verdict"] for one in json.loads(done.stdout)["results"]}
    assert verdicts["docker-reachable"] == "unknown"
    assert verdicts["host-memory"] in ("pass", "warn", "fail")


def test_ollama_beside_an_engine_at_the_other_end_is_not_looked_for_here(tunnel: Any) -> None:
    url = tunnel(answering(engine({**HERE, "Name": "build-17"}, VERSION)))
    context = MeasurementContext(MeasurementOptions(docker_host=url, timeout=5))
    facts = build_facts(
        completed("ollama", ollama.measure_ollama(context, {})), measured_at="", version=""
    )
    assert "another host" in facts.unknown["ollama.reachable"].reason


def test_a_tunnel_to_the_engine_of_this_machine(
    tunnel: Any, docker_engine: Engine, run_preflight: Run
) -> None:
    done = run_preflight("check", "-f", "json", "--docker-host", tunnel(to(docker_engine)))
    verdicts = {one["id"]: one["verdict"] for one in json.loads(done.stdout)["results"]}
    assert verdicts["docker-reachable"] == "pass"
    assert verdicts["host-memory"] != "skip"


def test_a_tunnel_to_the_engine_of_another_machine(
    tunnel: Any, docker_engine: Engine, run_preflight: Run
) -> None:
    """The other machine is this one, called otherwise."""
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        pytest.skip("a name of its own takes root")
    called = ("unshare", "--uts", "sh", "-c", 'hostname elsewhere; exec "$@"', "sh")
    url = tunnel(to(docker_engine))
    done = run_preflight("check", "-f", "json", "--docker-host", url, prefix=called)
    verdicts = {one["id"]: one["verdict"] for one in json.loads(done.stdout)["results"]}
    assert verdicts["docker-reachable"] == "pass"
    for rule in ("host-memory", "host-disk", "host-cpus"):
        assert verdicts[rule] == "skip"
