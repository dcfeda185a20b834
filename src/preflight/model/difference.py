"""What changed between two measurements: facts and verdicts, worst first."""

from collections.abc import Mapping
from typing import NamedTuple

from preflight.model.facts import Unknown, Value
from preflight.model.report import Result, Verdict

_VERDICTS_BEST_FIRST: tuple[Verdict, ...] = ("pass", "skip", "waived", "warn", "unknown", "fail")
_UNDECIDED_VERDICTS: tuple[Verdict | None, ...] = (None, "skip", "unknown")
RANK_BY_VERDICT: dict[Verdict | None, int] = {
    None: 0,
    **{verdict: rank for rank, verdict in enumerate(_VERDICTS_BEST_FIRST)},
}
"""How bad a verdict is; None if there was nothing to judge."""


class FactChange(NamedTuple):
    """A fact with another value; None is absent."""

    path: str
    before: Value | Unknown
    after: Value | Unknown


class VerdictChange(NamedTuple):
    """A rule, or an item of it, with another verdict; None if it was not judged.

    `result` is the later one.
    """

    result: Result
    before: Verdict | None
    after: Verdict | None

    @property
    def is_worse(self) -> bool:
        """Whether it was judged before, and better; a rule that was skipped was neither."""
        ranks = RANK_BY_VERDICT[self.before], RANK_BY_VERDICT[self.after]
        return (
            self.before not in _UNDECIDED_VERDICTS and self.after != "skip" and ranks[1] > ranks[0]
        )

    @property
    def is_newly_judged_problem(self) -> bool:
        """Whether it isn't met now, and nobody knows whether it was before."""
        return self.before in _UNDECIDED_VERDICTS and self.after in ("warn", "unknown", "fail")


class FactAndVerdictChanges(NamedTuple):
    """All changes; `noise` counts those that aren't shown, `notes` say what was not compared."""

    facts: tuple[FactChange, ...]
    verdicts: tuple[VerdictChange, ...]
    noise: int = 0
    notes: tuple[str, ...] = ()

    @property
    def worse_verdict_count(self) -> int:
        """How many verdicts were better before."""
        return sum(change.is_worse for change in self.verdicts)

    @property
    def newly_judged_problem_count(self) -> int:
        """How many verdicts are bad that were not judged before."""
        return sum(change.is_newly_judged_problem for change in self.verdicts)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.facts or self.verdicts)


class SnapshotFolderDifference(NamedTuple):
    """What changed on many hosts, by file name, worst first.

    `gone` are only in the first folder, `new` only in the second; `same` counts those without a
    change; `unusable` says what is wrong with a file that can't be compared.
    """

    changed: Mapping[str, FactAndVerdictChanges]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    same: int = 0
    unusable: Mapping[str, str] = {}

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.changed or self.gone or self.new)
