"""Many machines in a terminal: a table of what they need, worst first, then each fault once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.cells import cell_len

from preflight.model.fleet import COLUMNS, GRAVEST, Fleet, Shared, Standing
from preflight.model.report import ExitCode, Report, ResolvedFix
from preflight.render.layout import TextLayout, pad
from preflight.render.options import RenderOptions, clean, short
from preflight.render.tasks import command_lines

_NAMES = {"fail": "failed", "unknown": "undecided", "warn": "passed with advice", "pass": "passed"}
_MOST_NAMES = 8  # machines that are listed under one fault
_MOST_ROWS = 40  # machines in the table, before the rest is counted
_WIDEST = 32  # columns of a machine's name
_ROOM_FOR_COLUMNS = 60
_FAULT = 24  # columns that are kept for what a machine lacks
_LONGEST_NAME = 60  # characters in a list of names


class Hosts:
    """Shows all that needs action; with `verbose` every machine, and advice."""

    def __init__(self, _name: str, options: RenderOptions) -> None:
        self._options = options

    def host(self, _name: str, _one: Report | str) -> str:
        """Write nothing yet: the worst come first."""
        return ""

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the page."""
        layout = TextLayout(self._options)
        if not self._options.quiet:
            _machines(layout, fleet)
        _faults(layout, fleet)
        layout.blank()
        word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(fleet.exit_code, "BAD INPUT")
        layout.wrap(f"{counts(fleet)} · {fleet.seconds:.1f} s", 0, prefix=(f"{word}  ", "bold"))
        yield layout.draw()


def counts(fleet: Fleet) -> str:
    """Say how many machines there are of each verdict."""
    found = Counter("lost" if one.unusable else one.verdict for one in fleet.standings)
    lost = "unusable" if fleet.unusable == ExitCode.USAGE else "not reached"
    words = {"lost": lost, **_NAMES}
    return " · ".join(f"{found[key]:,} {word}" for key, word in words.items() if found[key])


def columns_of(shown: Sequence[Standing]) -> list[str]:
    """Return the columns of the table: what a rule judged on one of the machines."""
    return [name for name in COLUMNS if any(name in one.columns for one in shown)]


def said(one: Standing) -> str:
    """Say the gravest of what a machine lacks; nothing where it lacks nothing."""
    return one.faults[0].message if one.faults else ""


def _machines(layout: TextLayout, fleet: Fleet) -> None:
    options = layout.options
    shown = [one for one in fleet.worst_first() if options.verbose or one.needs_action]
    hidden = [] if options.verbose else shown[_MOST_ROWS:]
    shown = shown[: len(shown) - len(hidden)]
    columns = columns_of(shown) if options.columns >= _ROOM_FOR_COLUMNS else []
    right = "".join(f"  {name}" for name in columns)
    layout.add((pad(fleet.title, options.columns - len(right)), "bold"), (right, "dim"))
    widest = max(8, min(_WIDEST, options.columns - len(right) - _FAULT))
    width = min(widest, max((cell_len(clean(one.name)) for one in shown), default=0))
    for one in shown:
        _machine(layout, one, width, columns)
    for verdict, many in Counter(one.verdict for one in hidden).items():
        layout.add("  ", options.sign(verdict), f" {many:,} more; --verbose lists them")
    if rest := len(fleet.standings) - len(shown) - len(hidden):
        layout.add("  ", options.sign("pass"), f" {rest:,} more")


def _machine(layout: TextLayout, one: Standing, width: int, columns: Sequence[str]) -> None:
    mark, style = layout.options.sign(one.verdict)
    mark = pad(mark, 4) if layout.options.ascii else mark
    right = sum(len(name) + 2 for name in columns)
    room = max(0, layout.options.columns - len(mark) - width - right - 5)
    row = ("  ", (mark, style), f" {pad(one.name, width)}  ")
    if one.unusable:
        layout.add(*row, pad(one.unusable, room + right).rstrip())
    else:
        layout.add(*row, pad(_first(one, room), room), *_signs(layout, one, columns))


def _first(one: Standing, room: int) -> str:
    """Return its gravest fault, and how many more there are."""
    if not one.faults:
        return ""
    said = f"{one.faults[0].title} {one.faults[0].found}"
    more = sum(fault.gates for fault in one.faults) - 1
    tail = f"  +{more}" if more > 0 else ""
    return f"{pad(said, max(room - len(tail), 8)).rstrip()}{tail}"


def _signs(
    layout: TextLayout, one: Standing, columns: Sequence[str]
) -> Iterator[str | tuple[str, str]]:
    for name in columns:
        mark, style = layout.options.sign(one.columns[name]) if name in one.columns else ("", "")
        yield "  "
        yield mark.center(len(name)), style


def _faults(layout: TextLayout, fleet: Fleet) -> None:
    found = fleet.shared(advice=layout.options.verbose)
    if found and not layout.options.quiet:
        layout.blank()
        layout.add(("To do", "bold"))
    for one in sorted(found, key=lambda one: GRAVEST.index(one.fault.verdict)):
        _fault(layout, one, len(fleet.standings))


def title(one: Shared) -> str:
    """Return what is said of a fault: the rule, or how many one cause keeps undecided."""
    undecided = one.fault.verdict == "unknown" and one.rules > 1
    return f"{one.rules} rules undecided" if undecided else one.fault.title


def names(one: Shared, most: int = _MOST_NAMES, longest: int = _LONGEST_NAME) -> str:
    """List the machines that have a fault, each cut to so many characters."""
    more = f" and {len(one.names) - most:,} more" if len(one.names) > most else ""
    return ", ".join(short(name, longest) for name in one.names[:most]) + more


def such_as(one: Shared) -> str:
    """Say what the fault is: of a rule in the figures of the first machine that has it."""
    alone = one.fault.verdict == "unknown" and one.rules != 1
    return one.fault.cause if alone else f"such as {one.fault.message}"


def advice(one: Shared) -> tuple[ResolvedFix, ...]:
    """Return the fixes: of one rule its own, of one cause of many none."""
    return () if one.fault.verdict == "unknown" and one.rules != 1 else one.fault.fixes


def _fault(layout: TextLayout, one: Shared, all_: int) -> None:
    """Say one cause, who has it, and the fix of the first that has."""
    fault = one.fault
    mark, style = layout.options.sign(fault.verdict)
    count = f"{len(one.names):,} of {all_:,}"
    room = layout.options.columns - len(mark) - len(count) - 4
    layout.add("  ", (mark, style), f" {pad(title(one), room)} ", count)
    layout.wrap(names(one, longest=min(_LONGEST_NAME, layout.options.columns - 8)), 6)
    layout.wrap(such_as(one), 6, "dim")
    for fix in advice(one):
        layout.wrap(fix.text, 6)
        for line in command_lines(fix):
            layout.verbatim(f"$ {line}", 6, "cyan")
        if fix.url:
            layout.verbatim(short(fix.url), 6, "dim")
