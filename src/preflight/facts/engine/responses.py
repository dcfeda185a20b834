"""Reads values from an engine's JSON, which may be anything: a value of another type is missing.

Zero, null and missing are no measurement.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from preflight.model.facts import Unknown

_NOT_IN_NAMES = re.compile("[\0\ud800-\udfff]")  # in JSON, but in no path and in no request
_FRACTION = re.compile(r"\.\d+")


def get_object(answer: Any, key: str) -> Mapping[str, Any]:
    """Return the object under a key, or an empty one."""
    value = answer.get(key) if isinstance(answer, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def list_or_empty(value: Any) -> list[Any]:
    """Return the value if it is a list, else an empty list."""
    return value if isinstance(value, list) else []


def text_or_none(value: Any) -> str | None:
    """Return the value if it is a non-empty string that can be a name, else None."""
    is_name = isinstance(value, str) and value and not _NOT_IN_NAMES.search(value)
    return value if is_name else None


def count_or_none(value: Any) -> int | None:
    """Return the value if it is a whole number from 0 on that 64 bits hold, as in Go, else None."""
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    return value if is_integer and 0 <= value < 2**64 else None


def or_unreported(value: Any, key: str) -> Any:
    """Return the value, or an Unknown in place of None."""
    return unreported(key) if value is None else value


def unreported(key: str) -> Unknown:
    """Return the Unknown for a key of which the engine reports nothing useful."""
    return Unknown(f"the engine does not report it: {key} is zero, null or missing")


def parse_time(value: Any) -> float | None:
    """Read a time such as 2026-11-23T18:04:24.011350854Z as seconds since 1970, else None."""
    if not isinstance(value, str) or value.startswith("0001-"):  # Go's zero time
        return None
    fraction = _FRACTION.search(value)
    try:
        time = datetime.strptime(_FRACTION.sub("", value), "%Y-%m-%dT%H:%M:%S%z")
    except ValueError:
        return None
    return time.timestamp() + (float(fraction[0]) if fraction else 0.0)
