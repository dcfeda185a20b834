"""The time of a log line, as many programs write it.

RFC 3339, `docker logs -t`, Python's logging, gunicorn, Go's slog and log, Gin, web servers, syslog
and the kernel's seconds since boot.
"""

import re
from contextlib import suppress
from datetime import datetime
from typing import NamedTuple

_MONTH_NAMES = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTH_PATTERN = "|".join(_MONTH_NAMES)
_CLOCK_TIME_PATTERN = r"(?P<clock>[0-2][0-9]:[0-5][0-9]:[0-6][0-9])"
_MAX_TIMESTAMP_OFFSET_CHARS = 400  # characters of a line that are searched for its time
_LEAP_YEAR = "2000"  # for times without a year: it has a 29 February
_TIMESTAMP_PATTERNS = (
    re.compile(
        r"(?<![0-9])(?P<year>[12][0-9]{3})[-/](?P<month>[01][0-9])[-/](?P<day>[0-3][0-9])"
        rf"(?:[T ]| - ){_CLOCK_TIME_PATTERN}(?:[.,](?P<fraction>[0-9]{{1,9}}))?[0-9]*"
        r"(?: ?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})(?![0-9]))?"
    ),
    re.compile(
        rf"(?P<day>[0-3][0-9])/(?P<month>{_MONTH_PATTERN})/(?P<year>[12][0-9]{{3}}):{_CLOCK_TIME_PATTERN}"
        r"(?: (?P<zone>[+-][0-9]{4}))?"
    ),
    re.compile(
        rf"(?:^|[\s>|])(?P<text>(?P<month>{_MONTH_PATTERN}) (?P<day>[ 0-3]?[0-9]) "
        rf"{_CLOCK_TIME_PATTERN})(?![0-9])"
    ),
    re.compile(r"(?:^|[\s>|])\[ {0,6}(?P<uptime>[0-9]{1,9}\.[0-9]{3,6})\]"),
)


class LogTimestamp(NamedTuple):
    """When a line was written: as a text, and as seconds to compare with others of its log.

    Those with a year (`has_year`) compare across logs.
    """

    text: str
    seconds: float
    has_year: bool


def parse_log_timestamp(line: str) -> LogTimestamp | None:
    """Return the time of a line; None if it has none."""
    for pattern in _TIMESTAMP_PATTERNS:
        if match := pattern.search(line[:_MAX_TIMESTAMP_OFFSET_CHARS]):
            with suppress(ValueError):  # a day that doesn't exist
                return _build_timestamp_from_match(match.groupdict())
    return None


def _build_timestamp_from_match(fields: dict[str, str | None]) -> LogTimestamp:
    if uptime := fields.get("uptime"):
        return LogTimestamp(f"[{uptime}]", float(uptime), has_year=False)
    year, month, day = (fields.get(name) for name in ("year", "month", "day"))
    month = f"{_MONTH_NAMES.index(month) + 1:02}" if month in _MONTH_NAMES else month
    date = f"{year or _LEAP_YEAR}-{month}-{str(day).strip():0>2}T{fields['clock']}"
    zone, fraction = fields.get("zone") or "", fields.get("fraction") or ""
    seconds = datetime.strptime(date + (zone or "Z"), "%Y-%m-%dT%H:%M:%S%z").timestamp()
    if year is None:
        return LogTimestamp(str(fields["text"]), seconds, has_year=False)
    zone = f"{zone[:3]}:{zone[-2:]}" if len(zone) > 1 else zone
    text = f"{date}.{fraction}{zone}" if fraction else date + zone
    return LogTimestamp(text, seconds + float(f"0.{fraction or 0}"), has_year=True)
