"""What the configured model needs, what it may use, and which models would fit.

Computed from other facts and the rule file's models, so that it works for a snapshot too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from preflight.model.facts import Facts, Measured, Unknown, make_fact
from preflight.model.quantities import format_bytes, is_finite_and_within_limit

if TYPE_CHECKING:
    from preflight.model.rules import LanguageModel


def derive_model_facts(
    facts: Facts, models: Sequence[LanguageModel], overhead: float
) -> Iterator[Measured]:
    """Yield the facts of the model; `overhead` in bytes is what the host keeps for itself."""
    yield from _measure_model_memory(facts, models)
    budget, source = _find_memory_budget(facts, overhead)
    yield make_fact("model.budget", budget, source)
    fitting: list[str] | Unknown | None = budget if isinstance(budget, Unknown) else None
    if not isinstance(budget, Unknown):
        largest_first = sorted(models, key=lambda model: -model.memory)
        fitting = [model.name for model in largest_first if model.memory <= budget] or None
        source = f"the rule file's models, against {format_bytes(budget)}"
    yield make_fact("model.best", fitting[0] if isinstance(fitting, list) else fitting, source)
    yield make_fact("model.alternatives", fitting, source)
    service = facts.get(("ollama", "service"))
    gpus: Any = service
    if isinstance(service, str):
        gpus = facts.get(("compose", "services", service, "gpus"))
    is_given = gpus if isinstance(gpus, Unknown) else gpus is not None
    yield make_fact("model.gpu", is_given, "the service that runs Ollama")


def normalize_model_name(name: str) -> str:
    """Return a model's name for comparing: `Phi` is registry.ollama.ai/library/phi:latest."""
    plain = name.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return plain if ":" in plain.rpartition("/")[2] else f"{plain}:latest"


def _measure_model_memory(facts: Facts, models: Sequence[LanguageModel]) -> Iterator[Measured]:
    """Yield the model's memory: by the rule file, else as Ollama reports, else an estimate."""
    name = facts.get(("model", "name"))
    if not isinstance(name, str):
        for fact in ("listed", "memory", "estimated"):
            yield make_fact(f"model.{fact}", name, "no model is configured")
        return
    by_name = {normalize_model_name(model.name): model for model in reversed(models)}
    listed = by_name.get(normalize_model_name(name))
    source = "the rule file's models"
    yield make_fact("model.listed", listed and listed.name, source)
    resident, estimate = (facts.get(("model", key)) for key in ("resident", "estimate"))
    need: Any = listed and listed.memory
    estimated: bool | Unknown = False
    if (
        listed is None and _is_number_within_limit(resident) and resident > 0
    ):  # 0 where a GPU holds it
        need, source = resident, "GET /api/ps: it is loaded"
    elif listed is None and _is_number_within_limit(estimate):
        need, source, estimated = estimate, facts.source(("model", "estimate")), True
    elif listed is None:
        why = estimate.reason if isinstance(estimate, Unknown) else "no running Ollama has it"
        reason = f"the size of {name} is unknown: no rule file lists it; {why}"
        need = estimated = Unknown(reason)
    yield make_fact("model.memory", need, source)
    yield make_fact("model.estimated", estimated, source)


def _find_memory_budget(facts: Facts, overhead: float) -> tuple[float | Unknown, str]:
    """Return the lowest limit on memory, and its name; unknown without Docker's figure."""
    docker, name = facts.get(("docker", "memory", "available")), "the memory free for this stack"
    if not _is_number_within_limit(docker):
        docker, name = facts.get(("docker", "memory", "usable")), "Docker's memory"
    if not _is_number_within_limit(docker):
        known = isinstance(docker, Unknown)
        return docker if known else Unknown("Docker's memory is unknown"), ""
    bounds = [(docker, name), *_find_ollama_memory_limits(facts)]
    host = facts.get(("host", "memory", "total"))
    if facts.get(("docker", "local")) is True and _is_number_within_limit(host):
        name = f"the host's memory minus {format_bytes(overhead)} for the system"
        bounds.append((max(0, host - overhead), name))
    least, source = min(bounds)
    larger = min((bound for bound in bounds if bound[0] > least), default=None)
    more = f" (next limit: {larger[1]}, {format_bytes(larger[0], binary=True)})" if larger else ""
    return int(least), f"{source}{more}"


def _find_ollama_memory_limits(facts: Facts) -> Iterator[tuple[float, str]]:
    """Yield the limits of the service that runs the model: in the file and on its containers."""
    service = facts.get(("ollama", "service"))
    if not isinstance(service, str):
        return
    limits = {f"{service}'s limit": facts.get(("compose", "services", service, "limits", "memory"))}
    containers = facts.get(("stack", "containers"))
    for name in containers if isinstance(containers, dict) else ():
        top = ("stack", "containers", name)
        if facts.get((*top, "service")) == service and facts.get((*top, "state")) == "running":
            limit = facts.get((*top, "memory", "limit"))
            limits[f"the limit over the container {name}"] = limit
    yield from ((limit, name) for name, limit in limits.items() if _is_number_within_limit(limit))


def _is_number_within_limit(value: Any) -> TypeGuard[float]:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and is_finite_and_within_limit(value)
    )
