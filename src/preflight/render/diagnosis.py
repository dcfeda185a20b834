"""Known errors in logs: what each means, how sure that is, where it stands, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from preflight.model.diagnosis import Confidence, Finding, LogReport, Place
from preflight.model.report import Verdict
from preflight.render import RenderOptions
from preflight.render.layout import TextLayout, pad
from preflight.render.sanitize import clean, short

SCHEMA = "preflight.diagnosis/1"
_SIGNS: Mapping[Confidence, Verdict] = {"certain": "fail", "likely": "warn", "possible": "unknown"}
_MOST_FILES = 3  # that are named at the top
_FRACTION = re.compile(r"(:[0-9]{2})\.[0-9]+")  # of a second


def text(report: LogReport, seconds: float, options: RenderOptions) -> str:
    """Show what was read, then each finding with its figures, its lines and its fixes."""
    layout = TextLayout(options)
    what = "1 line" if report.line_count == 1 else f"{report.line_count:,} lines"
    layout.wrap(f"{_files(report.files)} · {what} in {seconds:.1f} s", 0, "bold")
    for one in report.findings:
        layout.blank()
        _finding(layout, one, several=len(report.files) > 1)
    if not report.findings:
        layout.add(options.sign("pass"), " No known error")
    return layout.draw()


def _files(files: Sequence[str]) -> str:
    rest = len(files) - _MOST_FILES
    return ", ".join(files[:_MOST_FILES]) + (f" and {rest} more" if rest > 0 else "")


def _finding(layout: TextLayout, one: Finding, *, several: bool) -> None:
    mark, style = layout.options.sign(_SIGNS[one.confidence])
    often = "once" if one.occurrences == 1 else f"{one.occurrences:,} times"
    right = f"{one.confidence} · {often}"
    room = layout.options.columns - len(mark) - len(right) - 2
    layout.add((mark, style), (f" {pad(one.title, room)}", "bold"), " ", (right, style))
    where = _lines(one.first, one.last, several=several)
    where = where.replace("…", "...") if layout.options.ascii else where  # as wide as it is drawn
    figures = clean(one.figures or "")
    room = layout.options.columns - len(where) - 5
    if figures and len(figures) <= room:
        layout.add(f"    {pad(figures, room)} ", (where, "dim"))
    else:
        if figures:
            layout.wrap(figures, 4)
        layout.wrap(where, 4, "dim")
    if one.first.time:
        layout.wrap(_when(one.first, one.last), 4, "dim")
    layout.add((f"    {_said(one)}", "dim"))
    layout.wrap(one.cause, 4)
    for fix in one.fixes:
        layout.wrap(fix.text, 4)
        for line in (fix.command or "").splitlines():
            layout.verbatim(f"$ {line}", 6, "cyan")
        if fix.url:
            layout.verbatim(fix.url, 6, "dim")


def _lines(first: Place, last: Place, *, several: bool) -> str:
    """Say `line 12 … line 88,104`, with the log's name where there are several."""
    begin, end = (_line(one, named=several) for one in (first, last))
    if several and first.file == last.file:
        end = _line(last, named=False)
    return begin if (first.file, first.line) == (last.file, last.line) else f"{begin} … {end}"


def _line(one: Place, *, named: bool) -> str:
    line = f"line {one.line:,}"
    return f"{clean(one.file)} {line}" if named else line


def _when(first: Place, last: Place) -> str:
    begin, end = (_FRACTION.sub(r"\1", one.time or "") for one in (first, last))
    return f"{begin} … {end}" if end and end != begin else begin


def _said(one: Finding) -> str:
    """Return the last line without the time before it, which is told above it."""
    line = short(one.excerpt).strip()
    return line.removeprefix(one.last.time or "").strip() or line


def to_json(report: LogReport) -> dict[str, Any]:
    """Return `preflight.diagnosis/1`; what a log says is harmless in it, and short."""
    return {
        "schema": SCHEMA,
        "lines": report.line_count,
        "findings": [
            {
                "id": one.id,
                "title": one.title,
                "cause": one.cause,
                "confidence": one.confidence,
                "count": one.occurrences,
                "first": one.first._asdict(),
                "last": one.last._asdict(),
                "values": {name: short(value) for name, value in one.values.items()},
                "fixes": [
                    {"text": short(fix.text), "command": fix.command, "url": fix.url}
                    for fix in one.fixes
                ],
            }
            for one in report.findings
        ],
    }
