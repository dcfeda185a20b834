"""A rule set as the judge sees it: names resolved, vars replaced, figures read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date

from preflight.model.conditions import Condition
from preflight.model.facts import Path


@dataclass(frozen=True, slots=True)
class When:
    """`fact: condition`, one line of a `when`."""

    path: Path
    condition: Condition


@dataclass(frozen=True, slots=True)
class Fix:
    """What to do. `command` is shown to copy, never run."""

    text: str
    when: tuple[When, ...] = ()
    command: str | None = None
    url: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One requirement (`require`) or recommendation (`recommend`) on one fact."""

    id: str
    title: str
    fact: Path
    require: Condition | None = None
    recommend: Condition | None = None
    why: str = ""
    section: str = ""
    tags: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    when: tuple[When, ...] = ()
    enabled: bool = True
    for_each: Path | None = None
    error: str | None = None
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Model:
    """A language model of the catalogue and the memory it needs, in bytes."""

    name: str
    memory: float
    note: str = ""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A known error: regular expressions that find it in a log, its cause and its fixes."""

    id: str
    title: str
    patterns: tuple[str, ...]
    cause: str = ""
    fixes: tuple[Fix, ...] = ()


@dataclass(frozen=True, slots=True)
class Waiver:
    """A known exception: holds through the day `until` (UTC) and down to the bound `accept`."""

    rule: str
    reason: str
    owner: str
    until: date
    accept: Condition | None = None


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Rules in the order of the file, with where they come from."""

    name: str
    origin: str  # the file, or "bundled"
    sha256: str
    source: str = ""  # the document the rules state
    next: str = ""  # what to type once all is well
    rules: tuple[Rule, ...] = ()
    vars: Mapping[str, str] = field(default_factory=dict)
    models: tuple[Model, ...] = ()
    diagnoses: tuple[Diagnosis, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    asks: frozenset[Path] = frozenset()  # every fact that a rule names

    def tags(self) -> list[str]:
        """Return every tag in use, in order of appearance."""
        return list(dict.fromkeys(tag for rule in self.rules for tag in rule.tags))

    def environment(self) -> list[str]:
        """Return the names of environment variables that a rule asks for."""
        return sorted(path[1] for path in self.asks if path[0] == "env" and len(path) == 2)
