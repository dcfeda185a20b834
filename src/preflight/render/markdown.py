"""The report as GitHub-flavoured Markdown: for a pull request's comment, a ticket, a summary."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from preflight.model.fleet import Fleet
from preflight.model.report import Report, ResolvedFix, Result
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
    count_text,
    counts_text,
    engine_line,
    find_tasks,
    host_line,
    shown_waivers,
)

_MAX_CHARACTERS = 58_000  # of what is foreign; GitHub takes 65,536 in a comment
_MAX_PROSE, _MAX_CELL, _MAX_HOST_CELL = 600, 100, 200  # characters of one foreign text
_MAX_NAMES, _MAX_NAMES_LENGTH = 50, 4000  # hosts under one problem, and their characters


class _Document:
    """Blocks that fit into a comment; what is added first is the most important."""

    def __init__(self, *blocks: str) -> None:
        self._blocks = list(blocks)
        self._left = _MAX_CHARACTERS
        self._left_out: Counter[str] = Counter()

    def add(
        self,
        kind: str,
        texts: Iterable[str],
        before: str = "",
        after: str = "",
        share: float = 1,
    ) -> None:
        """Add a block of those texts that fit into a share of the space that is left."""
        left, kept = int(self._left * share), []
        for text in texts:
            if len(text) < left:
                left -= len(text) + 1
                self._left -= len(text) + 1
                kept.append(text)
            else:
                self._left_out[kind] += 1
        if kept:
            self._blocks.append("\n".join([*filter(None, [before]), *kept, *filter(None, [after])]))

    def text(self) -> str:
        """Return the document, which says what was left out."""
        counts = " · ".join(f"{count:,} {kind}" for kind, count in self._left_out.items())
        note = f"Left out, so that this fits into a comment: {counts}"
        return "\n\n".join([*self._blocks, *([note] if counts else [])]) + "\n"


def render(report: Report, options: RenderOptions) -> str:
    """Return the document; if it would get too long, the least important parts are left out."""
    tasks = find_tasks(report)
    document = _Document(*_head(report, options, done=not tasks))
    document.add("to do", (_task_item(task, options) for task in tasks), "### To do\n")
    waived = (
        f"- {options.sign('waived')[0]} {_prose(result.message)}"
        for result in shown_waivers(report, options)
    )
    document.add("waived", waived, "### Waived\n")
    if not options.quiet:
        document.add("notes", (f"- note: {_prose(note)}" for note in report.notes))
        layout = TextLayout(RenderOptions(ascii=options.ascii))
        memory.draw(layout, report.memory)
        if drawn := layout.draw().strip():
            document.add("memory", [code_block(drawn.splitlines(), "text")])
        columns = ["", "rule", "found", "expected", *(["evidence"] if options.verbose else [])]
        head = _row(columns) + "\n" + "|:-:|---|--:|--:|" + ("---|" if options.verbose else "")
        shown = [result for result in report.results if result.verdict not in ("pass", "skip")]
        document.add("rows of tables", _result_rows(shown, options), f"### Results\n\n{head}")
        folded = ("pass", "skip") if options.verbose else ("pass",)
        rest = [result for result in report.results if result.verdict in folded]
        counts = Counter(result.verdict for result in rest)
        summary = " · ".join(count_text(verdict, counts[verdict]) for verdict in counts)
        before = f"<details><summary>{summary}</summary>\n\n{head}"
        document.add("rows of tables", _result_rows(rest, options), before, "\n</details>")
    return document.text()


def _head(report: Report, options: RenderOptions, *, done: bool) -> Iterator[str]:
    yield f"## {options.sign(report.verdict)[0]} preflight: {VERDICT_WORDS[report.verdict]}"
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    yield f"**{counts_text(report)}**{seconds}"
    if not options.quiet:
        rules = f"{report.rules_name} ({report.rules_source})"
        parts = f"preflight {report.version}", rules, host_line(report), engine_line(report)
        yield " · ".join(_prose(part) for part in parts if part)
        if done and report.next:
            yield "Next:\n\n" + code_block(command_lines(ResolvedFix("", report.next)), "sh")


def _task_item(task: Task, options: RenderOptions) -> str:
    """Return one list item: the sentence, and below it the place, the error, the fixes."""
    result = task.result
    if len(task.results) > 1:
        lines = [f"- for {_prose(task.names)}"]
    else:
        lines = [f"- in {_prose(compose_location(result))}"] if result.file else []
        lines += [f"- {_prose(line)}" for line in context_lines(result)]
        lines += fix_items(result.fixes, _MAX_PROSE)
    if task.skipped:
        lines.append(f"- {task.skipped}")
    return _item(options, result, _prose(task.sentence), task.affects_exit_code, lines)


def _item(
    options: RenderOptions, result: Result, title: str, affects_exit_code: bool, lines: list[str]
) -> str:
    title = f"**{title}**" if affects_exit_code else title
    return "\n  ".join([f"- {options.sign(result.verdict)[0]} {title}", *lines])


def _result_rows(results: Iterable[Result], options: RenderOptions) -> Iterator[str]:
    """Yield the rows of one table; a row in bold type begins a section."""
    for title, rows in by_section(results).items():
        above = _row(["", f"**{_cell(title)}**", "", "", *([""] if options.verbose else [])]) + "\n"
        for result in rows:
            texts = result.name, result.actual_text, result.expected_text
            cells = [options.sign(result.verdict)[0], *map(_cell, texts)]
            if options.verbose:
                why = f" · {result.why}" if result.why else ""
                cells.append(_prose(f"{result.reason_or_source or 'no source'}{why}"))
            yield above + _row(cells)
            above = ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return escape_markdown(text, _MAX_CELL)


def _prose(text: str) -> str:
    return escape_markdown(text, _MAX_PROSE)


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return the hosts that need action, then each problem once; in a comment, what fits."""
    document = _Document(
        f"## {options.sign(fleet.verdict)[0]} preflight: {VERDICT_WORDS[fleet.verdict]}",
        f"**{fleet_summary.counts(fleet)}** · {escape_markdown(fleet.title)} · "
        f"{fleet.seconds:.1f} s",
    )
    shown = fleet_summary.shown_hosts(fleet_summary.summaries(fleet), options)
    columns = fleet_summary.shown_columns(shown)
    head = f"{_row(['', 'host', '', *columns])}\n|:-:|---|---|{':-:|' * len(columns)}"
    document.add("hosts", (_host_row(host, columns, options) for host in shown), head, share=0.5)
    if rest := len(fleet.hosts) - len(shown):
        document.add("hosts", [f"{options.sign('pass')[0]} {rest:,} more"])
    problems = (
        _item(
            options,
            problem.result,
            f"{_prose(problem.title)}: {len(problem.hosts):,} of {len(fleet.hosts):,}",
            problem.affects_exit_code,
            [
                f"- {list_item(problem.host_names(_MAX_NAMES), _MAX_NAMES_LENGTH)}",
                f"- {list_item(problem.description, _MAX_PROSE)}",
                *fix_items(problem.fixes, _MAX_PROSE),
            ],
        )
        for problem in fleet_summary.shared_problems(fleet, recommended=not options.quiet)
    )
    document.add("problems", problems, "### To do\n")
    return document.text()


def _host_row(
    host: fleet_summary.HostSummary, columns: Iterable[str], options: RenderOptions
) -> str:
    marks = {name: options.sign(verdict)[0] for name, verdict in host.columns.items()}
    texts = (escape_markdown(text, _MAX_HOST_CELL) for text in (host.name, host.message))
    return _row([options.sign(host.verdict)[0], *texts, *(marks.get(name, "") for name in columns)])
