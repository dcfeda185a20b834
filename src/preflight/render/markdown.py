"""The report as GitHub-flavoured Markdown: for a pull request's comment, a ticket, a summary."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from preflight.model.report import MemoryBreakdown, Report, ResolvedFix, Result
from preflight.render import ledger
from preflight.render.layout import TextLayout
from preflight.render.marked import BREAK, escaped, fence, link
from preflight.render.options import RenderOptions, short
from preflight.render.tasks import (
    WORDS,
    Task,
    command_lines,
    context_lines,
    counts,
    holds_back,
    name,
    place,
    sentence,
    tasks,
    waived,
)
from preflight.render.text import engine_line, host_line

_MOST = 60_000  # characters; GitHub takes 65,536 in a comment
_PROSE, _CELL = 600, 100  # characters of one foreign text
_STARTS_BLOCK = re.compile(r"[-+=#:>\d]")


def render(report: Report, options: RenderOptions) -> str:
    """Return the document; where it would get too long, what is needed least is left out."""
    found = tasks(report)
    head = list(_head(report, options, done=not found))
    room = _Room(_MOST - sum(map(len, head)) - 1000)  # for the titles of what follows
    to_do = room.keep("to do", (_task(one, options) for one in found))
    exceptions = room.keep("waived", _waived(report, options))
    blocks = [*head, *_titled("To do", to_do), *_titled("Waived", exceptions)]
    if not options.quiet:
        notes = room.keep("notes", (f"- note: {prose(note)}" for note in report.notes))
        memory = room.keep("memory", _memory(report.memory, options))
        results = [one for one in report.results if one.verdict not in ("pass", "skip")]
        beside = ("pass", "skip") if options.verbose else ("pass",)
        rest = [one for one in report.results if one.verdict in beside]
        blocks += _titled("Results", _table(results, options, room))
        blocks += _folded(_summary(rest), _table(rest, options, room))
        blocks += memory
        blocks += _titled("", notes)
    if room.refused:
        left_out = " · ".join(f"{count} {what}" for what, count in room.refused.items())
        blocks.append(f"Left out, so that this fits into a comment: {left_out}")
    return "\n\n".join(blocks) + "\n"


class _Room:
    """The room that is left for what is needed less and less."""

    def __init__(self, characters: int) -> None:
        self._left = characters
        self.refused: Counter[str] = Counter()

    def takes(self, what: str, text: str) -> bool:
        """Whether a text still fits in; where it does, its room is taken."""
        fits = len(text) < self._left
        if fits:
            self._left -= len(text) + 1
        else:
            self.refused[what] += 1
        return fits

    def keep(self, what: str, texts: Iterable[str]) -> list[str]:
        """Return those texts that fit in."""
        return [text for text in texts if self.takes(what, text)]


def _head(report: Report, options: RenderOptions, *, done: bool) -> Iterator[str]:
    mark, _ = options.sign(report.verdict)
    yield f"## {mark} preflight: {WORDS[report.verdict]}"
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    yield f"**{counts(report)}**{seconds}"
    if not options.quiet:
        rules = f"{report.rules_name} ({report.rules_source})"
        told = f"preflight {report.version}", rules, host_line(report), engine_line(report)
        yield " · ".join(prose(part) for part in told if part)
        if done and report.next:
            yield "Next:\n\n" + fence(command_lines(ResolvedFix("", report.next)), "sh")


def _titled(title: str, lines: Sequence[str]) -> Iterator[str]:
    if lines and title:
        yield f"### {title}"
    if lines:
        yield "\n".join(lines)


def _folded(summary: str, lines: Sequence[str]) -> Iterator[str]:
    if lines:
        yield f"<details><summary>{summary}</summary>"
        yield "\n".join(lines)
        yield "</details>"


def _task(task: Task, options: RenderOptions) -> str:
    """One list entry: the sentence, and below it the place, the error, the fixes."""
    result = task.result
    told = prose(task.sentence)
    mark, _ = options.sign(result.verdict)
    lines = [f"- {mark} **{told}**" if task.gates else f"- {mark} {told}"]
    if len(task.results) > 1:
        lines.append(f"  - for {prose(', '.join(map(name, task.results)))}")
    else:
        lines += [f"  - in {prose(place(result))}"] if result.file else []
        lines += [f"  - {prose(line)}" for line in context_lines(result)]
        lines += [line for fix in result.fixes for line in fix_lines(fix)]
    if task.held:
        lines.append(f"  - {holds_back(task.held)}")
    return "\n".join(lines)


def fix_lines(fix: ResolvedFix) -> Iterator[str]:
    """Yield a fix as an entry of a list below the task that it is for."""
    yield f"  - {begun(prose(fix.text) or 'fix')}"
    if fix.command:
        for line in fence(command_lines(fix), "sh").splitlines():
            yield f"    {line}".rstrip()
    if fix.url:
        yield f"    {link(fix.url)}"


def _waived(report: Report, options: RenderOptions) -> Iterator[str]:
    mark, _ = options.sign("waived")
    for result in waived(report, options):
        yield f"- {mark} {prose(sentence(result))}"


def _memory(drawn: MemoryBreakdown, options: RenderOptions) -> Iterator[str]:
    layout = TextLayout(RenderOptions(ascii=options.ascii))
    ledger.draw(layout, drawn)
    if text := layout.draw().strip():
        yield fence(text.splitlines(), "text")


def _summary(results: Sequence[Result]) -> str:
    passed = sum(result.verdict == "pass" for result in results)
    parts = {"passed": passed, "skipped": len(results) - passed}
    return " · ".join(f"{count} {word}" for word, count in parts.items() if count)


def _table(results: Iterable[Result], options: RenderOptions, room: _Room) -> list[str]:
    """One table; a row in bold type begins a section."""
    sections: dict[str, list[Result]] = {}
    for result in results:
        sections.setdefault(_cell(result.section) or "Other", []).append(result)
    more = " evidence |" if options.verbose else ""
    lines = []
    for title, rows in sections.items():
        above = f"| | **{title}** | | |{' |' if options.verbose else ''}\n"
        for result in rows:
            line = above + _row(result, options)
            if room.takes("rows of tables", line):
                lines.append(line)
                above = ""
    head = [f"| | rule | found | asked |{more}", f"|:-:|---|--:|--:|{'---|' if more else ''}"]
    return head + lines if lines else []


def _row(result: Result, options: RenderOptions) -> str:
    mark, _ = options.sign(result.verdict)
    cells = [mark, _cell(name(result)), _cell(result.actual_text), _cell(result.expected_text)]
    if options.verbose:
        why = f" · {result.why}" if result.why else ""
        cells.append(prose(f"{result.reason_or_source or 'no source'}{why}"))
    return f"| {' | '.join(cells)} |"


def _cell(text: str) -> str:
    return escaped(short(text, _CELL))


def prose(text: str, most: int = _PROSE) -> str:
    """Return foreign text as text alone, cut where it is long."""
    return escaped(short(text, most))


def begun(text: str) -> str:
    """Return what begins an entry of a list, so that it begins nothing else."""
    return f"{BREAK if _STARTS_BLOCK.match(text) else ''}{text}"
