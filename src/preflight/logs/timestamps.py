"""The time of a log line, as many programs write it.

RFC 3339, `docker logs -t`, Python's logging, gunicorn, Go's slog and log, Gin, web servers, syslog
and the kernel's seconds since boot.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTH = "|".join(_MONTHS)
_CLOCK = r"(?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9]):(?P<second>[0-6][0-9])"
_MAX_OFFSET = 400  # characters of a line that are searched for its time
_WITH_YEAR = (
    re.compile(
        r"(?<![0-9])(?P<year>[12][0-9]{3})[-/](?P<month>[01][0-9])[-/](?P<day>[0-3][0-9])"
        rf"(?:[T ]| - ){_CLOCK}(?:[.,](?P<fraction>[0-9]{{1,9}}))?[0-9]*"
        r"(?: ?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})(?![0-9]))?"
    ),
    re.compile(
        rf"(?P<day>[0-3][0-9])/(?P<month>{_MONTH})/(?P<year>[12][0-9]{{3}})"
        rf":{_CLOCK}(?P<fraction>)(?: (?P<zone>[+-][0-9]{{4}}))?"
    ),
)
_SYSLOG = re.compile(rf"(?:^|[\s>|])((?P<month>{_MONTH}) (?P<day>[ 0-3]?[0-9]) {_CLOCK})(?![0-9])")
_KERNEL = re.compile(r"(?:^|[\s>|])\[ {0,6}(?P<seconds>[0-9]{1,9}\.[0-9]{3,6})\]")
_LEAP_YEAR = 2000


class Timestamp(NamedTuple):
    """When a line was written: as a text, and as seconds to compare with others of its log.

    Those with a year (`has_year`) compare across logs.
    """

    text: str
    seconds: float
    has_year: bool


def parse_timestamp(line: str) -> Timestamp | None:
    """Return the time of a line; None where it has none."""
    head = line[:_MAX_OFFSET]
    for pattern in _WITH_YEAR:
        match = pattern.search(head)
        if match is not None and (timestamp := _with_year(match)) is not None:
            return timestamp
    match = _SYSLOG.search(head)
    if match is not None and (moment := _datetime(match, _LEAP_YEAR)) is not None:
        return Timestamp(match[1], moment.timestamp(), has_year=False)
    match = _KERNEL.search(head)
    return Timestamp(f"[{match['seconds']}]", float(match["seconds"]), False) if match else None


def _with_year(match: re.Match[str]) -> Timestamp | None:
    moment = _datetime(match, int(match["year"]))
    if moment is None:
        return None
    fraction, zone = match["fraction"], (match["zone"] or "").replace(":", "")
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "")
    text += f"{zone[:3]}:{zone[3:]}" if len(zone) > 1 else zone
    offset = timedelta()
    if len(zone) > 1:
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        offset = -offset if zone[0] == "-" else offset
    seconds = (moment - offset).timestamp() + float(f"0.{fraction or 0}")
    return Timestamp(text, seconds, has_year=True)


def _datetime(match: re.Match[str], year: int) -> datetime | None:
    month = match["month"]
    number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
    hour, minute, second = (int(match[name]) for name in ("hour", "minute", "second"))
    day = int(match["day"])
    try:
        return datetime(year, number, day, hour, minute, min(second, 59), tzinfo=timezone.utc)
    except ValueError:
        return None
