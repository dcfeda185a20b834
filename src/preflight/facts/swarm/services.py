"""What a service asks of the scheduler, of a compose file or of a manager's answer alike.

Of the file `docker stack deploy` takes what stands under `deploy` and nothing else: no `scale`,
no `mem_reservation`. Volume plugins and the platforms of images are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from preflight.facts.engine.responses import count_or_none, get_object, is_count, list_or_empty
from preflight.facts.swarm.cluster import CPUS, MEMORY, NANO, Node, reservations
from preflight.facts.swarm.constraints import Constraint, ConstraintError, meets, parse
from preflight.facts.swarm.packing import Amounts, Demand, capacity
from preflight.model.quantities import format_bytes, format_number

_FEWEST_DIGITS = 6  # of cores: Compose reckons them in 32-bit floats


class Service(NamedTuple):
    """What is asked: how many tasks, None for one on each node; `most` a node, nought for any.

    `refused` is what Swarm says of constraints that it doesn't take.
    """

    name: str
    number: int | None
    needs: Amounts
    constraints: tuple[str, ...] = ()
    most: int = 0
    host_ports: bool = False
    parsed: tuple[Constraint, ...] = ()
    refused: str | None = None

    def allows(self, node: Node) -> bool:
        """Whether its constraints allow a node that takes tasks."""
        return node.takes_tasks and self.refused is None and meets(node, self.parsed)

    @property
    def a_node(self) -> int:
        """How many tasks a node may have at most, nought for any: a port of its own has one."""
        return 1 if self.host_ports else self.most


def of_compose(name: str, service: Mapping[str, Any]) -> Service:
    """Read a service of an effective compose configuration."""
    deploy = get_object(service, "deploy")
    placement = get_object(deploy, "placement")
    ports = _rows(service.get("ports"))
    replicas = deploy.get("replicas")
    everywhere = deploy.get("mode") in ("global", "global-job")
    return _made(
        name,
        None if everywhere else replicas if is_count(replicas) else 1,
        _asked(get_object(get_object(deploy, "resources"), "reservations")),
        placement.get("constraints"),
        placement.get("max_replicas_per_node"),
        any(port.get("mode") == "host" and port.get("published") for port in ports),
    )


def _asked(resources: Mapping[str, Any]) -> Amounts:
    rows = _rows(resources.get("generic_resources"))
    discrete = [get_object(row, "discrete_resource_spec") for row in rows]
    amounts = [(str(one.get("kind")), one.get("value")) for one in discrete]
    amounts += [(MEMORY, resources.get("memory")), (CPUS, _nano(resources.get("cpus")))]
    return {kind: whole for kind, amount in amounts if (whole := _whole(amount))}


def _rows(value: Any) -> Iterator[Mapping[str, Any]]:
    return (one for one in list_or_empty(value) if isinstance(one, Mapping))


def _whole(value: Any) -> int:
    try:
        return max(0, int(value or 0))
    except (TypeError, ValueError, OverflowError):
        return 0


def _nano(cores: Any) -> int:
    try:
        return round(round(float(cores or 0), _FEWEST_DIGITS) * NANO)
    except (TypeError, ValueError, OverflowError):
        return 0


def of_manager(row: Mapping[str, Any]) -> Service:
    """Read a row of GET /services."""
    spec = get_object(row, "Spec")
    task, mode = get_object(spec, "TaskTemplate"), get_object(spec, "Mode")
    placement = get_object(task, "Placement")
    ports = _rows(get_object(spec, "EndpointSpec").get("Ports"))
    job = get_object(mode, "ReplicatedJob").get("MaxConcurrent")
    replicas = get_object(mode, "Replicated").get("Replicas")
    everywhere = "Global" in mode or "GlobalJob" in mode
    return _made(
        str(spec.get("Name") or row.get("ID") or ""),
        None if everywhere else count_or_none(job) or count_or_none(replicas) or 0,
        reservations(task),
        placement.get("Constraints"),
        placement.get("MaxReplicas"),
        any(port.get("PublishMode") == "host" and port.get("PublishedPort") for port in ports),
    )


def _made(
    name: str, number: int | None, needs: Amounts, constraints: Any, most: Any, host_ports: bool
) -> Service:
    written = tuple(str(one) for one in list_or_empty(constraints))
    made = Service(name, number, needs, written, count_or_none(most) or 0, host_ports)
    try:
        return made._replace(parsed=tuple(map(parse, written)))
    except ConstraintError as fault:
        return made._replace(refused=str(fault))


def demands(service: Service, nodes: Iterable[Node], number: int | None = None) -> list[Demand]:
    """Return the tasks of a service, by the ids of the nodes that they may run on.

    `number` is how many, where it isn't as many as the service has.
    """
    allowed = tuple(node.id for node in nodes if service.allows(node))
    wanted = service.number if number is None else number
    if wanted is None:
        return [Demand(service.name, 1, service.needs, (one,)) for one in allowed]
    return [Demand(service.name, wanted, service.needs, allowed, service.a_node)]


def fits(service: Service, nodes: Sequence[Node], rooms: Mapping[str, Amounts | None]) -> list[str]:
    """Return the ids of the nodes that have room for one of its tasks by itself."""
    one = Demand(service.name, 1, service.needs, ())
    return [
        node.id
        for node in nodes
        if service.allows(node)
        and (not service.needs or ((room := rooms[node.id]) is not None and capacity(room, one)))
    ]


# --- in words -----------------------------------------------------------------------------------

_FILTERS = (
    "{} not available for new tasks",
    "insufficient resources on {}",
    "scheduling constraints not satisfied on {}",
)


def engine_words(
    service: Service, nodes: Sequence[Node], rooms: Mapping[str, Amounts | None]
) -> str:
    """Say what Swarm's scheduler says of a task that no node takes; a node counts once.

    A task that is bound to its node has only that one against it. Source: moby/swarmkit,
    manager/scheduler/filter.go and `Pipeline.Explain`.
    """
    if service.refused is not None:
        return service.refused
    if service.number is None:
        return _FILTERS[1].format("1 node")
    alone = Demand(service.name, 1, service.needs, ())
    failed = [0, 0, 0]
    for node in nodes:
        room = rooms[node.id]
        if not node.takes_tasks:
            failed[0] += 1
        elif service.needs and room is not None and not capacity(room, alone):
            failed[1] += 1
        elif not service.allows(node):
            failed[2] += 1
    ranked = sorted(zip(failed, _FILTERS, strict=True), key=lambda one: -one[0])
    said = "; ".join(
        words.format("1 node" if number == 1 else f"{number} nodes")
        for number, words in ranked
        if number
    )
    return f"no suitable node ({said})" if said else "no suitable node"


def reason(service: Service, nodes: Sequence[Node], rooms: Mapping[str, Amounts | None]) -> str:
    """Say why a task of a service has no place, with the figures."""
    if service.refused is not None:
        return f"Swarm refuses its placement constraints: {service.refused}"
    if not any(node.takes_tasks for node in nodes):
        return "no node of this Swarm takes tasks"
    allowed = [node for node in nodes if service.allows(node)]
    if not allowed:
        return f"no node that takes tasks meets {' and '.join(service.constraints)}"
    asks = " and ".join(amount(kind, figure) for kind, figure in service.needs.items())
    most = " and ".join(_roomiest(kind, allowed, rooms) for kind in service.needs)
    return f"a task reserves {asks}; at most {most} are left on a node that may run it"


def _roomiest(kind: str, nodes: Iterable[Node], rooms: Mapping[str, Amounts | None]) -> str:
    known = ((room.get(kind, 0), node.name) for node in nodes if (room := rooms[node.id]))
    left, name = max(known, default=(0, "none"))
    return f"{amount(kind, max(0, left))} ({name})"


def amount(kind: str, figure: int) -> str:
    """Write an amount of something that can be reserved."""
    if kind == MEMORY:
        return format_bytes(figure, binary=True)
    if kind == CPUS:
        cores = format_number(figure / NANO)
        return f"{cores} CPU" if cores == "1" else f"{cores} CPUs"
    return f"{figure} {kind}"


def written(left_over: Mapping[str, int]) -> Iterator[str]:
    """Yield tasks that have no place: a service's name, with their number where there are more."""
    for name, number in left_over.items():
        yield name if number == 1 else f"{name} ×{number}"
