"""The time of a log line, in whichever way the program that wrote it does.

RFC 3339, `docker logs -t`, Python's logging, gunicorn, Go's slog and log, Gin, web servers, syslog
and the kernel's seconds since its start.
"""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from typing import NamedTuple

_MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
_MONTH = "|".join(_MONTHS)
_HEAD = 400  # characters of a line that its time is looked for in
_ISO = re.compile(
    r"(?<![0-9])(?P<year>[12][0-9]{3})[-/](?P<month>[01][0-9])[-/](?P<day>[0-3][0-9])(?:[T ]| - )"
    r"(?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9]):(?P<second>[0-6][0-9])"
    r"(?:[.,](?P<part>[0-9]{1,9}))?[0-9]*(?: ?(?P<zone>Z|[+-][0-9]{2}:?[0-9]{2})(?![0-9]))?"
)
_WEB = re.compile(
    rf"(?P<day>[0-3][0-9])/(?P<month>{_MONTH})/(?P<year>[12][0-9]{{3}})"
    r":(?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9]):(?P<second>[0-6][0-9])"
    r"(?: (?P<zone>[+-][0-9]{4}))?"
)
_SYSLOG = re.compile(
    rf"(?:^|[\s>|])((?P<month>{_MONTH}) (?P<day>[ 0-3]?[0-9])"
    r" (?P<hour>[0-2][0-9]):(?P<minute>[0-5][0-9]):(?P<second>[0-6][0-9]))(?![0-9])"
)
_KERNEL = re.compile(r"(?:^|[\s>|])\[ {0,6}(?P<seconds>[0-9]{1,9}\.[0-9]{3,6})\]")


class Moment(NamedTuple):
    """When a line was written: for people, and as seconds, to compare with lines of its own log.

    `whole` where the date is known with its year: then moments of any logs compare.
    """

    text: str
    seconds: float
    whole: bool


def moment(line: str) -> Moment | None:
    """Return the time of a line, None where it has none."""
    head = line[:_HEAD]
    for pattern in (_ISO, _WEB):
        match = pattern.search(head)
        if match is not None and (found := _whole(match)) is not None:
            return found
    if (match := _SYSLOG.search(head)) is not None and (found := _yearless(match)) is not None:
        return found
    match = _KERNEL.search(head)
    return Moment(f"[{match['seconds']}]", float(match["seconds"]), False) if match else None


def _whole(match: re.Match[str]) -> Moment | None:
    part = match.groupdict().get("part") or ""
    at = _datetime(match, int(match["year"]))
    if at is None:
        return None
    zone = (match["zone"] or "").replace(":", "")
    text = at.isoformat() + (f".{part}" if part else "")
    offset = timedelta()
    if zone and zone != "Z":
        offset = timedelta(hours=int(zone[1:3]), minutes=int(zone[3:]))
        offset = -offset if zone[0] == "-" else offset
        text += f"{zone[:3]}:{zone[3:]}"
    elif zone:
        text += "Z"
    seconds = (at.replace(tzinfo=timezone.utc) - offset).timestamp()
    return Moment(text, seconds + float(f"0.{part or 0}"), True)


def _yearless(match: re.Match[str]) -> Moment | None:
    at = _datetime(match, 2000)  # a leap year
    if at is None:
        return None
    return Moment(match[1], at.replace(tzinfo=timezone.utc).timestamp(), False)


def _datetime(match: re.Match[str], year: int) -> datetime | None:
    month = match["month"]
    number = _MONTHS.index(month) + 1 if month in _MONTHS else int(month)
    clock = (int(match[name]) for name in ("hour", "minute", "second"))
    hour, minute, second = clock
    try:
        return datetime(year, number, int(match["day"]), hour, minute, min(second, 59))
    except (ValueError, OverflowError):
        return None
