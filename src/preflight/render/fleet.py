"""Many machines at once: a line each, the worst first, then each fault once with who has it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from preflight.model.fleet import Fault, Standing, exit_code
from preflight.model.report import VERDICTS, Exit, Report, Verdict
from preflight.render.json_report import to_json
from preflight.render.look import Look, short
from preflight.render.page import Page, pad

SCHEMA = "preflight.fleet/1"
_ORDER: tuple[Verdict, ...] = ("fail", "unknown", "warn", "pass")
_NAMES = {"fail": "failed", "unknown": "undecided", "warn": "passed with advice", "pass": "passed"}
_MOST_NAMES = 8  # machines that are listed under one fault


def text(
    title: str, standings: Sequence[Standing], look: Look, seconds: float, unusable: int
) -> str:
    """Show all that needs action by machine, then by fault; with `verbose` all machines.

    `unusable` is the exit code that one without a verdict makes: bad input, or undecided.
    """
    page = Page(look)
    if not look.quiet:
        page.add((title, "bold"))
        _machines(page, standings)
    _faults(page, standings)
    counts = Counter("unusable" if one.unusable else one.verdict for one in standings)
    names = {"unusable": "unusable" if unusable == Exit.USAGE else "not reached", **_NAMES}
    told = [f"{counts[key]:,} {name}" for key, name in names.items() if counts[key]]
    word = {0: "PASS", 1: "FAIL", 3: "UNDECIDED"}.get(exit_code(standings, unusable), "BAD INPUT")
    page.blank()
    page.wrap(f"{' · '.join(told)} · {seconds:.1f} s", 0, hang=(f"{word}  ", "bold"))
    return page.draw()


def _machines(page: Page, standings: Sequence[Standing]) -> None:
    shown = [one for one in standings if page.look.verbose or _needs_action(one)]
    shown.sort(key=lambda one: (not one.unusable, _ORDER.index(one.verdict), one.name))
    width = min(32, max((len(one.name) for one in shown), default=0))
    for one in shown:
        mark, style = page.look.sign("unknown" if one.unusable else one.verdict)
        more = sum(fault.gates for fault in one.faults) - 1
        told = one.unusable or (one.faults[0].message if one.faults else "")
        tail = f"  +{more}" if more > 0 else ""
        room = page.look.columns - len(mark) - width - len(tail) - 5
        page.add("  ", (mark, style), f" {pad(one.name, width)}  {pad(told, room)}{tail}")
    if rest := len(standings) - len(shown):
        page.add("  ", page.look.sign("pass"), f" {rest:,} more")


def _needs_action(one: Standing) -> bool:
    return bool(one.unusable) or one.verdict in ("fail", "unknown")


def _faults(page: Page, standings: Sequence[Standing]) -> None:
    """Each cause once, what most machines have first among the grave ones."""
    groups: dict[tuple[Verdict, str], dict[str, list[Fault]]] = {}
    for one in standings:
        for fault in one.faults:
            if fault.gates or page.look.verbose:
                having = groups.setdefault((fault.verdict, fault.cause), {})
                having.setdefault(one.name, []).append(fault)
    keys = sorted(groups, key=lambda key: (_ORDER.index(key[0]), -len(groups[key]), key[1]))
    if keys and not page.look.quiet:
        page.blank()
        page.add(("To do", "bold"))
    for key in keys:
        _fault(page, groups[key], len(standings))


def _fault(page: Page, having: Mapping[str, Sequence[Fault]], all_: int) -> None:
    """Say one cause, who has it, and the fix of the first that has."""
    first = next(iter(having.values()))
    fault = first[0]
    undecided = fault.verdict == "unknown" and len(first) > 1
    title = f"{len(first)} rules undecided" if undecided else fault.title
    mark, style = page.look.sign(fault.verdict)
    count = f"{len(having):,} of {all_:,}"
    room = page.look.columns - len(mark) - len(count) - 4
    page.add("  ", (mark, style), f" {pad(title, room)} ", count)
    names = list(having)[:_MOST_NAMES]
    more = f" and {len(having) - len(names):,} more" if len(having) > len(names) else ""
    page.wrap(", ".join(names) + more, 6)
    if undecided:
        page.wrap(fault.cause, 6, "dim")
        return
    page.wrap(f"such as {fault.message}", 6, "dim")
    for fix in fault.fixes:
        page.wrap(fix.text, 6)
        for line in (fix.command or "").splitlines():
            page.raw(f"$ {line}", 6, "cyan")


def json_pieces(
    hosts: Iterable[tuple[str, Report | str]], summary: Callable[[], Mapping[str, Any]]
) -> Iterator[str]:
    """Yield `preflight.fleet/1` piece by piece: reports of any number never stand in memory.

    A str in place of a report is why there is none; `summary` is asked once all hosts are through.
    """
    yield f'{{\n"schema": "{SCHEMA}",\n"hosts": {{'
    separator = "\n"
    for name, one in hosts:
        told = {"unreachable": short(one)} if isinstance(one, str) else to_json(one)
        yield f"{separator}{json.dumps(name)}: {json.dumps(told)}"
        separator = ",\n"
    yield f'\n}},\n"summary": {json.dumps(summary())}\n}}\n'


def summary(standings: Sequence[Standing], seconds: float, unusable: int) -> dict[str, Any]:
    """Return the summary as check's, counting machines: by the verdict of each."""
    code = exit_code(standings, unusable)
    counts = Counter(one.verdict for one in standings if not one.unusable)
    verdict = next((v for v in _ORDER if counts[v]), "unknown")
    return {
        "verdict": verdict,
        "exit_code": code,
        **{one: counts[one] for one in VERDICTS},
        "hosts": len(standings),
        "unreachable": sum(bool(one.unusable) for one in standings),
        "seconds": round(seconds, 3),
    }
