"""Known errors that were found in logs: how often, where, what they say, what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

from preflight.model.report import ResolvedFix

Confidence: TypeAlias = Literal["certain", "likely", "possible"]
CONFIDENCES: tuple[Confidence, ...] = get_args(Confidence)


class Place(NamedTuple):
    """A line of a log, counted from 1; `time` as RFC 3339, or as the log writes it."""

    file: str
    line: int
    time: str | None = None


class Hit(NamedTuple):
    """One known error in the logs, by the id of its diagnosis: what was read there, no judgement.

    `values` are the texts of named groups, those of the last lines; `said` begins the last line.
    """

    id: str
    times: int
    first: Place
    last: Place
    values: Mapping[str, str]
    said: str = ""


class Scanned(NamedTuple):
    """What all logs hold; `notes` tell what of them could not be read."""

    files: tuple[str, ...]
    lines: int
    hits: tuple[Hit, ...]
    notes: tuple[str, ...] = ()


class Finding(NamedTuple):
    """A known error with what it means here; `figures` is what was captured, in a few words."""

    id: str
    title: str
    cause: str
    confidence: Confidence
    times: int
    first: Place
    last: Place
    values: Mapping[str, str]
    said: str = ""
    figures: str | None = None
    fixes: tuple[ResolvedFix, ...] = ()


class Diagnosed(NamedTuple):
    """What was found in the logs, worst first."""

    files: tuple[str, ...]
    lines: int
    findings: tuple[Finding, ...]
