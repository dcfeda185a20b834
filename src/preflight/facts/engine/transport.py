"""Carries one GET to a container engine and its answer back, no more of it than was asked for.

Sockets and TCP go over the standard library: the docker SDK takes 75 ms to import. It brings what
the standard library lacks: Windows' named pipes, SSH, and proxies.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol
from urllib.parse import urlsplit

from preflight.facts.engine.endpoint import Endpoint, Tls


class Transport(Protocol):
    """One way to an engine."""

    def get(self, path: str) -> tuple[int, bytes]:
        """Return the status and the body; a body over the bound is cut one byte beyond it."""


def transport(endpoint: Endpoint, timeout: float, most: int) -> Transport:
    """Return the way to an endpoint; `timeout` is in seconds an operation, `most` in bytes.

    It raises what the libraries raise: OSError, ssl.SSLError, http.client.HTTPException, the SDK's.
    """
    scheme = urlsplit(endpoint.url).scheme
    if scheme in ("npipe", "ssh") or (not endpoint.local and _proxied(endpoint)):
        return SdkTransport(endpoint, timeout, most)
    return HttpTransport(endpoint, timeout, most)


def _proxied(endpoint: Endpoint) -> bool:
    """Whether the docker CLI would go through a proxy, as Go's ProxyFromEnvironment says."""
    from urllib.request import getproxies, proxy_bypass

    kind = "https" if endpoint.tls is not None else "http"
    host = urlsplit(endpoint.url).hostname or ""
    return kind in getproxies() and not proxy_bypass(host)


class HttpTransport:
    """unix:// and tcp://, with and without TLS; a connection for each request."""

    def __init__(self, endpoint: Endpoint, timeout: float, most: int) -> None:
        self._endpoint = endpoint
        self._timeout = timeout
        self._most = most

    def get(self, path: str) -> tuple[int, bytes]:
        connection = self._connection()
        try:
            connection.request("GET", self._endpoint.base + path, headers={"Host": "docker"})
            response = connection.getresponse()
            return response.status, response.read(self._most + 1)
        finally:
            connection.close()

    def _connection(self) -> Any:
        from http.client import HTTPConnection, HTTPSConnection

        parts = urlsplit(self._endpoint.url)
        if parts.scheme == "unix":
            connection = HTTPConnection("localhost", timeout=self._timeout)
            connection.sock = _unix_socket(parts.netloc + parts.path, self._timeout)
            return connection
        if self._endpoint.tls is not None or parts.scheme == "https":
            context = _tls_context(self._endpoint.tls)
            return HTTPSConnection(
                parts.hostname or "", parts.port, timeout=self._timeout, context=context
            )
        return HTTPConnection(parts.hostname or "", parts.port, timeout=self._timeout)


def _unix_socket(path: str, timeout: float) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.settimeout(timeout)
        connection.connect(path)
    except OSError:
        connection.close()
        raise
    return connection


def _tls_context(tls: Tls | None) -> Any:
    import ssl

    context = ssl.create_default_context(cafile=tls.ca if tls else None)
    if tls is not None and not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls is not None and tls.cert and tls.key:
        context.load_cert_chain(tls.cert, tls.key)
    return context


class SdkTransport:
    """npipe://, ssh:// and proxies, over the docker SDK's session."""

    def __init__(self, endpoint: Endpoint, timeout: float, most: int) -> None:
        import docker

        tls: Any = False
        url = endpoint.url
        if endpoint.tls is not None and url.startswith("tcp"):
            files = endpoint.tls
            pair = (files.cert, files.key) if files.cert and files.key else None
            tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=files.ca, verify=files.verify)
            url = "https://" + url.split("://", 1)[1]
        self._client = docker.APIClient(base_url=url, version="1.24", tls=tls)
        self._timeout = timeout
        self._most = most

    def get(self, path: str) -> tuple[int, bytes]:
        url = self._client.base_url.rstrip("/") + path
        response = self._client.get(url, timeout=self._timeout, stream=True, allow_redirects=False)
        data = bytearray()
        for chunk in response.iter_content(2**16):
            data += chunk
            if len(data) > self._most:
                break
        response.close()
        return response.status_code, bytes(data)
