"""Known errors in logs: how often and where they occurred, what they mean, what to do."""

from collections.abc import Mapping
from typing import NamedTuple

from preflight.model.report import ResolvedFix
from preflight.model.rules import Confidence


class LogPosition(NamedTuple):
    """A line of a log, counted from 1; `time` as RFC 3339, or as the log writes it."""

    file: str
    line: int
    time: str | None = None


class KnownErrorFinding(NamedTuple):
    """A known error as the logs show it, by the id of its diagnosis.

    `values` are the texts of named groups, the latest of each; `excerpt` is from the last line,
    and so is `service`, where Compose wrote it before the line.
    """

    id: str
    occurrences: int
    first: LogPosition
    last: LogPosition
    values: Mapping[str, str]
    excerpt: str = ""
    service: str | None = None


class LogSearchResult(NamedTuple):
    """What all logs together hold."""

    files: tuple[str, ...]
    line_count: int
    errors: tuple[KnownErrorFinding, ...]


class DiagnosisFinding(NamedTuple):
    """A known error with what it means here; `figures` are its values in a few words."""

    id: str
    title: str
    cause: str
    confidence: Confidence
    occurrences: int
    first: LogPosition
    last: LogPosition
    values: Mapping[str, str]
    excerpt: str = ""
    figures: str | None = None
    fixes: tuple[ResolvedFix, ...] = ()


class LogReport(NamedTuple):
    """What was found in the logs, worst first."""

    files: tuple[str, ...]
    line_count: int
    findings: tuple[DiagnosisFinding, ...]
