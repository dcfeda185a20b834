"""Reading the answers of an engine."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.facts.engine.api import parse_engine_time


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T00:00:10.250000001Z", 10.250000001),
        ("1970-01-01T02:00:10+02:00", 10.0),
        ("1969-12-31T23:30:10-00:30", 10.0),
        ("0001-01-01T00:00:00Z", None),
        ("1970-13-01T00:00:00Z", None),
        ("now", None),
        (None, None),
    ],
)
def test_times(text: Any, seconds: float | None) -> None:
    assert parse_engine_time(text) == seconds
