"""The facts of whatever listens at an engine's address, measured in process."""

from __future__ import annotations

from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.collect.measurement import Options
from preflight.facts.engine import engine_facts
from preflight.model.facts import Facts, build_facts


def facts_of(url: str, timeout: float = 2) -> Facts:
    options = Options(docker_host=url, timeout=timeout)
    return build_facts(engine_facts.measure(MeasureContext(options)), measured_at="", version="")


def problem(facts: Facts) -> tuple[Any, Any, str]:
    """Return whether the engine is reachable, and the kind and the reason of its problem."""
    at = ("docker", "problem")
    return (
        facts.get(("docker", "reachable")),
        facts.get((*at, "kind")),
        str(facts.get((*at, "reason"))),
    )
