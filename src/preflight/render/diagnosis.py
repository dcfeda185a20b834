"""Known errors in logs: what each means, how certain it is, where it occurs, and what to do."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from preflight.model.diagnosis import DiagnosisFinding, LogPosition, LogReport
from preflight.model.quantities import format_count, format_shortened_list
from preflight.model.report import Verdict
from preflight.model.rules import Confidence
from preflight.render import RenderOptions
from preflight.render.json_report import as_plain_data
from preflight.render.layout import FillingPart, TextLayout
from preflight.render.sanitize import sanitize_texts

DIAGNOSIS_SCHEMA_NAME = "preflight.diagnosis/1"
_VERDICT_BY_CONFIDENCE: Mapping[Confidence, Verdict] = {
    "certain": "fail",
    "likely": "warn",
    "possible": "unknown",
}
_MAX_SHOWN_LOG_FILES = 3  # that are named at the top
_CONTAINER_FACT_PREFIX_PATTERN = re.compile(
    r"\Astack\.containers\."
)  # what the engine says of a container
_SECOND_FRACTION_PATTERN = re.compile(r"(:[0-9]{2})\.[0-9]+")  # of a second


def render_log_report_text(report: LogReport, seconds: float, options: RenderOptions) -> str:
    """Show what was read, then each finding with its figures, its lines and its fixes."""
    layout = TextLayout(options)
    lines = format_count(report.line_count, "line")
    names = (_CONTAINER_FACT_PREFIX_PATTERN.sub("state of ", name) for name in report.files)
    heading = f"{format_shortened_list(names, _MAX_SHOWN_LOG_FILES)} · {lines} in {seconds:.1f} s"
    if not report.files:
        heading = "No logs: only what the engine says of the containers was read"
    layout.add_wrapped(heading, 0, "bold")
    for finding in report.findings:
        layout.add_blank_line()
        _add_finding_lines(layout, sanitize_texts(finding), several=len(report.files) > 1)
    if not report.findings:
        layout.add_line(options.sign("pass"), " No known error")
    return layout.to_text()


def _add_finding_lines(layout: TextLayout, finding: DiagnosisFinding, *, several: bool) -> None:
    mark, style = layout.options.sign(_VERDICT_BY_CONFIDENCE[finding.confidence])
    times = "once" if finding.occurrences == 1 else f"{finding.occurrences:,} times"
    right = f"{finding.confidence} · {times}"
    layout.add_line((mark, style), " ", FillingPart(finding.title, "bold"), " ", (right, style))
    first, last = finding.first, finding.last
    begin = _format_log_position(first, is_file_named=several)
    end = _format_log_position(last, is_file_named=first.file != last.file)
    lines = begin if first[:2] == last[:2] else f"{begin} … {end}"
    width = len(finding.figures or "") + len(lines) + lines.count("…") * 2  # ... in ASCII
    if finding.figures and width + 5 <= layout.options.columns:
        layout.add_line("    ", FillingPart(finding.figures), " ", (lines, "dim"))
    else:
        if finding.figures:
            layout.add_wrapped(finding.figures, 4)
        layout.add_wrapped(lines, 4, "dim")
    begin, end = (_SECOND_FRACTION_PATTERN.sub(r"\1", place.time or "") for place in (first, last))
    if begin:
        layout.add_wrapped(f"{begin} … {end}" if end and end != begin else begin, 4, "dim")
    excerpt = finding.excerpt.strip()  # its time is already shown
    excerpt = excerpt.removeprefix(last.time or "").strip() or excerpt
    layout.add_line((f"    {excerpt}", "dim"))
    layout.add_wrapped(finding.cause, 4)
    layout.add_fixes(finding.fixes, 4, command_indent=6)


def _format_log_position(position: LogPosition, *, is_file_named: bool) -> str:
    name = _CONTAINER_FACT_PREFIX_PATTERN.sub("state of ", position.file)
    if name != position.file:
        return name  # a single line that no log has
    return f"{name} line {position.line:,}" if is_file_named else f"line {position.line:,}"


def diagnosis_as_json(report: LogReport) -> dict[str, Any]:
    """Return `preflight.diagnosis/1`; what a log says is harmless in it, and short."""
    findings = [as_plain_data(sanitize_texts(finding)) for finding in report.findings]
    for finding in findings:
        del finding["excerpt"], finding["figures"]
    return {"schema": DIAGNOSIS_SCHEMA_NAME, "lines": report.line_count, "findings": findings}
