"""What a terminal gets: colour, width, and a sign of life only where it takes a while."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")


def on_terminal(
    *arguments: str, cwd: Path, columns: int = 80, env: dict[str, str] | None = None
) -> str:
    """Run the program with both outputs on a pseudo-terminal; returns what it wrote there."""
    import fcntl
    import pty
    import struct
    import termios

    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("HHHH", 50, columns, 0, 0))
    environ = {
        k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "FORCE_COLOR", "COLUMNS")
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "preflight", *arguments],
        stdin=its, stdout=its, stderr=its, cwd=cwd, env={**environ, "TERM": "xterm", **(env or {})},
    )  # fmt: skip
    os.close(its)
    written = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # Linux says so when the other end is closed
            break
        if not part:
            break
        written += part
    os.close(ours)
    process.wait(30)
    return written.decode()


@pytest.fixture
def silent_engine(tmp_path: Path) -> Iterator[str]:
    """An address that accepts and never answers."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "s"))
    listener.listen()
    yield f"unix://{tmp_path}/s"
    listener.close()


def test_a_spinner_shows_while_it_takes_long_and_is_cleared(
    silent_engine: str, clean_environment: Path
) -> None:
    arguments = ("check", "--docker-host", silent_engine, "--timeout", "1.5")
    written = on_terminal(*arguments, cwd=clean_environment)
    shown, _, report = written.partition("\r\x1b[K")
    assert "measuring" in shown
    assert "measuring" not in report
    assert "Docker is reachable" in report


def test_no_spinner_where_it_is_quick(clean_environment: Path) -> None:
    written = on_terminal("rules", "list", cwd=clean_environment)
    assert "measuring" not in written
    assert "\r\x1b[K" not in written


def test_no_spinner_on_a_dumb_terminal(silent_engine: str, clean_environment: Path) -> None:
    arguments = ("check", "--docker-host", silent_engine, "--timeout", "1")
    written = on_terminal(*arguments, cwd=clean_environment, env={"TERM": "dumb"})
    assert "measuring" not in written
    assert "\x1b" not in written
    assert written.isascii()


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_the_report_fits_the_terminal(columns: int, clean_environment: Path) -> None:
    written = on_terminal("check", cwd=clean_environment, columns=columns)
    assert "\x1b[" in written
    plain = re.sub(r"\x1b\[[0-9;]*m", "", written).splitlines()
    free = ("$", "http")
    assert all(len(line) <= columns for line in plain if not line.strip().startswith(free))
