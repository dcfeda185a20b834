"""What changed between two measurings: facts and verdicts, the worst first."""

from __future__ import annotations

from typing import NamedTuple

from preflight.model.facts import Unknown, Value
from preflight.model.report import Verdict

GRAVITY: dict[Verdict | None, int] = {
    "fail": 5,
    "unknown": 4,
    "warn": 3,
    "waived": 2,
    "skip": 1,
    "pass": 0,
    None: 0,
}
"""How bad a verdict is; None where there was nothing to judge."""


class FactChange(NamedTuple):
    """A fact that is another one; None is absent."""

    path: str
    before: Value | Unknown
    after: Value | Unknown


class VerdictChange(NamedTuple):
    """A rule, or an item of it, with another verdict; None where it was not judged."""

    id: str
    item: str | None
    title: str
    before: Verdict | None
    after: Verdict | None
    fact: str = ""
    message: str = ""

    @property
    def worse(self) -> bool:
        """Whether it was better before."""
        return GRAVITY[self.after] > GRAVITY[self.before]

    @property
    def name(self) -> str:
        """The title, with the item under `for_each`."""
        return self.title if self.item is None else f"{self.title} · {self.item}"


class Difference(NamedTuple):
    """All changes; `folded` counts those that are noise, `notes` say what was not compared."""

    facts: tuple[FactChange, ...]
    verdicts: tuple[VerdictChange, ...]
    folded: int = 0
    notes: tuple[str, ...] = ()
