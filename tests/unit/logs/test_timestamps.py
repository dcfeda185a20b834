"""Times of lines as many programs write them, held against the standard library's reading."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest

from preflight.logs.timestamps import parse_log_timestamp


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("2026-11-23T10:11:12Z x", "2026-11-23T10:11:12Z"),
        ("2026-11-23T10:11:12.123456789Z docker -t", "2026-11-23T10:11:12.123456789Z"),
        ("ollama-1  | 2026-11-23T10:11:12.5Z x", "2026-11-23T10:11:12.5Z"),
        ("2026-11-23 10:11:12,123 INFO root: x", "2026-11-23T10:11:12.123"),
        ("[2026-11-23 10:11:12 +0000] [1] [INFO] gunicorn", "2026-11-23T10:11:12+00:00"),
        ("[2026-11-23 10:11:12 -0530] x", "2026-11-23T10:11:12-05:30"),
        ("time=2026-11-23T10:11:12.123+02:00 level=INFO", "2026-11-23T10:11:12.123+02:00"),
        ('time="2026-11-23T10:11:12Z" level=info', "2026-11-23T10:11:12Z"),
        ("[GIN] 2026/11/23 - 10:11:12 | 200 |", "2026-11-23T10:11:12"),
        ("2026/11/23 10:11:12 routes.go:1: x", "2026-11-23T10:11:12"),
        ('1.2.3.4 - - [23/Nov/2026:10:11:12 +0100] "GET /"', "2026-11-23T10:11:12+01:00"),
        ('{"level":"info","ts":"2026-11-23T10:11:12Z"}', "2026-11-23T10:11:12Z"),
    ],
)
def test_with_a_date(line: str, text: str) -> None:
    found = parse_log_timestamp(line)
    assert found is not None
    assert (found.text, found.has_year) == (text, True)
    plain = text.replace("Z", "+00:00")
    whole, dot, rest = plain.partition(".")
    if dot:  # Python 3.10 reads 3 or 6 digits alone
        digits = rest[: next((i for i, c in enumerate(rest) if not c.isdigit()), len(rest))]
        plain = f"{whole}.{digits[:6].ljust(6, '0')}{rest[len(digits) :]}"
    theirs = datetime.fromisoformat(plain)
    theirs = theirs if theirs.tzinfo else theirs.replace(tzinfo=timezone.utc)
    assert found.seconds == pytest.approx(theirs.timestamp(), abs=1e-5)


@pytest.mark.parametrize(
    ("line", "text"),
    [
        ("Nov 23 10:11:12 vm kernel: x", "Nov 23 10:11:12"),
        ("Nov  2 10:11:12 vm dockerd[812]: x", "Nov  2 10:11:12"),
        ("<6>Feb 29 10:11:12 vm x", "Feb 29 10:11:12"),
        ("[12345.678901] Out of memory", "[12345.678901]"),
        ("[    1.000001] Linux version", "[1.000001]"),
        ("kernel: [  987.654321] x", "[987.654321]"),
    ],
)
def test_without_a_year(line: str, text: str) -> None:
    found = parse_log_timestamp(line)
    assert found is not None
    assert (found.text, found.has_year) == (text, False)


@pytest.mark.parametrize(
    "line",
    ["", "no time", "2026-13-45T10:11:12Z", "2026-02-30 10:11:12", "version 1.2.3 of 10:11",
     "[pid 12.5]", "x" * 5000 + "2026-11-23T10:11:12Z", "id=92026-11-23T10:11:12",
     "Nov 31 10:11:12 x"],
)  # fmt: skip
def test_none(line: str) -> None:
    assert parse_log_timestamp(line) is None


def test_what_comes_later_is_later() -> None:
    for early, late in (
        ("Nov  2 23:59:59 x", "Nov  3 00:00:00 x"),
        ("[1.000002] x", "[12.000001] x"),
        ("2026-11-23T10:00:00+02:00", "2026-11-23T08:00:01Z"),
    ):
        first, second = parse_log_timestamp(early), parse_log_timestamp(late)
        assert first is not None
        assert second is not None
        assert first.seconds < second.seconds
