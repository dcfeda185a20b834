"""The facts of whatever listens at an engine's address, measured in process."""

from __future__ import annotations

from typing import Any

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker import run_probe
from preflight.facts.table import PROBES
from preflight.model.facts import Facts, build_facts


def facts_of(url: str, timeout: float = 2) -> Facts:
    context = MeasurementContext(MeasurementOptions(docker_host=url, timeout=timeout))
    probe = next(probe for probe in PROBES if probe.module == "engine.engine_facts")
    return build_facts(run_probe(probe, context), measured_at="", version="")


def problem(facts: Facts) -> tuple[Any, Any, str]:
    """Return whether the engine is reachable, and the kind and the reason of its problem."""
    at = ("docker", "problem")
    return (
        facts.get(("docker", "reachable")),
        facts.get((*at, "kind")),
        str(facts.get((*at, "reason"))),
    )
