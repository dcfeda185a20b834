"""Metrics for node_exporter's textfile collector: every rule's verdict, its figure and its bounds.

What is not known has no series, never a zero. node_exporter refuses a whole file for one series
that stands in it twice, so labels stay different where they are cut, and of two the first stands.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preflight.model.facts import Unit
from preflight.model.quantities import PARSERS, is_plausible
from preflight.model.report import VERDICTS, Report, Result
from preflight.render.options import RenderOptions, short

Row: TypeAlias = tuple[tuple[str, ...], float]  # label values, figure

_LABEL = 200  # characters of a label's value
_UNITS: Mapping[str, tuple[tuple[Unit, ...], str]] = {
    "_bytes": (("bytes",), ", in bytes"),
    "_seconds": (("seconds",), ", in seconds"),
    "_cores": (("cores",), ", in cores"),
    "": (("number", "boolean"), ": a number, or 1 for yes and 0 for no"),
}
"""How a metric of figures ends, what units it is for, and its help on them."""
_BOUNDS = ("at_least", "at_most", "more_than", "less_than", "equals", "not_equals")
_DAY = 86_400  # seconds
_EPOCH = date(1970, 1, 1).toordinal()


class Family(NamedTuple):
    """One metric: `preflight_` and its name, its help, its labels, its series."""

    name: str
    help: str
    labels: tuple[str, ...]
    rows: Iterable[Row]


class _Once(Collector):
    """Families as a source of metrics."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterator[Metric]:
        """Return the metrics that have a series."""
        for family in self._families:
            first: dict[tuple[str, ...], float] = {}
            for labels, figure in family.rows:
                first.setdefault(labels, figure)
            metric = GaugeMetricFamily(
                f"preflight_{family.name}", family.help, labels=family.labels
            )
            for labels, figure in first.items():
                metric.add_metric(labels, figure)
            if first:
                yield metric


def render(report: Report, _options: RenderOptions) -> str:
    """Return the metrics in Prometheus' text format."""
    return written(families(report))


def families(report: Report) -> Iterator[Family]:
    """Yield the metrics of a report."""
    yield from _of_report(report)
    yield from _of_rules(report.results)


def written(all_: Iterable[Family]) -> str:
    """Return metrics in Prometheus' text format."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Once(all_))
    return generate_latest(registry).decode("utf-8")


def _of_report(report: Report) -> Iterator[Family]:
    """What holds for the whole check."""
    info = {
        "version": report.version,
        "rules": report.rules_name,
        "source": report.rules_source,
        "sha256": report.rules_sha256,
        "engine": report.engine.get("engine"),
        "engine_version": report.engine.get("version"),
    }
    about = tuple(label("" if text is None else str(text)) for text in info.values())
    yield Family(
        "info", "What was judged by what, in its labels; always 1.", tuple(info), [(about, 1)]
    )
    yield Family(
        "verdict",
        "1 for the verdict on the whole, 0 for the others.",
        ("verdict",),
        [((one,), one == report.verdict) for one in ("fail", "unknown", "warn", "pass")],
    )
    yield Family(
        "exit_code",
        "0 nothing required failed, 1 a required rule failed, 3 one is undecided.",
        (),
        [((), report.exit_code)],
    )
    yield Family(
        "results",
        "How many results have this verdict.",
        ("verdict",),
        [((one,), report.counts[one]) for one in VERDICTS],
    )
    yield Family(
        "measured_timestamp_seconds",
        "When it was measured, in seconds since 1970.",
        (),
        [((), when)] if (when := _timestamp(report.measured_at)) is not None else [],
    )
    yield Family(
        "duration_seconds",
        "How long the check took, in seconds.",
        (),
        [((), report.seconds)] if report.seconds is not None else [],
    )


def _of_rules(results: tuple[Result, ...]) -> Iterator[Family]:
    """What holds for one rule, or one item of it."""
    places = [(result, (label(result.id), label(result.item or ""))) for result in results]
    yield Family(
        "rule_verdict",
        "1 for the verdict of a rule, or of one item of it; 0 for the others.",
        ("rule", "item", "section", "severity", "verdict"),
        (
            ((*place, label(result.section), result.severity, one), one == result.verdict)
            for result, place in places
            for one in VERDICTS
        ),
    )
    for suffix, (units, told) in _UNITS.items():
        inside = [one for one in places if one[0].unit in units]
        yield Family(
            f"rule_value{suffix}",
            f"What a rule found{told}.",
            ("rule", "item"),
            (
                (place, value)
                for result, place in inside
                if (value := _figure(result.actual, result.unit)) is not None
            ),
        )
        yield Family(
            f"rule_threshold{suffix}",
            f"What a rule asks for{told}.",
            ("rule", "item", "bound"),
            (
                ((*place, bound), figure)
                for result, place in inside
                for bound, figure in _thresholds(result.expected, result.unit)
            ),
        )
    yield Family(
        "waiver_until_timestamp_seconds",
        "When a rule's waiver ends, in seconds since 1970.",
        ("rule", "item", "owner"),
        (
            ((*place, label(result.waiver.owner)), _end_of(result.waiver.until))
            for result, place in places
            if result.waiver is not None
        ),
    )


def _thresholds(expected: Mapping[str, Any], unit: Unit) -> Iterator[tuple[str, float]]:
    """The bounds that a figure must keep, those of `all_of` too.

    In `any_of` and `not` a bound is none that it must keep.
    """
    for bound in _BOUNDS:
        if (figure := _figure(expected.get(bound), unit)) is not None:
            yield bound, figure
    for part in expected.get("all_of", ()):
        yield from _thresholds(part, unit)


def _figure(value: Any, unit: Unit) -> float | None:
    """Return a value as a number in the base unit; None where it is none."""
    if isinstance(value, str) and unit in PARSERS:
        try:
            value = PARSERS[unit](value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and is_plausible(value) else None


@lru_cache(maxsize=4096)
def label(text: str) -> str:
    """Make a foreign text a label; a text that this changes keeps apart from others by its hash."""
    shown = short(text, _LABEL)
    if shown == text:
        return text
    mark = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{shown[: _LABEL - 10]} #{mark}"


def _timestamp(text: str) -> float | None:
    """Read a time of ISO 8601, in UTC where it names no zone."""
    try:
        when = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()


def _end_of(day: date) -> float:
    """The end of a day in UTC, reckoned by hand: the calendar's last day has no next one."""
    return (day.toordinal() + 1 - _EPOCH) * _DAY
