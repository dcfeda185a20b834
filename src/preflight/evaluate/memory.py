"""Where memory goes: the host, Docker's share, each service, the model, the tightest constraint."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts
from preflight.model.quantities import is_plausible
from preflight.model.report import MemoryBreakdown, MemoryConstraint, ServiceMemory


def memory_breakdown(facts: Facts, overhead: float | None) -> MemoryBreakdown:
    """Return what takes memory, in bytes; what isn't known is None."""
    services = facts.get(("compose", "services"))
    host = _size(facts, "host", "memory", "total")
    model_name = facts.get(("model", "name"))
    breakdown = MemoryBreakdown(
        host=host if facts.get(("docker", "local")) is not False else None,
        overhead=overhead,
        docker=_size(facts, "docker", "memory", "usable"),
        services=tuple(
            _service_memory(facts, str(name))
            for name in (services if isinstance(services, Mapping) else ())
        ),
        model=model_name if isinstance(model_name, str) else None,
        model_memory=_size(facts, "model", "memory"),
        model_budget=_size(facts, "model", "budget"),
    )
    return breakdown._replace(tightest=_tightest_constraint(breakdown))


def _service_memory(facts: Facts, name: str) -> ServiceMemory:
    path = ("compose", "services", name)
    replicas = _size(facts, *path, "replicas")
    return ServiceMemory(
        name,
        1 if replicas is None else max(int(replicas), 0),  # a snapshot may hold any number
        _size(facts, *path, "reservations", "memory"),
        _size(facts, *path, "limits", "memory"),
    )


def _tightest_constraint(breakdown: MemoryBreakdown) -> MemoryConstraint | None:
    """Return the constraint with the least to spare, which is negative where memory is short."""
    host, docker, overhead = breakdown.host, breakdown.docker, breakdown.overhead or 0
    budget, model = breakdown.model_budget, breakdown.model_memory
    reserved = sum((one.reservation or 0) * one.replicas for one in breakdown.services)
    constraints = []
    if host is not None and reserved:
        required_by = "the reservations and the overhead"
        constraints.append(MemoryConstraint("host", host, reserved + overhead, required_by))
    if docker is not None and reserved:
        constraints.append(MemoryConstraint("docker", docker, reserved, "the reservations"))
    if budget is not None and model is not None:
        constraints.append(MemoryConstraint("model", budget, model, "the model needs"))
    return min(constraints, key=lambda constraint: constraint.spare, default=None)


def _size(facts: Facts, *path: str) -> float | None:
    value: Any = facts.get(path)
    return value if is_number(value) and is_plausible(value) else None
