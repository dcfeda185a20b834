"""The report as GitHub workflow commands: annotations on a run and on the lines of a change."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.report import Report, Result
from preflight.model.rules import BUNDLED_NAME
from preflight.render import RenderOptions
from preflight.render.tasks import (
    VERDICT_WORDS,
    Task,
    counts_text,
    detail_lines,
    find_tasks,
    shown_waivers,
)

_MAX_SHOWN = 10  # annotations of one kind that GitHub shows of a step; the log has them all
_MAX_TITLE = 250  # characters
_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}  # as @actions/core's command.ts has them
_DATA_ESCAPES = str.maketrans(_ESCAPES)
_PROPERTY_ESCAPES = str.maketrans({**_ESCAPES, ":": "%3A", ",": "%2C"})


def render(report: Report, options: RenderOptions) -> str:
    """Return one command per line, worst first, and the counts."""
    todo = find_tasks(report)
    errors = [_annotation(task, options) for task in todo if task.affects_exit_code]
    warnings = [_annotation(task, options) for task in todo if not task.affects_exit_code]
    notices = list(_notices(report, options))
    if max(len(errors), len(warnings), len(notices) + 1) > _MAX_SHOWN:
        kinds = {"errors": len(errors), "warnings": len(warnings), "notices": len(notices)}
        total = ", ".join(f"{count} {kind}" for kind, count in kinds.items() if count)
        text = (
            f"There are {total}; GitHub shows {_MAX_SHOWN} of each. The log of this step has all."
        )
        # before the other notices, so that GitHub shows it
        notices.insert(0, _command("notice", "more than is shown", text))
    last = f"preflight {VERDICT_WORDS[report.verdict]}: {counts_text(report)}"
    return "\n".join([*errors, *warnings, *notices, last, ""])


def _annotation(task: Task, options: RenderOptions) -> str:
    evidence = task.result.reason_or_source
    source = [f"measured: {evidence}"] if options.verbose and evidence else []
    lines = detail_lines(task.result) if len(task.results) == 1 else [task.names]
    text = "\n".join(filter(None, [task.sentence, *lines, task.skipped, *source]))
    kind = "error" if task.affects_exit_code else "warning"
    return _command(kind, task.title, text, task.result if len(task.results) == 1 else None)


def _notices(report: Report, options: RenderOptions) -> Iterator[str]:
    """Yield what is waived, first what ends soon; then the notes."""
    waived = shown_waivers(report, options)
    for result in sorted(
        waived, key=lambda result: not (result.waiver and result.waiver.ends_soon)
    ):
        yield _command("notice", result.name, result.message, result)
    if not options.quiet:
        for note in report.notes:
            yield _command("notice", "rules", note)


def _command(kind: str, title: str, text: str, result: Result | None = None) -> str:
    properties = {} if result is None else _position(result)
    properties["title"] = f"preflight · {title}"[:_MAX_TITLE].strip()
    pairs = ",".join(
        f"{key}={value.translate(_PROPERTY_ESCAPES)}" for key, value in properties.items()
    )
    return f"::{kind} {pairs}::{text.translate(_DATA_ESCAPES)}"


def _position(result: Result) -> dict[str, str]:
    """Return the line that decides: of the compose file, else of the user's own rule file."""
    file, line = result.file, result.line
    if not file and result.rule_file != BUNDLED_NAME:
        file, line = result.rule_file, result.rule_line
    if not (file := (file or "").strip()):
        return {}
    return {"file": file} if line is None else {"file": file, "line": str(line)}
