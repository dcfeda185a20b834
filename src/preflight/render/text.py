"""The report for a terminal or a log: the verdict's evidence by section, what to do, the counts."""

from __future__ import annotations

from collections.abc import Iterable

from preflight.model.report import Report, Result
from preflight.render import ledger
from preflight.render.layout import TextLayout, pad
from preflight.render.options import RenderOptions, short
from preflight.render.tasks import (
    ACTION,
    WORDS,
    Task,
    command_lines,
    context_lines,
    counts,
    holds_back,
    place,
    tasks,
    waived,
)

ENGINES = {
    "docker": "Docker",
    "docker-desktop": "Docker Desktop",
    "podman": "Podman",
    "colima": "Colima",
    "orbstack": "OrbStack",
    "rancher-desktop": "Rancher Desktop",
}
_LONG_NAME = 57  # characters of program and rules that leave room for the host beside them
_MOST_PASSED = 8  # lines of passed rules in a section, before the rest is counted


def render(report: Report, options: RenderOptions) -> str:
    """Return the text report."""
    layout = TextLayout(options)
    found = tasks(report)
    everything = options.verbose or (bool(found) and not options.quiet)
    if not options.quiet:
        _header(layout, report, engine=everything)
    if everything:
        _sections(layout, report.results)
    if found:
        _to_do(layout, found)
    _waived(layout, report, titled=everything)
    if everything:
        ledger.draw(layout, report.memory)
    _summary(layout, report)
    if not found and not options.quiet and report.next:
        layout.verbatim(f"Next: {report.next}", 0)
    return layout.draw()


def host_line(report: Report) -> str:
    """Name the machine: `vm, linux x86_64`."""
    host = report.host
    system = " ".join(str(host[key]) for key in ("os", "arch") if host.get(key))
    return ", ".join(str(part) for part in (host.get("hostname"), system) if part)


def engine_line(report: Report) -> str:
    """Name the engine and where it is: `Docker 28.2 at unix:///… (context default)`."""
    engine = report.engine
    place = f"{engine.get('endpoint')} (context {engine.get('context')})"
    if engine.get("endpoint") is None:
        return ""
    if not engine.get("reachable"):
        return f"No container engine at {place}"
    name = str(engine.get("engine"))
    return f"{ENGINES.get(name, name)} {engine.get('version') or ''} at {place}"


def _header(layout: TextLayout, report: Report, *, engine: bool) -> None:
    program, rules = f"preflight {report.version}", f"{report.rules_name} ({report.rules_source})"
    if len(program) + len(rules) < _LONG_NAME:
        layout.add((program, "bold"), f" · {rules} · {host_line(report)}")
    else:
        layout.add((program, "bold"), f" · {rules}")
        layout.add(host_line(report))
    if engine and (line := engine_line(report)):
        layout.add((line, "dim"))


def _sections(layout: TextLayout, results: Iterable[Result]) -> None:
    """One line a rule, by section in the order of the rules; figures line up over all of them."""
    sections: dict[str, list[Result]] = {}
    for result in results:
        if layout.options.verbose or result.verdict != "skip":
            sections.setdefault(result.section or "Other", []).append(result)
    shown = [result for rows in sections.values() for result in rows]
    found = min(16, max([len("found"), *(len(result.actual_text) for result in shown)]))
    asked = min(25, max([len("asked"), *(len(result.expected_text) for result in shown)]))
    head = f"{pad('found', found, right=True)}  {pad('asked', asked, right=True)}"
    for title, rows in sections.items():
        layout.blank()
        layout.add((pad(title, layout.options.columns - len(head)), "bold"), (head, "dim"))
        head = ""
        _rows(layout, rows, found, asked)


def _rows(layout: TextLayout, rows: list[Result], found: int, asked: int) -> None:
    passed = [result for result in rows if result.verdict == "pass"]
    folded = [] if layout.options.verbose else passed[_MOST_PASSED:]
    hidden = {id(result) for result in folded}
    for result in rows:
        if id(result) not in hidden:
            _row(layout, result, found, asked)
    if folded:
        layout.add("  ", layout.options.sign("pass"), f" {len(folded)} more")


def _row(layout: TextLayout, result: Result, found: int, asked: int) -> None:
    mark, style = layout.options.sign(result.verdict)
    mark = pad(mark, 6) if layout.options.ascii else mark
    room = layout.options.columns - len(mark) - found - asked - 7
    layout.add(
        "  ",
        (mark, style),
        f" {pad(result.name, room)}  ",
        (pad(result.actual_text, found, right=True), style if result.verdict in ACTION else ""),
        "  ",
        (pad(result.expected_text, asked, right=True), "dim"),
    )
    if layout.options.verbose:
        layout.wrap(result.reason_or_source or "no source", 6, "dim")
        if result.why:
            layout.wrap(result.why, 6, "dim")


def _to_do(layout: TextLayout, found: list[Task]) -> None:
    if not layout.options.quiet:
        layout.blank()
        layout.add(("To do", "bold"))
    for task in found:
        mark, style = layout.options.sign(task.result.verdict)
        weight = "bold" if task.result.verdict == "fail" else ""
        layout.wrap(task.sentence, 2, weight, prefix=(f"{mark} ", style))
        if len(task.results) == 1:
            _fixes(layout, task.result)
        if task.held:
            layout.wrap(holds_back(task.held), 6, "dim")


def _fixes(layout: TextLayout, result: Result) -> None:
    if where := place(result):
        layout.wrap(f"in {where}", 6)
    for line in context_lines(result):
        layout.wrap(line, 6)
    for fix in result.fixes:
        layout.wrap(short(fix.text), 6)
        for line in command_lines(fix):
            layout.verbatim(f"$ {line}", 6, "cyan")
        if fix.url:
            layout.verbatim(short(fix.url), 6, "dim")


def _waived(layout: TextLayout, report: Report, *, titled: bool) -> None:
    """What is waived, by whom and until when."""
    found = waived(report, layout.options)
    if found and titled:
        layout.blank()
        layout.add(("Waived", "bold"))
    for result in found:
        mark, style = layout.options.sign("waived")
        layout.wrap(result.message, 2, prefix=(f"{mark} ", style))


def _summary(layout: TextLayout, report: Report) -> None:
    _, style = layout.options.sign(report.verdict)
    if not layout.options.quiet and (layout.options.verbose or report.verdict != "pass"):
        layout.blank()
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    word = WORDS[report.verdict]
    style = "bold green" if word == "PASS" else style
    if not layout.options.quiet:
        for note in report.notes:
            layout.wrap(note, 0, prefix=("note  ", "dim"))
    layout.wrap(f"{counts(report)}{seconds}", 0, prefix=(f"{word}  ", style))
