"""The report for a terminal or a log: the evidence by section, what to do, the counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from rich.cells import cell_len

from preflight.model.fleet import Fleet
from preflight.model.report import Report, Result
from preflight.render import RenderOptions, fleet_summary, memory, tasks
from preflight.render.layout import Fill, TextLayout, pad

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
    todo = tasks.find_tasks(report)
    waived = tasks.shown_waivers(report, options)
    in_full = options.verbose or (bool(todo) and not options.quiet)
    if not options.quiet:
        _add_header(layout, report, in_full=in_full)
    if in_full:
        _add_sections(layout, report.results)
    if todo and not options.quiet:
        layout.title("To do")
    for task in todo:
        _add_task(layout, task)
    if waived and in_full:
        layout.title("Waived")
    for result in waived:
        layout.wrap(result.message, 2, prefix=layout.mark("waived"))
    if in_full:
        memory.draw(layout, report.memory)
    if not options.quiet:
        if options.verbose or report.verdict != "pass":
            layout.blank()
        for note in report.notes:
            layout.wrap(note, 0, prefix=("note  ", "dim"))
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    word = tasks.VERDICT_WORDS[report.verdict]
    style = "bold green" if word == "PASS" else options.sign(report.verdict)[1]
    layout.wrap(f"{tasks.counts_text(report)}{seconds}", 0, prefix=(f"{word}  ", style))
    if not todo and not options.quiet and report.next:
        layout.verbatim(f"Next: {report.next}", 0)
    return layout.draw()


def _add_header(layout: TextLayout, report: Report, *, in_full: bool) -> None:
    about = f"{report.rules_name} ({report.rules_source}) · {tasks.host_line(report)}"
    layout.wrap(about, 0, prefix=(f"preflight {report.version} · ", "bold"))
    for line in (tasks.snapshot_line(report), tasks.engine_line(report) if in_full else ""):
        if line:
            layout.add((line, "dim"))


def _add_sections(layout: TextLayout, results: Iterable[Result]) -> None:
    """Add a row for each rule, by section; the figures line up over all sections."""
    verbose = layout.options.verbose
    shown = [result for result in results if verbose or result.verdict != "skip"]
    found_columns = max([len("found"), *(len(result.actual_text) for result in shown)])
    expected_columns = max([len("expected"), *(len(result.expected_text) for result in shown)])

    def figures(found: str, expected: str) -> tuple[str, str]:
        widths = (
            min(found_columns, _MAX_FOUND_COLUMNS),
            min(expected_columns, _MAX_EXPECTED_COLUMNS),
        )
        return f"  {pad(found, widths[0], right=True)}  ", pad(expected, widths[1], right=True)

    head = "".join(figures("found", "expected"))
    for title, rows in tasks.group_by_section(shown).items():
        layout.blank()
        layout.add(Fill(title, "bold"), (head, "dim"))
        head = ""
        passed = 0
        for result in rows:
            passed += result.verdict == "pass"
            if result.verdict == "pass" and passed > _MAX_PASSED and not verbose:
                continue
            mark, style = layout.options.sign(result.verdict)
            found, expected = figures(result.actual_text, result.expected_text)
            layout.add(
                "  ",
                (pad(mark, 6) if layout.options.ascii else mark, style),
                " ",
                Fill(result.name),
                (found, style if result.verdict in tasks.VERDICTS_TO_ACT_ON else ""),
                (expected, "dim"),
            )
            if verbose:
                layout.wrap(result.reason_or_source or "no source", 6, "dim")
                if result.why:
                    layout.wrap(result.why, 6, "dim")
        if not verbose and passed > _MAX_PASSED:
            layout.add("  ", layout.options.sign("pass"), f" {passed - _MAX_PASSED} more")


def _add_task(layout: TextLayout, task: tasks.Task) -> None:
    result = task.result
    style = "bold" if result.verdict == "fail" else ""
    layout.wrap(task.sentence, 2, style, prefix=layout.mark(result.verdict))
    if len(task.results) == 1:
        if result.file:
            layout.wrap(f"in {tasks.compose_location(result)}", 6)
        for line in tasks.context_lines(result):
            layout.wrap(line, 6)
        layout.fixes(result.fixes, 6)
    if task.skipped:
        layout.wrap(task.skipped, 6, "dim")


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a table of the hosts that need action, each problem once, and the counts."""
    layout = TextLayout(options)
    if not options.quiet:
        _add_hosts(layout, fleet)
    recommended = options.verbose or fleet.verdict == "warn"
    problems = fleet_summary.shared_problems(fleet, recommended=recommended)
    if problems and not options.quiet:
        layout.title("To do")
    for problem in problems:
        count = f"{len(problem.hosts):,} of {len(fleet.hosts):,}"
        sign = options.sign(problem.task.result.verdict)
        layout.add("  ", sign, " ", Fill(problem.title), " ", count)
        layout.wrap(problem.host_names(_MAX_NAMES, min(60, options.columns - 8)), 6)
        layout.wrap(problem.description, 6, "dim")
        layout.fixes(problem.fixes, 6)
    layout.blank()
    word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(fleet.exit_code, "BAD INPUT")
    summary = f"{fleet_summary.count_hosts(fleet)} · {fleet.seconds:.1f} s"
    layout.wrap(summary, 0, prefix=(f"{word}  ", "bold"))
    return layout.draw()


def _add_hosts(layout: TextLayout, fleet: Fleet) -> None:
    """Add the hosts: the worst problem of each, how many more there are, and its columns."""
    options = layout.options
    hosts = fleet_summary.summaries(fleet)
    needing = fleet_summary.shown_hosts(hosts, options)
    shown = needing if options.verbose else needing[:_MAX_HOSTS]
    is_wide = options.columns >= _MIN_WIDTH_FOR_COLUMNS
    columns = fleet_summary.shown_columns(shown) if is_wide else []
    right = "".join(f"  {name}" for name in columns)
    layout.add(Fill(fleet.title, "bold"), (right, "dim"))
    widest = max(8, min(_MAX_HOST_NAME, options.columns - len(right) - _PROBLEM_WIDTH))
    width = min(widest, max((cell_len(host.name) for host in shown), default=0))
    for host in shown:
        mark, style = options.sign(host.verdict)
        mark = pad(mark, 4) if options.ascii else mark
        problem = host.reason
        if host.tasks and not host.reason:
            problem = f"{host.tasks[0].result.title} {host.tasks[0].result.actual_text}"
        required = sum(task.affects_exit_code for task in host.tasks)
        more = f"  +{required - 1}" if required > 1 else ""
        signs: list[str | tuple[str, str]] = []
        for name in columns if not host.reason else ():
            verdict = host.columns.get(name)
            sign, sign_style = options.sign(verdict) if verdict else ("", "")
            signs += ["  ", (sign.center(len(name)), sign_style)]
        layout.add("  ", (mark, style), f" {pad(host.name, width)}  ", Fill(problem), more, *signs)
    for verdict, count in Counter(host.verdict for host in needing[len(shown) :]).items():
        layout.add("  ", options.sign(verdict), f" {count:,} more; --verbose lists them")
    rest = Counter(host.verdict for host in hosts[len(needing) :])  # the best come last
    if count := rest["warn"]:
        layout.add("  ", options.sign("warn"), f" {count:,} more with warnings; -v lists them")
    if count := rest["pass"]:
        layout.add("  ", options.sign("pass"), f" {count:,} more")
