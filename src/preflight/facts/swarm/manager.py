"""What a Swarm's manager tells: each node, what is left on it, how this project runs.

What tasks of this project reserve already counts as free: it is about them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, EngineError
from preflight.facts.engine.responses import get_object, or_unreported, text_or_none
from preflight.facts.swarm.cluster import (
    CPUS,
    MEMORY,
    NANO,
    Node,
    parse_nodes,
    parse_tasks,
    pending,
    rooms,
)
from preflight.facts.swarm.packing import Amounts
from preflight.facts.swarm.running import STACK, by_containers, is_of
from preflight.facts.swarm.services import of_manager
from preflight.facts.swarm.stack import Swarm, facts
from preflight.model.facts import Measured, Unknown

Rows: TypeAlias = Sequence[Mapping[str, Any]]

_TOP = ("docker", "swarm")
_NODES = (*_TOP, "nodes")
_OF_NODES = ("ready", "managers", "nodes")


def tell(
    api: EngineApi, project: Project | Unknown | None, every: Callable[..., Iterator[Measured]]
) -> Iterator[Measured]:
    """Yield the facts; `every` yields a value for all of them but some."""
    try:
        nodes = parse_nodes(api.swarm_nodes())
    except EngineError as fault:
        yield from every(Unknown(str(fault), fault.kind))
        return
    takes = sum(node.takes_tasks for node in nodes)
    yield Measured((*_TOP, "ready"), takes, "GET /nodes Status.State, Spec.Availability")
    leads = sum(node.leads for node in nodes)
    yield Measured((*_TOP, "managers"), leads, "GET /nodes ManagerStatus.Reachability")
    for node in nodes:
        yield from _node(node)
    try:
        services, tasks = api.swarm_services(), api.swarm_tasks()
    except EngineError as fault:
        unknown = Unknown(str(fault), fault.kind)
        yield from (Measured((*_NODES, node.name, "free"), unknown) for node in nodes)
        yield Measured(_NODES, {}, "GET /nodes")
        yield from every(unknown, but=_OF_NODES)
        return
    swarm, own = _read(nodes, services, tasks, project)
    for node in nodes:
        yield from _free(node, swarm.free[node.id])
    yield Measured(_NODES, {}, "GET /nodes")
    how = "stack" if own else by_containers(api, project, stack=False)
    yield Measured((*_TOP, "stack"), how, "GET /services, GET /containers/json")
    if isinstance(project, Project):
        yield from facts(project, swarm)
    else:
        yield from every(project, "no compose file here", but=(*_OF_NODES, "stack"))


def _read(
    nodes: Sequence[Node], services: Rows, tasks: Rows, project: Project | Unknown | None
) -> tuple[Swarm, bool]:
    """Put together what the manager said, and whether services of the project are there."""
    by_id = {str(row.get("ID")): row for row in services}
    own = {key for key, row in by_id.items() if _is_own(project, row)}
    names = {key: str(get_object(by_id[key], "Spec").get("Name")) for key in own}
    others = [task for task in parse_tasks(tasks) if task.service not in own]
    swarm = Swarm(
        nodes=tuple(nodes),
        free=rooms(nodes, others),
        others=tuple(others),
        services={key: of_manager(row) for key, row in by_id.items()},
        pending={names[key]: why for key, why in pending(tasks).items() if key in own},
    )
    return swarm, bool(own)


def _is_own(project: Project | Unknown | None, row: Mapping[str, Any]) -> bool:
    spec = get_object(row, "Spec")
    stack = text_or_none(get_object(spec, "Labels").get(STACK))
    return isinstance(project, Project) and is_of(project, stack, text_or_none(spec.get("Name")))


def _node(node: Node) -> Iterator[Measured]:
    top = (*_NODES, node.name)
    cores = None if node.cpus is None else node.cpus / NANO
    for name, value, key in (
        ("role", node.role, "Spec.Role"),
        ("state", node.state, "Status.State"),
        ("availability", node.availability, "Spec.Availability"),
        ("cpus", cores, "Description.Resources.NanoCPUs"),
        ("memory", node.memory, "Description.Resources.MemoryBytes"),
    ):
        yield Measured((*top, name), or_unreported(value, key), f"GET /nodes {key}")
    for name, value in node.labels.items():
        yield Measured((*top, "labels", name), value, "GET /nodes Spec.Labels")
    yield Measured((*top, "labels"), {}, "GET /nodes Spec.Labels")


def _free(node: Node, room: Amounts | None) -> Iterator[Measured]:
    top, source = (*_NODES, node.name, "free"), "GET /nodes less GET /tasks of others"
    if room is None:
        yield Measured(top, Unknown("the manager does not say what the node has"))
        return
    yield Measured((*top, "cpus"), room[CPUS] / NANO, source)
    yield Measured((*top, "memory"), room[MEMORY], source)
