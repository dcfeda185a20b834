"""The nodes and tasks of a Swarm, read from a manager's answers, which may hold anything.

Amounts are whole: memory in bytes, cpus in billionths of a core, other resources by their kind.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from preflight.facts.engine.responses import count_or_none, get_object, list_or_empty, text_or_none
from preflight.facts.swarm.packing import Amounts

MEMORY, CPUS = "memory", "cpus"
NANO = 10**9
_HOLDING = {"assigned", "accepted", "preparing", "ready", "starting", "running"}
_ID = 12  # characters of a node's id beside a host's name that several have


class Node(NamedTuple):
    """One node; None is what the manager doesn't say. `name` is unique, `hostname` need not be."""

    id: str
    name: str
    hostname: str
    role: str | None
    state: str | None
    availability: str | None
    address: str
    platform: Mapping[str, Any]
    labels: Mapping[str, str]
    engine_labels: Mapping[str, str]
    memory: int | None
    cpus: int | None
    generic: Amounts
    leads: bool  # whether it is a manager that the others reach

    @property
    def takes_tasks(self) -> bool:
        """Whether the scheduler may give it tasks: what isn't said rules nothing out."""
        return self.state in ("ready", None) and self.availability in ("active", None)

    @property
    def has(self) -> Amounts | None:
        """What it has in all, None where that isn't known of all that counts."""
        if None in (self.state, self.availability) or self.memory is None or self.cpus is None:
            return None
        return {**self.generic, MEMORY: self.memory, CPUS: self.cpus}


class Task(NamedTuple):
    """A task that holds what it reserves on its node."""

    service: str
    node: str
    needs: Amounts


def parse_nodes(rows: Sequence[Mapping[str, Any]]) -> list[Node]:
    """Read GET /nodes, ordered by name; nodes of one host's name have their ids beside it."""
    found = [_node(row) for row in rows if text_or_none(row.get("ID"))]
    times = Counter(node.hostname for node in found)
    named = [
        node if times[node.hostname] == 1 else node._replace(name=f"{node.name} ({node.id[:_ID]})")
        for node in found
    ]
    again = Counter(node.name for node in named)
    unique = (n if again[n.name] == 1 else n._replace(name=f"{n.hostname} ({n.id})") for n in named)
    return sorted(unique, key=lambda node: (node.name, node.id))


def _node(row: Mapping[str, Any]) -> Node:
    spec, told, state = (get_object(row, key) for key in ("Spec", "Description", "Status"))
    resources, identity = get_object(told, "Resources"), str(row["ID"])
    hostname = text_or_none(told.get("Hostname")) or identity[:_ID]
    manager = get_object(row, "ManagerStatus")
    return Node(
        id=identity,
        name=hostname,
        hostname=hostname,
        role=text_or_none(spec.get("Role")),
        state=text_or_none(state.get("State")),
        availability=text_or_none(spec.get("Availability")),
        address=text_or_none(state.get("Addr")) or "",
        platform=get_object(told, "Platform"),
        labels=_labels(spec),
        engine_labels=_labels(get_object(told, "Engine")),
        memory=count_or_none(resources.get("MemoryBytes")) or None,
        cpus=count_or_none(resources.get("NanoCPUs")) or None,
        generic=dict(_generic(resources.get("GenericResources"))),
        leads=manager.get("Reachability") == "reachable",
    )


def _labels(holder: Mapping[str, Any]) -> dict[str, str]:
    return {k: v for k, v in get_object(holder, "Labels").items() if isinstance(v, str)}


def _generic(rows: Any) -> Iterator[tuple[str, int]]:
    """Yield how much there is of each kind: a figure, or names that count one each."""
    found: Counter[str] = Counter()
    for row in list_or_empty(rows):
        discrete, named = (get_object(row, f"{kind}ResourceSpec") for kind in ("Discrete", "Named"))
        if kind := text_or_none(discrete.get("Kind")):
            found[kind] += count_or_none(discrete.get("Value")) or 0
        if kind := text_or_none(named.get("Kind")):
            found[kind] += 1
    yield from found.items()


def reservations(spec: Mapping[str, Any]) -> dict[str, int]:
    """Return what the spec of a task reserves; what it doesn't is left out."""
    asked = get_object(get_object(spec, "Resources"), "Reservations")
    amounts = {
        **dict(_generic(asked.get("GenericResources"))),
        MEMORY: count_or_none(asked.get("MemoryBytes")) or 0,
        CPUS: count_or_none(asked.get("NanoCPUs")) or 0,
    }
    return {kind: amount for kind, amount in amounts.items() if amount}


def parse_tasks(rows: Iterable[Mapping[str, Any]]) -> list[Task]:
    """Read GET /tasks: those that hold something, as the scheduler reckons.

    Source: moby/swarmkit, manager/scheduler `setupTasksList`.
    """
    return [
        Task(
            text_or_none(row.get("ServiceID")) or "",
            str(row["NodeID"]),
            reservations(get_object(row, "Spec")),
        )
        for row in rows
        if text_or_none(row.get("NodeID"))
        and text_or_none(get_object(row, "Status").get("State")) in _HOLDING
    ]


def pending(rows: Iterable[Mapping[str, Any]]) -> dict[str, tuple[int, str]]:
    """Return of GET /tasks how many wait for a node, and why in Swarm's words, by service's id."""
    found: dict[str, tuple[int, str]] = {}
    for row in rows:
        status, service = get_object(row, "Status"), text_or_none(row.get("ServiceID"))
        if service and status.get("State") == "pending" and text_or_none(status.get("Err")):
            found[service] = found.get(service, (0, ""))[0] + 1, str(status["Err"])
    return found


def rooms(nodes: Iterable[Node], tasks: Iterable[Task]) -> dict[str, dict[str, int] | None]:
    """Return by node's id what these tasks leave of it, None where it doesn't say what it has."""
    left = {node.id: None if node.has is None else dict(node.has) for node in nodes}
    for task in tasks:
        if (room := left.get(task.node)) is not None:
            for kind, amount in task.needs.items():
                room[kind] = room.get(kind, 0) - amount
    return left
