"""Many machines as GitHub-flavoured Markdown: those that need action, then each fault once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from preflight.model.fleet import Fleet, Shared, Standing
from preflight.model.report import Report
from preflight.render.hosts.text import advice, columns_of, counts, names, said, such_as, title
from preflight.render.markdown import begun, fix_lines, prose
from preflight.render.marked import escaped
from preflight.render.options import RenderOptions, short
from preflight.render.tasks import WORDS

_MOST = 28_000  # characters, of machines and of faults; GitHub takes 65,536 in a comment
_MOST_NAMES, _NAMES = 50, 4000  # machines under one fault, and their characters
_CELL = 200


class Hosts:
    """Writes nothing before the end: the worst come first."""

    def __init__(self, _name: str, options: RenderOptions) -> None:
        self._options = options

    def host(self, _name: str, _one: Report | str) -> str:
        """Write nothing yet."""
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the document; where it would get too long, rows are left out, and that is said."""
        mark, _ = self._options.sign(fleet.verdict)
        yield f"## {mark} preflight: {WORDS[fleet.verdict]}\n\n**{counts(fleet)}**"
        yield f" · {escaped(short(fleet.title))} · {fleet.seconds:.1f} s\n"
        yield from _fitting(self._machines(fleet), "machines")
        yield from _fitting(self._faults(fleet), "faults")

    def _machines(self, fleet: Fleet) -> Iterator[str]:
        shown = [one for one in fleet.worst_first() if self._options.verbose or one.needs_action]
        columns = columns_of(shown)
        if shown:
            heads = " | ".join(["", "host", "", *columns])
            yield f"\n|{heads} |\n|:-:|---|---|{':-:|' * len(columns)}\n"
        for one in shown:
            yield self._row(one, columns)
        if rest := len(fleet.standings) - len(shown):
            yield f"\n{self._options.sign('pass')[0]} {rest:,} more\n"

    def _row(self, one: Standing, columns: list[str]) -> str:
        mark, _ = self._options.sign(one.verdict)
        signs = [self._options.sign(one.columns[n])[0] if n in one.columns else "" for n in columns]
        cells = [mark, escaped(short(one.name, _CELL)), escaped(short(said(one), _CELL)), *signs]
        return f"| {' | '.join(cells)} |\n"

    def _faults(self, fleet: Fleet) -> Iterator[str]:
        found = fleet.shared(advice=not self._options.quiet)
        for number, one in enumerate(found):
            yield ("\n### To do\n\n" if number == 0 else "") + self._fault(one, fleet)

    def _fault(self, one: Shared, fleet: Fleet) -> str:
        mark, _ = self._options.sign(one.fault.verdict)
        what = prose(title(one))
        told = f"**{what}**" if one.fault.gates else what
        lines = [
            f"- {mark} {told}: {len(one.names):,} of {len(fleet.standings):,}",
            f"  - {begun(prose(names(one, _MOST_NAMES), _NAMES))}",
            f"  - {begun(prose(such_as(one)))}",
        ]
        for fix in advice(one):
            lines += fix_lines(fix)
        return "\n".join(lines) + "\n"


def _fitting(texts: Iterable[str], kind: str) -> Iterator[str]:
    """Yield what there is room for, and say how many there wasn't."""
    left, refused = _MOST, 0
    for text in texts:
        if len(text) < left:
            left -= len(text)
            yield text
        else:
            refused += 1
    if refused:
        yield f"\nLeft out, so that this fits into a comment: {refused:,} {kind}\n"
