"""Reading the answers of an engine."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.facts.engine.api import parse_engine_time
from preflight.facts.engine.engine_facts import parse_engine_info
from preflight.model.facts import Unknown


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


@pytest.mark.parametrize(
    ("version", "edition"),
    [
        ({"Platform": {"Name": "Docker Engine - Community"}}, "Docker Engine - Community"),
        ({"Platform": {"Name": ""}}, None),  # Debian's docker.io: built without a name
        ({}, Unknown),
        ({"Platform": None}, Unknown),
    ],
)
def test_who_built_the_engine(version: dict[str, Any], edition: Any) -> None:
    facts = {fact.path: fact.value for fact in parse_engine_info(version, {})}
    value = facts["docker", "edition"]
    assert isinstance(value, Unknown) if edition is Unknown else value == edition
