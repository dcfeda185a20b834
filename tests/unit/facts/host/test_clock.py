"""Whether the clock is synchronized, against timedatectl's own reading."""

from __future__ import annotations

import ctypes
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from preflight.facts.host.clock import (
    measure_clock,
    read_clock_synchronized,
    read_max_clock_error_microseconds,
)
from preflight.model.facts import Unknown

linux = pytest.mark.skipif(sys.platform != "linux", reason="Linux only")


class Timex(ctypes.Structure):
    """struct timex of <sys/timex.h>, up to the status."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        *((name, ctypes.c_long) for name in ("offset", "freq", "maxerror", "esterror")),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


@linux
def test_the_error_is_what_adjtimex_says() -> None:
    timex = Timex()
    assert ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) >= 0
    assert (
        abs(read_max_clock_error_microseconds() - timex.maxerror) <= 1000
    )  # it grows 500 us each second
    (fact,) = measure_clock(SimpleNamespace(), [("host", "time", "synchronized")])  # type: ignore[arg-type]
    assert fact.value == (timex.maxerror < 16_000_000) or isinstance(fact.value, Unknown)


@linux
def test_it_is_what_timedatectl_says() -> None:
    command = ["timedatectl", "show", "-p", "NTPSynchronized", "--value"]
    try:
        text = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
    except (FileNotFoundError, subprocess.TimeoutExpired):
        text = ""
    if text not in ("yes", "no"):
        pytest.skip("timedatectl needs systemd")
    assert read_clock_synchronized()[0] == (text == "yes")


@linux
@pytest.mark.parametrize(
    ("error", "release", "expected"),
    [
        (1_000, "6.1.0", True),
        (15_999_999, "6.1.0", True),
        (16_000_000, "6.1.0", False),
        (16_000_000, "5.15.153.1-microsoft-standard-WSL2", "unsupported"),
        (1_000, "5.15.153.1-microsoft-standard-WSL2", True),
        (OSError(1, "not permitted"), "6.1.0", "unsupported"),
        (AttributeError("adjtimex"), "6.1.0", "unsupported"),
    ],
)
def test_a_clock(tmp_path: Path, error: Any, release: str, expected: Any) -> None:
    (tmp_path / "proc/sys/kernel").mkdir(parents=True)
    (tmp_path / "proc/sys/kernel/osrelease").write_text(release)

    def read() -> int:
        if isinstance(error, Exception):
            raise error
        return int(error)

    value, _ = read_clock_synchronized(tmp_path, read)
    assert getattr(value, "kind", value) == expected


def test_other_systems_are_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    assert isinstance(read_clock_synchronized()[0], Unknown)
