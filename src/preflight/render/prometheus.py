"""Metrics for node_exporter's textfile collector: every rule's verdict, its figure, and its bounds.

Unknown values have no series; they are never written as 0. node_exporter refuses a whole file if
one series is in it twice, so labels that are cut stay different, and of two equal series the first
stays.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timezone
from importlib.resources import files
from typing import Any, TypeAlias

from preflight.model.facts import Unit
from preflight.model.fleet import VERDICTS_WORST_FIRST, Fleet, HostReport
from preflight.model.quantities import PARSER_BY_UNIT, is_finite_and_within_limit
from preflight.model.report import VERDICTS, Report, Result
from preflight.render import RenderOptions
from preflight.render.sanitize import clean_and_shorten

_MAX_LABEL_VALUE_CHARS = 200
_METRIC_HELP_TEXT = files("preflight.render").joinpath("prometheus_metrics.txt").read_text("utf-8")
_HELP_BY_METRIC = dict(line.split(": ", 1) for line in _METRIC_HELP_TEXT.splitlines()[2:])
"""The metrics in their order, without `preflight_`."""
_BOUND_OPERATORS = ("at_least", "at_most", "more_than", "less_than", "equals", "not_equals")

Series: TypeAlias = tuple[str, Mapping[str, str | None], float]
"""A metric, its labels and its value."""


def render_report(report: Report, _options: RenderOptions) -> str:
    """Return the metrics in Prometheus' text format."""
    return _format_metrics(_list_report_series(report))


def render_fleet(fleet: Fleet, _options: RenderOptions) -> str:
    """Return the metrics of all hosts with the label `host`."""
    return _format_metrics(series for host in fleet.hosts for series in _list_host_series(host))


def _format_metrics(all_series: Iterable[Series]) -> str:
    """Write the series by metric; a metric without a series isn't announced."""
    values: dict[str, dict[str, float]] = {metric: {} for metric in _HELP_BY_METRIC}
    for metric, labels, value in all_series:
        pairs = ",".join(
            f'{key}="{_format_label_value(labels[key] or "")}"' for key in sorted(labels)
        )
        values[metric].setdefault(f"{{{pairs}}}" if pairs else "", value)
    lines = []
    for metric, by_labels in values.items():
        name = f"preflight_{metric}"
        if by_labels:
            lines += [f"# HELP {name} {_HELP_BY_METRIC[metric]}", f"# TYPE {name} gauge"]
        lines += [f"{name}{labels} {float(value)}" for labels, value in by_labels.items()]
    return "".join(f"{line}\n" for line in lines)


def _format_label_value(text: str) -> str:
    """Make a foreign text a label; if that changes it, a hash keeps it apart from others."""
    shown = clean_and_shorten(text, _MAX_LABEL_VALUE_CHARS)
    if shown != text:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]
        shown = f"{shown[: _MAX_LABEL_VALUE_CHARS - 10]} #{digest}"
    return shown.replace("\\", "\\\\").replace('"', '\\"')


def _list_host_series(host: HostReport) -> Iterator[Series]:
    yield "host_reached", {"host": host.name}, host.report is not None
    for metric, labels, value in _list_report_series(host.report) if host.report else ():
        # with thousands of hosts, verdicts that are 0 would be most of the text
        if value or metric not in ("verdict", "rule_verdict"):
            yield metric, {"host": host.name, **labels}, value


def _list_report_series(report: Report) -> Iterator[Series]:
    """Yield the series of the whole check, then those of each rule."""
    info = {
        "version": report.version,
        "rules": report.rules_name,
        "source": report.rules_source,
        "sha256": report.rules_sha256,
        "engine": str(report.engine.get("engine") or ""),
        "engine_version": str(report.engine.get("version") or ""),
    }
    yield "info", info, 1
    for verdict in VERDICTS_WORST_FIRST:
        yield "verdict", {"verdict": verdict}, verdict == report.verdict
    yield "exit_code", {}, report.exit_code
    counts = report.counts_by_verdict
    for verdict in VERDICTS:
        yield "results", {"verdict": verdict}, counts[verdict]
    if (time := _parse_iso_timestamp(report.measured_at)) is not None:
        yield "measured_timestamp_seconds", {}, time
    if report.seconds is not None:
        yield "duration_seconds", {}, report.seconds
    for result in report.results:
        yield from _list_result_series(result)


def _list_result_series(result: Result) -> Iterator[Series]:
    rule = {"rule": result.id, "item": result.item}
    labels = {**rule, "section": result.section, "severity": result.severity}
    for verdict in VERDICTS:
        yield "rule_verdict", {**labels, "verdict": verdict}, verdict == result.verdict
    if result.unit in PARSER_BY_UNIT:  # the others are texts
        suffix = f"_{result.unit}" if f"rule_value_{result.unit}" in _HELP_BY_METRIC else ""
        if (value := _convert_to_metric_value(result.actual, result.unit)) is not None:
            yield f"rule_value{suffix}", rule, value
        for bound, value in _find_thresholds(result.expected, result.unit):
            yield f"rule_threshold{suffix}", {**rule, "bound": bound}, value
    if result.waiver is not None:
        # the end of the day in UTC; the calendar's last day has no next one
        end = ((result.waiver.until - date(1970, 1, 1)).days + 1) * 86_400
        yield "waiver_until_timestamp_seconds", {**rule, "owner": result.waiver.owner}, end


def _find_thresholds(expected: Mapping[str, Any], unit: Unit) -> Iterator[tuple[str, float]]:
    """Yield the bounds that a figure must keep: those of `all_of` too, none of `any_of`, `not`."""
    for bound in _BOUND_OPERATORS:
        if (value := _convert_to_metric_value(expected.get(bound), unit)) is not None:
            yield bound, value
    for part in expected.get("all_of", ()):
        yield from _find_thresholds(part, unit)


def _convert_to_metric_value(value: Any, unit: Unit) -> float | None:
    """Return a value as a number in the base unit; None if it isn't a number."""
    if isinstance(value, str) and unit in PARSER_BY_UNIT:
        try:
            value = PARSER_BY_UNIT[unit](value)
        except ValueError:
            return None
    return (
        float(value)
        if isinstance(value, int | float) and is_finite_and_within_limit(value)
        else None
    )


def _parse_iso_timestamp(text: str) -> float | None:
    """Parse a time of ISO 8601; UTC if it names no zone."""
    try:
        time = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        return None
    return (time if time.tzinfo else time.replace(tzinfo=timezone.utc)).timestamp()
