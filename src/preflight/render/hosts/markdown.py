"""Many machines as GitHub-flavoured Markdown: those that need action, then each fault once."""

from __future__ import annotations

from collections.abc import Iterator

from preflight.model.fleet import COLUMNS, Fleet, Shared, Standing
from preflight.model.report import Advice, Report
from preflight.render.hosts.text import counts, names, title
from preflight.render.look import Look, short
from preflight.render.marked import escaped, fence, link
from preflight.render.tasks import WORDS, command_lines

_MOST = 50_000  # characters; GitHub takes 65,536 in a comment
_CELL = 200


class Hosts:
    """Writes nothing before the end: the worst come first."""

    def __init__(self, _name: str, look: Look) -> None:
        self._look = look

    def host(self, _name: str, _one: Report | str) -> str:
        """Write nothing yet."""
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the document; where it would get too long, rows are left out, and that is said."""
        mark, _ = self._look.sign(fleet.verdict)
        yield f"## {mark} preflight: {WORDS[fleet.verdict]}\n\n**{counts(fleet)}**"
        yield f" · {escaped(short(fleet.title))} · {fleet.seconds:.1f} s\n"
        left = _MOST
        for kind, texts in (("machines", self._machines(fleet)), ("faults", self._faults(fleet))):
            refused = 0
            for text in texts:
                if len(text) < left:
                    left -= len(text)
                    yield text
                else:
                    refused += 1
            if refused:
                yield f"\nLeft out, so that this fits into a comment: {refused} {kind}\n"

    def _machines(self, fleet: Fleet) -> Iterator[str]:
        shown = [one for one in fleet.worst_first() if self._look.verbose or one.needs_action]
        columns = [name for name in COLUMNS if any(name in one.columns for one in shown)]
        if shown:
            heads = " | ".join(columns)
            yield f"\n| | host | | {heads} |\n|:-:|---|---|{':-:|' * len(columns)}\n"
        for one in shown:
            yield self._row(one, columns)
        if rest := len(fleet.standings) - len(shown):
            yield f"\n{self._look.sign('pass')[0]} {rest:,} more\n"

    def _row(self, one: Standing, columns: list[str]) -> str:
        said = one.unusable or (one.faults[0].message if one.faults else "")
        mark, _ = self._look.sign("unknown" if one.unusable else one.verdict)
        signs = [self._look.sign(one.columns[n])[0] if n in one.columns else "" for n in columns]
        cells = [mark, escaped(short(one.name, _CELL)), escaped(short(said, _CELL)), *signs]
        return f"| {' | '.join(cells)} |\n"

    def _faults(self, fleet: Fleet) -> Iterator[str]:
        found = fleet.shared(advice=not self._look.quiet)
        for number, one in enumerate(found):
            yield ("\n### To do\n\n" if number == 0 else "") + self._fault(one, fleet)

    def _fault(self, one: Shared, fleet: Fleet) -> str:
        mark, _ = self._look.sign(one.fault.verdict)
        said = escaped(short(title(one)))
        told = f"**{said}**" if one.fault.gates else said
        lines = [
            f"- {mark} {told}: {len(one.names):,} of {len(fleet.standings):,}",
            f"  - {escaped(short(names(one, 50)))}",
            f"  - such as {escaped(short(one.fault.message))}",
        ]
        for fix in one.fault.fixes:
            lines += _fix(fix)
        return "\n".join(lines) + "\n"


def _fix(fix: Advice) -> Iterator[str]:
    yield f"  - {escaped(short(fix.text)) or 'fix'}"
    if fix.command:
        yield from (f"    {line}" for line in fence(command_lines(fix), "sh").splitlines())
    if fix.url:
        yield f"    {link(fix.url)}"
