"""What the configured model needs, what it may use, and which models would fit.

Computed from other facts and the rule file's models, so that it works for a snapshot too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeGuard

from preflight.model.facts import Facts, Measured, Unknown
from preflight.model.quantities import format_bytes, is_plausible

if TYPE_CHECKING:
    from preflight.model.rules import LanguageModel


def derive_model_facts(
    facts: Facts, models: Sequence[LanguageModel], overhead: float
) -> Iterator[Measured]:
    """Yield the facts of the model; `overhead` in bytes is what the host keeps for itself."""
    yield from _memory_facts(facts, models)
    budget, source = _find_memory_budget(facts, overhead)
    yield Measured(("model", "budget"), budget, source)
    if isinstance(budget, Unknown):
        yield Measured(("model", "best"), budget)
        yield Measured(("model", "alternatives"), budget)
        return
    largest_first = sorted(models, key=lambda model: -model.memory)
    names = [model.name for model in largest_first if model.memory <= budget]
    source = f"the rule file's models, against {format_bytes(budget)}"
    yield Measured(("model", "best"), names[0] if names else None, source)
    yield Measured(("model", "alternatives"), names or None, source)


def canonical_name(name: str) -> str:
    """Return a model's name for comparing: `Phi` is registry.ollama.ai/library/phi:latest."""
    plain = name.strip().lower().removeprefix("registry.ollama.ai/").removeprefix("library/")
    return plain if ":" in plain.rpartition("/")[2] else f"{plain}:latest"


def _memory_facts(facts: Facts, models: Sequence[LanguageModel]) -> Iterator[Measured]:
    """Yield the model's memory: by the rule file, else as Ollama reports, else an estimate."""
    name = facts.get(("model", "name"))
    if not isinstance(name, str):
        for fact in ("listed", "memory", "estimated"):
            yield Measured(("model", fact), name, "no model is configured")
        return
    listed = next(
        (model for model in models if canonical_name(model.name) == canonical_name(name)),
        None,
    )
    yield Measured(("model", "listed"), listed and listed.name, "the rule file's models")
    resident, estimate = (facts.get(("model", key)) for key in ("resident", "estimate"))
    need: Any
    need, source, estimated = None, "", False
    if listed is not None:
        need, source = listed.memory, "the rule file's models"
    elif _is_size(resident) and resident > 0:  # none where a GPU holds it
        need, source = resident, "GET /api/ps: it is loaded"
    elif _is_size(estimate):
        need, source, estimated = estimate, facts.source(("model", "estimate")), True
    else:
        why = estimate.reason if isinstance(estimate, Unknown) else "no running Ollama has it"
        reason = f"the size of {name} is not known here: no rule file has it; {why}"
        need = Unknown(reason)
    yield Measured(("model", "memory"), need, source)
    yield Measured(("model", "estimated"), need if isinstance(need, Unknown) else estimated, source)


def _find_memory_budget(facts: Facts, overhead: float) -> tuple[float | Unknown, str]:
    """Return the lowest limit on memory, and its name; unknown without Docker's figure."""
    docker = facts.get(("docker", "memory", "available"))
    name = "free for this stack"
    if not _is_size(docker):
        docker, name = facts.get(("docker", "memory", "usable")), "what Docker has"
    if not _is_size(docker):
        known = isinstance(docker, Unknown)
        return docker if known else Unknown("Docker's memory is not known"), ""
    bounds = [(docker, name), *_find_service_limits(facts)]
    host = facts.get(("host", "memory", "total"))
    if facts.get(("docker", "local")) is True and _is_size(host):
        kept = format_bytes(overhead)
        bounds.append((max(0, host - overhead), f"the host less {kept} of overhead"))
    least, source = min(bounds)
    others = "; ".join(f"{what} {format_bytes(size)}" for size, what in bounds if what != source)
    return int(least), f"{source}, the least" + (f" ({others})" if others else "")


def _find_service_limits(facts: Facts) -> Iterator[tuple[float, str]]:
    """Yield the limits of the service that runs the model: in the file and on its containers."""
    service = facts.get(("ollama", "service"))
    if not isinstance(service, str):
        return
    limit = facts.get(("compose", "services", service, "limits", "memory"))
    if _is_size(limit):
        yield limit, f"{service}'s limit"
    containers = facts.get(("stack", "containers"))
    for name in containers if isinstance(containers, dict) else ():
        top = ("stack", "containers", name)
        if facts.get((*top, "service")) != service or facts.get((*top, "state")) != "running":
            continue
        limit = facts.get((*top, "memory", "limit"))
        if _is_size(limit):
            yield limit, f"the limit over the container {name}"


def _is_size(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and is_plausible(value)
