"""Where memory goes, the tightest constraint, and which language models fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts, Unknown
from preflight.model.quantities import is_plausible
from preflight.model.report import (
    MemoryBreakdown,
    MemoryConstraint,
    ModelFit,
    ModelListing,
    ServiceMemory,
)
from preflight.model.rules import LanguageModel


def compute_memory_breakdown(facts: Facts, overhead: float | None) -> MemoryBreakdown:
    """Return what takes memory, in bytes; what isn't known is None."""
    services = facts.get(("compose", "services"))
    model_name = facts.get(("model", "name"))
    is_local = facts.get(("docker", "local")) is not False
    breakdown = MemoryBreakdown(
        host=_get_size(facts, "host", "memory", "total") if is_local else None,
        overhead=overhead,
        docker=_get_size(facts, "docker", "memory", "usable"),
        services=tuple(
            _compute_service_memory(facts, str(name))
            for name in (services if isinstance(services, Mapping) else ())
        ),
        model=model_name if isinstance(model_name, str) else None,
        model_memory=_get_size(facts, "model", "memory"),
        model_budget=_get_size(facts, "model", "budget"),
    )
    return breakdown._replace(tightest=_find_tightest_constraint(breakdown))


def _compute_service_memory(facts: Facts, name: str) -> ServiceMemory:
    path = ("compose", "services", name)
    replicas = _get_size(facts, *path, "replicas")
    return ServiceMemory(
        name,
        1 if replicas is None else max(int(replicas), 0),  # a snapshot may hold any number
        _get_size(facts, *path, "reservations", "memory"),
        _get_size(facts, *path, "limits", "memory"),
    )


def _find_tightest_constraint(breakdown: MemoryBreakdown) -> MemoryConstraint | None:
    """Return the constraint with the least to spare, which is negative where memory is short."""
    reserved = sum((service.reservation or 0) * service.replicas for service in breakdown.services)
    of_host = reserved and reserved + (breakdown.overhead or 0)
    constraints = [
        MemoryConstraint(where, available, required, required_by)
        for where, available, required, required_by in (
            ("host", breakdown.host, of_host, "the reservations and the overhead"),
            ("docker", breakdown.docker, reserved, "the reservations"),
            ("model", breakdown.model_budget, breakdown.model_memory, "the model needs"),
        )
        if available is not None and required
    ]
    return min(constraints, key=lambda constraint: constraint.spare, default=None)


def _get_size(facts: Facts, *path: str) -> float | None:
    value = facts.get(path)
    return value if is_number(value) and is_plausible(value) else None


def list_models_by_fit(models: Sequence[LanguageModel], facts: Facts) -> ModelListing:
    """Return the models, the largest that fits first, then those that don't fit."""
    path = ("model", "budget")
    value, budget = facts.get(path), _get_size(facts, *path)
    source = value.reason if isinstance(value, Unknown) else facts.source(path)

    def fit(name: str, memory: float | None, note: str, *, configured: bool) -> ModelFit:
        fits = None if memory is None or budget is None else memory <= budget
        return ModelFit(name, memory, fits, configured, note)

    listed_name = facts.get(("model", "listed"))  # the configured model's name in the list
    fits = [
        fit(model.name, model.memory, model.note, configured=model.name == listed_name)
        for model in models
    ]
    name = facts.get(("model", "name"))
    if isinstance(name, str) and not any(model.configured for model in fits):
        memory = _get_size(facts, "model", "memory")
        is_estimated = facts.get(("model", "estimated")) is True
        note = "estimated" if is_estimated else "size unknown" if memory is None else ""
        fits.append(fit(name, memory, note, configured=True))
    fits.sort(key=lambda model: (model.fits is False, model.memory is None, -(model.memory or 0)))
    return ModelListing(budget, source, tuple(fits))
