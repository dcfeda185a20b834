"""Measures a Swarm as far as this node knows it: a manager knows all, `swarm_manager` asks it."""

from collections.abc import Iterator

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_text,
    get_nested_value,
    make_unreported_unknown,
)
from preflight.facts.table import FACT_DECLARATIONS_BY_SUBJECT
from preflight.model.facts import Measured

# the names of facts and collections below docker.swarm
SWARM_FACT_NAMES = tuple(
    dict.fromkeys(fact.path.split(".")[2] for fact in FACT_DECLARATIONS_BY_SUBJECT["swarm"])
)


def measure_swarm(context: MeasurementContext) -> Iterator[Measured]:
    """Yield the facts: absent outside a Swarm; EngineError says why this node can't report them."""
    for path, value, source in _measure_swarm_facts(context):
        yield Measured(("docker", "swarm", *path), value, source)


def _measure_swarm_facts(context: MeasurementContext) -> Iterator[Measured]:
    """Yield the facts by their paths below docker.swarm, as all functions here."""
    engine = context.engine()
    state = get_nested_text(engine.info, "Swarm.LocalNodeState")
    if state == "inactive":
        source = "GET /info Swarm.LocalNodeState inactive"
        yield from (Measured((name,), None, source) for name in SWARM_FACT_NAMES)
        return
    if state != "active":
        reason = make_unreported_unknown("Swarm.LocalNodeState").reason
        reason = f"this node's state in the Swarm is {state}" if state else reason
        raise EngineError(reason, "unavailable")
    from preflight.facts.swarm_manager import (  # most engines aren't in a Swarm
        measure_as_manager,
        measure_deployment_kind,
    )

    project = context.project_or_unknown()
    if get_nested_value(engine.info, "Swarm.ControlAvailable") is True:
        yield from measure_as_manager(engine.api, project)
        return
    yield measure_deployment_kind(project, engine.api.running_containers())
    managers = get_nested_list(engine.info, "Swarm.RemoteManagers")
    addresses = [get_nested_text(manager, "Addr") for manager in managers]
    host = next(filter(None, addresses), "MANAGER:").rpartition(":")[0]
    reason = f"this node is a worker: use a manager with --docker-host ssh://{host}"
    raise EngineError(reason, "unsupported")
