"""Where the tasks of this project find places: each by itself, all together, a node lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from preflight.facts.compose.project import Project, where
from preflight.facts.swarm.cluster import CPUS, MEMORY, NANO, Node, Task
from preflight.facts.swarm.packing import Amounts, Demand, Packing, Shortage, pack, spread
from preflight.facts.swarm.services import (
    Service,
    amount,
    demands,
    engine_words,
    fits,
    of_compose,
    reason,
    written,
)
from preflight.model.facts import Measured, Unknown, Value

_TOP = ("docker", "swarm")
_MOST_NODES = 200  # of which each is taken away once
_STATES = ("placed", "tight", "unproved", "impossible")
_PACKED = "deploy.resources.reservations, first-fit decreasing on what is left of each node"


class Swarm(NamedTuple):
    """What a manager said: `free` is what others' tasks leave of each node, by its id; `others`
    are those tasks, and `services` all services by id; `pending` is how many tasks of this
    project's wait for a node, and why, by the full name of their service.
    """

    nodes: tuple[Node, ...]
    free: Mapping[str, Amounts | None]
    others: tuple[Task, ...]
    services: Mapping[str, Service]
    pending: Mapping[str, tuple[int, str]]

    @property
    def taking(self) -> list[Node]:
        """The nodes that take tasks."""
        return [node for node in self.nodes if node.takes_tasks]

    @property
    def names(self) -> Mapping[str, str]:
        """The nodes' names by their ids."""
        return {node.id: node.name for node in self.nodes}


def facts(project: Project, swarm: Swarm) -> Iterator[Measured]:
    """Yield the facts of the project's services, then of all tasks together."""
    services = [of_compose(name, one) for name, one in project.services.items()]
    for service in services:
        yield from _service(project, swarm, service)
    yield Measured((*_TOP, "services"), {}, "the compose files, GET /nodes, GET /tasks")
    wanted = [demand for one in services for demand in _demands(one, swarm.taking)]
    yield from _told("packed", _spread(swarm, wanted, _pack(swarm, wanted)), swarm)
    yield from _loss(swarm, services)


# --- one service --------------------------------------------------------------------------------


def _service(project: Project, swarm: Swarm, service: Service) -> Iterator[Measured]:
    def fact(name: str, value: Value | Unknown, *key: str) -> Measured:
        place = where(project, ("services", service.name, "deploy", *key))
        return Measured((*_TOP, "services", service.name, name), value, place)

    allowed = [node for node in swarm.nodes if service.allows(node)]
    roomy = fits(service, swarm.nodes, swarm.free)
    fitting = _fits(service, allowed, roomy, swarm.free)
    cores, failed = service.needs.get(CPUS, 0) / NANO, fitting is False
    tasks = len(allowed) if service.number is None else service.number
    yield fact("tasks", tasks, "mode" if service.number is None else "replicas")
    yield fact("nodes", [node.name for node in allowed] or None, "placement")
    yield fact("memory", service.needs.get(MEMORY), "resources", "reservations", "memory")
    yield fact("cpus", cores or None, "resources", "reservations", "cpus")
    yield fact("fits", fitting, "resources" if allowed else "placement")
    said = engine_words(service, swarm.nodes, swarm.free) if failed else None
    yield fact("error", said, "resources")
    yield fact("reason", reason(service, swarm.nodes, swarm.free) if failed else None, "resources")
    waiting, why = swarm.pending.get(f"{project.name}_{service.name}", (0, None))
    yield fact("pending", waiting, "replicas")
    yield fact("waits_for", why, "replicas")


def _fits(
    service: Service,
    allowed: Sequence[Node],
    roomy: Sequence[str],
    free: Mapping[str, Amounts | None],
) -> bool | Unknown:
    """Whether each task by itself has a place; one that runs everywhere needs room everywhere."""
    if service.refused is not None:
        return False
    enough = len(roomy) == len(allowed) if service.number is None else bool(roomy)
    if enough or service.number == 0:
        return True
    unsaid = [node for node in allowed if free[node.id] is None]
    known = len(allowed) - len(unsaid)
    if unsaid and (service.number is not None or len(roomy) == known):
        return _unsaid(unsaid)
    return False


def _unsaid(nodes: Sequence[Node]) -> Unknown:
    names = ", ".join(node.name for node in nodes)
    return Unknown(f"the manager does not say what it has of {names}")


# --- all together -------------------------------------------------------------------------------


def _demands(service: Service, nodes: Sequence[Node]) -> list[Demand]:
    """Return what there is to place; a service that Swarm refuses has tasks and no node."""
    if service.refused is not None:
        return [Demand(service.name, service.number or 1, service.needs, ())]
    return demands(service, nodes)


def _pack(swarm: Swarm, wanted: Sequence[Demand], lost: str = "") -> Packing | Unknown:
    """Pack on the nodes that are known; those that aren't might take what is left over."""
    taking = [node for node in swarm.taking if node.id != lost]
    free = {node.id: room for node in taking if (room := swarm.free[node.id]) is not None}
    packing = pack(free, wanted)
    unsaid = [node for node in taking if node.id not in free]
    return _unsaid(unsaid) if unsaid and packing.unplaced else packing


def _spread(
    swarm: Swarm, wanted: Sequence[Demand], packing: Packing | Unknown
) -> Packing | Unknown:
    """Say where a placing that was found is one that Swarm may miss."""
    if isinstance(packing, Unknown) or packing.state != "placed":
        return packing
    free = {key: room for key, room in swarm.free.items() if room is not None}
    pending = spread(free, wanted, Counter(task.node for task in swarm.others))
    return packing._replace(state="tight", unplaced=pending) if pending else packing


def _told(
    name: str, packing: Packing | Unknown, swarm: Swarm, source: str = _PACKED
) -> Iterator[Measured]:
    top = (*_TOP, name)
    if isinstance(packing, Unknown):
        yield from (Measured((*top, one), packing) for one in ("state", "unplaced", "reason"))
        return
    yield Measured((*top, "state"), packing.state, source)
    yield Measured((*top, "unplaced"), list(written(packing.unplaced)) or None, source)
    yield Measured((*top, "reason"), _reason(packing, swarm.names), source)


def _reason(packing: Packing, names: Mapping[str, str]) -> str | None:
    if packing.state == "placed":
        return None
    if packing.shortage is not None:
        return _proof(packing.shortage, names)
    left = ", ".join(written(packing.unplaced))
    if packing.state == "tight":
        return f"it takes packing; Swarm spreads tasks, and may find no place for {left}"
    return f"no place found for {left}; that there is none is not proved"


def _proof(short: Shortage, names: Mapping[str, str]) -> str:
    who, nodes = ", ".join(short.names), ", ".join(names[one] for one in short.nodes)
    if not short.nodes:
        return f"no node may run {who}"
    if short.kind == "tasks":
        tasks = "1 task" if short.asked == 1 else f"{short.asked} tasks"
        return f"{who} has {tasks}, and there is room for {short.left} on {nodes}"
    asked, left = (amount(short.kind, one) for one in (short.asked, short.left))
    return f"{who} reserve {asked}, {left} are left on {nodes}"


# --- a node lost --------------------------------------------------------------------------------


def _loss(swarm: Swarm, services: Sequence[Service]) -> Iterator[Measured]:
    """Take each node away once, and tell the worst: its tasks of other services need room too."""
    top, taking = (*_TOP, "loss"), swarm.taking
    if len(taking) < 2 or len(taking) > _MOST_NODES:
        many = Unknown(f"more than {_MOST_NODES} nodes aren't taken away one by one", "unsupported")
        value = many if taking[2:] else None
        for name in ("node", "state", "unplaced", "reason"):
            yield Measured((*top, name), value, f"{len(taking)} nodes take tasks")
        return
    packings = [(node, _pack(swarm, _without(swarm, services, node), node.id)) for node in taking]
    node, worst = max(packings, key=lambda one: _badness(one[1]))
    yield Measured((*top, "node"), node.name, "GET /nodes, each taken away once")
    yield from _told("loss", worst, swarm, f"{_PACKED}, without {node.name}")


def _badness(packing: Packing | Unknown) -> tuple[float, int]:
    """What is proved is worse than what nobody knows, and that is worse than what was found."""
    if isinstance(packing, Unknown):
        return 0.5, 0
    return _STATES.index(packing.state), sum(packing.unplaced.values())


def _without(swarm: Swarm, services: Sequence[Service], lost: Node) -> list[Demand]:
    """Return all that there is to place when a node is lost."""
    nodes = [node for node in swarm.taking if node.id != lost.id]
    wanted = [demand for one in services for demand in _demands(one, nodes)]
    moved = Counter(task.service for task in swarm.others if task.node == lost.id)
    for key, number in moved.items():
        other = swarm.services.get(key)
        if other is not None and other.number is not None:
            wanted += demands(other, nodes, number)
    return wanted
