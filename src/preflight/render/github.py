"""The report as GitHub workflow commands: annotations on a run and on the lines of a change."""

from __future__ import annotations

from itertools import chain

from preflight.model.report import Report, Result
from preflight.model.rules import BUNDLED_FILE_BY_DISPLAY_NAME
from preflight.render import RenderOptions, report_texts

_MAX_ANNOTATIONS = 10  # annotations of one kind that GitHub shows of a step; the log has them all
_MAX_ANNOTATION_TITLE_CHARS = 250
# as @actions/core's command.ts has them
_WORKFLOW_COMMAND_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}
_WORKFLOW_DATA_ESCAPES = str.maketrans(_WORKFLOW_COMMAND_ESCAPES)
_WORKFLOW_PROPERTY_ESCAPES = str.maketrans({**_WORKFLOW_COMMAND_ESCAPES, ":": "%3A", ",": "%2C"})


def render_report(report: Report, options: RenderOptions) -> str:
    """Return one command per line, worst first, and the counts."""
    lines: dict[str, list[str]] = {"error": [], "warning": [], "notice": []}
    for task in report_texts.find_action_items(report):
        kind = "error" if task.affects_exit_code else "warning"
        lines[kind].append(_format_annotation(kind, task, options))
    waived = report_texts.select_shown_waivers(report, options)
    for result in sorted(waived, key=lambda r: bool(r.waiver and r.waiver.ends_soon), reverse=True):
        lines["notice"].append(
            _format_workflow_command("notice", result.name, result.message, result)
        )
    if not options.quiet:
        lines["notice"] += [
            _format_workflow_command("notice", "rules", note) for note in report.notes
        ]
    if max(*map(len, lines.values()), len(lines["notice"]) + 1) > _MAX_ANNOTATIONS:
        counts = ", ".join(f"{len(of_kind)} {kind}s" for kind, of_kind in lines.items() if of_kind)
        total = f"There are {counts}; GitHub shows {_MAX_ANNOTATIONS} of each."
        text = f"{total} The log of this step has all."
        # before the other notices, so that GitHub shows it
        lines["notice"].insert(0, _format_workflow_command("notice", "more than is shown", text))
    word = report_texts.OUTCOME_WORD_BY_VERDICT[report.verdict]
    last = f"preflight {word}: {report_texts.format_verdict_counts(report)}"
    return "\n".join([*chain(*lines.values()), last, ""])


def _format_annotation(kind: str, task: report_texts.ActionItem, options: RenderOptions) -> str:
    details = report_texts.format_detail_lines(task.result, task.skipped, evidence=options.verbose)
    text = "\n".join(filter(None, [task.problem, task.names, *details]))
    is_undecided = task.result.verdict == "unknown" and len(task.results) > 1
    return _format_workflow_command(kind, task.title, text, None if is_undecided else task.result)


def _format_workflow_command(kind: str, title: str, text: str, result: Result | None = None) -> str:
    properties = {} if result is None else _find_annotation_position(result)
    properties["title"] = f"preflight · {title}"[:_MAX_ANNOTATION_TITLE_CHARS].strip()
    pairs = ",".join(
        f"{key}={value.translate(_WORKFLOW_PROPERTY_ESCAPES)}" for key, value in properties.items()
    )
    return f"::{kind} {pairs}::{text.translate(_WORKFLOW_DATA_ESCAPES)}"


def _find_annotation_position(result: Result) -> dict[str, str]:
    """Return the line that decides: of the compose file, else of the user's own rule file."""
    file, line = (result.file or "").strip(), result.line
    if not file and result.rule_file not in BUNDLED_FILE_BY_DISPLAY_NAME:
        file, line = result.rule_file.strip(), result.rule_line
    position = {"file": file, "line": str(line or "")}
    return {key: text for key, text in position.items() if text and file}
