"""Whatever stands where an engine should: each check ends in time, with its verdicts and its files.

Each row is a whole command. It writes two reports, and its rules ask for one figure of the machine
and one of the engine: what the engine doesn't tell is undecided, and nothing else is.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from xml.etree import ElementTree

import pytest

from engine_server import (
    HTML,
    Answer,
    answer_with_error_at,
    chunked_flood,
    drip,
    engine,
    flood,
    http,
    listening,
    listening_by_tls,
    make_certificates,
    reset,
    send_bytes,
)
from engines import Engine
from processes import MARK_VARIABLE, find_marked_processes
from rows import nightly_except

RULES = """\
version: 1
name: engines
rules:
  - {id: memory, title: Memory, fact: host.memory.total, require: {at_least: 1B}}
  - {id: its-memory, title: Its memory, fact: docker.memory.total, require: {at_least: 1B}}
"""
TIMEOUT = 2  # seconds, where an engine keeps a check waiting
Place = Callable[[Path], AbstractContextManager[tuple[str, ...]]]


def answering(answer: Answer) -> Place:
    """Something else than an engine behind its socket."""

    @contextmanager
    def place(folder: Path) -> Iterator[tuple[str, ...]]:
        with listening(folder / "s", answer) as url:
            yield ("--docker-host", url)

    return place


def create_context(folder: Path, endpoint: str) -> tuple[str, ...]:
    """Have the docker CLI make a context; return the options that choose it."""
    command = ["docker", "context", "create", "faulty", "--docker", endpoint]
    subprocess.run(command, env={**os.environ, "HOME": str(folder)}, check=True,
                   capture_output=True)  # fmt: skip
    return ("--context", "faulty")


@contextmanager
def dead_port(folder: Path) -> Iterator[tuple[str, ...]]:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        yield create_context(folder, f"host=tcp://127.0.0.1:{unused.getsockname()[1]}")


@contextmanager
def wrong_certificate(folder: Path) -> Iterator[tuple[str, ...]]:
    made = make_certificates(folder)
    files = ",".join(f"{name}={made}/{name}.pem" for name in ("ca", "cert", "key"))
    with listening_by_tls(made, engine()) as port:
        yield create_context(folder, f"host=tcp://127.0.0.1:{port},{files}")


@contextmanager
def nothing_there(folder: Path) -> Iterator[tuple[str, ...]]:
    yield ("--docker-host", f"unix://{folder}/none")


ROWS: dict[str, tuple[Place, str]] = {
    "no socket": (nothing_there, "no socket at unix://"),
    "closes at once": (
        answering(lambda connection, _: connection.close()),
        "respond like a container",
    ),
    "resets": (answering(reset), "respond like a container engine"),
    "drips": (answering(drip), f"within {TIMEOUT} s"),
    "is silent": (answering(lambda *_: time.sleep(30)), f"within {TIMEOUT} s"),
    "answers 500": (
        answering(send_bytes(http(b'{"message": "sick"}', "500 No"))),
        "status 500 sick",
    ),
    "answers 500 half way": (
        answering(answer_with_error_at("/info", 500, {"message": "sick"})),
        "500 sick",
    ),
    "answers html": (answering(send_bytes(HTML)), "a web page"),
    "answers 300 MB": (answering(flood), "more than 32 MiB"),
    "answers 300 MB in chunks": (answering(chunked_flood), "more than 32 MiB"),
    "answers half": (answering(send_bytes(http(b'{"Version": "28'))), "invalid JSON"),
    "answers less than it promised": (
        answering(send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{")),
        "respond like a container engine",
    ),
    "a context to a dead port": (dead_port, "refused"),
    "a context to TLS with a wrong certificate": (wrong_certificate, "mismatch"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rules.yaml").write_text(RULES)
    (tmp_path / "out").mkdir()
    return tmp_path


def check(folder: Path, *options: str, timeout: int = 20) -> tuple[int, dict[str, tuple[str, str]]]:
    """Run a check; return its exit code, and verdict and evidence of each rule."""
    mark = f"engines-{os.getpid()}-{folder.name}"
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "preflight", "check", "--rules", "rules.yaml", "--timeout",
         str(timeout), "-f", "text", "-f", "json:out/r.json", "-f", "junit:out/r.xml", *options],
        env={**os.environ, "HOME": str(folder), MARK_VARIABLE: mark},
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert time.monotonic() - start < 30
    assert not find_marked_processes(mark)
    assert done.stderr == ""
    assert {path.name for path in (folder / "out").iterdir()} == {"r.json", "r.xml"}
    report = json.loads((folder / "out/r.json").read_text())
    assert report["summary"]["exit_code"] == done.returncode
    undecided = ElementTree.parse(folder / "out/r.xml").findall(".//error")
    assert len(undecided) == report["summary"]["unknown"]
    return done.returncode, {
        one["id"]: (one["verdict"], one["evidence"] or "") for one in report["results"]
    }


EVERY_CHANGE = ("no socket", "drips", "answers 300 MB", "a context to TLS with a wrong certificate")


@pytest.mark.parametrize("name", nightly_except(ROWS, EVERY_CHANGE))
def test_a_server_that_isnt_an_engine_leaves_its_facts_unknown(name: str, folder: Path) -> None:
    place, reason = ROWS[name]
    with place(folder) as options:
        code, found = check(folder, *options, timeout=TIMEOUT if "within" in reason else 20)
    assert (code, found["memory"][0], found["its-memory"][0]) == (3, "pass", "unknown")
    assert reason in found["its-memory"][1]


@pytest.mark.parametrize(
    "sent",
    [pytest.param(signal.SIGKILL, marks=pytest.mark.nightly), signal.SIGSTOP],
    ids=["killed", "stopped"],
)
def test_an_engine_that_is_gone_leaves_its_facts_unknown(
    sent: signal.Signals, folder: Path, own_dockerd: Callable[..., Engine]
) -> None:
    dockerd = own_dockerd()
    os.kill(dockerd.pid, sent)
    code, found = check(folder, "--docker-host", dockerd.url, timeout=TIMEOUT)
    assert (code, found["memory"][0], found["its-memory"][0]) == (3, "pass", "unknown")


@pytest.mark.parametrize("kind", ["docker_engine", "podman_engine"])
def test_an_engine_that_is_well_is_judged(
    kind: str, folder: Path, request: pytest.FixtureRequest
) -> None:
    code, found = check(folder, "--docker-host", request.getfixturevalue(kind).url)
    assert (code, found["memory"][0], found["its-memory"][0]) == (0, "pass", "pass")


def test_another_engine_in_the_sockets_place_is_the_one_that_is_judged(
    folder: Path, docker_engine: Engine, podman_engine: Engine
) -> None:
    link = folder / "docker.sock"
    for real, name in ((docker_engine, "docker"), (podman_engine, "podman")):
        link.unlink(missing_ok=True)
        link.symlink_to(real.url.removeprefix("unix://"))
        done = subprocess.run(
            [sys.executable, "-m", "preflight", "facts", "-f", "json", "--docker-host",
             f"unix://{link}"],
            env={**os.environ, "HOME": str(folder)}, capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert json.loads(done.stdout)["facts"]["docker"]["engine"] == name
