"""A small Ollama over HTTP on loopback, for tests: its documented API, and ways to answer badly.

with serving() as fake:                      # a well one, with the models of TAGS
with serving(bad=BAD["html"]) as fake:       # answers everything with a web page
with serving(bad=BAD["half"], at="/api/ps")  # is well but for one path
"""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

VERSION: Mapping[str, Any] = {"version": "0.13.5"}
TAGS: Mapping[str, Any] = {
    "models": [
        {"name": "mistral:7b", "model": "mistral:7b", "size": 4_113_301_824},
        {"name": "gemma:2b", "model": "gemma:2b", "size": 1_678_456_656},
    ]
}
PS: Mapping[str, Any] = {
    "models": [
        {
            "name": "mistral:7b",
            "model": "mistral:7b",
            "size": 5_137_025_024,
            "size_vram": 1_000_000_000,
            "context_length": 4096,
        }
    ]
}
MISTRAL: Mapping[str, Any] = {
    "general.architecture": "llama",
    "llama.block_count": 32,
    "llama.embedding_length": 4096,
    "llama.attention.head_count": 32,
    "llama.attention.head_count_kv": 8,
}
GEMMA: Mapping[str, Any] = {
    "general.architecture": "gemma",
    "gemma.block_count": 18,
    "gemma.embedding_length": 2048,
    "gemma.attention.head_count": 8,
    "gemma.attention.head_count_kv": 1,
    "gemma.attention.key_length": 256,
    "gemma.attention.value_length": 256,
}
SHOWN: Mapping[str, Mapping[str, Any]] = {"mistral:7b": MISTRAL, "gemma:2b": GEMMA}

Answer = Callable[[socket.socket, threading.Event], None]


class Fake(NamedTuple):
    """A server that runs: where it is, and what it was asked, as `GET /api/version`."""

    url: str
    port: int
    asked: list[str]


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def saying(data: bytes) -> Answer:
    return lambda connection, _: connection.sendall(data)


def slow(_: socket.socket, ended: threading.Event) -> None:
    ended.wait(30)


def drip(connection: socket.socket, ended: threading.Event) -> None:
    """Send a good answer a byte at a time, so that no single wait is long."""
    _drip(connection, ended, http(b'{"version": "1"' + b" " * 1000 + b"}"))


def drip_head(connection: socket.socket, ended: threading.Event) -> None:
    _drip(connection, ended, b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000)


def drip_chunks(connection: socket.socket, ended: threading.Event) -> None:
    _drip(
        connection,
        ended,
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"1\r\n \r\n" * 1000,
    )


def _drip(
    connection: socket.socket, ended: threading.Event, data: bytes, more: bytes = b""
) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if more:
        connection.sendall(data)
    for byte in more or data:
        connection.sendall(bytes([byte]))
        if ended.wait(0.05):
            return


def flood(connection: socket.socket, ended: threading.Event) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 200000000\r\n\r\n")
    while not ended.is_set():
        connection.sendall(b" " * 1_000_000)


def endless_head(connection: socket.socket, ended: threading.Event) -> None:
    while not ended.is_set():
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n" * 1000)


def reset(connection: socket.socket, _: threading.Event) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


BAD: Mapping[str, Answer] = {
    "slow": slow,
    "drip": drip,
    "drip in the head": drip_head,
    "drip in chunks": drip_chunks,
    "endless head": endless_head,
    "html": saying(http(b"<!doctype html><HTML><body>hello</body></HTML>", kind="text/html")),
    "half": saying(http(b'{"version": "0.13')),
    "less than promised": saying(b'HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"version"'),
    "reset": reset,
    "closes": lambda connection, _: connection.close(),
    "500": saying(http(b'{"error": "out of\\u001b[31m order"}', "500 Oops")),
    "forbidden": saying(http(b"no", "403 Forbidden", "text/plain")),
    "not found": saying(http(b"404 page not found", "404 Not Found", "text/plain")),
    "no http": saying(b"SSH-2.0-OpenSSH_9.2\r\n"),
    "a line without end": saying(b"HTTP/1.1 200 " + b"x" * 100_000),
    "a list": saying(http(b"[]")),
    "nan": saying(http(b"NaN")),
    "deep": saying(http(b"[" * 200_000)),
    "no text": saying(http(b"\xff\xfe\x00")),
    "200 MB": flood,
}


@contextmanager
def serving(
    *,
    version: Any = VERSION,
    tags: Any = TAGS,
    ps: Any = PS,
    shown: Mapping[str, Any] = SHOWN,
    bad: Answer | None = None,
    at: str = "/",
) -> Iterator[Fake]:
    """Serve on a free port of loopback until the block ends; `bad` answers paths from `at` on."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    ended = threading.Event()
    threads: list[threading.Thread] = []
    port = listener.getsockname()[1]
    fake = Fake(f"http://127.0.0.1:{port}", port, [])

    def good(path: str, body: bytes) -> bytes:
        answers = {"/api/version": version, "/api/tags": tags, "/api/ps": ps}
        if path in answers:
            return http(_json(answers[path]))
        name = json.loads(body)["model"] if path == "/api/show" else None
        if not isinstance(name, str) or name not in shown:
            return http(b'{"error": "model not found"}', "404 Not Found")
        return http(_json({"model_info": shown[name], "details": {}}))

    def one(connection: socket.socket) -> None:
        with connection:
            try:
                method, path, body = _request(connection)
                fake.asked.append(f"{method} {path}")
                if bad is not None and path.startswith(at):
                    bad(connection, ended)
                else:
                    connection.sendall(good(path, body))
            except (OSError, ValueError):
                pass  # the client has gone, and a flood ends that way

    def loop() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threads.append(threading.Thread(target=one, args=(connection,), daemon=True))
            threads[-1].start()

    threading.Thread(target=loop, daemon=True).start()
    try:
        yield fake
    finally:
        ended.set()
        with suppress(OSError):  # wakes accept() on Linux, is refused elsewhere
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in threads:
            thread.join(5)


def _json(value: Any) -> bytes:
    """Encode; bytes stand for themselves, so that tests can say what no encoder writes."""
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def _request(connection: socket.socket) -> tuple[str, str, bytes]:
    with connection.makefile("rb") as stream:
        method, path, _ = stream.readline().decode("latin-1").split()
        length = 0
        while (line := stream.readline()) not in (b"\r\n", b""):
            name, _, value = line.decode("latin-1").partition(":")
            if name.lower() == "content-length":
                length = int(value)
        return method, path, stream.read(length)
