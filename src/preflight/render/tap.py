"""The report as TAP 14: a test point for each result, with its details as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from preflight.model.fleet import Fleet
from preflight.model.report import Report, Result
from preflight.render import RenderOptions
from preflight.render.json_report import as_plain_data
from preflight.render.sanitize import shorten
from preflight.render.tasks import (
    VERDICT_WORDS,
    change_text,
    command_lines,
    counts_text,
    result_message,
    result_name,
    waiver_text,
)

_VERSION = "TAP version 14\n"


def render(report: Report, options: RenderOptions) -> str:
    """Return the TAP stream; `not ok` without a directive is what keeps the exit code from 0."""
    return _VERSION + "".join(f"{line}\n" for line in _stream_lines(report, options))


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a test point for each host, its rules as a subtest."""
    points = [_VERSION]
    for number, host in enumerate(fleet.hosts, 1):
        title = _escaped(shorten(host.name)).strip() or "?"
        if host.report is None:
            points.append(f"not ok {number} - {title}: {_escaped(shorten(host.reason))}.\n")
        else:
            subtest = "".join(f"    {line}\n" for line in _stream_lines(host.report, options))
            state = "not ok" if host.report.exit_code else "ok"
            points.append(f"# Subtest: {title}\n{subtest}{state} {number} - {title}.\n")
    return "".join([*points, f"1..{len(fleet.hosts)}\n", f"# {shorten(fleet.title)}\n"])


def _stream_lines(report: Report, options: RenderOptions) -> Iterator[str]:
    """Yield what follows the version: the plan, the points and the counts."""
    yield f"1..{len(report.results)}"
    rules = f"{report.rules_name} ({report.rules_source})"
    yield f"# preflight {shorten(report.version)} · {shorten(rules)}"
    yield from (f"# note: {shorten(note)}" for note in report.notes)
    for number, result in enumerate(report.results, 1):
        yield _test_point(report, result, number)
        if options.verbose or result.verdict != "pass":
            yield "  ---"
            for key, value in _diagnostic(result).items():  # JSON is YAML, and nothing ends it
                yield f"  {key}: {json.dumps(value, ensure_ascii=False)}"
            yield "  ..."
    yield f"# {VERDICT_WORDS[report.verdict]}: {counts_text(report)}"


def _test_point(report: Report, result: Result, number: int) -> str:
    """Return the test point; its description ends with the id, which can't be read as syntax."""
    state = "ok" if result.verdict in ("pass", "skip") else "not ok"
    point = f"{state} {number} - {_escaped(result_name(result))} ({result.id})"
    directive = "" if report.affects_exit_code(result) else _escaped(_directive(result)).strip()
    if not directive:
        return point
    # to a consumer, a brace at the end of the line opens a subtest
    return f"{point} # {directive}…" if directive.endswith("{") else f"{point} # {directive}"


def _directive(result: Result) -> str:
    """Say why a result that isn't met lets the run pass."""
    if result.verdict == "waived" and result.waiver is not None:
        return f"TODO {waiver_text(result.waiver)}"
    if result.verdict == "warn":
        asked = shorten(result.expected_text).removesuffix(" recommended")
        return f"TODO recommended {asked}, found {shorten(result.actual_text)}"
    if result.verdict in ("unknown", "skip"):
        kind = "SKIP" if result.verdict == "skip" else "TODO undecided:"
        return f"{kind} {shorten(result.reason_or_source) or result_message(result)}"
    return ""


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("#", "\\#")


def _diagnostic(result: Result) -> dict[str, Any]:
    """Return what a test point alone doesn't say."""
    waiver = result.waiver
    if waiver is not None:
        waiver = waiver._replace(reason=shorten(waiver.reason), owner=shorten(waiver.owner))
    fixes = [
        _without_empty(
            text=shorten(fix.text),
            command="\n".join(command_lines(fix)),
            url=shorten(fix.url or ""),
        )
        for fix in result.fixes
    ]
    return _without_empty(
        message=result_message(result),
        verdict=result.verdict,
        severity=result.severity,
        found=shorten(result.actual_text),
        asked=shorten(result.expected_text),
        fact=shorten(result.fact),
        evidence=shorten(result.reason_or_source),
        why=shorten(result.why),
        error=shorten(result.error or ""),
        held_by=result.blocked_by,
        file=shorten(result.file or ""),
        line=result.line if result.file else None,
        change=change_text(result),
        waiver=as_plain_data(waiver),
        fixes=[fix for fix in fixes if fix],
    )


def _without_empty(**entries: Any) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value not in (None, "", [])}
