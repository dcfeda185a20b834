"""The report as GitHub-flavoured Markdown: for a pull request's comment, a ticket, a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from preflight.model.fleet import Fleet
from preflight.model.report import MemoryBreakdown, Report, ResolvedFix, Result
from preflight.render import RenderOptions, fleet_summary, memory
from preflight.render.layout import TextLayout
from preflight.render.markdown_escape import code_block, escape_markdown, fix_items, list_item
from preflight.render.tasks import (
    VERDICT_WORDS,
    Task,
    by_section,
    command_lines,
    compose_location,
    context_lines,
    counts_text,
    engine_line,
    find_tasks,
    host_line,
    shown_waivers,
    skipped_checks,
)

_MAX_DOCUMENT = 60_000  # characters; GitHub takes 65,536 in a comment
_MAX_FLEET_PART = 28_000  # characters of hosts, and of problems
_MAX_PROSE, _MAX_CELL, _MAX_HOST_CELL = 600, 100, 200  # characters of one foreign text
_MAX_NAMES, _MAX_NAMES_LENGTH = 50, 4000  # hosts under one problem, and their characters


def render(report: Report, options: RenderOptions) -> str:
    """Return the document; if it would get too long, the least important parts are left out."""
    tasks = find_tasks(report)
    blocks = list(_head(report, options, done=not tasks))
    # 1,000 characters for the titles of what follows
    space = _SpaceLimit(_MAX_DOCUMENT - sum(map(len, blocks)) - 1000)
    blocks += _titled("To do", space.keep("to do", (_task_item(task, options) for task in tasks)))
    blocks += _titled("Waived", space.keep("waived", _waived_items(report, options)))
    if not options.quiet:
        notes = space.keep("notes", (f"- note: {_prose(note)}" for note in report.notes))
        drawn = space.keep("memory", _memory_block(report.memory, options))
        folded = ("pass", "skip") if options.verbose else ("pass",)
        counts = Counter(result.verdict for result in report.results)
        parts = {"passed": counts["pass"], "skipped": counts["skip"] if options.verbose else 0}
        summary = " · ".join(f"{count} {word}" for word, count in parts.items() if count)
        shown = [result for result in report.results if result.verdict not in ("pass", "skip")]
        blocks += _titled("Results", _result_table(shown, options, space))
        rest = [result for result in report.results if result.verdict in folded]
        if rows := _result_table(rest, options, space):
            blocks += [f"<details><summary>{summary}</summary>", "\n".join(rows), "</details>"]
        blocks += drawn
        blocks += _titled("", notes)
    if space.left_out:
        left_out = " · ".join(f"{count} {what}" for what, count in space.left_out.items())
        blocks.append(f"Left out, so that this fits into a comment: {left_out}")
    return "\n\n".join(blocks) + "\n"


class _SpaceLimit:
    """The space that is left in the document; the most important parts ask first."""

    def __init__(self, characters: int) -> None:
        self._characters = characters
        self.left_out: Counter[str] = Counter()

    def fits(self, what: str, text: str) -> bool:
        """Whether a text still fits in; if so, its space is taken."""
        fits = len(text) < self._characters
        if fits:
            self._characters -= len(text) + 1
        else:
            self.left_out[what] += 1
        return fits

    def keep(self, what: str, texts: Iterable[str]) -> list[str]:
        """Return those texts that fit in."""
        return [text for text in texts if self.fits(what, text)]


def _head(report: Report, options: RenderOptions, *, done: bool) -> Iterator[str]:
    mark, _ = options.sign(report.verdict)
    yield f"## {mark} preflight: {VERDICT_WORDS[report.verdict]}"
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    yield f"**{counts_text(report)}**{seconds}"
    if not options.quiet:
        rules = f"{report.rules_name} ({report.rules_source})"
        parts = f"preflight {report.version}", rules, host_line(report), engine_line(report)
        yield " · ".join(_prose(part) for part in parts if part)
        if done and report.next:
            yield "Next:\n\n" + code_block(command_lines(ResolvedFix("", report.next)), "sh")


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines and title:
        yield f"### {title}"
    if lines:
        yield "\n".join(lines)


def _task_item(task: Task, options: RenderOptions) -> str:
    """Return one list item: the sentence, and below it the place, the error, the fixes."""
    result = task.result
    text = _prose(task.sentence)
    mark, _ = options.sign(result.verdict)
    lines = [f"- {mark} **{text}**" if task.affects_exit_code else f"- {mark} {text}"]
    if len(task.results) > 1:
        lines.append(f"  - for {_prose(task.names)}")
    else:
        lines += [f"  - in {_prose(compose_location(result))}"] if result.file else []
        lines += [f"  - {_prose(line)}" for line in context_lines(result)]
        lines += [f"  {line}" for line in fix_items(result.fixes, _MAX_PROSE)]
    if task.skipped:
        lines.append(f"  - {skipped_checks(task.skipped)}")
    return "\n".join(lines)


def _waived_items(report: Report, options: RenderOptions) -> Iterator[str]:
    mark, _ = options.sign("waived")
    for result in shown_waivers(report, options):
        yield f"- {mark} {_prose(result.message)}"


def _memory_block(breakdown: MemoryBreakdown, options: RenderOptions) -> Iterator[str]:
    layout = TextLayout(RenderOptions(ascii=options.ascii))
    memory.draw(layout, breakdown)
    if text := layout.draw().strip():
        yield code_block(text.splitlines(), "text")


def _result_table(
    results: Iterable[Result], options: RenderOptions, space: _SpaceLimit
) -> list[str]:
    """Return one table; a row in bold type begins a section."""
    more = " evidence |" if options.verbose else ""
    lines = []
    for title, rows in by_section(results).items():
        above = f"| | **{_cell(title)}** | | |{' |' if options.verbose else ''}\n"
        for result in rows:
            texts = result.name, result.actual_text, result.expected_text
            cells = [options.sign(result.verdict)[0], *map(_cell, texts)]
            if options.verbose:
                why = f" · {result.why}" if result.why else ""
                cells.append(_prose(f"{result.reason_or_source or 'no source'}{why}"))
            line = f"{above}| {' | '.join(cells)} |"
            if space.fits("rows of tables", line):
                lines.append(line)
                above = ""
    head = [f"| | rule | found | expected |{more}", f"|:-:|---|--:|--:|{'---|' if more else ''}"]
    return head + lines if lines else []


def _cell(text: str) -> str:
    return escape_markdown(text, _MAX_CELL)


def _prose(text: str) -> str:
    return escape_markdown(text, _MAX_PROSE)


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return the hosts that need action, then each problem once; in a comment, what fits."""
    mark, _ = options.sign(fleet.verdict)
    title = escape_markdown(fleet.title)
    problems = fleet_summary.shared_problems(fleet, recommended=not options.quiet)
    items = [_problem_item(problem, len(fleet.hosts), options) for problem in problems]
    if items:
        items[0] = f"\n### To do\n\n{items[0]}"
    parts = [
        f"## {mark} preflight: {VERDICT_WORDS[fleet.verdict]}\n",
        f"\n**{fleet_summary.counts(fleet)}** · {title} · {fleet.seconds:.1f} s\n",
    ]
    for kind, texts in (("hosts", _host_table(fleet, options)), ("problems", items)):
        space = _SpaceLimit(_MAX_FLEET_PART)
        parts += space.keep(kind, texts)
        if space.left_out:
            count = space.left_out[kind]
            parts.append(f"\nLeft out, so that this fits into a comment: {count:,} {kind}\n")
    return "".join(parts)


def _host_table(fleet: Fleet, options: RenderOptions) -> Iterator[str]:
    """Yield the head of the table, its rows, and how many hosts it leaves out."""
    shown = fleet_summary.shown_hosts(fleet_summary.summaries(fleet), options)
    columns = fleet_summary.shown_columns(shown)
    if shown:
        heads = " | ".join(["", "host", "", *columns])
        yield f"\n|{heads} |\n|:-:|---|---|{':-:|' * len(columns)}\n"
    for host in shown:
        marks = {name: options.sign(verdict)[0] for name, verdict in host.columns.items()}
        texts = (escape_markdown(text, _MAX_HOST_CELL) for text in (host.name, host.message))
        cells = [options.sign(host.verdict)[0], *texts, *(marks.get(name, "") for name in columns)]
        yield f"| {' | '.join(cells)} |\n"
    if rest := len(fleet.hosts) - len(shown):
        yield f"\n{options.sign('pass')[0]} {rest:,} more\n"


def _problem_item(problem: fleet_summary.SharedProblem, hosts: int, options: RenderOptions) -> str:
    mark, _ = options.sign(problem.result.verdict)
    title = _prose(problem.title)
    title = f"**{title}**" if problem.affects_exit_code else title
    lines = [
        f"- {mark} {title}: {len(problem.hosts):,} of {hosts:,}",
        f"  - {list_item(problem.host_names(_MAX_NAMES), _MAX_NAMES_LENGTH)}",
        f"  - {list_item(problem.description, _MAX_PROSE)}",
        *(f"  {line}" for line in fix_items(problem.fixes, _MAX_PROSE)),
    ]
    return "\n".join(lines) + "\n"
