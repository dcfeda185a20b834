"""One deadline for the whole exchange, however slowly the other side sends, and a bounded body."""

from __future__ import annotations

import base64
import http.client
import io
import socket
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest

from engine_server import (
    drip,
    flood,
    listening,
    listening_by_tls,
    listening_on_port,
    make_certificates,
    send_bytes,
)
from engine_server import http as respond
from preflight.facts import http_client
from preflight.facts.engine.endpoint import TlsFiles
from preflight.facts.http_client import InvalidHttpResponseError, send_request


def get(url: str, timeout: float = 5, max_bytes: int = 100) -> tuple[int, bytes]:
    response = send_request(url, "/", timeout=timeout, max_bytes=max_bytes)
    return response.status, response.body


def test_a_response(tmp_path: Path) -> None:
    with listening(tmp_path / "s", send_bytes(respond(b"{}", "418 Teapot"))) as url:
        assert get(url) == (418, b"{}")


def test_a_socket_whose_name_looks_like_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").mkdir()
    with listening(tmp_path / "a:b" / "s", send_bytes(respond(b"{}"))):
        assert get("unix://a:b/s") == (200, b"{}")


@pytest.mark.parametrize("name", ["a#b", "a?b=c", "a b%20"])
def test_a_socket_with_any_name(tmp_path: Path, name: str) -> None:
    with listening(tmp_path / name, send_bytes(respond(b"{}"))) as url:
        assert get(url) == (200, b"{}")
        assert get(url.replace("unix://", "UNIX://")) == (200, b"{}")
        assert get(url.replace("unix://", "unix:")) == (200, b"{}")


def test_certificates_are_read_once_for_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each thread of thirty images read them, which took most of the time of `--online`."""
    made = []

    def make(**_: Any) -> ssl.SSLContext:
        time.sleep(0.02)
        made.append(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
        return made[-1]

    monkeypatch.setattr(ssl, "create_default_context", make)
    files = TlsFiles("/of/this/test", None, None, verify=True)
    with ThreadPoolExecutor(16) as pool:
        contexts = list(pool.map(http_client._make_tls_context, [files] * 16))
    assert contexts == made * 16


def test_a_body_is_cut_one_byte_beyond_its_maximum(tmp_path: Path) -> None:
    with listening(tmp_path / "s", flood) as url:
        assert len(get(url)[1]) == 101


def test_a_response_that_drips_ends_at_the_deadline(tmp_path: Path) -> None:
    with listening(tmp_path / "s", drip) as url:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            get(url, timeout=0.5, max_bytes=10_000)
        assert time.monotonic() - start < 3


class Received(io.BytesIO):
    """What a socket would receive, for http.client."""

    def makefile(self, _mode: str) -> BinaryIO:
        return self


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
RESPONSES = {
    "chunks": CHUNKED + b'3\r\n{"a\r\n4\r\n": 1\r\n1\r\n}\r\n0\r\n\r\n',
    "chunks with extensions and trailers": CHUNKED + b"00A;x=1\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    "chunks beyond the maximum": CHUNKED + b"c8\r\n" + b"x" * 200 + b"\r\n0\r\n\r\n",
    "until its end": b"HTTP/1.0 200 OK\r\n\r\n{}",
    "lines without a carriage return": b"HTTP/1.1 404 Not Found\nContent-Length: 2\n\n{}",
    "no reason": b"HTTP/1.1 200\r\nCONTENT-LENGTH:2\r\n\r\n{}and more",
    "a length that isn't a number": b"HTTP/1.1 200 OK\r\nContent-Length: few\r\n\r\n{}",
    "less than promised": b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{",
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "after a continue": b"HTTP/1.1 100 Continue\r\n\r\n" + respond(b"{}", "500 Oops"),
}


@pytest.mark.parametrize("name", RESPONSES)
def test_a_response_is_read_as_the_standard_library_reads_it(tmp_path: Path, name: str) -> None:
    expected = http.client.HTTPResponse(Received(RESPONSES[name]))  # type: ignore[arg-type]
    expected.begin()
    with listening(tmp_path / "s", send_bytes(RESPONSES[name])) as url:
        assert get(url) == (expected.status, expected.read(101))


@pytest.mark.parametrize(
    "response",
    [
        b"",
        b"HTTP/1.1 200 OK\r\nContent-Le",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 OK 200\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
        CHUNKED + b"-3\r\n{}\r\n",
        CHUNKED + b"3\r\n{}",
    ],
)
def test_what_does_not_speak_http_is_an_error(tmp_path: Path, response: bytes) -> None:
    with (
        listening(tmp_path / "s", send_bytes(response)) as url,
        pytest.raises(InvalidHttpResponseError),
    ):
        get(url)


def test_a_path_can_not_add_to_the_request(tmp_path: Path) -> None:
    for path in ("/a b", "/a\r\nX: y", "/\N{SNOWMAN}"):
        with pytest.raises(ValueError, match="must be percent-encoded"):
            send_request(f"unix://{tmp_path}/s", path, timeout=1, max_bytes=100)


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            get(f"http://127.0.0.1:{unused.getsockname()[1]}")
    with pytest.raises(FileNotFoundError):
        get(f"unix://{tmp_path}/missing")


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def test_what_is_encrypted_is_tunnelled_through_a_proxy(tmp_path: Path) -> None:
    certificates, asked = make_certificates(tmp_path), []
    tls = ssl.create_default_context(cafile=str(certificates / "cert.pem"))

    def relay(client: socket.socket, request: bytes) -> None:
        asked.append(request.decode())
        with socket.create_connection(("127.0.0.1", port)) as upstream:
            client.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
            threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
            _copy(client, upstream)

    with (
        listening_by_tls(certificates, send_bytes(respond(b"{}"))) as port,
        listening_on_port(relay) as proxy,
    ):
        response = send_request(
            "https://elsewhere",  # a name that only the proxy knows
            "/v2/",
            timeout=5,
            max_bytes=100,
            tls=tls,
            proxy=urlsplit(f"http://me:p%40ss@127.0.0.1:{proxy}"),
        )
    assert (response.status, response.body) == (200, b"{}")
    lines = asked[0].split("\r\n")
    assert lines[0] == "CONNECT elsewhere:443 HTTP/1.1"
    assert f"Proxy-Authorization: Basic {base64.b64encode(b'me:p@ss').decode()}" in lines


def test_a_proxy_that_refuses_a_tunnel_is_named() -> None:
    with listening_on_port(send_bytes(respond(b"", "407 Proxy Authentication Required"))) as port:
        proxy = urlsplit(f"http://127.0.0.1:{port}")
        with pytest.raises(OSError, match=r"the proxy 127\.0\.0\.1:[0-9]+ returned status 407"):
            send_request("https://elsewhere", "/", timeout=5, max_bytes=100, proxy=proxy)
