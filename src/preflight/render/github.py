"""The report as GitHub workflow commands: annotations on a run and on the lines of a change."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.report import Report, Result
from preflight.model.rules import BUNDLED_NAME
from preflight.render.options import RenderOptions, short
from preflight.render.tasks import WORDS, Task, counts, ends_soon, name, sentence, tasks, waived

_SHOWN = 10  # annotations of one kind that GitHub shows of a step; the log holds them all
_TITLE = 250
_ESCAPES = {"%": "%25", "\r": "%0D", "\n": "%0A"}  # as @actions/core's command.ts has them
_DATA = str.maketrans(_ESCAPES)
_PROPERTY = str.maketrans({**_ESCAPES, ":": "%3A", ",": "%2C"})


def render(report: Report, options: RenderOptions) -> str:
    """Return a command a line, worst first, and the counts."""
    found = tasks(report)
    errors = [_task(one, options) for one in found if one.gates]
    warnings = [_task(one, options) for one in found if not one.gates]
    notices = list(_notices(report, options))
    hidden = _hidden(len(errors), len(warnings), len(notices))
    last = f"preflight {WORDS[report.verdict]}: {counts(report)}"
    return "\n".join([*errors, *warnings, *hidden, *notices, last, ""])


def _task(task: Task, options: RenderOptions) -> str:
    evidence = task.result.reason_or_source
    source = [f"measured: {short(evidence)}"] if options.verbose and evidence else []
    text = "\n".join([task.sentence, *task.details(), *source])
    kind = "error" if task.gates else "warning"
    place = task.result if len(task.results) == 1 else None
    return _command(kind, task.title, text, place)


def _notices(report: Report, options: RenderOptions) -> Iterator[str]:
    """What is waived, first what will be so no longer; then what is to be said of the rules."""
    for result in sorted(waived(report, options), key=lambda one: not ends_soon(one)):
        yield _command("notice", name(result), sentence(result), result)
    if not options.quiet:
        for note in report.notes:
            yield _command("notice", "rules", short(note))


def _hidden(errors: int, warnings: int, notices: int) -> Iterator[str]:
    """Say that there is more than GitHub shows; before other notices, so that it shows this."""
    told = {"errors": errors, "warnings": warnings, "notices": notices}
    if max(errors, warnings, notices + 1) > _SHOWN:
        there = ", ".join(f"{count} {kind}" for kind, count in told.items() if count)
        text = f"There are {there}; GitHub shows {_SHOWN} of each. The log of this step has all."
        yield _command("notice", "more than is shown", text)


def _command(kind: str, title: str, text: str, result: Result | None = None) -> str:
    properties = {} if result is None else _place(result)
    properties["title"] = f"preflight · {title}"[:_TITLE].strip()
    told = ",".join(f"{key}={value.translate(_PROPERTY)}" for key, value in properties.items())
    return f"::{kind} {told}::{text.translate(_DATA)}"


def _place(result: Result) -> dict[str, str]:
    """The line that decides: of the compose file, else of a rule file of the user's own."""
    file, line = result.file, result.line
    if not file and result.rule_file != BUNDLED_NAME:
        file, line = result.rule_file, result.rule_line
    if not (file := short(file or "").strip()):
        return {}
    return {"file": file} if line is None else {"file": file, "line": str(line)}
