"""Metrics for node_exporter's textfile collector: every rule's verdict, its figure and its bounds.

Unknown values have no series; they are never written as 0. node_exporter refuses a whole file if
one series is in it twice, so labels that are cut stay different, and of two equal series the first
stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preflight.model.facts import Unit
from preflight.model.quantities import PARSERS, is_plausible
from preflight.model.report import VERDICTS, Report, Result
from preflight.render import RenderOptions
from preflight.render.sanitize import short

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

_MAX_LABEL = 200  # characters
_SUFFIXES: Mapping[Unit, str] = {
    "bytes": "_bytes",
    "seconds": "_seconds",
    "cores": "_cores",
    "number": "",
    "boolean": "",
}
"""How the metrics of figures end, by unit; other units have no metric."""
_SUFFIX_HELP = {
    "_bytes": ", in bytes",
    "_seconds": ", in seconds",
    "_cores": ", in cores",
    "": ": a number, or 1 for yes and 0 for no",
}
_HELP = {
    "host_reached": "1 if a host was checked, 0 if not.",
    "info": "The versions and the rules of the check, as labels; always 1.",
    "verdict": "1 for the verdict on a host; the others are 0 or left out.",
    "exit_code": "0 nothing required failed, 1 a required rule failed, 3 one is undecided.",
    "results": "How many results have this verdict.",
    "measured_timestamp_seconds": "When it was measured, in seconds since 1970.",
    "duration_seconds": "How long the check took, in seconds.",
    "rule_verdict": "1 for the verdict of a rule or one item; the others are 0 or left out.",
    **{
        f"rule_{name}{suffix}": f"What a rule {verb}{help_}."
        for suffix, help_ in _SUFFIX_HELP.items()
        for name, verb in (("value", "found"), ("threshold", "asks for"))
    },
    "waiver_until_timestamp_seconds": "When a rule's waiver ends, in seconds since 1970.",
}
"""The metrics in their order, without `preflight_`."""
_BOUNDS = ("at_least", "at_most", "more_than", "less_than", "equals", "not_equals")
_DAY = 86_400  # seconds
_EPOCH = date(1970, 1, 1).toordinal()


class _Series(NamedTuple):
    metric: str
    labels: dict[str, str]
    value: float


def render(report: Report, _options: RenderOptions) -> str:
    """Return the metrics in Prometheus' text format."""
    return _text(_series(report))


def render_fleet(fleet: Fleet, _options: RenderOptions) -> str:
    """Return the metrics of all hosts with the label `host`.

    Verdicts that are 0 are left out: with thousands of hosts they would be most of the text.
    """

    def series() -> Iterator[_Series]:
        for host in fleet.hosts:
            name = {"host": _label(host.name)}
            yield _Series("host_reached", name, host.report is not None)
            for metric, labels, value in _series(host.report) if host.report else ():
                if value or metric not in ("verdict", "rule_verdict"):
                    yield _Series(metric, {**name, **labels}, value)

    return _text(series())


class _Source(Collector):
    """Series as prometheus_client collects them: by metric."""

    def __init__(self, series: Iterable[_Series]) -> None:
        self._by_metric: dict[str, dict[tuple[str, ...], _Series]] = {name: {} for name in _HELP}
        for one in series:
            self._by_metric[one.metric].setdefault(tuple(one.labels.values()), one)

    def collect(self) -> Iterator[Metric]:
        for name, series in self._by_metric.items():
            if series:
                labels = tuple(next(iter(series.values())).labels)
                metric = GaugeMetricFamily(f"preflight_{name}", _HELP[name], labels=labels)
                for values, one in series.items():
                    metric.add_metric(values, one.value)
                yield metric


def _text(series: Iterable[_Series]) -> str:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Source(series))
    return generate_latest(registry).decode("utf-8")


def _series(report: Report) -> Iterator[_Series]:
    """Yield the series of a report: first those of the whole check, then those of each rule."""
    info = {
        "version": report.version,
        "rules": report.rules_name,
        "source": report.rules_source,
        "sha256": report.rules_sha256,
        "engine": report.engine.get("engine"),
        "engine_version": report.engine.get("version"),
    }
    yield _Series("info", {key: _label(str(text or "")) for key, text in info.items()}, 1)
    for verdict in ("fail", "unknown", "warn", "pass"):
        yield _Series("verdict", {"verdict": verdict}, verdict == report.verdict)
    yield _Series("exit_code", {}, report.exit_code)
    for verdict in VERDICTS:
        yield _Series("results", {"verdict": verdict}, report.counts[verdict])
    if (time := _timestamp(report.measured_at)) is not None:
        yield _Series("measured_timestamp_seconds", {}, time)
    if report.seconds is not None:
        yield _Series("duration_seconds", {}, report.seconds)
    for result in report.results:
        yield from _rule_series(result)


def _rule_series(result: Result) -> Iterator[_Series]:
    rule = {"rule": _label(result.id), "item": _label(result.item or "")}
    for verdict in VERDICTS:
        labels = {"section": _label(result.section), "severity": result.severity}
        value = verdict == result.verdict
        yield _Series("rule_verdict", {**rule, **labels, "verdict": verdict}, value)
    if (suffix := _SUFFIXES.get(result.unit)) is not None:
        if (figure := _figure(result.actual, result.unit)) is not None:
            yield _Series(f"rule_value{suffix}", rule, figure)
        for bound, figure in _thresholds(result.expected, result.unit):
            yield _Series(f"rule_threshold{suffix}", {**rule, "bound": bound}, figure)
    if result.waiver is not None:
        owner = {"owner": _label(result.waiver.owner)}
        end = _end_of(result.waiver.until)
        yield _Series("waiver_until_timestamp_seconds", {**rule, **owner}, end)


def _thresholds(expected: Mapping[str, Any], unit: Unit) -> Iterator[tuple[str, float]]:
    """Yield the bounds that a figure must keep, those of `all_of` too.

    In `any_of` and `not` there are no bounds that it must keep.
    """
    for bound in _BOUNDS:
        if (figure := _figure(expected.get(bound), unit)) is not None:
            yield bound, figure
    for part in expected.get("all_of", ()):
        yield from _thresholds(part, unit)


def _figure(value: Any, unit: Unit) -> float | None:
    """Return a value as a number in the base unit; None if it isn't a number."""
    if isinstance(value, str) and unit in PARSERS:
        try:
            value = PARSERS[unit](value)
        except ValueError:
            return None
    return float(value) if isinstance(value, int | float) and is_plausible(value) else None


@lru_cache(maxsize=4096)
def _label(text: str) -> str:
    """Make a foreign text a label; if that changes it, a hash keeps it apart from others."""
    shown = short(text, _MAX_LABEL)
    if shown == text:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{shown[: _MAX_LABEL - 10]} #{digest}"


def _timestamp(text: str) -> float | None:
    """Parse a time of ISO 8601; UTC if it names no zone."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()


def _end_of(day: date) -> float:
    """Return the end of a day in UTC, without a next day: the calendar's last day has none."""
    return (day.toordinal() + 1 - _EPOCH) * _DAY
