"""Which models fit: those of the rule file and the configured one, against the memory budget."""

from __future__ import annotations

from collections.abc import Sequence

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts, Unknown, Value
from preflight.model.report import ModelFit, ModelListing
from preflight.model.rules import LanguageModel


def list_models(models: Sequence[LanguageModel], facts: Facts) -> ModelListing:
    """Return the models, the largest that fits first, then those that don't fit."""
    value = facts.get(("model", "budget"))
    budget = value if is_number(value) else None
    source = value.reason if isinstance(value, Unknown) else facts.source(("model", "budget"))
    listed_name = facts.get(("model", "listed"))  # the configured model's name in the list
    fits = [
        _fit(model.name, model.memory, budget, model.note, configured=model.name == listed_name)
        for model in models
    ]
    name = facts.get(("model", "name"))
    if isinstance(name, str) and not any(fit.configured for fit in fits):
        memory = facts.get(("model", "memory"))
        note = "" if is_number(memory) else "size unknown"
        if facts.get(("model", "estimated")) is True:
            note = "estimated"
        fits.append(_fit(name, memory, budget, note, configured=True))
    fits.sort(key=lambda fit: (fit.fits is False, fit.memory is None, -(fit.memory or 0)))
    return ModelListing(budget, source, tuple(fits))


def _fit(
    name: str, memory: Value | Unknown, budget: float | None, note: str, *, configured: bool
) -> ModelFit:
    size = memory if is_number(memory) else None
    fits = None if size is None or budget is None else size <= budget
    return ModelFit(name, size, fits, configured, note)
