"""How several machines stand: of each no more than the view of all needs, whatever their number."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from preflight.model.report import ExitCode, Report, ResolvedFix, Result, Verdict

COLUMNS = ("host", "docker", "stack", "disk")
"""What the facts that rules ask for are about, in a word."""
GRAVEST: tuple[Verdict, ...] = ("fail", "unknown", "warn", "pass")


class Fault(NamedTuple):
    """What a machine lacks: `cause` is the rule, or why rules or the whole are undecided."""

    cause: str
    title: str
    verdict: Verdict
    message: str
    gates: bool
    found: str = ""
    fixes: tuple[ResolvedFix, ...] = ()


class Standing(NamedTuple):
    """One machine: its verdict and its faults, the gravest first.

    `unusable` is why it could not be judged; that is then its only fault.
    `columns` has the worst verdict of each of COLUMNS that a rule judged.
    """

    name: str
    verdict: Verdict
    faults: tuple[Fault, ...] = ()
    unusable: str = ""
    columns: Mapping[str, Verdict] = {}

    @property
    def needs_action(self) -> bool:
        """Whether it keeps the exit code of all from being 0."""
        return bool(self.unusable) or self.verdict in ("fail", "unknown")


class Shared(NamedTuple):
    """One fault, or one cause of rules that are undecided, and the machines that have it."""

    fault: Fault
    rules: int  # of the first machine that it keeps undecided; 0 where it could not be judged
    names: tuple[str, ...]


class Fleet(NamedTuple):
    """All machines; `unusable` is the exit code that one without a verdict makes.

    It is bad input where a file can't be used, and undecided where a host was not reached.
    """

    title: str
    standings: Sequence[Standing]
    seconds: float
    unusable: int = ExitCode.USAGE

    @property
    def exit_code(self) -> int:
        """The gravest verdict decides."""
        lost = any(one.unusable for one in self.standings)
        if lost and self.unusable == ExitCode.USAGE:
            return ExitCode.USAGE
        verdicts = Counter(one.verdict for one in self.standings)
        if verdicts["fail"]:
            return ExitCode.FAILED
        return ExitCode.UNDECIDED if verdicts["unknown"] else ExitCode.OK

    @property
    def verdict(self) -> Verdict:
        """The gravest verdict of a machine."""
        found = {one.verdict for one in self.standings}
        return next((verdict for verdict in GRAVEST if verdict in found), "pass")

    def worst_first(self) -> list[Standing]:
        """Return the machines by their verdicts, then by name; first of all what is bad input."""
        return sorted(
            self.standings,
            key=lambda one: (
                not (one.unusable and self.unusable == ExitCode.USAGE),
                GRAVEST.index(one.verdict),
                one.name,
            ),
        )

    def shared(self, *, advice: bool) -> list[Shared]:
        """Return each fault once: the gravest first, of these what most machines have."""
        groups: dict[tuple[Verdict, str, bool], dict[str, list[Fault]]] = {}
        for one in self.standings:
            for fault in one.faults:
                if fault.gates or advice:
                    key = (fault.verdict, fault.cause, not one.unusable)
                    having = groups.setdefault(key, {})
                    having.setdefault(one.name, []).append(fault)
        keys = sorted(groups, key=lambda key: (GRAVEST.index(key[0]), -len(groups[key]), key[1]))
        return [_shared(groups[key], judged=key[2]) for key in keys]


def _shared(having: Mapping[str, Sequence[Fault]], *, judged: bool) -> Shared:
    first = next(iter(having.values()))
    return Shared(first[0], len(first) if judged else 0, tuple(having))


def standing(name: str, report: Report | str) -> Standing:
    """Return what stays of a report; a str is why there is none."""
    if isinstance(report, str):
        why = report or "nobody knows why"
        lost = Fault(why, "Not judged", "unknown", why, gates=True)
        return Standing(name, "unknown", (lost,), unusable=why)
    results = sorted(
        (result for result in report.results if result.verdict in GRAVEST[:3]),
        key=lambda result: (not report.affects_exit_code(result), GRAVEST.index(result.verdict)),
    )
    faults = tuple(_fault(result, gates=report.affects_exit_code(result)) for result in results)
    return Standing(name, report.verdict, faults, columns=_columns(report))


def _fault(result: Result, *, gates: bool) -> Fault:
    cause = result.reason_or_source if result.verdict == "unknown" else result.id
    return Fault(
        cause, result.title, result.verdict, result.message, gates, result.actual_text, result.fixes
    )


def _columns(report: Report) -> dict[str, Verdict]:
    worst: dict[str, Verdict] = {}
    for result in report.results:
        if result.verdict in GRAVEST:
            name = _column(result.fact)
            before = worst.get(name, "pass")
            worst[name] = min(before, result.verdict, key=GRAVEST.index)
    return worst


def _column(fact: str) -> str:
    subject, _, rest = fact.partition(".")
    if subject not in ("host", "docker"):
        return "stack"
    return "disk" if rest.startswith("disk.") else subject
