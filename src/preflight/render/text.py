"""The report for a terminal or a log: what to do, a line for each section, the verdict last."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from typing import TYPE_CHECKING

from preflight.model.report import Report, Result
from preflight.model.rules import BUNDLED_DISPLAY_NAMES, IMAGES_RULE_SET
from preflight.render import RenderOptions, report_texts
from preflight.render.layout import (
    FillingPart,
    TextLayout,
    count_columns,
    cut_to_width,
    pad_to_width,
)

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

_MAX_WARNINGS_WITH_FIXES = 8  # of warnings, before the rest is only named; failures are whole
_MAX_SHOWN_WARNINGS = 20
_MAX_SECTION_TITLE_COLUMNS = 30  # columns of 80, beside figures
_UNMATCHED_IMAGE_RULES_REASON = "nothing matches what they apply to"  # of many well-known images
_MAX_FOUND_COLUMNS, _MAX_EXPECTED_COLUMNS = 16, 29

_MAX_SHOWN_HOSTS = 40  # rows of the table of hosts, before the rest is counted
_MAX_HOST_NAME_COLUMNS = 32
_MIN_WIDTH_FOR_COLUMNS = 60
_MIN_PROBLEM_COLUMNS = 28  # columns that are kept for what is wrong with a host
_MAX_NAMED_HOSTS = 8  # hosts that are listed under one problem


def render_report(report: Report, options: RenderOptions) -> str:
    """Return the text report."""
    layout = TextLayout(options)
    todo = report_texts.find_action_items(report)
    if not options.quiet:
        _add_header(layout, report)
    _add_action_items(layout, todo)
    for result in report_texts.select_shown_waivers(report, options):
        layout.add_wrapped(result.message, 0, prefix=layout.verdict_mark("waived"))
    if not options.quiet:
        if todo:
            layout.add_blank_line()
        _add_sections(layout, report)
        if options.verbose or report.is_memory_short:
            from preflight.render import memory  # most reports don't show it

            memory.add_memory_rows(layout, report.memory)
        layout.add_blank_line()
        for note in report.notes:
            layout.add_wrapped(note, 0, prefix=("note  ", "dim"))
    seconds = f" · {report.seconds:.2f}\N{NO-BREAK SPACE}s" if report.seconds is not None else ""
    word = report_texts.OUTCOME_WORD_BY_VERDICT[report.verdict]
    style = "bold green" if word == "PASS" else options.sign(report.verdict)[1]
    layout.add_wrapped(
        f"{report_texts.format_verdict_counts(report)}{seconds}", 0, prefix=(f"{word}  ", style)
    )
    if options.quiet:
        return layout.to_text()
    if todo:
        layout.add_wrapped(" · ".join(_list_hints(report, todo, options)), 0, "dim")
    if not todo and report.next:
        layout.add_verbatim(f"Next: {report.next}", 0)
    return layout.to_text()


def _add_header(layout: TextLayout, report: Report) -> None:
    about = f"{report_texts.format_rules_name(report)} · {report_texts.format_host_line(report)}"
    layout.add_wrapped(about, 0, prefix=(f"preflight {report.version} · ", "bold"))
    lines = [
        report_texts.format_engine_line(report),
        report_texts.format_compose_file_and_services(report),
    ]
    where = " · ".join(filter(None, lines))
    if count_columns(where) <= layout.options.columns:
        lines = [where]
    for line in filter(None, (*lines, report_texts.format_snapshot_line(report))):
        layout.add_wrapped(line, 0, "dim")
    layout.add_blank_line()


def _list_hints(
    report: Report, todo: Sequence[report_texts.ActionItem], options: RenderOptions
) -> list[str]:
    """Return what tells more about a report that has something to do."""
    hints = [] if options.verbose else ["-v shows every rule"]
    hints.append(f"preflight explain {todo[0].result.id}{options.repeated}")
    if any(r.change and r.fact.startswith("compose.services.") for r in report.results):
        hints.append(f"preflight fix{options.repeated}")
    return hints


def _add_action_items(layout: TextLayout, todo: Sequence[report_texts.ActionItem]) -> None:
    """Add what to do; of many warnings only the first with their fixes."""
    warnings = 0
    for task in todo:
        warnings += not task.affects_exit_code
        if not layout.options.verbose and warnings > _MAX_SHOWN_WARNINGS:
            continue
        in_full = layout.options.verbose or warnings <= _MAX_WARNINGS_WITH_FIXES
        is_last = warnings == _MAX_WARNINGS_WITH_FIXES  # the next is shown without its fixes
        item = task._replace(fixes=task.result.fixes) if is_last else task
        _add_action_item(layout, item, in_full=in_full)
    rest = 0 if layout.options.verbose else warnings - _MAX_SHOWN_WARNINGS
    if rest > 0:
        layout.add_line(layout.verdict_mark("warn"), f"{rest:,} more; -v lists them")


def _add_action_item(layout: TextLayout, task: report_texts.ActionItem, *, in_full: bool) -> None:
    result = task.result
    style = "bold" if result.verdict == "fail" else ""
    location = report_texts.format_compose_location(result)
    mark = layout.verdict_mark(result.verdict)
    width = count_columns(mark[0]) + count_columns(task.problem) + count_columns(location) + 2
    is_one_line = bool(location) and width <= layout.options.columns
    if is_one_line:
        layout.add_line(mark, FillingPart(task.problem, style), "  ", (location, "dim"))
    else:
        layout.add_wrapped(task.problem, 0, style, prefix=mark)
    if location and not is_one_line:
        layout.add_wrapped(location, 4, "dim")
    if task.names:
        layout.add_wrapped(task.names, 4)
    if in_full:
        for line in report_texts.format_error_and_change(result):
            layout.add_wrapped(line, 4)
        links = task.affects_exit_code or layout.options.verbose
        for fix in task.fixes:
            is_its_link = fix.text.endswith(":") and not fix.command
            layout.add_fixes([fix if links or is_its_link else fix._replace(url=None)], 4)
    if task.skipped:
        layout.add_wrapped(f"{task.skipped} until then", 4, "dim")


def _add_sections(layout: TextLayout, report: Report) -> None:
    """Add a line for each section with what was judged; if verbose, all rules of all sections."""
    sections = report_texts.group_results_by_section(report)
    if layout.options.verbose:
        _add_rule_lines(layout, sections)
        return
    judged = [section for section in sections if section.judged_results]
    spare = max(0, layout.options.columns - 80)
    width = max((count_columns(s.title) for s in judged if s.figures), default=0)
    width = min(_MAX_SECTION_TITLE_COLUMNS + spare, width)
    counts = max((len(section.passed_count_text) for section in judged), default=0)
    for section in judged:
        mark = layout.verdict_mark(section.verdict)
        room = layout.options.columns - width - counts - count_columns(mark[0]) - 6
        figures = section.figures
        while figures and count_columns(" · ".join(figures)) > room:
            figures = figures[:-1]
        title = [
            f"{pad_to_width(section.title, width)}  ",
            FillingPart(" · ".join(figures), "dim"),
        ]
        count = pad_to_width(section.passed_count_text, counts, right=True)
        layout.add_line(
            "  ", mark, *(title if figures else [FillingPart(section.title)]), "  ", count
        )


def _add_rule_lines(layout: TextLayout, sections: Iterable[report_texts.ReportSection]) -> None:
    """Add a line for each rule, and where its figure comes from or why there is none.

    Rules that are skipped for one reason share a line, and so do the items that a rule passes for.
    """
    sections = list(sections)
    judged = [result for section in sections for result in section.judged_results]

    spare = max(0, layout.options.columns - 80) // 2
    expected_columns = min(
        max((count_columns(result.expected_text) for result in judged), default=0),
        _MAX_EXPECTED_COLUMNS + spare,
    )
    for number, section in enumerate(sections):
        if number:
            layout.add_blank_line()
        layout.add_line((section.title, "bold"))
        rows: dict[Hashable, list[Result]] = {}
        for index, result in enumerate(section.results):
            rows.setdefault(_get_row_group_key(result, index), []).append(result)
        for row in sorted(rows.values(), key=lambda row: row[0].verdict == "skip"):
            first, sign = row[0], layout.verdict_mark(row[0].verdict)
            if first.verdict == "skip":
                names = dict.fromkeys(result.name for result in row)
                layout.add_wrapped("; ".join(names), 2, prefix=sign)
                is_one = len({result.reason_or_source for result in row}) == 1
                reason = first.reason_or_source if is_one else _UNMATCHED_IMAGE_RULES_REASON
                layout.add_wrapped(reason or "no reason", 6, "dim")
                continue
            style = sign[1] if first.verdict in report_texts.VERDICTS_NEEDING_ACTION else ""
            found = cut_to_width(first.actual_text, _MAX_FOUND_COLUMNS)
            name, expected = FillingPart(first.title or first.name), first.expected_text
            room = layout.options.columns - 8 - count_columns(name.text) - count_columns(found)
            width = min(expected_columns, max(room, count_columns(expected)))
            expected = pad_to_width(expected, width, right=True)
            layout.add_line("  ", sign, name, (f"  {found}  ", style), (expected, "dim"))
            layout.add_wrapped(_format_sources(row), 6, "dim")


def _get_row_group_key(result: Result, index: int) -> Hashable:
    """Return what results in one row have in common; what has a row of its own has the index."""
    if result.verdict == "skip":
        is_of_known_images = result.rule_file == BUNDLED_DISPLAY_NAMES[IMAGES_RULE_SET]
        is_of_others = is_of_known_images and result.reason_or_source.endswith("nothing matches")
        return _UNMATCHED_IMAGE_RULES_REASON if is_of_others else result.reason_or_source
    is_shared = result.verdict == "pass" and result.item is not None
    return (result.id, result.actual_text, result.expected_text) if is_shared else index


def _format_sources(row: Iterable[Result]) -> str:
    """Say where a figure comes from, after the names of the items whose it is."""
    items: dict[str, list[str]] = {}
    for result in row:
        source = result.reason_or_source or "no source"
        items.setdefault(source, []).extend([result.item] if result.item is not None else [])
    return " · ".join(
        f"{', '.join(names)}: {source}" if names else source for source, names in items.items()
    )


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return a table of the hosts that need action, each problem once, and the counts."""
    from preflight.render import fleet_summary  # one host doesn't need it

    layout = TextLayout(options)
    if not options.quiet:
        _add_host_table(layout, fleet)
    recommended = options.verbose or fleet.verdict == "warn"
    problems = fleet_summary.group_problems_across_hosts(fleet, recommended=recommended)
    if problems and not options.quiet:
        layout.add_title("To do")
    for problem in problems:
        count = f"{len(problem.hosts):,} of {len(fleet.hosts):,}"
        sign = options.sign(problem.task.result.verdict)
        layout.add_line("  ", sign, " ", FillingPart(problem.title), " ", count)
        layout.add_wrapped(
            problem.format_host_names(_MAX_NAMED_HOSTS, min(60, options.columns - 8)), 6
        )
        layout.add_wrapped(problem.example_or_reason, 6, "dim")
        layout.add_fixes(problem.fixes, 6)
    layout.add_blank_line()
    word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(fleet.exit_code, "BAD INPUT")
    summary = f"{fleet_summary.format_host_counts(fleet)} · {fleet.seconds:.1f} s"
    layout.add_wrapped(summary, 0, prefix=(f"{word}  ", "bold"))
    return layout.to_text()


def _add_host_table(layout: TextLayout, fleet: Fleet) -> None:
    """Add the hosts: the worst problem of each, how many more there are, and its columns."""
    from preflight.render import fleet_summary

    options = layout.options
    hosts = fleet_summary.summarize_each_host(fleet)
    needing = fleet_summary.select_shown_hosts(hosts, options)
    shown = needing if options.verbose else needing[:_MAX_SHOWN_HOSTS]
    is_wide = options.columns >= _MIN_WIDTH_FOR_COLUMNS
    columns = fleet_summary.list_judged_columns(shown) if is_wide else []
    right = "".join(f"  {name}" for name in columns)
    layout.add_line(FillingPart(fleet.title, "bold"), (right, "dim"))
    widest = max(
        8, min(_MAX_HOST_NAME_COLUMNS, options.columns - len(right) - _MIN_PROBLEM_COLUMNS)
    )
    width = min(widest, max((count_columns(host.name) for host in shown), default=0))
    for host in shown:
        mark, style = options.sign(host.verdict)
        mark = pad_to_width(mark, 4) if options.ascii else mark
        problem = host.reason
        if host.todo_items and not host.reason:
            problem = f"{host.todo_items[0].result.title} {host.todo_items[0].result.actual_text}"
        required = sum(task.affects_exit_code for task in host.todo_items)
        more = f"  +{required - 1}" if required > 1 else ""
        signs: list[str | tuple[str, str]] = []
        for name in columns if not host.reason else ():
            verdict = host.columns.get(name)
            sign, sign_style = options.sign(verdict) if verdict else ("", "")
            signs += ["  ", (sign.center(len(name)), sign_style)]
        layout.add_line(
            "  ",
            (mark, style),
            f" {pad_to_width(host.name, width)}  ",
            FillingPart(problem),
            more,
            *signs,
        )
    for verdict, count in Counter(host.verdict for host in needing[len(shown) :]).items():
        layout.add_line("  ", options.sign(verdict), f" {count:,} more; --verbose lists them")
    rest = Counter(host.verdict for host in hosts[len(needing) :])  # the best come last
    if count := rest["warn"]:
        layout.add_line("  ", options.sign("warn"), f" {count:,} more with warnings; -v lists them")
    if count := rest["pass"]:
        text = f"{count:,} more" if count < len(hosts) else f"all {count:,}"
        layout.add_line("  ", options.sign("pass"), f" {text}")
