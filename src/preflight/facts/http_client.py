"""One HTTP request over a socket: one deadline for all of it, and a bounded response.

Container engines and Ollama are asked with it. What listens at an address may be anything: nothing
is followed elsewhere, and a response that drips doesn't take longer than one that stays away.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import ssl


def request(
    url: str,
    path: str,
    *,
    timeout: float,
    max_bytes: int,
    method: str = "GET",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    """Return the status and the body, which is cut one byte beyond `max_bytes`.

    `url` is unix://PATH, or the scheme (tcp, http, https), host and port; `tls` and https encrypt.
    `timeout` is in seconds. Raises OSError (TimeoutError, ssl.SSLError) or HTTPException.
    """
    from http.client import HTTPConnection

    deadline = time.monotonic() + timeout
    connected = _connect(url, timeout, tls)
    try:
        connection = HTTPConnection(urlsplit(url).netloc or "localhost")
        connection.sock = _DeadlineSocket(connected, deadline)
        connection.request(method, path, body, dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.read(max_bytes + 1)
    finally:
        connected.close()


def _connect(url: str, timeout: float, tls: ssl.SSLContext | None) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(parts.netloc + parts.path)
        except OSError:
            connection.close()
            raise
        return connection
    if parts.scheme == "https" and tls is None:
        import ssl

        tls = ssl.create_default_context()
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    connection = socket.create_connection((host, port), timeout)
    return tls.wrap_socket(connection, server_hostname=host) if tls else connection


class _DeadlineSocket(io.RawIOBase):
    """What http.client needs of a socket, with one end to all its waiting.

    http.client closes it before the body is read, so that closing it does nothing.
    """

    def __init__(self, connected: socket.socket, deadline: float) -> None:
        self._socket = connected
        self._deadline = deadline

    def sendall(self, data: bytes) -> None:
        self._limit_wait()
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._limit_wait()
        return self._socket.recv_into(buffer)

    def close(self) -> None:
        pass

    def _limit_wait(self) -> None:
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._socket.settimeout(left)
