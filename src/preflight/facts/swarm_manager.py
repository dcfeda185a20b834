"""Measures a Swarm through its manager: nodes, what is free on each, which tasks find a node.

Amounts are integers: memory in bytes, CPUs in billionths of a core, generic resources by kind.
What this project's own tasks reserve counts as free. The scheduler isn't simulated: Swarm spreads
tasks as they come, so it may leave one pending for which first-fit decreasing finds a node.
"""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.compose.project import Project, find_setting_source
from preflight.facts.engine.api import EngineApi, encode_filters, get_label
from preflight.facts.nested_values import (
    get_nested_object,
    get_nested_text,
    get_nested_value,
    get_nested_whole_number,
    value_or_unreported,
)
from preflight.model.facts import Measured, Unknown
from preflight.model.quantities import format_bytes, format_number

Amounts: TypeAlias = Mapping[str, int]
ApiObject: TypeAlias = Mapping[str, Any]

MEMORY_RESOURCE, CPUS_RESOURCE, NANOS_PER_CORE = "memory", "cpus", 10**9
SWARM_STACK_LABEL, COMPOSE_PROJECT_LABEL = (
    "com.docker.stack.namespace",
    "com.docker.compose.project",
)
# Tasks in these states hold their reservations (swarmkit, manager/scheduler `setupTasksList`).
RESERVING_TASK_STATES = ("assigned", "accepted", "preparing", "ready", "starting", "running")
NODE_FACT_SOURCES = (
    ("role", "Spec.Role"), ("state", "Status.State"), ("availability", "Spec.Availability"),
)  # fmt: skip
PLACEMENT_CONSTRAINT_PATTERN = (
    r"(?ia)\s*([a-z_][\w.\-]+)\s*(==|!=)\s*([\w:\-\s.*()?+\[\]\\^$|/]+?)\s*"
)
SWARM_NODE_KEY_BY_CONSTRAINT = {
    "node.id": "ID",
    "node.hostname": "Description.Hostname",
    "node.role": "Spec.Role",
    "node.platform.os": "Description.Platform.OS",
    "node.platform.arch": "Description.Platform.Architecture",
}
SWARM_LABELS_KEY_BY_CONSTRAINT = {"node": "Spec.Labels", "engine": "Description.Engine.Labels"}


class SwarmNode(NamedTuple):
    """A row of GET /nodes under a unique name, and what is free on the node."""

    id: str
    name: str
    row: ApiObject
    takes_tasks: bool
    total: Amounts  # without the kinds that the manager doesn't report
    free: Counter[str]


class SwarmServicePlacement(NamedTuple):
    """A service of the project, and the nodes that it may run on."""

    name: str
    tasks: int
    needs: Amounts
    per_node: int  # the maximum of tasks on a node, 0 for any number
    constraints: Sequence[str]
    nodes: Sequence[SwarmNode]
    is_global: bool = False  # one task on each of its nodes


def measure_as_manager(api: EngineApi, project: Project | Unknown | None) -> Iterator[Measured]:
    """Yield the facts by their paths below docker.swarm, as all functions here."""
    rows, services = api.get_object_list("/nodes"), api.get_object_list("/services")
    filters = encode_filters({"desired-state": ["ready", "running", "complete"]})  # no history
    tasks = api.get_object_list(f"/tasks?{filters}")
    specs = {row.get("ID"): get_nested_value(row, "Spec") or {} for row in services}
    own = {  # the project's services: names by id
        key: spec.get("Name")
        for key, spec in specs.items()
        if isinstance(project, Project) and get_label(spec, SWARM_STACK_LABEL) == project.name
    }
    nodes = parse_swarm_nodes(rows, [row for row in tasks if row.get("ServiceID") not in own])
    ready = sum(node.takes_tasks for node in nodes)
    yield Measured(("ready",), ready, "GET /nodes Status.State, Spec.Availability")
    managers = [get_nested_value(row, "ManagerStatus.Reachability") for row in rows]
    source = "GET /nodes ManagerStatus.Reachability"
    yield Measured(("managers",), managers.count("reachable"), source)
    for node in nodes:
        yield from _measure_swarm_node(node)
    yield Measured(("nodes",), {}, "GET /nodes")
    yield measure_deployment_kind(project, [*specs.values(), *api.running_containers()])
    if not isinstance(project, Project):
        for name in ("services", "unplaced"):
            yield Measured((name,), project, "no compose file found")
        return
    pending: dict[str, list[str]] = defaultdict(list)  # why tasks wait for a node, by service
    for row in tasks:
        error = get_nested_text(row, "Status.Err")
        if error and get_nested_value(row, "Status.State") == "pending":
            pending[str(own.get(row.get("ServiceID")))].append(error)
    services_by_name = project.services.items()
    parsed = [parse_service_placement(name, config, nodes) for name, config in services_by_name]
    for service in parsed:
        yield from _measure_service(project, service, pending[f"{project.name}_{service.name}"])
    yield Measured(("services",), {}, "the compose files, GET /nodes, GET /tasks")
    yield _measure_unplaced_tasks(parsed)


def measure_deployment_kind(
    project: Project | Unknown | None, labelled: Sequence[ApiObject]
) -> Measured:
    """Return how the project runs, by the labels of services and containers; None if it doesn't."""
    runs_as: str | Unknown | None = project if isinstance(project, Unknown) else None
    if isinstance(project, Project):
        kinds = {"stack": SWARM_STACK_LABEL, "compose": COMPOSE_PROJECT_LABEL}
        names = {kind: {get_label(row, label) for row in labelled} for kind, label in kinds.items()}
        runs_as = next((kind for kind in kinds if project.name in names[kind]), None)
    return Measured(("stack",), runs_as, "GET /services, GET /containers/json")


def parse_swarm_nodes(
    rows: Sequence[ApiObject], tasks: Iterable[ApiObject] = ()
) -> list[SwarmNode]:
    """Read GET /nodes, ordered by name, and what these tasks of GET /tasks leave free on each.

    Nodes that share a host name have their ids beside it.
    """
    free: dict[str, Counter[str]] = defaultdict(Counter)
    for row in tasks:
        if get_nested_value(row, "Status.State") in RESERVING_TASK_STATES:
            reserved = parse_swarm_resources(row, "Spec.Resources.Reservations")
            free[row.get("NodeID", "")].subtract(reserved)
    names = [get_nested_text(row, "Description.Hostname") or row["ID"][:12] for row in rows]
    times, nodes = Counter(names), []
    for row, name in zip(rows, names, strict=True):
        node_id, total = row["ID"], parse_swarm_resources(row, "Description.Resources")
        free[node_id].update(total)
        is_ready = get_nested_value(row, "Status.State") == "ready"
        takes_tasks = is_ready and get_nested_value(row, "Spec.Availability") == "active"
        own_name = name if times[name] == 1 else f"{name} ({node_id})"
        nodes.append(SwarmNode(node_id, own_name, row, takes_tasks, total, free[node_id]))
    return sorted(nodes, key=lambda node: node.name)


def parse_swarm_resources(row: ApiObject, path: str) -> dict[str, int]:
    """Read a `Resources` object of the API; kinds without a figure are left out."""
    resources = get_nested_value(row, path)
    keys = {MEMORY_RESOURCE: "MemoryBytes", CPUS_RESOURCE: "NanoCPUs"}
    amounts = Counter({k: get_nested_whole_number(resources, key) for k, key in keys.items()})
    for generic in get_nested_value(resources, "GenericResources") or ():
        spec = generic.get("DiscreteResourceSpec") or generic["NamedResourceSpec"]
        amounts[spec["Kind"]] += spec["Value"] if isinstance(spec["Value"], int) else 1
    return {kind: amount for kind, amount in amounts.items() if amount}


def _measure_swarm_node(node: SwarmNode) -> Iterator[Measured]:
    path, cores = ("nodes", node.name), node.total.get(CPUS_RESOURCE, 0) / NANOS_PER_CORE or None
    for name, key in NODE_FACT_SOURCES:
        value = get_nested_text(node.row, key)
        yield Measured((*path, name), value_or_unreported(value, key), f"GET /nodes {key}")
    memory, source = node.total.get(MEMORY_RESOURCE), "GET /nodes Description.Resources"
    yield Measured((*path, "cpus"), value_or_unreported(cores, "NanoCPUs"), source)
    yield Measured((*path, "memory"), value_or_unreported(memory, "MemoryBytes"), source)
    source = "GET /nodes Spec.Labels"
    for name, value in (get_nested_value(node.row, "Spec.Labels") or {}).items():
        yield Measured((*path, "labels", name), str(value), source)
    yield Measured((*path, "labels"), {}, source)
    unknown, source = _explain_unreported_resources([node]), "GET /nodes less GET /tasks of others"
    cores = node.free[CPUS_RESOURCE] / NANOS_PER_CORE
    yield Measured((*path, "free", "cpus"), unknown or cores, source)
    yield Measured((*path, "free", "memory"), unknown or node.free[MEMORY_RESOURCE], source)


def _explain_unreported_resources(nodes: Iterable[SwarmNode]) -> Unknown | None:
    """Return why it isn't known what is free on these nodes, or None if it is known of all."""
    reported = {MEMORY_RESOURCE, CPUS_RESOURCE}
    names = ", ".join(node.name for node in nodes if not reported <= node.total.keys())
    return Unknown(f"the manager doesn't report the resources of {names}") if names else None


def parse_service_placement(
    name: str, config: ApiObject, nodes: Iterable[SwarmNode]
) -> SwarmServicePlacement:
    """Read a service of the effective configuration.

    `docker stack deploy` uses what is under `deploy` only: not `scale`, not `mem_reservation`.
    """
    deploy = config.get("deploy")
    reserved = get_nested_object(deploy, "resources.reservations")
    memory = int(reserved.get(MEMORY_RESOURCE) or 0)
    # Compose holds cores as 32-bit floats, of which six digits are exact.
    cores = round(float(reserved.get(CPUS_RESOURCE) or 0), 6)
    needs: dict[str, int] = {MEMORY_RESOURCE: memory, CPUS_RESOURCE: round(cores * NANOS_PER_CORE)}
    for generic in reserved.get("generic_resources") or ():
        spec = generic["discrete_resource_spec"]
        needs[spec["kind"]] = int(spec["value"])
    constraints = [str(each) for each in get_nested_value(deploy, "placement.constraints") or ()]
    eligible = [
        node
        for node in nodes
        if node.takes_tasks and all(meets_placement_constraint(node, each) for each in constraints)
    ]
    is_global = get_nested_value(deploy, "mode") in ("global", "global-job")
    replicas = get_nested_value(deploy, "replicas")
    host_ports = [port for port in config.get("ports") or () if port.get("mode") == "host"]
    one_per_node = is_global or any(port.get("published") for port in host_ports)
    max_per_node = get_nested_value(deploy, "placement.max_replicas_per_node") or 0
    return SwarmServicePlacement(
        name,
        tasks=len(eligible) if is_global else 1 if replicas is None else replicas,
        needs={kind: amount for kind, amount in needs.items() if amount},
        per_node=1 if one_per_node else max_per_node,
        constraints=constraints,
        nodes=eligible,
        is_global=is_global,
    )


def meets_placement_constraint(node: SwarmNode, constraint: str) -> bool:
    """Whether a node meets a placement constraint; none meets one that Swarm refuses.

    The case of letters counts in names of labels only. Source: moby/swarmkit, manager/constraint.
    """
    match = re.fullmatch(PLACEMENT_CONSTRAINT_PATTERN, constraint)
    if match is None:
        return False
    key, operator, expected = match.groups()
    scope, _, label = key.lower().partition(".labels.")
    if label and scope in SWARM_LABELS_KEY_BY_CONSTRAINT:
        labels = get_nested_object(node.row, SWARM_LABELS_KEY_BY_CONSTRAINT[scope])
        actual = labels.get(key[-len(label) :], "")
    elif key.lower() in SWARM_NODE_KEY_BY_CONSTRAINT:
        actual = get_nested_text(node.row, SWARM_NODE_KEY_BY_CONSTRAINT[key.lower()]) or ""
    else:
        return False
    return (actual.casefold() == expected.casefold()) is (operator == "==")


def _measure_service(
    project: Project, service: SwarmServicePlacement, pending: Sequence[str]
) -> Iterator[Measured]:
    """Yield the facts of a service; `pending` are the errors of its tasks that wait for a node.

    It fits if a task on its own has room on some node, a global service on every node.
    """
    room = [count_tasks_that_fit(node.free, service.needs) > 0 for node in service.nodes]
    enough = all(room) and room if service.is_global else any(room) or not service.tasks
    fits = bool(enough) or _explain_unreported_resources(service.nodes) or False
    reservations = ("resources", "reservations")
    for name, value, key in (
        ("tasks", service.tasks, ("replicas",)),
        ("nodes", [node.name for node in service.nodes] or None, ("placement",)),
        ("memory", service.needs.get(MEMORY_RESOURCE), (*reservations, "memory")),
        (
            "cpus",
            service.needs.get(CPUS_RESOURCE, 0) / NANOS_PER_CORE or None,
            (*reservations, "cpus"),
        ),
        ("fits", fits, reservations if service.nodes else ("placement",)),
        ("reason", _explain_why_no_node_fits(service) if fits is False else None, reservations),
        ("pending", len(pending), ("replicas",)),
        ("waits_for", pending[-1] if pending else None, ("replicas",)),
    ):
        source = find_setting_source(project, ("services", service.name, "deploy", *key))
        yield Measured(("services", service.name, name), value, source)


def _explain_why_no_node_fits(service: SwarmServicePlacement) -> str:
    """Return why no node has room for a task of a service, with figures."""
    if not service.nodes:
        constraints = " and ".join(service.constraints)
        return f"no node takes tasks{f' and meets {constraints}' if constraints else ''}"
    largest = {kind: max(0, *(node.free[kind] for node in service.nodes)) for kind in service.needs}
    needs, free_on_node = _format_resource_amounts(service.needs), _format_resource_amounts(largest)
    return f"a task reserves {needs}; at most {free_on_node} free on a node"


def _format_resource_amounts(amounts: Amounts) -> str:
    texts = {kind: f"{amount} {kind}" for kind, amount in amounts.items()}
    if CPUS_RESOURCE in amounts:
        cores = amounts[CPUS_RESOURCE] / NANOS_PER_CORE
        texts[CPUS_RESOURCE] = f"{format_number(cores)} {'CPU' if cores == 1 else 'CPUs'}"
    if MEMORY_RESOURCE in amounts:
        texts[MEMORY_RESOURCE] = format_bytes(amounts[MEMORY_RESOURCE], binary=True)
    order = dict.fromkeys((MEMORY_RESOURCE, CPUS_RESOURCE, *amounts))
    return " and ".join(texts[kind] for kind in order if kind in texts)


def count_tasks_that_fit(free: Amounts, needs: Amounts) -> int:
    """Return how many tasks of these needs a node takes."""
    if not needs:
        return sys.maxsize
    if any(amount < 0 for amount in free.values()):
        return 0
    return min(free.get(kind, 0) // need for kind, need in needs.items())


def find_unplaced_tasks(services: Sequence[SwarmServicePlacement]) -> dict[str, int]:
    """Place tasks by first-fit decreasing; return how many of each service find no node.

    Services bound to their nodes come first, then those whose task reserves most memory.
    """
    rooms = {node.id: Counter(node.free) for service in services for node in service.nodes}

    def order(service: SwarmServicePlacement) -> tuple[bool, int, int]:
        is_free = not service.is_global and len(service.nodes) > 1
        return is_free, -service.needs.get(MEMORY_RESOURCE, 0), -service.needs.get(CPUS_RESOURCE, 0)

    unplaced = {}
    for service in sorted(services, key=order):
        waiting = service.tasks
        for node in service.nodes:
            room = count_tasks_that_fit(rooms[node.id], service.needs)
            number = min(waiting, service.per_node or waiting, room)
            rooms[node.id].subtract({k: number * need for k, need in service.needs.items()})
            waiting -= number
        if waiting:
            unplaced[service.name] = waiting
    return unplaced


def _measure_unplaced_tasks(services: Sequence[SwarmServicePlacement]) -> Measured:
    """Return the tasks that find no node when all are placed; the source has the sums."""
    unplaced = find_unplaced_tasks(services)
    nodes = {node.id: node for service in services for node in service.nodes}.values()
    reserved: Counter[str] = Counter()
    for service in services:
        reserved.update({kind: need * service.tasks for kind, need in service.needs.items()})
    free = {kind: sum(node.free[kind] for node in nodes) for kind in reserved}
    source = "first-fit decreasing on what is free on each node"
    if reserved:
        amounts = _format_resource_amounts(reserved), _format_resource_amounts(free)
        source += ": {} reserved, {} free".format(*amounts)
    unknown = [
        _explain_unreported_resources(service.nodes)
        for service in services
        if service.name in unplaced
    ]
    names = [name if number == 1 else f"{name} ×{number}" for name, number in unplaced.items()]
    return Measured(("unplaced",), next(filter(None, unknown), None) or names or None, source)
