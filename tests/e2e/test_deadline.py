"""`--timeout` bounds every command that asks an engine, and nothing is left running."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine_server import drip_without_end, listening
from engines import Engine
from processes import MARK_VARIABLE, find_marked_processes

Run = Callable[..., "subprocess.CompletedProcess[str]"]
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n{"


@pytest.fixture
def dripping_engine(tmp_path: Path) -> Iterator[str]:
    """The address of an engine that sends a byte now and then, without end."""
    with listening(tmp_path / "s", drip_without_end(HEAD)) as address:
        yield address


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("diagnose", "--container", "x"), 2),
        (("diagnose", "--compose"), 2),
        (("bundle", "-y", "-o", "b.zip"), 0),
        (("check", "-q", "--only", "docker-reachable"), 3),
        (("models",), 0),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_an_engine_that_drips(
    arguments: tuple[str, ...], code: int, dripping_engine: str, run_preflight: Run, tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text("name: shop\nservices: {api: {image: x}}\n")
    start = time.monotonic()
    done = run_preflight(
        *arguments, "--docker-host", dripping_engine, "--timeout", "2", cwd=tmp_path
    )
    assert time.monotonic() - start < 10  # a busy machine
    assert done.returncode == code, done.stderr


COMPOSE_THAT_HANGS = "#!/bin/sh\nsleep 297 &\nexec sleep 298\n"


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("number", [None, signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    "command", [("check", "-q"), ("bundle", "-y", "-o", "b.zip"), ("diagnose", "--compose")],
    ids=lambda command: command[0],
)  # fmt: skip
def test_nothing_is_left_of_a_compose_that_hangs(
    command: tuple[str, ...], number: signal.Signals | None, tmp_path: Path, clean_environment: Path
) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "docker-compose").write_text(COMPOSE_THAT_HANGS)
    (programs / "docker-compose").chmod(0o755)
    (tmp_path / "compose.yaml").write_text("services: {api: {image: x}}\n")
    mark = f"{os.getpid()}-{time.monotonic()}"
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", *command, "--timeout", "3"],
        env={**os.environ, MARK_VARIABLE: mark, "PATH": f"{programs}:{os.environ['PATH']}"},
        cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    deadline = time.monotonic() + 10
    while len(find_marked_processes(mark)) < 4 and time.monotonic() < deadline:
        time.sleep(0.02)
    if number is not None:
        process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    assert b"Traceback" not in errors
    deadline = time.monotonic() + 5
    while find_marked_processes(mark) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not find_marked_processes(mark)


@pytest.mark.parametrize("cause", ["short", "pipe"])
def test_an_engine_that_had_no_time_is_undecided(
    cause: str, docker_engine: Engine, run_preflight: Run, clean_environment: Path
) -> None:
    """A healthy engine isn't called unreachable because the deadline came first."""
    if cause == "pipe":  # who reads the docker CLI's configuration waits for ever
        (clean_environment / ".docker").mkdir()
        os.mkfifo(clean_environment / ".docker/config.json")
    timeout = "0.05" if cause == "short" else "2"
    env = {"DOCKER_HOST": docker_engine.url} if cause == "short" else {}
    done = run_preflight("check", "--only", "docker-reachable", "--timeout", timeout, env=env)
    assert done.returncode == 3, done.stdout
    reasons = [f"Docker did not answer within {timeout} s"]
    if cause == "short":  # it may have been asked already
        reasons.append(f"no answer from {docker_engine.url} within {timeout} s")
    assert any(reason in " ".join(done.stdout.split()) for reason in reasons)
    assert "No container engine reachable" not in done.stdout
    assert "Allow more time" in done.stdout
