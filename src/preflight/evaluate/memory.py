"""Where memory goes, the tightest constraint, and which language models fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts, Unknown, Value
from preflight.model.quantities import is_plausible
from preflight.model.report import (
    MemoryBreakdown,
    MemoryConstraint,
    ModelFit,
    ModelListing,
    ServiceMemory,
)
from preflight.model.rules import LanguageModel


def memory_breakdown(facts: Facts, overhead: float | None) -> MemoryBreakdown:
    """Return what takes memory, in bytes; what isn't known is None."""
    services = facts.get(("compose", "services"))
    host = _read_size(facts, "host", "memory", "total")
    model_name = facts.get(("model", "name"))
    breakdown = MemoryBreakdown(
        host=host if facts.get(("docker", "local")) is not False else None,
        overhead=overhead,
        docker=_read_size(facts, "docker", "memory", "usable"),
        services=tuple(
            _service_memory(facts, str(name))
            for name in (services if isinstance(services, Mapping) else ())
        ),
        model=model_name if isinstance(model_name, str) else None,
        model_memory=_read_size(facts, "model", "memory"),
        model_budget=_read_size(facts, "model", "budget"),
    )
    return breakdown._replace(tightest=_tightest_constraint(breakdown))


def _service_memory(facts: Facts, name: str) -> ServiceMemory:
    path = ("compose", "services", name)
    replicas = _read_size(facts, *path, "replicas")
    return ServiceMemory(
        name,
        1 if replicas is None else max(int(replicas), 0),  # a snapshot may hold any number
        _read_size(facts, *path, "reservations", "memory"),
        _read_size(facts, *path, "limits", "memory"),
    )


def _tightest_constraint(breakdown: MemoryBreakdown) -> MemoryConstraint | None:
    """Return the constraint with the least to spare, which is negative where memory is short."""
    host, docker, overhead = breakdown.host, breakdown.docker, breakdown.overhead or 0
    budget, model = breakdown.model_budget, breakdown.model_memory
    reserved = sum((service.reservation or 0) * service.replicas for service in breakdown.services)
    constraints = []
    if host is not None and reserved:
        required_by = "the reservations and the overhead"
        constraints.append(MemoryConstraint("host", host, reserved + overhead, required_by))
    if docker is not None and reserved:
        constraints.append(MemoryConstraint("docker", docker, reserved, "the reservations"))
    if budget is not None and model is not None:
        constraints.append(MemoryConstraint("model", budget, model, "the model needs"))
    return min(constraints, key=lambda constraint: constraint.spare, default=None)


def _read_size(facts: Facts, *path: str) -> float | None:
    value: Any = facts.get(path)
    return value if is_number(value) and is_plausible(value) else None


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
