"""Reads the answers of an engine, which may be anything: what has another shape says nothing.

Zero, null and missing are no measurement.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Mapping
from typing import Any, TypeGuard

from preflight.model.facts import Unknown

_NO_NAME = re.compile("[\0\ud800-\udfff]")


def get_object(answer: Any, key: str) -> Mapping[str, Any]:
    """Return the object under a key, an empty one where there is none."""
    value = answer.get(key) if isinstance(answer, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def list_or_empty(value: Any) -> list[Any]:
    """Return a list, an empty one for what is none."""
    return value if isinstance(value, list) else []


def text_or_none(value: Any) -> str | None:
    """Return a text, None for an empty one, for what is none, and for what nothing can be called.

    JSON has characters that no path of a file has, and no request.
    """
    known = isinstance(value, str) and value and not _NO_NAME.search(value)
    return value if known else None


def count_or_none(value: Any) -> int | None:
    """Return a whole number from nought on, None for what is none."""
    return value if is_count(value) else None


def is_count(value: Any) -> TypeGuard[int]:
    """Whether it is a whole number from nought on."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def or_unreported(value: Any, key: str) -> Any:
    """Return a value, for None that the engine doesn't say it."""
    return unreported(key) if value is None else value


def unreported(key: str) -> Unknown:
    """Return that the engine says nothing of use under a key."""
    return Unknown(f"the engine does not say: {key} is zero, null or missing")


def parse_time(said: Any) -> float | None:
    """Read a time such as 2026-11-23T18:04:24.011350854Z as seconds since 1970, else None."""
    pattern = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|([-+])(\d\d):(\d\d))"
    match = re.fullmatch(pattern, said) if isinstance(said, str) else None
    if match is None or said.startswith("0001-"):
        return None
    try:
        seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    offset = int(match[5]) * 3600 + int(match[6]) * 60 if match[4] else 0
    return seconds + float(match[2] or 0) - (offset if match[4] == "+" else -offset)
