"""What probes measure with: a project and an engine, given by the test in place of real ones."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, LazyValue
from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.facts.engine.host_visibility import (
    LOCAL_VM_VISIBILITY,
    NO_HOST_VISIBILITY,
    VM_ENGINE_SIGNS,
    HostVisibility,
)
from preflight.facts.table import PROBES, make_unknown_facts
from preflight.model.facts import Measured, NotMeasuredError, make_unknown_from_error

LOCAL = Endpoint("unix:///nowhere/docker.sock", "default", "the test")
REMOTE = Endpoint("tcp://192.0.2.1:2375", "default", "the test")
SEEN = HostVisibility(None, None, None, lambda _: None)


def context_with(
    project: Project | None,
    *,
    api: EngineApi | None = None,
    endpoint: Endpoint = LOCAL,
    native: bool = True,
    name: str = "docker",
    version: Mapping[str, Any] | None = None,
    info: Mapping[str, Any] | None = None,
) -> MeasurementContext:
    """Return a context with this project and engine, which runs on this machine if `native`."""
    is_local_vm = name in VM_ENGINE_SIGNS and endpoint.is_local
    elsewhere = LOCAL_VM_VISIBILITY if is_local_vm else NO_HOST_VISIBILITY
    visibility = SEEN if native else elsewhere
    api = api or EngineApi(endpoint, 1)
    engine = Engine(api, dict(version or {}), dict(info or {}), name, visibility)
    context = MeasurementContext(MeasurementOptions())
    context.endpoint = LazyValue(lambda: endpoint)
    context.engine = LazyValue(lambda: engine)
    context.project = LazyValue(lambda: project)
    return context


def without_engine(project: Project | None, endpoint: Endpoint = LOCAL) -> MeasurementContext:
    """Return a context whose engine refuses connections."""

    def refuse() -> Engine:
        raise EngineError("connection refused", "refused")

    context = context_with(project, endpoint=endpoint)
    context.engine = LazyValue(refuse)
    return context


def completed(module: str, facts: Iterator[Measured]) -> Iterator[Measured]:
    """Yield what a probe does, and then what the worker says of the facts that are missing."""
    known = set()
    try:
        for fact in facts:
            known.add(fact.path)
            yield fact
    except (NotMeasuredError, OSError) as error:
        probe = next(probe for probe in PROBES if probe.module == module)
        for fact in make_unknown_facts(probe, make_unknown_from_error(error)):
            if fact.path not in known:
                yield fact
