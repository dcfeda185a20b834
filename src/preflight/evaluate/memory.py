"""Where memory goes, and the tightest constraint."""

from __future__ import annotations

from collections.abc import Mapping

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts
from preflight.model.quantities import is_plausible
from preflight.model.report import MemoryBreakdown, MemoryConstraint, ServiceMemory


def compute_memory_breakdown(facts: Facts, overhead: float | None) -> MemoryBreakdown:
    """Return what takes memory, in bytes; what isn't known is None."""
    services = facts.get(("compose", "services"))
    model_name = facts.get(("model", "name"))
    is_local = facts.get(("docker", "local")) is not False
    breakdown = MemoryBreakdown(
        host=get_size(facts, "host", "memory", "total") if is_local else None,
        overhead=overhead,
        docker=get_size(facts, "docker", "memory", "usable"),
        services=tuple(
            _compute_service_memory(facts, str(name))
            for name in (services if isinstance(services, Mapping) else ())
        ),
        model=model_name if isinstance(model_name, str) else None,
        model_memory=get_size(facts, "model", "memory"),
        model_budget=get_size(facts, "model", "budget"),
    )
    return breakdown._replace(tightest=_find_tightest_constraint(breakdown))


def _compute_service_memory(facts: Facts, name: str) -> ServiceMemory:
    path = ("compose", "services", name)
    replicas = get_size(facts, *path, "replicas")
    return ServiceMemory(
        name,
        1 if replicas is None else max(int(replicas), 0),  # a snapshot may hold any number
        get_size(facts, *path, "reservations", "memory"),
        get_size(facts, *path, "limits", "memory"),
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


def get_size(facts: Facts, *path: str) -> float | None:
    """Return a size in bytes, None where it isn't known."""
    value = facts.get(path)
    return value if is_number(value) and is_plausible(value) else None
