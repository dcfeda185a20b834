"""Many machines in a terminal: a table of what they need, worst first, then each fault once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from preflight.model.fleet import COLUMNS, GRAVEST, Fleet, Shared, Standing
from preflight.model.report import Exit, Report
from preflight.render.look import Look, clean
from preflight.render.page import Page, pad

_NAMES = {"fail": "failed", "unknown": "undecided", "warn": "passed with advice", "pass": "passed"}
_MOST_NAMES = 8  # machines that are listed under one fault
_WIDEST = 32  # columns of a machine's name


class Hosts:
    """Shows all that needs action; with `verbose` every machine, and advice."""

    def __init__(self, _name: str, look: Look) -> None:
        self._look = look

    def host(self, _name: str, _one: Report | str) -> str:
        """Write nothing yet: the worst come first."""
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the page."""
        page = Page(self._look)
        if not self._look.quiet:
            _machines(page, fleet)
        _faults(page, fleet)
        page.blank()
        word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(fleet.exit_code, "BAD INPUT")
        page.wrap(f"{counts(fleet)} · {fleet.seconds:.1f} s", 0, hang=(f"{word}  ", "bold"))
        yield page.draw()


def counts(fleet: Fleet) -> str:
    """Say how many machines there are of each verdict."""
    found = Counter("lost" if one.unusable else one.verdict for one in fleet.standings)
    lost = "unusable" if fleet.unusable == Exit.USAGE else "not reached"
    words = {"lost": lost, **_NAMES}
    return " · ".join(f"{found[key]:,} {word}" for key, word in words.items() if found[key])


def _machines(page: Page, fleet: Fleet) -> None:
    look = page.look
    shown = [one for one in fleet.worst_first() if look.verbose or one.needs_action]
    columns = [name for name in COLUMNS if any(name in one.columns for one in shown)]
    right = "".join(f"  {name}" for name in columns)
    page.add((pad(fleet.title, look.columns - len(right)), "bold"), (right, "dim"))
    width = min(_WIDEST, max((len(clean(one.name)) for one in shown), default=0))
    for one in shown:
        mark, style = look.sign("unknown" if one.unusable else one.verdict)
        room = look.columns - len(mark) - width - len(right) - 5
        row = ("  ", (mark, style), f" {pad(one.name, width)}  ")
        if one.unusable:
            page.add(*row, pad(one.unusable, room + len(right)).rstrip())
        else:
            page.add(*row, pad(_first(one, room), room), *_signs(page, one, columns))
    if rest := len(fleet.standings) - len(shown):
        page.add("  ", look.sign("pass"), f" {rest:,} more")


def _first(one: Standing, room: int) -> str:
    """Return its gravest fault, and how many more there are."""
    if not one.faults:
        return ""
    said = f"{one.faults[0].title} {one.faults[0].found}"
    more = sum(fault.gates for fault in one.faults) - 1
    tail = f"  +{more}" if more > 0 else ""
    return f"{pad(said, max(room - len(tail), 8)).rstrip()}{tail}"


def _signs(page: Page, one: Standing, columns: Sequence[str]) -> Iterator[str | tuple[str, str]]:
    for name in columns:
        mark, style = page.look.sign(one.columns[name]) if name in one.columns else ("", "")
        yield " " * (2 + (len(name) - 1) // 2)
        yield mark or " ", style
        yield " " * (len(name) - (len(name) - 1) // 2 - len(mark or " "))


def _faults(page: Page, fleet: Fleet) -> None:
    found = fleet.shared(advice=page.look.verbose)
    if found and not page.look.quiet:
        page.blank()
        page.add(("To do", "bold"))
    for one in sorted(found, key=lambda one: GRAVEST.index(one.fault.verdict)):
        _fault(page, one, len(fleet.standings))


def title(one: Shared) -> str:
    """Return what is said of a fault: the rule, or how many one cause keeps undecided."""
    undecided = one.fault.verdict == "unknown" and one.rules > 1
    return f"{one.rules} rules undecided" if undecided else one.fault.title


def names(one: Shared, most: int = _MOST_NAMES) -> str:
    """List the machines that have a fault."""
    more = f" and {len(one.names) - most:,} more" if len(one.names) > most else ""
    return ", ".join(one.names[:most]) + more


def _fault(page: Page, one: Shared, all_: int) -> None:
    """Say one cause, who has it, and the fix of the first that has."""
    fault = one.fault
    mark, style = page.look.sign(fault.verdict)
    count = f"{len(one.names):,} of {all_:,}"
    room = page.look.columns - len(mark) - len(count) - 4
    page.add("  ", (mark, style), f" {pad(title(one), room)} ", count)
    page.wrap(names(one), 6)
    if fault.verdict == "unknown" and one.rules > 1:
        page.wrap(fault.cause, 6, "dim")
        return
    page.wrap(f"such as {fault.message}", 6, "dim")
    for fix in fault.fixes:
        page.wrap(fix.text, 6)
        for line in (fix.command or "").splitlines():
            page.raw(f"$ {line}", 6, "cyan")
