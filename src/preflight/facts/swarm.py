"""Measures a Swarm through its manager: nodes, what is free on each, which tasks find a node.

Amounts are integers: memory in bytes, CPUs in billionths of a core, generic resources by kind.
What this project's own tasks reserve counts as free. The scheduler isn't simulated: Swarm spreads
tasks as they come, so it may leave one pending for which first-fit decreasing finds a node.
"""

from __future__ import annotations

import re
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.catalogue import SWARM
from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, source_of
from preflight.facts.engine.api import EngineApi, EngineError, get_label
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.responses import (
    count_or_none,
    list_or_empty,
    or_unreported,
    text_or_none,
    unreported,
)
from preflight.model.facts import Measured, Unknown
from preflight.model.quantities import format_bytes, format_number

Amounts: TypeAlias = Mapping[str, int]
FreeAmounts: TypeAlias = Mapping[str, Amounts]  # by node id, of nodes that report what they have
Row: TypeAlias = Mapping[str, Any]

TOP = ("docker", "swarm")
MEMORY, CPUS, NANO = "memory", "cpus", 10**9
STACK_LABEL = "com.docker.stack.namespace"
SERVICE_LABEL = "com.docker.swarm.service.name"
# Tasks in these states hold their reservations (swarmkit, manager/scheduler `setupTasksList`).
HOLDING_STATES = ("assigned", "accepted", "preparing", "ready", "starting", "running")
CONSTRAINT = re.compile(
    r"\s*([a-z_][\w.\-]+)\s*(==|!=)\s*([\w:\-\s.*()?+\[\]\\^$|/]+?)\s*", re.IGNORECASE | re.ASCII
)
NODE_FIELDS = {"role": "Spec.Role", "state": "Status.State", "availability": "Spec.Availability"}
CONSTRAINT_FIELDS = {
    "node.id": "ID",
    "node.hostname": "Description.Hostname",
    "node.role": "Spec.Role",
    "node.platform.os": "Description.Platform.OS",
    "node.platform.arch": "Description.Platform.Architecture",
}
CONSTRAINT_LABELS = {"node": "Spec.Labels", "engine": "Description.Engine.Labels"}


class Node(NamedTuple):
    """A row of GET /nodes under a unique name, with the amounts that the node has in total."""

    id: str
    name: str
    row: Row
    total: Amounts

    @property
    def takes_tasks(self) -> bool:
        """Whether the scheduler may use it; what isn't reported excludes nothing."""
        is_ready = text_at(self.row, "Status.State") in ("ready", None)
        return is_ready and text_at(self.row, "Spec.Availability") in ("active", None)


class Service(NamedTuple):
    """A service of the project and the nodes that it may run on.

    `replicas` is None for one task on each node, `per_node` 0 for any number on a node.
    """

    name: str
    replicas: int | None
    needs: Amounts
    per_node: int
    constraints: Sequence[str]
    nodes: Sequence[Node]

    @property
    def tasks(self) -> int:
        """The number of tasks."""
        return len(self.nodes) if self.replicas is None else self.replicas


def measure(context: MeasureContext) -> Iterator[Measured]:
    """Yield the facts: absent outside a Swarm, unknown where this node can't report them."""
    try:
        engine = context.engine()
    except (EndpointError, EngineError) as fault:
        kind = fault.kind if isinstance(fault, EngineError) else "invalid"
        yield from _all_facts(Unknown(str(fault), kind))
        return
    state = text_at(engine.info, "Swarm.LocalNodeState")
    if state == "inactive":
        yield from _all_facts(None, "GET /info Swarm.LocalNodeState inactive")
    elif state != "active":
        reason = f"this node's state in the Swarm is {state}"
        yield from _all_facts(Unknown(reason) if state else unreported("Swarm.LocalNodeState"))
    elif field(engine.info, "Swarm.ControlAvailable") is True:
        yield from _ask_manager(engine.api, context.project_or_unknown())
    else:
        runs_as = _runs_as(engine.api, context.project_or_unknown(), stack=True)
        yield Measured((*TOP, "stack"), runs_as, "GET /containers/json: what runs on this node")
        managers = list_or_empty(field(engine.info, "Swarm.RemoteManagers"))
        addresses = [address for each in managers if (address := text_at(each, "Addr"))]
        host = addresses[0].rpartition(":")[0] if addresses else "MANAGER"
        reason = f"this node is a worker: ask a manager, --docker-host ssh://{host}"
        yield from _all_facts(Unknown(reason, "unsupported"))


def _all_facts(value: Unknown | None, source: str = "") -> Iterator[Measured]:
    """Yield one value for every declared fact, for each collection as a whole."""
    names = dict.fromkeys(fact.path.split(".")[2] for fact in SWARM)
    return (Measured((*TOP, name), value, source) for name in names)


def field(answer: Any, path: str) -> Any:
    """Return what is at a dotted path of an answer, None where nothing is."""
    for key in path.split("."):
        answer = answer.get(key) if isinstance(answer, Mapping) else None
    return answer


def text_at(answer: Any, path: str) -> str | None:
    """Return the text at a dotted path of an answer, None where there is none."""
    return text_or_none(field(answer, path))


def count_at(answer: Any, path: str) -> int:
    """Return the whole number at a dotted path of an answer, 0 where there is none."""
    return count_or_none(field(answer, path)) or 0


def _ask_manager(api: EngineApi, project: Project | Unknown | None) -> Iterator[Measured]:
    try:
        rows, services, tasks = api.swarm_nodes(), api.swarm_services(), api.swarm_tasks()
    except EngineError as fault:
        yield from _all_facts(Unknown(str(fault), fault.kind))
        return
    nodes = parse_nodes(rows)
    ready = sum(node.takes_tasks for node in nodes)
    yield Measured((*TOP, "ready"), ready, "GET /nodes Status.State, Spec.Availability")
    managers = sum(field(row, "ManagerStatus.Reachability") == "reachable" for row in rows)
    yield Measured((*TOP, "managers"), managers, "GET /nodes ManagerStatus.Reachability")
    own = {
        str(row.get("ID")): text_at(row, "Spec.Name")
        for row in services
        if _is_own(project, _labels(row, "Spec.Labels").get(STACK_LABEL), field(row, "Spec.Name"))
    }
    free = free_amounts(nodes, [row for row in tasks if text_at(row, "ServiceID") not in own])
    yield from _node_facts(nodes, free)
    runs_as = "stack" if own else _runs_as(api, project, stack=False)
    yield Measured((*TOP, "stack"), runs_as, "GET /services, GET /containers/json")
    if not isinstance(project, Project):
        for name in ("services", "unplaced"):
            yield Measured((*TOP, name), project, "no compose file here")
        return
    waiting = [row for row in tasks if field(row, "Status.State") == "pending"]
    parsed = [parse_service(name, row, nodes) for name, row in project.services.items()]
    for service in parsed:
        ids = [key for key, name in own.items() if name == f"{project.name}_{service.name}"]
        errors = [text_at(row, "Status.Err") for row in waiting if text_at(row, "ServiceID") in ids]
        yield from _service_facts(project, service, free, [error for error in errors if error])
    yield Measured((*TOP, "services"), {}, "the compose files, GET /nodes, GET /tasks")
    yield _unplaced_fact(parsed, free)


def _is_own(project: Project | Unknown | None, stack: object, service: object) -> bool:
    """Whether a service is the project's, by the name of its stack or by its own."""
    if not isinstance(project, Project):
        return False
    return stack == project.name or service in [f"{project.name}_{s}" for s in project.services]


def _runs_as(
    api: EngineApi, project: Project | Unknown | None, *, stack: bool
) -> str | Unknown | None:
    """Return how this engine's containers run the project: stack, compose, None for not at all.

    `stack` is looked for where no manager lists services: a task outlives its service for a while.
    """
    if not isinstance(project, Project):
        return project
    try:
        rows = api.running_containers()
    except EngineError as fault:
        return Unknown(str(fault), fault.kind)
    own = [(get_label(row, STACK_LABEL), get_label(row, SERVICE_LABEL)) for row in rows]
    if stack and any(_is_own(project, stack_name, service) for stack_name, service in own):
        return "stack"
    by_compose = any(get_label(row, "com.docker.compose.project") == project.name for row in rows)
    return "compose" if by_compose else None


def parse_nodes(rows: Iterable[Row]) -> list[Node]:
    """Read GET /nodes, ordered by name; nodes that share a host name have their ids beside it."""
    nodes = []
    for row in rows:
        if identity := text_at(row, "ID"):
            name = text_at(row, "Description.Hostname") or identity[:12]
            nodes.append(Node(identity, name, row, parse_amounts(row, "Description.Resources")))
    times = Counter(node.name for node in nodes)
    unique = (n if times[n.name] == 1 else n._replace(name=f"{n.name} ({n.id})") for n in nodes)
    return sorted(unique, key=lambda node: (node.name, node.id))


def _labels(row: Row, path: str) -> dict[str, str]:
    labels = field(row, path)
    pairs = labels.items() if isinstance(labels, Mapping) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def parse_amounts(row: Row, path: str) -> dict[str, int]:
    """Read a `Resources` object of the API; kinds without a figure are left out."""
    resources = field(row, path)
    memory, cpus = count_at(resources, "MemoryBytes"), count_at(resources, "NanoCPUs")
    amounts = Counter({MEMORY: memory, CPUS: cpus})
    for generic in list_or_empty(field(resources, "GenericResources")):
        if kind := text_at(generic, "DiscreteResourceSpec.Kind"):
            amounts[kind] += count_at(generic, "DiscreteResourceSpec.Value")
        elif kind := text_at(generic, "NamedResourceSpec.Kind"):
            amounts[kind] += 1
    return {kind: amount for kind, amount in amounts.items() if amount}


def free_amounts(nodes: Iterable[Node], tasks: Iterable[Row]) -> FreeAmounts:
    """Return what these tasks of GET /tasks leave free, of nodes that report what they have."""
    free = {n.id: Counter(n.total) for n in nodes if {MEMORY, CPUS} <= n.total.keys()}
    for row in tasks:
        node = text_at(row, "NodeID")
        if node in free and field(row, "Status.State") in HOLDING_STATES:
            free[node].subtract(parse_amounts(row, "Spec.Resources.Reservations"))
    return free


def _node_facts(nodes: Iterable[Node], free: FreeAmounts) -> Iterator[Measured]:
    for node in nodes:
        top = (*TOP, "nodes", node.name)
        cores = node.total[CPUS] / NANO if CPUS in node.total else None
        for name, value, key in (
            *((name, text_at(node.row, path), path) for name, path in NODE_FIELDS.items()),
            ("cpus", cores, "Description.Resources.NanoCPUs"),
            ("memory", node.total.get(MEMORY), "Description.Resources.MemoryBytes"),
        ):
            yield Measured((*top, name), or_unreported(value, key), f"GET /nodes {key}")
        for name, value in _labels(node.row, "Spec.Labels").items():
            yield Measured((*top, "labels", name), value, "GET /nodes Spec.Labels")
        yield Measured((*top, "labels"), {}, "GET /nodes Spec.Labels")
        if node.id not in free:
            yield Measured((*top, "free"), Unknown("the manager does not report what the node has"))
            continue
        source = "GET /nodes less GET /tasks of others"
        yield Measured((*top, "free", "cpus"), free[node.id][CPUS] / NANO, source)
        yield Measured((*top, "free", "memory"), free[node.id][MEMORY], source)
    yield Measured((*TOP, "nodes"), {}, "GET /nodes")


def parse_service(name: str, config: Row, nodes: Iterable[Node]) -> Service:
    """Read a service of the effective configuration.

    `docker stack deploy` uses what is under `deploy` only: not `scale`, not `mem_reservation`.
    """
    deploy = config.get("deploy")
    reservations = field(deploy, "resources.reservations")
    # Compose holds cores as 32-bit floats, of which six digits are exact.
    cores = round(_number(field(reservations, "cpus")), 6)
    needs = {MEMORY: int(_number(field(reservations, "memory"))), CPUS: round(cores * NANO)}
    for generic in list_or_empty(field(reservations, "generic_resources")):
        kind = str(field(generic, "discrete_resource_spec.kind"))
        needs[kind] = int(_number(field(generic, "discrete_resource_spec.value")))
    replicas = count_or_none(field(deploy, "replicas"))
    everywhere = field(deploy, "mode") in ("global", "global-job")
    ports = [port for port in list_or_empty(config.get("ports")) if field(port, "mode") == "host"]
    one_per_node = everywhere or any(field(port, "published") for port in ports)
    constraints = [str(each) for each in list_or_empty(field(deploy, "placement.constraints"))]
    return Service(
        name=name,
        replicas=None if everywhere else 1 if replicas is None else replicas,
        needs={kind: amount for kind, amount in needs.items() if amount},
        per_node=1 if one_per_node else count_at(deploy, "placement.max_replicas_per_node"),
        constraints=constraints,
        nodes=[n for n in nodes if n.takes_tasks and all(meets(n, each) for each in constraints)],
    )


def _number(value: Any) -> float:
    """Return an amount of a compose file, which may be text; 0 where it isn't a number."""
    try:
        number = float(value or 0)
    except (TypeError, ValueError, OverflowError):
        return 0.0
    return number if 0 < number < sys.float_info.max else 0.0


def meets(node: Node, constraint: str) -> bool:
    """Whether a node meets a placement constraint; none meets one that Swarm refuses.

    The case of letters counts in names of labels only. Source: moby/swarmkit, manager/constraint.
    """
    match = CONSTRAINT.fullmatch(constraint)
    if match is None:
        return False
    key, operator, expected = match.groups()
    scope, _, label_name = key.lower().partition(".labels.")
    if label_name and scope in CONSTRAINT_LABELS:
        actual = _labels(node.row, CONSTRAINT_LABELS[scope]).get(key[-len(label_name) :], "")
    elif key.lower() in CONSTRAINT_FIELDS:
        actual = text_at(node.row, CONSTRAINT_FIELDS[key.lower()]) or ""
    else:
        return False
    return (actual.casefold() == expected.casefold()) is (operator == "==")


def _service_facts(
    project: Project, service: Service, free: FreeAmounts, pending: Sequence[str]
) -> Iterator[Measured]:
    fits = _fits(service, free)
    reservations = ("resources", "reservations")
    for name, value, key in (
        ("tasks", service.tasks, ("replicas",)),
        ("nodes", [node.name for node in service.nodes] or None, ("placement",)),
        ("memory", service.needs.get(MEMORY), (*reservations, "memory")),
        ("cpus", service.needs.get(CPUS, 0) / NANO or None, (*reservations, "cpus")),
        ("fits", fits, reservations if service.nodes else ("placement",)),
        ("reason", _reason(service, free) if fits is False else None, reservations),
        ("pending", len(pending), ("replicas",)),
        ("waits_for", pending[-1] if pending else None, ("replicas",)),
    ):
        source = source_of(project, ("services", service.name, "deploy", *key))
        yield Measured((*TOP, "services", service.name, name), value, source)


def _fits(service: Service, free: FreeAmounts) -> bool | Unknown:
    """Whether a task on its own has room on some node, of a global service on every node."""
    room = [capacity(free.get(node.id), service.needs) > 0 for node in service.nodes]
    if service.replicas == 0 or (any(room) and (service.replicas is not None or all(room))):
        return True
    return _unreported(service, free) or False


def _unreported(service: Service, free: FreeAmounts) -> Unknown | None:
    names = ", ".join(node.name for node in service.nodes if node.id not in free)
    return Unknown(f"the manager does not report what {names} has") if names else None


def _reason(service: Service, free: FreeAmounts) -> str:
    """Say why a task of a service finds no node, with the figures."""
    if not service.nodes:
        constraints = " and ".join(service.constraints)
        return f"no node takes tasks{f' and meets {constraints}' if constraints else ''}"
    rooms = [free[node.id] for node in service.nodes]
    largest = {kind: max(max(0, room.get(kind, 0)) for room in rooms) for kind in service.needs}
    return f"a task reserves {_format(service.needs)}; at most {_format(largest)} free on a node"


def _format(amounts: Amounts) -> str:
    parts = []
    for kind, amount in amounts.items():
        if kind == MEMORY:
            parts.append(format_bytes(amount, binary=True))
        elif kind == CPUS:
            parts.append(f"{format_number(amount / NANO)} {'CPU' if amount == NANO else 'CPUs'}")
        else:
            parts.append(f"{amount} {kind}")
    return " and ".join(parts)


def capacity(free: Amounts | None, needs: Amounts) -> int:
    """Return how many tasks of these needs a node takes; None is a node that reports nothing."""
    if not needs:
        return sys.maxsize
    if free is None or any(amount < 0 for amount in free.values()):
        return 0
    return min(free.get(kind, 0) // need for kind, need in needs.items())


def unplaced(services: Sequence[Service], free: FreeAmounts) -> dict[str, int]:
    """Place tasks by first-fit decreasing; return how many of each service find no node.

    Services bound to their nodes come first, then those whose task takes the largest share of
    what is free of some kind.
    """
    rooms = {node: Counter(room) for node, room in free.items()}
    total = sum(rooms.values(), Counter())

    def order(service: Service) -> tuple[bool, float]:
        shares = [amount / (total[kind] or 1) for kind, amount in service.needs.items()]
        return service.replicas is not None and len(service.nodes) > 1, -max(shares, default=0.0)

    left_over = {}
    for service in sorted(services, key=order):
        waiting = service.tasks
        for node in service.nodes:
            room = capacity(rooms.get(node.id), service.needs)
            number = min(waiting, service.per_node or waiting, room)
            if node.id in rooms:
                rooms[node.id].subtract({k: number * need for k, need in service.needs.items()})
            waiting -= number
        if waiting:
            left_over[service.name] = waiting
    return left_over


def _unplaced_fact(services: Sequence[Service], free: FreeAmounts) -> Measured:
    """Return the tasks that find no node when all are placed; the source has the sums."""
    left_over = unplaced(services, free)
    names = [name if number == 1 else f"{name} ×{number}" for name, number in left_over.items()]
    reserved: Counter[str] = Counter()
    for service in services:
        reserved.update({kind: need * service.tasks for kind, need in service.needs.items()})
    nodes = {node.id for service in services for node in service.nodes} & free.keys()
    available = {kind: sum(free[node].get(kind, 0) for node in nodes) for kind in reserved}
    sums = f": {_format(reserved)} reserved, {_format(available)} free" if reserved else ""
    source = f"first-fit decreasing on what is free on each node{sums}"
    unknown = [_unreported(s, free) for s in services if s.name in left_over]
    value = next(filter(None, unknown), None) or names or None
    return Measured((*TOP, "unplaced"), value, source)
