"""Reads values from an engine's JSON, which may be anything: a value of another type is missing.

Zero, null and missing are no measurement.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from typing import Any, TypeGuard

from preflight.model.facts import Unknown

_NOT_IN_NAMES = re.compile("[\0\ud800-\udfff]")  # in JSON, but in no path and in no request
_TIME = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|([-+])(\d\d):(\d\d))")


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
    """Return the value if it is a whole number and not negative, else None."""
    return value if is_count(value) else None


def is_count(value: Any) -> TypeGuard[int]:
    """Whether the value is a whole number and not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def or_unreported(value: Any, key: str) -> Any:
    """Return the value, or an Unknown in place of None."""
    return unreported(key) if value is None else value


def unreported(key: str) -> Unknown:
    """Return the Unknown for a key of which the engine reports nothing useful."""
    return Unknown(f"the engine does not report it: {key} is zero, null or missing")


def parse_time(value: Any) -> float | None:
    """Read a time such as 2026-11-23T18:04:24.011350854Z as seconds since 1970, else None."""
    match = _TIME.fullmatch(value) if isinstance(value, str) else None
    if match is None or value.startswith("0001-"):  # Go's zero time
        return None
    try:
        seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    offset = int(match[5]) * 3600 + int(match[6]) * 60 if match[4] else 0
    return seconds + float(match[2] or 0) - (offset if match[4] == "+" else -offset)
