"""HTTP requests to engines, Ollama and registries: one deadline each, and bounded responses.

What listens at an address may be anything: nothing is followed elsewhere, and a response that drips
doesn't take longer than one that stays away. All are asked over a plain socket: importing
http.client takes 10 ms of each check, and the docker SDK longer than all the rest. The SDK has what
is missing here: SSH and Windows' named pipes.
"""

import io
import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from urllib.parse import SplitResult, unquote, urlsplit

from preflight.facts.engine.endpoint import Endpoint, TlsFiles

if TYPE_CHECKING:
    import ssl

# path, seconds, maximum of bytes, body of a POST -> response, its body cut beyond the maximum
SendRequest: TypeAlias = Callable[[str, float, int, "bytes | None"], "HttpResponse"]

_MAX_HEADER_LINE_BYTES = 2**16  # of a line
_MAX_RESPONSE_HEADERS = 100
_PROXY_ERROR_STATUSES = {407, 502, 504}  # to a request that isn't encrypted: no engine sends them
_NO_TLS_FILES = TlsFiles(None, None, None, verify=True)
_TLS_CONTEXT_LOCK = threading.Lock()


class InvalidHttpResponseError(Exception):
    """What listens at the address doesn't answer in HTTP."""


class ProxyError(OSError):
    """The proxy that the environment names can't be reached, or doesn't let a request through."""


class HttpResponse(NamedTuple):
    """A response; the names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


def send_request(
    url: str,
    path: str,
    *,
    timeout: float,
    max_bytes: int,
    method: str = "",
    headers: Mapping[str, str] = {},
    body: bytes | None = None,
    tls: "ssl.SSLContext | None" = None,
    proxy: SplitResult | None = None,
) -> HttpResponse:
    """Send a request; the body of the response is cut one byte beyond `max_bytes`.

    `url` is unix://PATH, or the scheme (tcp, http, https), host and port; `tls` and https encrypt.
    The method is GET, or POST with a body, unless another is named. `timeout` is in seconds. Raises
    OSError (TimeoutError, ssl.SSLError), InvalidHttpResponseError.
    """
    parts, method = urlsplit(url), method or ("GET" if body is None else "POST")
    host = "localhost" if parts.scheme == "unix" else parts.netloc.rpartition("@")[2]
    if not path.isascii() or not path.isprintable() or " " in path:
        raise ValueError(f"{path!r} can't be requested: it must be percent-encoded")
    if tls is None and parts.scheme == "https":
        tls = _make_tls_context(_NO_TLS_FILES)
    fields = {"Host": host, "Accept-Encoding": "identity", "Connection": "close", **headers}
    if body is not None:
        fields["Content-Length"] = str(len(body))
    if proxy is not None and tls is None:
        path, fields = f"http://{host}{path}", fields | _make_proxy_authorization(proxy)
    deadline = time.monotonic() + timeout
    with _connect_socket(url, deadline, tls, proxy) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # it may have answered before that
            connection.sendall(_format_request_head(method, path, fields) + (body or b""))
        response = _read_response(connection, deadline, max_bytes, method)
    if proxy is not None and tls is None and response.status in _PROXY_ERROR_STATUSES:
        raise _make_proxy_error(proxy, f"returned status {response.status}")
    return response


def _format_request_head(method: str, target: str, fields: Mapping[str, str]) -> bytes:
    lines = (f"{method} {target} HTTP/1.1", *(f"{name}: {fields[name]}" for name in fields))
    head = "\r\n".join((*lines, "", ""))
    return head.encode("ascii" if head.isascii() else "idna")


class _DeadlineStream(io.RawIOBase):
    """Reads from a socket until a deadline, by time.monotonic; raises TimeoutError."""

    def __init__(self, connection: socket.socket, deadline: float) -> None:
        self._connection, self._deadline = connection, deadline

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        seconds_left = self._deadline - time.monotonic()
        if seconds_left <= 0:
            raise TimeoutError
        self._connection.settimeout(seconds_left)  # it starts again with each byte that drips in
        return self._connection.recv_into(buffer)


def _read_response_line(reader: io.BufferedIOBase) -> bytes:
    """Return a line of the head or of a chunked body, without its end."""
    line = reader.readline(_MAX_HEADER_LINE_BYTES)
    if not line.endswith(b"\n"):
        raise InvalidHttpResponseError("the response is incomplete")
    return line.rstrip(b"\r\n")


def _read_response(
    connection: socket.socket, deadline: float, max_bytes: int, method: str
) -> HttpResponse:
    """Return the response, its body cut one byte beyond `max_bytes`. Source: RFC 9112."""
    reader = io.BufferedReader(_DeadlineStream(connection, deadline))
    status = 100
    while status < 200:  # what is only informational precedes the response
        match = re.fullmatch(rb"HTTP/1\.\d ([1-9]\d\d)(?: .*)?", _read_response_line(reader))
        if match is None:
            raise InvalidHttpResponseError("the response has no valid status line")
        status, headers = int(match[1]), {}
        while line := _read_response_line(reader):
            name, _, value = line.decode("latin-1").partition(":")
            headers[name.strip().lower()] = value.strip()
            if len(headers) > _MAX_RESPONSE_HEADERS:
                raise InvalidHttpResponseError("the response has too many headers")
    length = headers.get("content-length", "")
    if method in ("HEAD", "CONNECT") or status in (204, 304):
        body = b""
    elif "chunked" in headers.get("transfer-encoding", "").lower():
        body = _read_chunks(reader, max_bytes + 1)
    else:
        is_number = length.isdecimal() and length.isascii() and len(length) <= 18
        size = int(length) if is_number else max_bytes + 1
        body = reader.read(min(size, max_bytes + 1))
    return HttpResponse(status, headers, body)


def _read_chunks(reader: io.BufferedIOBase, max_bytes: int) -> bytes:
    body = bytearray()
    while len(body) < max_bytes:
        size = re.match(rb"[0-9a-fA-F]{1,15}(?=[ \t;]|\Z)", _read_response_line(reader))
        if size is None:
            raise InvalidHttpResponseError("the response has a chunk without a size")
        length = int(size[0], 16)
        if not length:
            break  # trailers may follow
        body += reader.read(min(length, max_bytes - len(body)))
        if len(body) < max_bytes:
            _read_response_line(reader)
    return bytes(body)


def find_proxy(scheme: str, host: str) -> SplitResult | None:
    """Return the proxy that the environment names for a host, or None if it is asked directly."""
    from urllib.request import getproxies, proxy_bypass

    text = getproxies().get(scheme) or ""
    proxy = urlsplit(text if "://" in text else f"//{text}")  # the scheme may be left out
    return None if proxy.hostname is None or proxy_bypass(host) else proxy


def _make_proxy_error(proxy: SplitResult, reason: object) -> ProxyError:
    return ProxyError(f"the proxy {proxy.netloc.rpartition('@')[2]} {reason}")


def make_basic_authorization(user: str, password: str) -> str:
    """Return the value of a header that authorizes a user: RFC 7617."""
    import base64

    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _make_proxy_authorization(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    user, password = (unquote(text or "") for text in (proxy.username, proxy.password))
    return {"Proxy-Authorization": make_basic_authorization(user, password)}


def _connect_socket(
    url: str, deadline: float, tls: "ssl.SSLContext | None", proxy: SplitResult | None
) -> socket.socket:
    parts, timeout = urlsplit(url), deadline - time.monotonic()
    if parts.scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        try:
            connection.settimeout(timeout)
            connection.connect(url[len("unix:") :].removeprefix("//"))  # may have # or ?
        except OSError:
            connection.close()
            raise
        return connection
    default_port, first = 80 if tls is None else 443, proxy or parts
    host = first.hostname or ""
    # as bytes: a text would have Python import its tables of international names
    name: Any = host.encode() if host.isascii() else host
    port = first.port or (default_port if proxy is None else 80)
    try:
        connection = socket.create_connection((name, port), timeout)
    except OSError as error:
        if proxy is None:
            raise
        raise _make_proxy_error(proxy, f"can't be reached: {error.strerror or error}") from None
    try:
        if tls is not None and proxy is not None:
            target = f"{parts.netloc.rpartition('@')[2]}{'' if parts.port else f':{default_port}'}"
            head = _format_request_head(
                "CONNECT", target, {"Host": target, **_make_proxy_authorization(proxy)}
            )
            connection.sendall(head)
            response = _read_response(connection, deadline, 0, "CONNECT")
            if response.status != 200:
                raise _make_proxy_error(proxy, f"returned status {response.status}")
        if tls is not None:
            connection.settimeout(max(0.01, deadline - time.monotonic()))
            connection = tls.wrap_socket(connection, server_hostname=parts.hostname)
    except BaseException:
        connection.close()
        raise
    return connection


def _make_tls_context(tls: TlsFiles) -> "ssl.SSLContext":
    with _TLS_CONTEXT_LOCK:  # else each thread reads the CA certificates, which takes long
        return _load_tls_context(tls)


@lru_cache(maxsize=8)
def _load_tls_context(tls: TlsFiles) -> "ssl.SSLContext":
    import ssl

    context = ssl.create_default_context(cafile=tls.ca)
    if not tls.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if tls.cert and tls.key:
        context.load_cert_chain(tls.cert, tls.key)
    return context


def make_request_sender(endpoint: Endpoint) -> SendRequest:
    """Return the way to an endpoint; it raises what the libraries raise, OSError and others.

    The docker CLI uses a proxy for what isn't local, as Go's ProxyFromEnvironment says.
    """
    url, base, proxy = endpoint.url, endpoint.path_prefix, None
    parts = urlsplit(url)
    if parts.scheme in ("npipe", "ssh"):
        return _open_docker_sdk_transport(url)
    tls = None if endpoint.tls is None else _make_tls_context(endpoint.tls)
    if not endpoint.is_local:
        is_encrypted = tls is not None or parts.scheme == "https"
        proxy = find_proxy("https" if is_encrypted else "http", parts.hostname or "")
    return lambda path, timeout, max_bytes, body: send_request(
        url, base + path, timeout=timeout, max_bytes=max_bytes, body=body, tls=tls, proxy=proxy
    )


def _open_docker_sdk_transport(url: str) -> SendRequest:
    import docker

    client = docker.APIClient(base_url=url, version="1.24")

    def request_by_sdk(
        path: str, timeout: float, max_bytes: int, body: bytes | None
    ) -> HttpResponse:
        options: dict[str, Any] = {"timeout": timeout, "stream": True, "allow_redirects": False}
        method, full_url = "GET" if body is None else "POST", client.base_url.rstrip("/") + path
        with client.request(method, full_url, data=body, **options) as response:
            data = response.raw.read(max_bytes + 1, decode_content=True)
        return HttpResponse(response.status_code, {}, data[: max_bytes + 1])

    return request_by_sdk
