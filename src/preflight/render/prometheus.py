"""Metrics for node_exporter's textfile collector: every rule's verdict, its figure and its bounds.

Unknown values have no series; they are never written as 0. node_exporter refuses a whole file if
one series is in it twice, so labels that are cut stay different, and of two equal series the first
stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from datetime import date, datetime, timezone
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from preflight.model.facts import Unit
from preflight.model.fleet import Fleet
from preflight.model.quantities import PARSERS, is_plausible
from preflight.model.report import VERDICTS, Report, Result
from preflight.render import RenderOptions
from preflight.render.sanitize import shorten

_MAX_LABEL = 200  # characters
_SUFFIXES_BY_UNIT: Mapping[Unit, tuple[str, str]] = {
    "bytes": ("_bytes", ", in bytes"),
    "seconds": ("_seconds", ", in seconds"),
    "cores": ("_cores", ", in cores"),
    "number": ("", ": a number, or 1 for yes and 0 for no"),
    "boolean": ("", ": a number, or 1 for yes and 0 for no"),
}
"""By unit: the end of a figure's metric and of its help. Other units have no metric."""
_HELP_BY_METRIC = {
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
        for suffix, help_ in _SUFFIXES_BY_UNIT.values()
        for name, verb in (("value", "found"), ("threshold", "asks for"))
    },
    "waiver_until_timestamp_seconds": "When a rule's waiver ends, in seconds since 1970.",
}
"""The metrics in their order, without `preflight_`."""
_BOUNDS = ("at_least", "at_most", "more_than", "less_than", "equals", "not_equals")


def render(report: Report, _options: RenderOptions) -> str:
    """Return the metrics in Prometheus' text format."""
    metrics = _Metrics()
    metrics.add_report(report)
    return metrics.text()


def render_fleet(fleet: Fleet, _options: RenderOptions) -> str:
    """Return the metrics of all hosts with the label `host`."""
    metrics = _Metrics()
    for host in fleet.hosts:
        metrics.host = {"host": host.name}
        metrics.add("host_reached", host.report is not None)
        if host.report is not None:
            metrics.add_report(host.report)
    return metrics.text()


class _Metrics(Collector):
    """The series by metric and labels, as prometheus_client collects them."""

    def __init__(self) -> None:
        self.host: dict[str, str] = {}  # a label of every series, in the report of many hosts
        self._series: dict[str, dict[tuple[tuple[str, str], ...], float]] = {
            n: {} for n in _HELP_BY_METRIC
        }

    def add(self, metric: str, value: float, **labels: str) -> None:
        """Add a series, unless there is one with the same labels.

        With thousands of hosts, verdicts that are 0 would be most of the text: they are left out.
        """
        if self.host and not value and metric in ("verdict", "rule_verdict"):
            return
        pairs = tuple((key, _label(text)) for key, text in {**self.host, **labels}.items())
        self._series[metric].setdefault(pairs, value)

    def add_report(self, report: Report) -> None:
        """Add the series of the whole check, then those of each rule."""
        info = {
            "version": report.version,
            "rules": report.rules_name,
            "source": report.rules_source,
            "sha256": report.rules_sha256,
            "engine": report.engine.get("engine"),
            "engine_version": report.engine.get("version"),
        }
        self.add("info", 1, **{key: str(text or "") for key, text in info.items()})
        for verdict in ("fail", "unknown", "warn", "pass"):
            self.add("verdict", verdict == report.verdict, verdict=verdict)
        self.add("exit_code", report.exit_code)
        for verdict in VERDICTS:
            self.add("results", report.counts[verdict], verdict=verdict)
        if (time := _timestamp(report.measured_at)) is not None:
            self.add("measured_timestamp_seconds", time)
        if report.seconds is not None:
            self.add("duration_seconds", report.seconds)
        for result in report.results:
            self._add_result(result)

    def _add_result(self, result: Result) -> None:
        rule = {"rule": result.id, "item": result.item or ""}
        labels = {**rule, "section": result.section, "severity": result.severity}
        for verdict in VERDICTS:
            self.add("rule_verdict", verdict == result.verdict, **labels, verdict=verdict)
        if result.unit in _SUFFIXES_BY_UNIT:
            suffix, _ = _SUFFIXES_BY_UNIT[result.unit]
            if (value := _number(result.actual, result.unit)) is not None:
                self.add(f"rule_value{suffix}", value, **rule)
            for bound, value in _thresholds(result.expected, result.unit):
                self.add(f"rule_threshold{suffix}", value, **rule, bound=bound)
        if result.waiver is not None:
            # the end of the day in UTC; the calendar's last day has no next one
            end = (result.waiver.until - date(1970, 1, 1)).days * 86_400 + 86_400
            self.add("waiver_until_timestamp_seconds", end, **rule, owner=result.waiver.owner)

    def collect(self) -> Iterator[Metric]:
        """Yield the metrics that have a series."""
        for name, series in self._series.items():
            if series:
                labels = [key for key, _ in next(iter(series))]
                metric = GaugeMetricFamily(
                    f"preflight_{name}", _HELP_BY_METRIC[name], labels=labels
                )
                for pairs, value in series.items():
                    metric.add_metric([text for _, text in pairs], value)
                yield metric

    def text(self) -> str:
        """Return the metrics in Prometheus' text format."""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(self)
        return generate_latest(registry).decode("utf-8")


def _thresholds(expected: Mapping[str, Any], unit: Unit) -> Iterator[tuple[str, float]]:
    """Yield the bounds that a figure must keep, those of `all_of` too.

    In `any_of` and `not` there are no bounds that it must keep.
    """
    for bound in _BOUNDS:
        if (value := _number(expected.get(bound), unit)) is not None:
            yield bound, value
    for part in expected.get("all_of", ()):
        yield from _thresholds(part, unit)


def _number(value: Any, unit: Unit) -> float | None:
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
    shown = shorten(text, _MAX_LABEL)
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
