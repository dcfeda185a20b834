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

from preflight.facts.catalogue import SWARM_FACTS
from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.facts import resource
from preflight.facts.compose.project import Project, source_of
from preflight.facts.engine.api import (
    EngineApi,
    count_or_none,
    encode_filters,
    get_label,
    list_or_empty,
    or_unreported,
    text_or_none,
    unreported,
)
from preflight.facts.engine.endpoint import EngineError
from preflight.model.facts import Measured, Unknown
from preflight.model.quantities import format_bytes, format_number

Amounts: TypeAlias = Mapping[str, int]
ApiObject: TypeAlias = Mapping[str, Any]

SWARM_PATH = ("docker", "swarm")
# the names of facts and collections below docker.swarm
NAMES = tuple(dict.fromkeys(fact.path.split(".")[2] for fact in SWARM_FACTS))
MEMORY, CPUS, NANOS_PER_CORE = "memory", "cpus", 10**9
STACK_LABEL = "com.docker.stack.namespace"
# Tasks in these states hold their reservations (swarmkit, manager/scheduler `setupTasksList`).
RESERVING_TASK_STATES = ("assigned", "accepted", "preparing", "ready", "starting", "running")
UNREPORTED = "the manager does not report what {} has"
CONSTRAINT_PATTERN = re.compile(
    r"\s*([a-z_][\w.\-]+)\s*(==|!=)\s*([\w:\-\s.*()?+\[\]\\^$|/]+?)\s*", re.IGNORECASE | re.ASCII
)
NODE_FIELDS = (
    ("role", "Spec.Role"), ("state", "Status.State"), ("availability", "Spec.Availability"),
)  # fmt: skip
CONSTRAINT_KEYS = {
    "node.id": "ID",
    "node.hostname": "Description.Hostname",
    "node.role": "Spec.Role",
    "node.platform.os": "Description.Platform.OS",
    "node.platform.arch": "Description.Platform.Architecture",
}
CONSTRAINT_LABELS = {"node": "Spec.Labels", "engine": "Description.Engine.Labels"}


class Node(NamedTuple):
    """A row of GET /nodes under a unique name, and what is free on the node."""

    id: str
    name: str
    row: ApiObject
    free: Counter[str]

    @property
    def takes_tasks(self) -> bool:
        """Whether the scheduler may use it."""
        paths = ("Status.State", "Spec.Availability")
        return [read_field(self.row, path) for path in paths] == ["ready", "active"]

    @property
    def total(self) -> Amounts:
        """What the node has, empty for a kind that the manager doesn't report."""
        return parse_amounts(self.row, "Description.Resources")


class Service(NamedTuple):
    """A service of the project, and the nodes that it may run on.

    `per_node` is the maximum of tasks on a node, 0 for any number. A global service has one task
    on each of its nodes.
    """

    name: str
    tasks: int
    needs: Amounts
    per_node: int
    constraints: Sequence[str]
    nodes: Sequence[Node]
    is_global: bool = False


def measure(context: MeasureContext) -> Iterator[Measured]:
    """Yield the facts: absent outside a Swarm, unknown where this node can't report them."""
    try:
        for path, value, source in _swarm_facts(context):
            yield Measured((*SWARM_PATH, *path), value, source)
    except EngineError as error:
        for name in NAMES:  # of two values for a fact the first stands
            yield Measured((*SWARM_PATH, name), Unknown(str(error), error.kind))


def _swarm_facts(context: MeasureContext) -> Iterator[Measured]:
    """Yield the facts by their paths below docker.swarm, as all functions here.

    Raises EngineError with the reason for all that is missing then.
    """
    engine = context.engine()
    state = text_or_none(read_field(engine.info, "Swarm.LocalNodeState"))
    if state == "inactive":
        source = "GET /info Swarm.LocalNodeState inactive"
        yield from (Measured((name,), None, source) for name in NAMES)
        return
    if state != "active":
        reason = unreported("Swarm.LocalNodeState").reason
        reason = f"this node's state in the Swarm is {state}" if state else reason
        raise EngineError(reason, "unavailable")
    project = context.project_or_unknown()
    if read_field(engine.info, "Swarm.ControlAvailable") is True:
        yield from _measure_as_manager(engine.api, project)
        return
    is_stack = isinstance(project, Project) and any(
        get_label(row, STACK_LABEL) == project.name for row in engine.api.running_containers()
    )
    runs_as = _find_deployment_kind(engine.api, project, is_stack)
    yield Measured(("stack",), runs_as, "GET /containers/json: what runs on this node")
    managers = list_or_empty(read_field(engine.info, "Swarm.RemoteManagers"))
    addresses = [text_or_none(read_field(manager, "Addr")) for manager in managers]
    host = next(filter(None, addresses), "MANAGER:").rpartition(":")[0]
    reason = f"this node is a worker: ask a manager, --docker-host ssh://{host}"
    raise EngineError(reason, "unsupported")


def read_field(answer: Any, path: str) -> Any:
    """Return what is at a dotted path of an answer, None where nothing is."""
    for key in path.split("."):
        answer = answer.get(key) if isinstance(answer, Mapping) else None
    return answer


def _measure_as_manager(api: EngineApi, project: Project | Unknown | None) -> Iterator[Measured]:
    rows, services = api.get_rows("/nodes"), api.get_rows("/services")
    filters = encode_filters({"desired-state": ["ready", "running", "complete"]})  # no history
    tasks = api.get_rows(f"/tasks?{filters}")
    own = {  # the project's services: names by id
        row.get("ID"): read_field(row, "Spec.Name")
        for row in services
        if isinstance(project, Project)
        and (read_field(row, "Spec.Labels") or {}).get(STACK_LABEL) == project.name
    }
    runs_as = _find_deployment_kind(api, project, bool(own))
    nodes = parse_nodes(rows, [row for row in tasks if row.get("ServiceID") not in own])
    ready = sum(node.takes_tasks for node in nodes)
    yield Measured(("ready",), ready, "GET /nodes Status.State, Spec.Availability")
    managers = sum(read_field(row, "ManagerStatus.Reachability") == "reachable" for row in rows)
    yield Measured(("managers",), managers, "GET /nodes ManagerStatus.Reachability")
    yield from _node_facts(nodes)
    yield Measured(("stack",), runs_as, "GET /services, GET /containers/json")
    if not isinstance(project, Project):
        for name in ("services", "unplaced"):
            yield Measured((name,), project, "no compose file here")
        return
    errors = [  # of the tasks that wait for a node
        (own.get(row.get("ServiceID")), error)
        for row in tasks
        if read_field(row, "Status.State") == "pending"
        and (error := text_or_none(read_field(row, "Status.Err")))
    ]
    parsed = [parse_service(name, row, nodes) for name, row in project.services.items()]
    for service in parsed:
        pending = [error for name, error in errors if name == f"{project.name}_{service.name}"]
        yield from _service_facts(project, service, pending)
    yield Measured(("services",), {}, "the compose files, GET /nodes, GET /tasks")
    yield _unplaced_fact(parsed)


def _find_deployment_kind(
    api: EngineApi, project: Project | Unknown | None, is_stack: bool
) -> str | Unknown | None:
    """Return how the project runs: as a stack, by compose, or None where it doesn't."""
    if is_stack:
        return "stack"
    if not isinstance(project, Project):
        return project
    rows = api.running_containers()
    by_compose = any(get_label(row, "com.docker.compose.project") == project.name for row in rows)
    return "compose" if by_compose else None


def parse_nodes(rows: Iterable[ApiObject], tasks: Iterable[ApiObject] = ()) -> list[Node]:
    """Read GET /nodes, ordered by name, and what these tasks of GET /tasks leave free on each.

    Nodes that share a host name have their ids beside it.
    """
    nodes = {}
    for row in rows:
        name = text_or_none(read_field(row, "Description.Hostname")) or row["ID"][:12]
        free = Counter(parse_amounts(row, "Description.Resources"))
        nodes[row["ID"]] = Node(row["ID"], name, row, free)
    for row in tasks:
        node = nodes.get(row.get("NodeID", ""))
        if node and read_field(row, "Status.State") in RESERVING_TASK_STATES:
            node.free.subtract(parse_amounts(row, "Spec.Resources.Reservations"))
    times = Counter(node.name for node in nodes.values())
    unique = (
        node if times[node.name] == 1 else node._replace(name=f"{node.name} ({node.id})")
        for node in nodes.values()
    )
    return sorted(unique, key=lambda node: (node.name, node.id))


def parse_amounts(row: ApiObject, path: str) -> dict[str, int]:
    """Read a `Resources` object of the API; kinds without a figure are left out."""
    resources = read_field(row, path)
    keys = {MEMORY: "MemoryBytes", CPUS: "NanoCPUs"}
    amounts = Counter({k: count_or_none(read_field(resources, key)) for k, key in keys.items()})
    for generic in read_field(resources, "GenericResources") or ():
        spec = generic.get("DiscreteResourceSpec") or generic["NamedResourceSpec"]
        amounts[spec["Kind"]] += spec["Value"] if isinstance(spec["Value"], int) else 1
    return {kind: amount for kind, amount in amounts.items() if amount}


def _node_facts(nodes: Iterable[Node]) -> Iterator[Measured]:
    source = "GET /nodes less GET /tasks of others"
    for node in nodes:
        path = ("nodes", node.name)
        total = node.total
        cores = total[CPUS] / NANOS_PER_CORE if CPUS in total else None
        for name, value, key in (
            *((name, text_or_none(read_field(node.row, key)), key) for name, key in NODE_FIELDS),
            ("cpus", cores, "Description.Resources.NanoCPUs"),
            ("memory", total.get(MEMORY), "Description.Resources.MemoryBytes"),
        ):
            yield Measured((*path, name), or_unreported(value, key), f"GET /nodes {key}")
        for name, value in (read_field(node.row, "Spec.Labels") or {}).items():
            yield Measured((*path, "labels", name), str(value), "GET /nodes Spec.Labels")
        yield Measured((*path, "labels"), {}, "GET /nodes Spec.Labels")
        unknown = None if cores and MEMORY in total else Unknown(UNREPORTED.format("the node"))
        cores = node.free[CPUS] / NANOS_PER_CORE
        yield Measured((*path, "free", "cpus"), unknown or cores, source)
        yield Measured((*path, "free", "memory"), unknown or node.free[MEMORY], source)
    yield Measured(("nodes",), {}, "GET /nodes")


def parse_service(name: str, config: ApiObject, nodes: Iterable[Node]) -> Service:
    """Read a service of the effective configuration.

    `docker stack deploy` uses what is under `deploy` only: not `scale`, not `mem_reservation`.
    """
    deploy = config.get("deploy")
    memory, cpus = (
        resource({"deploy": deploy}, "reservations", what)[0] for what in (MEMORY, CPUS)
    )
    # Compose holds cores as 32-bit floats, of which six digits are exact.
    cores = round(cpus, 6) if isinstance(cpus, float) else 0
    needs = {MEMORY: memory if isinstance(memory, int) else 0, CPUS: round(cores * NANOS_PER_CORE)}
    for generic in read_field(deploy, "resources.reservations.generic_resources") or ():
        spec = generic["discrete_resource_spec"]
        needs[spec["kind"]] = int(spec["value"])
    constraints = [str(each) for each in read_field(deploy, "placement.constraints") or ()]
    eligible = [
        n for n in nodes if n.takes_tasks and all(meets_constraint(n, each) for each in constraints)
    ]
    is_global = read_field(deploy, "mode") in ("global", "global-job")
    replicas = read_field(deploy, "replicas")
    one_per_node = is_global or any(
        port.get("mode") == "host" and port.get("published") for port in config.get("ports") or ()
    )
    return Service(
        name,
        tasks=len(eligible) if is_global else 1 if replicas is None else replicas,
        needs={kind: amount for kind, amount in needs.items() if amount},
        per_node=1 if one_per_node else read_field(deploy, "placement.max_replicas_per_node") or 0,
        constraints=constraints,
        nodes=eligible,
        is_global=is_global,
    )


def meets_constraint(node: Node, constraint: str) -> bool:
    """Whether a node meets a placement constraint; none meets one that Swarm refuses.

    The case of letters counts in names of labels only. Source: moby/swarmkit, manager/constraint.
    """
    match = CONSTRAINT_PATTERN.fullmatch(constraint)
    if match is None:
        return False
    key, operator, expected = match.groups()
    scope, _, label_name = key.lower().partition(".labels.")
    if label_name and scope in CONSTRAINT_LABELS:
        labels = read_field(node.row, CONSTRAINT_LABELS[scope]) or {}
        actual = labels.get(key[-len(label_name) :], "")
    elif key.lower() in CONSTRAINT_KEYS:
        actual = text_or_none(read_field(node.row, CONSTRAINT_KEYS[key.lower()])) or ""
    else:
        return False
    return (actual.casefold() == expected.casefold()) is (operator == "==")


def _service_facts(
    project: Project, service: Service, pending: Sequence[str]
) -> Iterator[Measured]:
    """Yield the facts of a service; `pending` are the errors of its tasks that wait for a node.

    It fits if a task on its own has room on some node, a global service on every node.
    """
    room = [count_tasks_that_fit(node.free, service.needs) > 0 for node in service.nodes]
    enough = all(room) if service.is_global else any(room) or not service.tasks
    fits = (enough and (bool(room) or not service.is_global)) or _unreported_nodes(service) or False
    reservations = ("resources", "reservations")
    for name, value, key in (
        ("tasks", service.tasks, ("replicas",)),
        ("nodes", [node.name for node in service.nodes] or None, ("placement",)),
        ("memory", service.needs.get(MEMORY), (*reservations, "memory")),
        ("cpus", service.needs.get(CPUS, 0) / NANOS_PER_CORE or None, (*reservations, "cpus")),
        ("fits", fits, reservations if service.nodes else ("placement",)),
        ("reason", _explain_no_fit(service) if fits is False else None, reservations),
        ("pending", len(pending), ("replicas",)),
        ("waits_for", pending[-1] if pending else None, ("replicas",)),
    ):
        source = source_of(project, ("services", service.name, "deploy", *key))
        yield Measured(("services", service.name, name), value, source)


def _unreported_nodes(service: Service) -> Unknown | None:
    names = [n.name for n in service.nodes if not {MEMORY, CPUS} <= n.total.keys()]
    return Unknown(UNREPORTED.format(", ".join(names))) if names else None


def _explain_no_fit(service: Service) -> str:
    """Return why no node has room for a task of a service, with figures."""
    if not service.nodes:
        constraints = " and ".join(service.constraints)
        return f"no node takes tasks{f' and meets {constraints}' if constraints else ''}"
    largest = {k: max(0, *(n.free.get(k, 0) for n in service.nodes)) for k in service.needs}
    needs, free_on_node = _format_amounts(service.needs), _format_amounts(largest)
    return f"a task reserves {needs}; at most {free_on_node} free on a node"


def _format_amounts(amounts: Amounts) -> str:
    parts = [f"{amount} {kind}" for kind, amount in amounts.items() if kind not in (MEMORY, CPUS)]
    if CPUS in amounts:
        cores = amounts[CPUS] / NANOS_PER_CORE
        parts.insert(0, f"{format_number(cores)} {'CPU' if cores == 1 else 'CPUs'}")
    if MEMORY in amounts:
        parts.insert(0, format_bytes(amounts[MEMORY], binary=True))
    return " and ".join(parts)


def count_tasks_that_fit(free: Amounts, needs: Amounts) -> int:
    """Return how many tasks of these needs a node takes."""
    if not needs:
        return sys.maxsize
    if any(amount < 0 for amount in free.values()):
        return 0
    return min(free.get(kind, 0) // need for kind, need in needs.items())


def find_unplaced_tasks(services: Sequence[Service]) -> dict[str, int]:
    """Place tasks by first-fit decreasing; return how many of each service find no node.

    Services bound to their nodes come first, then those whose task takes the largest share of
    what is free of some kind.
    """
    rooms = {node.id: Counter(node.free) for service in services for node in service.nodes}
    total = sum(rooms.values(), Counter())

    def order(service: Service) -> tuple[bool, float]:
        shares = [amount / (total[kind] or 1) for kind, amount in service.needs.items()]
        return not service.is_global and len(service.nodes) > 1, -max(shares, default=0.0)

    left_over = {}
    for service in sorted(services, key=order):
        waiting = service.tasks
        for node in service.nodes:
            room = count_tasks_that_fit(rooms[node.id], service.needs)
            number = min(waiting, service.per_node or waiting, room)
            rooms[node.id].subtract({k: number * need for k, need in service.needs.items()})
            waiting -= number
        if waiting:
            left_over[service.name] = waiting
    return left_over


def _unplaced_fact(services: Sequence[Service]) -> Measured:
    """Return the tasks that find no node when all are placed; the source has the sums."""
    left_over = find_unplaced_tasks(services)
    names = [name if number == 1 else f"{name} ×{number}" for name, number in left_over.items()]
    reserved: Counter[str] = Counter()
    for service in services:
        reserved.update({kind: need * service.tasks for kind, need in service.needs.items()})
    free = {node.id: node.free for service in services for node in service.nodes}.values()
    available = {kind: sum(amounts.get(kind, 0) for amounts in free) for kind in reserved}
    sums = f"{_format_amounts(reserved)} reserved, {_format_amounts(available)} free"
    source = "first-fit decreasing on what is free on each node" + (f": {sums}" if reserved else "")
    unknown = [_unreported_nodes(service) for service in services if service.name in left_over]
    value = next(filter(None, unknown), None) or names or None
    return Measured(("unplaced",), value, source)
