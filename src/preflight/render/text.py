"""The report for a terminal or a log: the evidence by section, what to do, the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from rich.cells import cell_len

from preflight.model.report import Report, Result
from preflight.render import RenderOptions, memory
from preflight.render.layout import Fill, TextLayout, pad
from preflight.render.sanitize import clean
from preflight.render.tasks import (
    VERDICT_WORDS,
    VERDICTS_TO_ACT_ON,
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
    from preflight.render.fleet_summary import HostSummary

_MAX_PROGRAM_AND_RULES = 57  # characters; longer ones leave no room for the host beside them
_MAX_PASSED = 8  # rows of passed rules in a section, before the rest is counted
_MAX_FOUND_COLUMNS, _MAX_EXPECTED_COLUMNS = 16, 25

_MAX_HOSTS = 40  # rows of the table of hosts, before the rest is counted
_MAX_HOST_NAME = 32  # columns
_MIN_WIDTH_FOR_COLUMNS = 60
_PROBLEM_WIDTH = 24  # columns that are kept for what is wrong with a host
_MAX_NAMES = 8  # hosts that are listed under one problem


def render(report: Report, options: RenderOptions) -> str:
    """Return the text report."""
    layout = TextLayout(options)
    tasks = find_tasks(report)
    in_full = options.verbose or (bool(tasks) and not options.quiet)
    if not options.quiet:
        _add_header(layout, report, engine=in_full)
    if in_full:
        _add_sections(layout, report.results)
    if tasks and not options.quiet:
        layout.title("To do")
    for task in tasks:
        _add_task(layout, task)
    waived = shown_waivers(report, options)
    if waived and in_full:
        layout.title("Waived")
    for result in waived:
        layout.wrap(result.message, 2, prefix=layout.mark("waived"))
    if in_full:
        memory.draw(layout, report.memory)
    _add_summary(layout, report)
    if not tasks and not options.quiet and report.next:
        layout.verbatim(f"Next: {report.next}", 0)
    return layout.draw()


def _add_header(layout: TextLayout, report: Report, *, engine: bool) -> None:
    program, rules = f"preflight {report.version}", f"{report.rules_name} ({report.rules_source})"
    if len(program) + len(rules) < _MAX_PROGRAM_AND_RULES:
        layout.add((program, "bold"), f" · {rules} · {host_line(report)}")
    else:
        layout.add((program, "bold"), f" · {rules}")
        layout.add(host_line(report))
    if engine and (line := engine_line(report)):
        layout.add((line, "dim"))


def _add_sections(layout: TextLayout, results: Iterable[Result]) -> None:
    """Add a row for each rule, by section; the figures line up over all sections."""
    verbose = layout.options.verbose
    shown = [result for result in results if verbose or result.verdict != "skip"]
    found_width = max(len(text) for text in ["found", *(result.actual_text for result in shown)])
    found_width = min(_MAX_FOUND_COLUMNS, found_width)
    expected_width = max(
        len(text) for text in ["expected", *(result.expected_text for result in shown)]
    )
    expected_width = min(_MAX_EXPECTED_COLUMNS, expected_width)
    head = f"{pad('found', found_width, right=True)}  {pad('expected', expected_width, right=True)}"
    for title, rows in by_section(shown).items():
        layout.blank()
        layout.add(Fill(title, "bold"), (head, "dim"))
        head = ""
        passed = 0
        for result in rows:
            passed += result.verdict == "pass"
            if verbose or result.verdict != "pass" or passed <= _MAX_PASSED:
                _add_row(layout, result, found_width, expected_width)
        if not verbose and passed > _MAX_PASSED:
            layout.add("  ", layout.options.sign("pass"), f" {passed - _MAX_PASSED} more")


def _add_row(layout: TextLayout, result: Result, found_width: int, expected_width: int) -> None:
    mark, style = layout.options.sign(result.verdict)
    layout.add(
        "  ",
        (pad(mark, 6) if layout.options.ascii else mark, style),
        " ",
        Fill(result.name),
        "  ",
        (
            pad(result.actual_text, found_width, right=True),
            style if result.verdict in VERDICTS_TO_ACT_ON else "",
        ),
        "  ",
        (pad(result.expected_text, expected_width, right=True), "dim"),
    )
    if layout.options.verbose:
        layout.wrap(result.reason_or_source or "no source", 6, "dim")
        if result.why:
            layout.wrap(result.why, 6, "dim")


def _add_task(layout: TextLayout, task: Task) -> None:
    result = task.result
    style = "bold" if result.verdict == "fail" else ""
    layout.wrap(task.sentence, 2, style, prefix=layout.mark(result.verdict))
    if len(task.results) == 1:
        if result.file:
            layout.wrap(f"in {compose_location(result)}", 6)
        for line in context_lines(result):
            layout.wrap(line, 6)
        layout.fixes(result.fixes, 6)
    if task.skipped:
        layout.wrap(skipped_checks(task.skipped), 6, "dim")


def _add_summary(layout: TextLayout, report: Report) -> None:
    if not layout.options.quiet:
        if layout.options.verbose or report.verdict != "pass":
            layout.blank()
        for note in report.notes:
            layout.wrap(note, 0, prefix=("note  ", "dim"))
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    word = VERDICT_WORDS[report.verdict]
    style = "bold green" if word == "PASS" else layout.options.sign(report.verdict)[1]
    layout.wrap(f"{counts_text(report)}{seconds}", 0, prefix=(f"{word}  ", style))


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a table of the hosts that need action, each problem once, and the counts."""
    from preflight.render import fleet_summary  # only for many hosts

    layout = TextLayout(options)
    if not options.quiet:
        _add_hosts(layout, fleet)
    problems = fleet_summary.shared_problems(fleet, recommended=options.verbose)
    if problems and not options.quiet:
        layout.title("To do")
    for problem in problems:
        count = f"{len(problem.hosts):,} of {len(fleet.hosts):,}"
        sign = options.sign(problem.result.verdict)
        layout.add("  ", sign, " ", Fill(problem.title), " ", count)
        layout.wrap(problem.host_names(_MAX_NAMES, min(60, options.columns - 8)), 6)
        layout.wrap(problem.description, 6, "dim")
        layout.fixes(problem.fixes, 6)
    layout.blank()
    word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(fleet.exit_code, "BAD INPUT")
    summary = f"{fleet_summary.counts(fleet)} · {fleet.seconds:.1f} s"
    layout.wrap(summary, 0, prefix=(f"{word}  ", "bold"))
    return layout.draw()


def _add_hosts(layout: TextLayout, fleet: Fleet) -> None:
    from preflight.render import fleet_summary

    options = layout.options
    needing = fleet_summary.shown_hosts(fleet_summary.summaries(fleet), options)
    shown = needing if options.verbose else needing[:_MAX_HOSTS]
    columns = (
        fleet_summary.shown_columns(shown) if options.columns >= _MIN_WIDTH_FOR_COLUMNS else []
    )
    right = "".join(f"  {name}" for name in columns)
    layout.add(Fill(fleet.title, "bold"), (right, "dim"))
    widest = max(8, min(_MAX_HOST_NAME, options.columns - len(right) - _PROBLEM_WIDTH))
    width = min(widest, max((cell_len(clean(host.name)) for host in shown), default=0))
    for host in shown:
        _add_host(layout, host, width, columns)
    for verdict, count in Counter(host.verdict for host in needing[len(shown) :]).items():
        layout.add("  ", options.sign(verdict), f" {count:,} more; --verbose lists them")
    if rest := len(fleet.hosts) - len(needing):
        layout.add("  ", options.sign("pass"), f" {rest:,} more")


def _add_host(layout: TextLayout, host: HostSummary, width: int, columns: Sequence[str]) -> None:
    """Add a host: its worst problem, how many more there are, and a mark for each column."""
    options = layout.options
    mark, style = options.sign(host.verdict)
    mark = pad(mark, 4) if options.ascii else mark
    head = ("  ", (mark, style), f" {pad(host.name, width)}  ")
    if host.reason:
        layout.add(*head, host.reason)
        return
    problem = f"  +{host.required_problems - 1}" if host.required_problems > 1 else ""
    if host.problems:
        worst = host.problems[0]
        used = len(mark) + width + sum(len(name) + 2 for name in columns) + len(problem) + 5
        text = pad(f"{worst.title} {worst.actual_text}", max(options.columns - used, 8))
        problem = text.rstrip() + problem
    signs: list[str | tuple[str, str]] = []
    for name in columns:
        verdict = host.columns.get(name)
        sign, sign_style = options.sign(verdict) if verdict else ("", "")
        signs += ["  ", (sign.center(len(name)), sign_style)]
    layout.add(*head, Fill(problem), *signs)
