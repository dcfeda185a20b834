"""The report as TAP 14: a test point for each result, with its details as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from preflight.model.fleet import Fleet
from preflight.model.report import Report, Result
from preflight.render import RenderOptions, report_texts
from preflight.render.json_report import result_as_json

_TAP_VERSION_LINE = "TAP version 14\n"
_TAP_DETAIL_KEYS = ("message", "verdict", "severity", "found", "asked", "fact", "evidence", "why",
                "error", "held_by", "file", "line", "change", "waiver", "fixes")  # fmt: skip
"""The keys of a result's JSON that its test point shows."""


def render_report(report: Report, options: RenderOptions) -> str:
    """Return the TAP stream; `not ok` without a directive is what keeps the exit code from 0."""
    return _TAP_VERSION_LINE + "".join(f"{line}\n" for line in _list_tap_lines(report, options))


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a test point for each host, its rules as a subtest."""
    points = [_TAP_VERSION_LINE]
    for number, host in enumerate(fleet.hosts, 1):
        title = _escape_tap(host.name).strip() or "?"
        if host.report is None:
            points.append(f"not ok {number} - {title}: {_escape_tap(host.reason)}.\n")
        else:
            subtest = "".join(f"    {line}\n" for line in _list_tap_lines(host.report, options))
            state = "not ok" if host.report.exit_code else "ok"
            points.append(f"# Subtest: {title}\n{subtest}{state} {number} - {title}.\n")
    return "".join([*points, f"1..{len(fleet.hosts)}\n", f"# {fleet.title}\n"])


def _list_tap_lines(report: Report, options: RenderOptions) -> Iterator[str]:
    """Yield what follows the version: the plan, the points and the counts."""
    yield f"1..{len(report.results)}"
    rules = f"{report.rules_name} ({report.rules_source})"
    rules += f", profile {report.profile}" if report.profile else ""
    yield f"# preflight {report.version} · {rules}"
    yield from (f"# note: {note}" for note in report.notes)
    for number, result in enumerate(report.results, 1):
        state = "ok" if result.verdict in ("pass", "skip") else "not ok"
        # the id comes last, because the end of a description can be read as syntax
        point = f"{state} {number} - {_escape_tap(result.name)} ({result.id})"
        if not report.affects_exit_code(result) and (directive := _find_tap_directive(result)):
            point += f" # {_escape_tap(directive).strip()}"
            point += "…" if point.endswith("{") else ""  # a brace would open a subtest
        yield point
        if options.verbose or result.verdict != "pass":
            yield "  ---"
            for key, value in _list_tap_details(result):  # JSON is YAML, and nothing ends it
                yield f"  {key}: {json.dumps(value, ensure_ascii=False)}"
            yield "  ..."
    word = report_texts.OUTCOME_WORD_BY_VERDICT[report.verdict]
    yield f"# {word}: {report_texts.format_verdict_counts(report)}"


def _find_tap_directive(result: Result) -> str:
    """Say why a result that isn't met lets the run pass."""
    if result.verdict == "waived" and result.waiver is not None:
        return f"TODO {result.waiver.sentence}"
    if result.verdict == "warn":
        asked = result.expected_text.removesuffix(" recommended")
        return f"TODO recommended {asked}, found {result.actual_text}"
    if result.verdict in ("unknown", "skip"):
        kind = "SKIP" if result.verdict == "skip" else "TODO undecided:"
        return f"{kind} {result.reason_or_source or result.message}"
    return ""


def _escape_tap(text: str) -> str:
    return text.replace("\\", "\\\\").replace("#", "\\#")


def _list_tap_details(result: Result) -> Iterator[tuple[str, Any]]:
    """Yield what a test point alone doesn't say, but for what is empty."""
    details = {
        **result_as_json(result),
        "line": result.line if result.file else None,
        "change": report_texts.format_proposed_change(result),
        "fixes": [
            {key: text for key, text in fix._asdict().items() if text} for fix in result.fixes
        ],
    }
    for key in _TAP_DETAIL_KEYS:
        if details[key] not in (None, "", [], [{}]):
            yield key, details[key]
