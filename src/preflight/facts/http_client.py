"""HTTP requests to container engines and to Ollama: one deadline each, and bounded responses.

What listens at an address may be anything: nothing is followed elsewhere, and a response that drips
doesn't take longer than one that stays away. Sockets and TCP go over the standard library, as
importing the docker SDK takes longer than the rest of a check. It has what the standard library
lacks: SSH, Windows' named pipes and proxies.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import urlsplit

from preflight.facts.engine.endpoint import Endpoint, Tls

if TYPE_CHECKING:
    import ssl

# path, seconds, maximum of bytes -> status, body (cut one byte beyond the maximum)
Get: TypeAlias = Callable[[str, float, int], tuple[int, bytes]]


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
        parts = urlsplit(url)
        connection = HTTPConnection("localhost" if parts.scheme == "unix" else parts.netloc)
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


def open_transport(endpoint: Endpoint) -> Get:
    """Return the way to an endpoint; a GET raises what the libraries raise, OSError and others."""
    scheme = urlsplit(endpoint.url).scheme
    if scheme in ("npipe", "ssh") or (not endpoint.local and _goes_through_proxy(endpoint)):
        return _sdk_transport(endpoint)
    context = None if endpoint.tls is None else _tls_context(endpoint.tls)

    def get(path: str, timeout: float, max_bytes: int) -> tuple[int, bytes]:
        path, headers = endpoint.base + path, {"Host": "docker"}
        limits: dict[str, Any] = {"timeout": timeout, "max_bytes": max_bytes}
        return request(endpoint.url, path, headers=headers, tls=context, **limits)

    return get


def _goes_through_proxy(endpoint: Endpoint) -> bool:
    """Whether the docker CLI would use a proxy, as Go's ProxyFromEnvironment says."""
    from urllib.request import getproxies, proxy_bypass

    kind = "https" if endpoint.tls is not None else "http"
    return kind in getproxies() and not proxy_bypass(urlsplit(endpoint.url).hostname or "")


def _tls_context(tls: Tls) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and tls.key:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def _sdk_transport(endpoint: Endpoint) -> Get:
    import docker

    tls: Any = False
    url = endpoint.url
    if endpoint.tls is not None and url.startswith("tcp"):
        ca, cert, key, verify = endpoint.tls
        pair = (cert, key) if cert and key else None
        tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=verify)
        url = "https://" + url.split("://", 1)[1]
    client = docker.APIClient(base_url=url, version="1.24", tls=tls)

    def get(path: str, timeout: float, max_bytes: int) -> tuple[int, bytes]:
        response = client.get(
            client.base_url.rstrip("/") + path, timeout=timeout, stream=True, allow_redirects=False
        )
        body = bytearray()
        for chunk in response.iter_content(2**16):
            body += chunk
            if len(body) > max_bytes:
                break
        response.close()
        return response.status_code, bytes(body)

    return get
