"""Which models fit: the rule file's, and the configured one, against the budget."""

from __future__ import annotations

from collections.abc import Sequence

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts, Unknown, Value
from preflight.model.report import ModelFit, ModelListing
from preflight.model.rules import LanguageModel


def fitting(models: Sequence[LanguageModel], facts: Facts) -> ModelListing:
    """Return the models, the largest that fits first, then those that don't."""
    path = ("model", "budget")
    budget = facts.get(path)
    why = budget.reason if isinstance(budget, Unknown) else facts.source(path)
    most = budget if is_number(budget) else None
    name = facts.get(("model", "name"))
    configured = str(name) if name is not None and not isinstance(name, Unknown) else None
    listed_as = facts.get(("model", "listed"))
    listed = [
        _candidate(one.name, one.memory, most, one.name == listed_as, one.note) for one in models
    ]
    if configured is not None and not any(one.configured for one in listed):
        listed.append(_own(configured, facts, most))
    listed.sort(key=lambda one: (one.fits is False, one.memory is None, -(one.memory or 0)))
    return ModelListing(most, why, tuple(listed))


def _own(name: str, facts: Facts, most: float | None) -> ModelFit:
    """The configured model, where the rule file doesn't list it."""
    memory = facts.get(("model", "memory"))
    estimated = facts.get(("model", "estimated")) is True
    note = "by an estimate" if estimated else "" if is_number(memory) else "size not known"
    return _candidate(name, memory, most, True, note)


def _candidate(
    name: str, memory: Value | Unknown, most: float | None, configured: bool, note: str
) -> ModelFit:
    need = memory if is_number(memory) else None
    fits = None if need is None or most is None else need <= most
    return ModelFit(name, need, fits, configured, note)
