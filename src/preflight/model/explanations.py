"""What `explain`, `rules` and `models` show: rules in words, and which models fit."""

from typing import NamedTuple

from preflight.model.report import ResolvedFix, Result
from preflight.model.rules import Rule


class RuleConditionsText(NamedTuple):
    """A rule's conditions in words."""

    fact: str
    requires: str | None
    recommends: str | None
    applies_if: tuple[str, ...]


class RuleExplanation(NamedTuple):
    """One rule in words, with its results here; `source` is the document that states it."""

    rule: Rule
    text: RuleConditionsText
    source: str
    results: tuple[Result, ...]
    profile: str = ""  # whose figures these are

    @property
    def fixes(self) -> tuple[ResolvedFix, ...]:
        """The fixes for what isn't met here, each once."""
        return tuple(dict.fromkeys(fix for result in self.results for fix in result.fixes))


class ModelFit(NamedTuple):
    """A model of the catalogue, or the configured one; `fits` is None if nobody knows."""

    name: str
    memory: float | None
    fits: bool | None
    configured: bool
    note: str = ""


class ModelListing(NamedTuple):
    """Models against the budget in bytes, the largest that fits first."""

    budget: float | None
    budget_source: str
    models: tuple[ModelFit, ...]
