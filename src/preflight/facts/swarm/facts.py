"""The facts of a Swarm: its nodes, and whether this project's tasks find places on them.

An engine outside of a Swarm is asked nothing more than it has said already. A worker knows no
node but itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from preflight.facts.catalogue import SWARM
from preflight.facts.collect.context import MeasureContext
from preflight.facts.engine.api import EngineError
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.responses import get_object, list_or_empty, text_or_none, unreported
from preflight.model.facts import Measured, Unknown

_TOP = ("docker", "swarm")


def measure(context: MeasureContext) -> Iterator[Measured]:
    """Yield the facts: absent where there is no Swarm, unknown where this node can't tell."""
    try:
        engine = context.engine()
    except EndpointError as fault:
        yield from every(Unknown(str(fault), "invalid"))
        return
    except EngineError as fault:
        yield from every(Unknown(str(fault), fault.kind))
        return
    swarm = get_object(engine.info, "Swarm")
    state = text_or_none(swarm.get("LocalNodeState"))
    if state == "inactive":
        yield from every(None, "GET /info Swarm.LocalNodeState inactive")
    elif state != "active":
        yield from every(_not_active(state) if state else unreported("Swarm.LocalNodeState"))
    elif swarm.get("ControlAvailable") is True:
        from preflight.facts.swarm import manager

        yield from manager.tell(engine.api, context.project_or_unknown(), every)
    else:
        from preflight.facts.swarm.running import by_containers

        how = by_containers(engine.api, context.project_or_unknown(), stack=True)
        yield Measured((*_TOP, "stack"), how, "GET /containers/json: what runs on this node")
        yield from every(_worker(swarm))


def late(_: MeasureContext, how_long: str) -> Iterator[Measured]:
    """Yield that time ran out; what was told before stands."""
    return every(Unknown(f"not measured {how_long}", "timeout"))


def every(value: Unknown | None, source: str = "", but: Iterable[str] = ()) -> Iterator[Measured]:
    """Yield one value for all that is declared, for each collection as a whole."""
    paths = (tuple(fact.path.split(".")) for fact in SWARM)
    tops = dict.fromkeys(path[: path.index("*")] if "*" in path else path for path in paths)
    return (Measured(path, value, source) for path in tops if path[2] not in but)


def _not_active(state: str) -> Unknown:
    unlock = ": docker swarm unlock" if state == "locked" else ""
    return Unknown(f"this node's part of the Swarm is {state}{unlock}")


def _worker(swarm: Mapping[str, Any]) -> Unknown:
    managers = [
        one for one in list_or_empty(swarm.get("RemoteManagers")) if isinstance(one, Mapping)
    ]
    addresses = (text_or_none(one.get("Addr")) for one in managers)
    host = next((one.rpartition(":")[0] for one in addresses if one), "MANAGER")
    why = f"this node is a worker: ask a manager, --docker-host ssh://{host}"
    return Unknown(why, "unsupported")
