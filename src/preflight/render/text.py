"""The report for a terminal or a log: the evidence by section, what to do, the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from preflight.model.report import Report, Result
from preflight.render import RenderOptions, memory
from preflight.render.layout import Part, TextLayout, pad
from preflight.render.sanitize import clean
from preflight.render.tasks import (
    ACTION,
    WORDS,
    Task,
    by_section,
    compose_location,
    context_lines,
    counts_text,
    engine_line,
    find_tasks,
    host_line,
    shown_waivers,
    skipped_checks,
)

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet
    from preflight.render.fleet_summary import HostSummary, SharedProblem

_MAX_HEADER = 57  # characters of program and rules that leave room for the host beside them
_MAX_PASSED = 8  # rows of passed rules in a section, before the rest is counted
_MAX_FOUND, _MAX_ASKED = 16, 25  # columns of the figures

_MAX_HOSTS = 40  # rows of the table of hosts, before the rest is counted
_MAX_HOST_NAME = 32  # columns
_MIN_WIDTH_FOR_COLUMNS = 60
_PROBLEM_WIDTH = 24  # columns that are kept for what is wrong with a host
_MAX_NAMES = 8  # hosts that are listed under one problem


def render(report: Report, options: RenderOptions) -> str:
    """Return the text report."""
    layout = TextLayout(options)
    todo = find_tasks(report)
    in_full = options.verbose or (bool(todo) and not options.quiet)
    if not options.quiet:
        _header(layout, report, engine=in_full)
    if in_full:
        _sections(layout, report.results)
    if todo:
        _to_do(layout, todo)
    _waived(layout, report, titled=in_full)
    if in_full:
        memory.draw(layout, report.memory)
    _summary(layout, report)
    if not todo and not options.quiet and report.next:
        layout.verbatim(f"Next: {report.next}", 0)
    return layout.draw()


def _header(layout: TextLayout, report: Report, *, engine: bool) -> None:
    program, rules = f"preflight {report.version}", f"{report.rules_name} ({report.rules_source})"
    if len(program) + len(rules) < _MAX_HEADER:
        layout.add((program, "bold"), f" · {rules} · {host_line(report)}")
    else:
        layout.add((program, "bold"), f" · {rules}")
        layout.add(host_line(report))
    if engine and (line := engine_line(report)):
        layout.add((line, "dim"))


def _sections(layout: TextLayout, results: Iterable[Result]) -> None:
    """Add a row for each rule, by section; the figures line up over all sections."""
    shown = [one for one in results if layout.options.verbose or one.verdict != "skip"]
    found = min(_MAX_FOUND, max([len("found"), *(len(result.actual_text) for result in shown)]))
    asked = min(_MAX_ASKED, max([len("asked"), *(len(result.expected_text) for result in shown)]))
    head = f"{pad('found', found, right=True)}  {pad('asked', asked, right=True)}"
    for title, rows in by_section(shown).items():
        layout.blank()
        layout.add((pad(title, layout.options.columns - len(head)), "bold"), (head, "dim"))
        head = ""
        passed = [result for result in rows if result.verdict == "pass"]
        folded = [] if layout.options.verbose else passed[_MAX_PASSED:]
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


def _to_do(layout: TextLayout, todo: Iterable[Task]) -> None:
    if not layout.options.quiet:
        layout.blank()
        layout.add(("To do", "bold"))
    for task in todo:
        mark, style = layout.options.sign(task.result.verdict)
        weight = "bold" if task.result.verdict == "fail" else ""
        layout.wrap(task.sentence, 2, weight, prefix=(f"{mark} ", style))
        if len(task.results) == 1:
            if task.result.file:
                layout.wrap(f"in {compose_location(task.result)}", 6)
            for line in context_lines(task.result):
                layout.wrap(line, 6)
            layout.fixes(task.result.fixes, 6)
        if task.skipped:
            layout.wrap(skipped_checks(task.skipped), 6, "dim")


def _waived(layout: TextLayout, report: Report, *, titled: bool) -> None:
    """Add what is waived, by whom and until when."""
    results = shown_waivers(report, layout.options)
    if results and titled:
        layout.blank()
        layout.add(("Waived", "bold"))
    for result in results:
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
    layout.wrap(f"{counts_text(report)}{seconds}", 0, prefix=(f"{word}  ", style))


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a table of the hosts that need action, each problem once, and the counts."""
    from preflight.render import fleet_summary

    layout = TextLayout(options)
    if not options.quiet:
        _hosts(layout, fleet)
    problems = fleet_summary.shared_problems(fleet, advice=options.verbose)
    if problems and not options.quiet:
        layout.blank()
        layout.add(("To do", "bold"))
    for problem in problems:
        _problem(layout, problem, len(fleet.hosts))
    layout.blank()
    word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(fleet.exit_code, "BAD INPUT")
    summary = f"{fleet_summary.counts(fleet)} · {fleet.seconds:.1f} s"
    layout.wrap(summary, 0, prefix=(f"{word}  ", "bold"))
    return layout.draw()


def _hosts(layout: TextLayout, fleet: Fleet) -> None:
    from preflight.render.fleet_summary import shown_columns, shown_hosts, summaries

    options = layout.options
    shown = shown_hosts(summaries(fleet), options)
    hidden = [] if options.verbose else shown[_MAX_HOSTS:]
    shown = shown[: len(shown) - len(hidden)]
    columns = shown_columns(shown) if options.columns >= _MIN_WIDTH_FOR_COLUMNS else []
    right = "".join(f"  {name}" for name in columns)
    layout.add((pad(fleet.title, options.columns - len(right)), "bold"), (right, "dim"))
    widest = max(8, min(_MAX_HOST_NAME, options.columns - len(right) - _PROBLEM_WIDTH))
    width = min(widest, max((cell_len(clean(host.name)) for host in shown), default=0))
    for host in shown:
        _host(layout, host, width, columns)
    for verdict, count in Counter(host.verdict for host in hidden).items():
        layout.add("  ", options.sign(verdict), f" {count:,} more; --verbose lists them")
    if rest := len(fleet.hosts) - len(shown) - len(hidden):
        layout.add("  ", options.sign("pass"), f" {rest:,} more")


def _host(layout: TextLayout, host: HostSummary, width: int, columns: Sequence[str]) -> None:
    mark, style = layout.options.sign(host.verdict)
    mark = pad(mark, 4) if layout.options.ascii else mark
    right = sum(len(name) + 2 for name in columns)
    room = max(0, layout.options.columns - len(mark) - width - right - 5)
    row = ("  ", (mark, style), f" {pad(host.name, width)}  ")
    if host.reason:
        layout.add(*row, pad(host.reason, room + right).rstrip())
    else:
        layout.add(*row, pad(_worst(host, room), room), *_signs(layout, host, columns))


def _worst(host: HostSummary, room: int) -> str:
    """Return its worst problem, and how many more there are."""
    if not host.problems:
        return ""
    worst = host.problems[0]
    tail = f"  +{host.required_problems - 1}" if host.required_problems > 1 else ""
    text = pad(f"{worst.title} {worst.actual_text}", max(room - len(tail), 8))
    return f"{text.rstrip()}{tail}"


def _signs(layout: TextLayout, host: HostSummary, columns: Iterable[str]) -> Iterator[Part]:
    for name in columns:
        verdict = host.columns.get(name)
        mark, style = layout.options.sign(verdict) if verdict else ("", "")
        yield "  "
        yield mark.center(len(name)), style


def _problem(layout: TextLayout, problem: SharedProblem, hosts: int) -> None:
    """Add one problem: the hosts that have it, and the fixes of the first of them."""
    columns = layout.options.columns
    mark, style = layout.options.sign(problem.result.verdict)
    count = f"{len(problem.hosts):,} of {hosts:,}"
    room = columns - len(mark) - len(count) - 4
    layout.add("  ", (mark, style), f" {pad(problem.title, room)} ", count)
    layout.wrap(problem.host_names(_MAX_NAMES, min(60, columns - 8)), 6)
    layout.wrap(problem.description, 6, "dim")
    layout.fixes(problem.fixes, 6)
