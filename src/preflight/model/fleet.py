"""How several machines stand: of each no more than the view of all needs, whatever their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from preflight.model.report import Advice, Exit, Report, Result, Verdict


class Fault(NamedTuple):
    """What a machine lacks: `cause` is the rule, or why rules are undecided."""

    cause: str
    title: str
    verdict: Verdict
    message: str
    gates: bool
    fixes: tuple[Advice, ...] = ()


class Standing(NamedTuple):
    """One machine: its verdict and its faults, the gravest first; `unusable` is why it has none."""

    name: str
    verdict: Verdict
    faults: tuple[Fault, ...] = ()
    unusable: str = ""


_GRAVITY: tuple[Verdict, ...] = ("fail", "unknown", "warn")


def standing(name: str, report: Report) -> Standing:
    """Return what stays of a report."""
    results = sorted(
        (result for result in report.results if result.verdict in _GRAVITY),
        key=lambda result: (not report.gates(result), _GRAVITY.index(result.verdict)),
    )
    faults = tuple(_fault(result, gates=report.gates(result)) for result in results)
    return Standing(name, report.verdict, faults)


def _fault(result: Result, *, gates: bool) -> Fault:
    cause = result.evidence if result.verdict == "unknown" else result.id
    return Fault(cause, result.title, result.verdict, result.message, gates, result.fixes)


def exit_code(standings: Sequence[Standing], unusable: int = Exit.USAGE) -> int:
    """Return that of all: an unusable file is bad input, else the gravest verdict decides.

    A host that was not reached is undecided, which `unusable` says then.
    """
    if unusable == Exit.USAGE and any(one.unusable for one in standings):
        return Exit.USAGE
    verdicts = Counter(one.verdict for one in standings)
    if verdicts["fail"]:
        return Exit.FAILED
    return Exit.UNDECIDED if verdicts["unknown"] else Exit.OK
