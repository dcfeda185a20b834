"""The report as TAP 14: a test point a result, with what is to be known of it as YAML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from preflight.model.report import Report, ResolvedFix, Result
from preflight.render.options import RenderOptions, short
from preflight.render.tasks import WORDS, change, command_lines, counts, name, sentence

VERSION = "TAP version 14"


def render(report: Report, options: RenderOptions) -> str:
    """Return the TAP stream; `not ok` without a directive is what keeps the exit code from 0."""
    return "".join(f"{line}\n" for line in (VERSION, *lines(report, options)))


def lines(report: Report, options: RenderOptions) -> Iterator[str]:
    """Yield what follows the version: the plan, the points and how many there are of each."""
    yield f"1..{len(report.results)}"
    rules = f"{report.rules_name} ({report.rules_source})"
    yield f"# preflight {short(report.version)} · {short(rules)}"
    yield from (f"# note: {short(note)}" for note in report.notes)
    for number, result in enumerate(report.results, 1):
        yield _point(report, result, number)
        if options.verbose or result.verdict != "pass":
            yield "  ---"
            yield from _yaml(_known(result), "  ")
            yield "  ..."
    yield f"# {WORDS[report.verdict]}: {counts(report)}"


def _point(report: Report, result: Result, number: int) -> str:
    """The test point; its description ends in the id, which no consumer takes for syntax."""
    state = "ok" if result.verdict in ("pass", "skip") else "not ok"
    point = f"{state} {number} - {escaped(name(result))} ({result.id})"
    directive = "" if report.affects_exit_code(result) else _directive(result)
    if not directive:
        return point
    # to a consumer, a brace at the end of the line opens a subtest
    return f"{point} # {directive}…" if directive.endswith("{") else f"{point} # {directive}"


def _directive(result: Result) -> str:
    """Why a result that isn't met lets the run pass."""
    if result.waiver is not None and result.verdict == "waived":
        waiver = result.waiver
        told = f"TODO waived until {waiver.until} by {short(waiver.owner)}: {short(waiver.reason)}"
    elif result.verdict == "warn":
        asked = short(result.expected_text).removesuffix(" advised")
        told = f"TODO advised {asked}, found {short(result.actual_text)}"
    elif result.verdict in ("unknown", "skip"):
        kind = "SKIP" if result.verdict == "skip" else "TODO undecided:"
        told = f"{kind} {short(result.reason_or_source) or sentence(result)}"
    else:
        return ""
    return escaped(told).strip()


def escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace("#", "\\#")


def _known(result: Result) -> dict[str, Any]:
    """What a test point alone doesn't say, without what isn't there."""
    told = {
        "message": sentence(result),
        "verdict": result.verdict,
        "severity": result.severity,
        "found": short(result.actual_text),
        "asked": short(result.expected_text),
        "fact": short(result.fact),
        "evidence": short(result.reason_or_source),
        "why": short(result.why),
        "error": short(result.error or ""),
        "held_by": result.blocked_by,
        "file": short(result.file or ""),
        "line": result.line if result.file else None,
        "change": change(result),
        "waiver": result.waiver
        and {
            "reason": short(result.waiver.reason),
            "owner": short(result.waiver.owner),
            "until": result.waiver.until.isoformat(),
            "days_left": result.waiver.days_left,
            "holds": result.waiver.holds,
        },
        "fixes": [told for fix in result.fixes if (told := _fix(fix))],
    }
    return _present(**told)


def _fix(fix: ResolvedFix) -> dict[str, Any]:
    command = "\n".join(command_lines(fix))
    return _present(text=short(fix.text), command=command, url=short(fix.url or ""))


def _present(**entries: Any) -> dict[str, Any]:
    return {key: value for key, value in entries.items() if value not in (None, "", [], {})}


def _yaml(node: dict[str, Any], indent: str) -> Iterator[str]:
    """Write a mapping; a text as JSON writes it, which YAML reads, so that none breaks out."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield f"{indent}{key}:"
            yield from _yaml(value, f"{indent}  ")
        elif isinstance(value, list):
            yield f"{indent}{key}:"
            for entry in value:
                first, *rest = _yaml(entry, f"{indent}    ")
                yield f"{indent}  - {first.lstrip()}"
                yield from rest
        else:
            yield f"{indent}{key}: {json.dumps(value, ensure_ascii=False)}"
