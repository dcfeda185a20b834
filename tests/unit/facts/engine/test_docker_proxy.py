"""An engine on another host behind a proxy."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from docker_facts import facts_of, problem
from engine_server import VERSION, Answer, engine, flood, http_bomb, reset, send_bytes

URL = "tcp://engine.invalid:2375"
LOOP = (
    b"HTTP/1.1 307 No\r\nLocation: http://engine.invalid:2375/version\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture
def proxy(
    clean_environment: object, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[Answer], list[str]]]:
    """Set a proxy that answers in the engine's place; returns what it is asked for."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    asked: list[str] = []

    def start(answer: Answer) -> list[str]:
        def one(connection: socket.socket) -> None:
            with connection:
                try:
                    while request := connection.recv(65536):
                        asked.append(request.split()[1].decode())
                        answer(connection, request)
                except OSError:
                    pass

        def loop() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=loop, daemon=True).start()
        return asked

    for name in ("NO_PROXY", "no_proxy", "http_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{listener.getsockname()[1]}")
    yield start
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()


def test_a_remote_engine_is_asked_through_the_proxy_as_the_cli_does(
    proxy: Callable[[Answer], list[str]],
) -> None:
    asked = proxy(engine())
    facts = facts_of(URL)
    assert problem(facts) == (True, None, "None")
    assert facts.get(("docker", "version")) == VERSION["Version"]
    assert facts.get(("docker", "local")) is False
    assert facts.get(("docker", "native")) is False
    assert asked[0].startswith("http://engine.invalid:2375/version")
    asked.clear()
    assert problem(facts_of(f"{URL}/a/"))[0] is True
    assert asked[0] == "http://engine.invalid:2375/a/version"
    if shutil.which("docker"):
        asked.clear()
        subprocess.run(["docker", "-H", URL, "version"], capture_output=True, timeout=30)
        assert asked
        assert asked[0].startswith("http://engine.invalid:2375/")


def test_the_proxys_scheme_may_be_left_out(
    proxy: Callable[[Answer], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", os.environ["HTTP_PROXY"].removeprefix("http://"))
    asked = proxy(engine())
    assert problem(facts_of(URL)) == (True, None, "None")
    assert asked[0].startswith("http://engine.invalid:2375/version")


def test_a_host_that_the_proxy_is_not_for_is_asked_itself(
    proxy: Callable[[Answer], list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "engine.invalid")
    asked = proxy(engine())
    assert problem(facts_of(URL))[:2] == (False, "unavailable")
    assert asked == []


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        (send_bytes(http_bomb()), "invalid", "invalid JSON"),
        (flood, "invalid", "more than 32 MiB"),
        (lambda c, r: (reset(c, r), c.close()), "invalid", "respond like a container engine"),
        (lambda c, _: c.close(), "invalid", "respond like a container engine"),
        (lambda c, _: time.sleep(10), "timeout", "within 3 s"),
        (send_bytes(b"HTTP/1.1 503 No\r\nContent-Length: 4\r\n\r\ngone"), "error", "503 gone"),
    ],
    ids=["bomb", "flood", "resets", "closes", "silent", "error"],
)
def test_what_a_proxy_may_answer(
    answer: Answer, kind: str, said: str, proxy: Callable[[Answer], list[str]]
) -> None:
    asked = proxy(answer)
    reachable, found, reason = problem(facts_of(URL, timeout=3 if kind == "timeout" else 10))
    assert reachable is False
    assert (found, len(asked)) == (kind, 1), reason
    assert said in reason


def test_redirects_for_ever_come_to_an_end(proxy: Callable[[Answer], list[str]]) -> None:
    asked = proxy(send_bytes(LOOP))
    reachable, kind, _ = problem(facts_of(URL, timeout=10))
    assert reachable is False
    assert kind in ("invalid", "error")
    assert len(asked) <= 31


@pytest.mark.parametrize("status", ["407 Proxy Authentication Required", "502 Bad Gateway"])
def test_a_proxy_that_refuses_is_named_and_not_the_engine(
    proxy: Callable[[Answer], list[str]], status: str
) -> None:
    proxy(send_bytes(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode()))
    reachable, kind, reason = problem(facts_of(URL))
    assert (reachable, kind) == (False, "unavailable")
    code = status[:3]
    expected = rf"{URL}: the proxy 127\.0\.0\.1:[0-9]+ returned status {code}"
    assert re.fullmatch(expected, reason), reason


def test_a_proxy_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_PROXY", "no_proxy", "http_proxy", "REQUEST_METHOD"):
        monkeypatch.delenv(name, raising=False)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("HTTP_PROXY", f"http://me:secret@{address}")
        reachable, kind, reason = problem(facts_of(URL))
    assert (reachable, kind) == (False, "unavailable")
    assert reason == f"{URL}: the proxy {address} can't be reached: Connection refused"
