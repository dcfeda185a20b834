"""HTTP requests to container engines and to Ollama: one deadline each, and bounded responses.

What listens at an address may be anything: nothing is followed elsewhere, and a response that drips
doesn't take longer than one that stays away. Engines and Ollama are asked over a plain socket:
importing http.client takes 10 ms of each check, and the docker SDK longer than all the rest. The
SDK has what is missing here: SSH, Windows' named pipes and proxies.
"""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import urlsplit, urlunsplit

from preflight.facts.engine.endpoint import Endpoint, TlsFiles

if TYPE_CHECKING:
    import ssl

# path, seconds, maximum of bytes, body of a POST -> status, body (cut one byte beyond the maximum)
SendRequest: TypeAlias = Callable[[str, float, int, "bytes | None"], tuple[int, bytes]]

_RECEIVE_BLOCK_BYTES = 2**16  # at once
_MAX_HEAD_BYTES = 2**16  # of a line
_MAX_HEADERS = 100


class InvalidHttpResponseError(Exception):
    """What listens at the address doesn't answer in HTTP."""


def send_request(
    url: str,
    path: str,
    *,
    timeout: float,
    max_bytes: int,
    body: bytes | None = None,
    tls: ssl.SSLContext | None = None,
) -> tuple[int, bytes]:
    """GET, or POST a body; returns the status and the body, cut one byte beyond `max_bytes`.

    `url` is unix://PATH, or the scheme (tcp, http, https), host and port; `tls` and https encrypt.
    `timeout` is in seconds. Raises OSError (TimeoutError, ssl.SSLError), InvalidHttpResponseError.
    """
    parts = urlsplit(url)
    host = "localhost" if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError(f"{path!r} can't be requested: it isn't quoted")
    head = f"{'GET' if body is None else 'POST'} {path} HTTP/1.1\r\nHost: {host}\r\n"
    head += "Accept-Encoding: identity\r\nConnection: close\r\n"
    if body is not None:
        head += f"Content-Length: {len(body)}\r\n"
    request = f"{head}\r\n".encode("ascii" if host.isascii() else "idna") + (body or b"")
    deadline = time.monotonic() + timeout
    with _connect_socket(url, timeout, tls) as connection:
        reader = _DeadlineReader(connection, deadline)
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before that
            connection.sendall(request)
        return _read_response(reader, max_bytes)


class _DeadlineReader:
    """Reads from a socket until a deadline, by time.monotonic; raises TimeoutError."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline
        self._buffer = bytearray()

    def _receive(self) -> bool:
        """Wait for more; returns False at the end of the connection."""
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError
        self._connection.settimeout(seconds_left)  # it starts again with each byte that drips in
        data = self._connection.recv(_RECEIVE_BLOCK_BYTES)
        self._buffer += data
        return bool(data)

    def read_line(self) -> bytes:
        """Return a line of the head without its end; raises InvalidHttpResponseError."""
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) > _MAX_HEAD_BYTES or not self._receive():
                raise InvalidHttpResponseError("the response's headers don't end")
        line = bytes(self._buffer[:end]).rstrip(b"\r")
        del self._buffer[: end + 1]
        return line

    def read(self, size: int) -> bytes:
        """Return `size` bytes, fewer at the end of the connection."""
        while len(self._buffer) < size and self._receive():
            pass
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data


def _read_response(reader: _DeadlineReader, max_bytes: int) -> tuple[int, bytes]:
    """Return the status and the body, cut one byte beyond `max_bytes`. Source: RFC 9112."""
    status = 100
    while status < 200:  # what is only informational precedes the response
        match = re.fullmatch(rb"HTTP/1\.\d ([1-9]\d\d)(?: .*)?", reader.read_line())
        if match is None:
            raise InvalidHttpResponseError("the response has no valid status line")
        status, headers = int(match[1]), {}
        while line := reader.read_line():
            name, _, value = line.partition(b":")
            headers[name.strip().lower()] = value.strip().lower()
            if len(headers) > _MAX_HEADERS:
                raise InvalidHttpResponseError("the response has too many headers")
    if b"chunked" in headers.get(b"transfer-encoding", b""):
        return status, _read_chunks(reader, max_bytes + 1)
    length = headers.get(b"content-length", b"")
    size = max_bytes + 1
    if status in (204, 304):
        size = 0
    elif re.fullmatch(rb"\d{1,18}", length):
        size = min(int(length), size)
    return status, reader.read(size)


def _read_chunks(reader: _DeadlineReader, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < max_bytes:
        size = re.match(rb"[0-9a-fA-F]{1,15}(?=[ \t;]|\Z)", reader.read_line())
        if size is None:
            raise InvalidHttpResponseError("the response has a chunk without a size")
        length = int(size[0], 16)
        if not length:
            break  # trailers may follow
        body += reader.read(min(length, max_bytes - len(body)))
        if len(body) < max_bytes:
            reader.read_line()
    return bytes(body)


class HttpResponse(NamedTuple):
    """A response; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def send_http_request(
    method: str, url: str, headers: Mapping[str, str], timeout: float, max_bytes: int
) -> HttpResponse:
    """Send a request to an http or https address, through the proxy that the environment names.

    The body is cut one byte beyond `max_bytes`. Raises OSError (TimeoutError) or HTTPException.
    """
    from http.client import HTTPConnection, HTTPSConnection
    from urllib.request import getproxies, proxy_bypass

    parts = urlsplit(url)
    proxy = urlsplit(getproxies().get(parts.scheme) or "")
    if proxy.hostname is None or proxy_bypass(parts.hostname or ""):
        proxy = parts
    is_direct = proxy is parts
    target = urlunsplit(("", "", parts.path or "/", parts.query, "")) if is_direct else url
    port = proxy.port or (443 if proxy.scheme == "https" else 80)
    connect = HTTPSConnection if parts.scheme == "https" else HTTPConnection
    connection = connect(proxy.hostname or "", port, timeout=timeout)
    if not is_direct and parts.scheme == "https":
        connection.set_tunnel(parts.hostname or "", parts.port or 443)
        target = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    deadline = time.monotonic() + timeout
    # the socket's own timeout starts again with each byte that drips in
    timer = threading.Timer(timeout, lambda: _shut_down_socket(connection.sock))
    timer.daemon = True
    timer.start()
    try:
        connection.request(method, target, headers={"Host": parts.netloc, **headers})
        response = connection.getresponse()
        body = b"" if method == "HEAD" else response.read(max_bytes + 1)
        own = {name.lower(): value for name, value in response.getheaders()}
        return HttpResponse(response.status, own, body)
    finally:
        timer.cancel()
        connection.close()
        if time.monotonic() >= deadline:
            raise TimeoutError from None


def _shut_down_socket(connected: socket.socket) -> None:
    with suppress(OSError, TypeError):  # it has been closed meanwhile, or isn't open yet
        # SSLSocket's own shutdown would end TLS under the reader
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _connect_socket(url: str, timeout: float, tls: ssl.SSLContext | None) -> socket.socket:
    parts = urlsplit(url)
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(re.sub("^unix:(//)?", "", url, flags=re.I))  # may have # or ?
        except OSError:
            connection.close()
            raise
        return connection
    host, is_https = parts.hostname or "", parts.scheme == "https"
    # as bytes: a text would have Python import its tables of international names
    name: Any = host.encode() if host.isascii() else host
    connection = socket.create_connection((name, parts.port or (443 if is_https else 80)), timeout)
    if tls is None and not is_https:
        return connection
    if tls is None:
        tls = _make_tls_context(TlsFiles(None, None, None, verify=True))
    return tls.wrap_socket(connection, server_hostname=host)


def _make_tls_context(tls: TlsFiles) -> ssl.SSLContext:
    import ssl

    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and tls.key:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def open_transport(endpoint: Endpoint) -> SendRequest:
    """Return the way to an endpoint; it raises what the libraries raise, OSError and others."""
    parts = urlsplit(endpoint.url)
    by_sdk = parts.scheme in ("npipe", "ssh")
    if not by_sdk and not endpoint.is_local:
        from urllib.request import getproxies, proxy_bypass

        # where the docker CLI would use a proxy, as Go's ProxyFromEnvironment says
        kind = "http" if endpoint.tls is None else "https"
        by_sdk = kind in getproxies() and not proxy_bypass(parts.hostname or "")
    if by_sdk:
        return _open_sdk_transport(endpoint)
    tls = None if endpoint.tls is None else _make_tls_context(endpoint.tls)
    url, base = endpoint.url, endpoint.path_prefix
    return lambda path, timeout, max_bytes, body: send_request(
        url, base + path, timeout=timeout, max_bytes=max_bytes, body=body, tls=tls
    )


def _open_sdk_transport(endpoint: Endpoint) -> SendRequest:
    import docker

    tls: Any = False
    url = endpoint.url
    if endpoint.tls is not None and url.startswith("tcp"):
        ca, cert, key, verify = endpoint.tls
        pair = (cert, key) if cert and key else None
        tls = docker.tls.TLSConfig(client_cert=pair, ca_cert=ca, verify=verify)
        url = "https://" + url.split("://", 1)[1]
    client = docker.APIClient(base_url=url, version="1.24", tls=tls)

    def request_by_sdk(
        path: str, timeout: float, max_bytes: int, body: bytes | None
    ) -> tuple[int, bytes]:
        options: dict[str, Any] = {"timeout": timeout, "stream": True, "allow_redirects": False}
        method, full_url = "GET" if body is None else "POST", client.base_url.rstrip("/") + path
        with client.request(method, full_url, data=body, **options) as response:
            data = response.raw.read(max_bytes + 1, decode_content=True)
        return response.status_code, data[: max_bytes + 1]

    return request_by_sdk
