"""What `models` says: which language models fit in the memory here."""

from __future__ import annotations

from collections.abc import Sequence

from preflight.evaluate.notes_and_memory import get_number_fact
from preflight.model.explanations import ModelFit, ModelListing
from preflight.model.facts import Facts, Unknown
from preflight.model.rules import LanguageModel


def list_models_by_fit(models: Sequence[LanguageModel], facts: Facts) -> ModelListing:
    """Return the models, the largest that fits first, then those that don't fit."""
    path = ("model", "budget")
    value, budget = facts.get(path), get_number_fact(facts, *path)
    source = value.reason if isinstance(value, Unknown) else facts.source(path)

    def fit(name: str, memory: float | None, note: str, *, configured: bool) -> ModelFit:
        fits = None if memory is None or budget is None else memory <= budget
        return ModelFit(name, memory, fits, configured, note)

    listed_name = facts.get(("model", "listed"))  # the configured model's name in the list
    fits = [
        fit(model.name, model.memory, model.note, configured=model.name == listed_name)
        for model in models
    ]
    name = facts.text("model", "name")
    if name is not None and not any(model.configured for model in fits):
        memory = get_number_fact(facts, "model", "memory")
        is_estimated = facts.get(("model", "estimated")) is True
        note = "estimated" if is_estimated else "size unknown" if memory is None else ""
        fits.append(fit(name, memory, note, configured=True))
    fits.sort(key=lambda model: (model.fits is False, model.memory is None, -(model.memory or 0)))
    return ModelListing(budget, source, tuple(fits))
