"""Servers for a container engine's address: a fake engine, or one that misbehaves.

with listening(socket_file, engine()) as url:     # a fake engine on a Unix socket
with listening(socket_file, drip) as url:         # a byte every 0.2 seconds
"""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

VERSION: dict[str, Any] = {
    "Version": "28.2.2",
    "ApiVersion": "1.50",
    "Os": "linux",
    "Arch": "amd64",
}
INFO: dict[str, Any] = {
    "MemTotal": 8_000_000_000,
    "NCPU": 4,
    "OperatingSystem": "Docker Desktop",
    "Name": "docker-desktop",
    "CgroupVersion": "2",
    "CgroupDriver": "cgroupfs",
    "MemoryLimit": True,
    "CpuCfsQuota": True,
    "DockerRootDir": "/var/lib/docker",
    "Driver": "overlayfs",
    "LoggingDriver": "json-file",
    "SecurityOptions": ["name=seccomp,profile=unconfined"],
    "Swarm": {"LocalNodeState": "inactive"},
    "Warnings": None,
}
Answer = Callable[[socket.socket, bytes], None]


def http(body: bytes, status: str = "200 OK", kind: str = "application/json") -> bytes:
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def engine(info: Any = INFO, version: Any = VERSION) -> Answer:
    """Return a handler that answers as an engine does."""

    def answer(connection: socket.socket, request: bytes) -> None:
        path = request.split()[1].decode()
        data = version if path.endswith("/version") else info if path.endswith("/info") else []
        connection.sendall(http(json.dumps(data).encode()))

    return answer


def send_bytes(data: bytes) -> Answer:
    return lambda connection, _: connection.sendall(data)


@cache
def http_bomb() -> bytes:
    """Return an unrequested gzip response: 64 MB of spaces in 290 kB."""
    packed = gzip.compress(b" " * 64_000_000, compresslevel=1)
    head = f"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
    return head.encode() + packed


def answer_with_error_at(path_end: str, status: int, body: Any) -> Answer:
    """Return a handler that answers as an engine does, except for one path."""

    def answer(connection: socket.socket, request: bytes) -> None:
        if request.split()[1].decode().endswith(path_end):
            connection.sendall(http(json.dumps(body).encode(), f"{status} No"))
        else:
            engine()(connection, request)

    return answer


@contextmanager
def listening(socket_file: Path | str, answer: Answer) -> Iterator[str]:
    """Listen on a Unix socket, pass each connection to `answer`, and yield the URL."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(socket_file))
    listener.listen()
    with _served(listener, answer, lambda connection: connection):
        yield f"unix://{socket_file}"


@contextmanager
def listening_by_tls(certificates: Path, answer: Answer) -> Iterator[int]:
    """Listen on a port of loopback with the certificate of `made_certificates`; yields the port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "cert.pem", certificates / "key.pem")
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    with _served(listener, answer, lambda plain: context.wrap_socket(plain, server_side=True)):
        yield listener.getsockname()[1]


@contextmanager
def listening_on_port(answer: Answer) -> Iterator[int]:
    """Listen on loopback, pass each connection to `answer`, and yield the port."""
    listener = socket.create_server(("127.0.0.1", 0))
    with _served(listener, answer, lambda connection: connection):
        yield listener.getsockname()[1]


@contextmanager
def _served(
    listener: socket.socket, answer: Answer, wrap: Callable[[socket.socket], socket.socket]
) -> Iterator[None]:
    connections = []

    def loop() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threading.Thread(target=serve_connection, args=(connection,), daemon=True).start()

    def serve_connection(plain: socket.socket) -> None:
        try:
            with wrap(plain) as connection:
                request = connection.recv(65536)
                if request:
                    answer(connection, request)
        except (OSError, ValueError):
            pass
        finally:
            plain.close()

    threading.Thread(target=loop, daemon=True).start()
    try:
        yield
    finally:
        listener.close()
        for connection in connections:
            connection.close()


def make_certificates(folder: Path) -> Path:
    """Make a self-signed certificate of a host called `elsewhere`."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
         "-keyout", "key.pem", "-out", "cert.pem",
         "-subj", "/CN=elsewhere", "-addext", "subjectAltName=DNS:elsewhere"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip
    (folder / "ca.pem").write_bytes((folder / "cert.pem").read_bytes())
    return folder


def drip(connection: socket.socket, _: bytes) -> None:
    for byte in http(b"{" + b" " * 100 + b"}"):
        connection.sendall(bytes([byte]))
        time.sleep(0.2)


def drip_without_end(sent_at_once: bytes) -> Answer:
    """Return a handler that sends this, then a byte every 0.1 seconds, without end."""

    def answer(connection: socket.socket, _: bytes) -> None:
        connection.sendall(sent_at_once)
        while True:
            connection.sendall(b" ")
            time.sleep(0.1)

    return answer


def flood(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 300000000\r\n\r\n")
    for _ in range(300):
        connection.sendall(b" " * 1_000_000)


def chunked_flood(connection: socket.socket, _: bytes) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(300):
        connection.sendall(b"f4240\r\n" + b" " * 1_000_000 + b"\r\n")


def reset(connection: socket.socket, _: bytes) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


HTML = http(b"<!doctype html><HTML><body>hello</body></html>", kind="text/html")
