"""What changed between two measurings: facts and verdicts, the worst first."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
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

    @property
    def worse(self) -> int:
        """How many verdicts were better before."""
        return sum(one.worse for one in self.verdicts)

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.facts or self.verdicts)


class Differences(NamedTuple):
    """What changed on many machines: `changed` by name, the worst first; the rest by name alone.

    `gone` were there before and aren't now, `new` are the other way round, `same` counts those
    that are as they were; `unusable` says of a machine what is wrong with one of its files.
    """

    changed: Mapping[str, Difference]
    gone: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    same: int = 0
    unusable: Mapping[str, str] = MappingProxyType({})

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.changed or self.gone or self.new)
