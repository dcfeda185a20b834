"""One deadline for the whole exchange, however slowly the other side sends, and a bounded body."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest

from engine_server import drip, flood, http, listening, saying
from preflight.facts.http_client import send_request


def get(url: str, timeout: float = 5, max_bytes: int = 100) -> tuple[int, bytes]:
    return send_request(url, "/", timeout=timeout, max_bytes=max_bytes)


def test_a_response(tmp_path: Path) -> None:
    with listening(tmp_path / "s", saying(http(b"{}", "418 Teapot"))) as url:
        assert get(url) == (418, b"{}")


def test_a_socket_whose_name_looks_like_a_port(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a:b").mkdir()
    with listening(tmp_path / "a:b" / "s", saying(http(b"{}"))):
        assert get("unix://a:b/s") == (200, b"{}")


def test_a_body_is_cut_one_byte_beyond_its_maximum(tmp_path: Path) -> None:
    with listening(tmp_path / "s", flood) as url:
        assert len(get(url)[1]) == 101


def test_a_response_that_drips_ends_at_the_deadline(tmp_path: Path) -> None:
    with listening(tmp_path / "s", drip) as url:
        start = time.monotonic()
        with pytest.raises(TimeoutError):
            get(url, timeout=0.5, max_bytes=10_000)
        assert time.monotonic() - start < 3


def test_nothing_listens(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with pytest.raises(ConnectionRefusedError):
            get(f"http://127.0.0.1:{unused.getsockname()[1]}")
    with pytest.raises(FileNotFoundError):
        get(f"unix://{tmp_path}/missing")
