"""What a manager may answer, which tasks find a node, and what isn't asked outside a Swarm."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compose_projects import read_project_without_compose
from engine_server import VERSION, http, listening
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker import run_probe
from preflight.facts.compose.project import Project
from preflight.facts.swarm_manager import (
    SwarmNode,
    SwarmServicePlacement,
    count_tasks_that_fit,
    find_unplaced_tasks,
    meets_placement_constraint,
    parse_service_placement,
    parse_swarm_nodes,
)
from preflight.facts.table import FACT_DECLARATIONS_BY_SUBJECT, Probe
from preflight.model.facts import Facts, Unknown, build_facts

GIB = 2**30
ACTIVE = {"LocalNodeState": "active", "ControlAvailable": True}
Run = Callable[..., "subprocess.CompletedProcess[str]"]


def node(number: int, hostname: str = "", **changes: Any) -> dict[str, Any]:
    """A row of GET /nodes as Docker 20.10 gives it: 4 CPUs, 8 GiB."""
    row = {
        "ID": f"{number:025d}",
        "Spec": {"Labels": {}, "Role": "worker", "Availability": "active"},
        "Description": {
            "Hostname": hostname or f"w{number}",
            "Platform": {"Architecture": "x86_64", "OS": "linux"},
            "Resources": {"NanoCPUs": 4_000_000_000, "MemoryBytes": 8 * GIB},
            "Engine": {"EngineVersion": "20.10.24"},
        },
        "Status": {"State": "ready", "Addr": f"10.0.0.{number}"},
    }
    return {**row, **changes}


class Manager:
    """An engine that answers by path and remembers what it was asked."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.asked: list[str] = []
        self.info: dict[str, Any] = {"Swarm": ACTIVE, "OSType": "linux", "Containers": 0}
        self.answers: dict[str, Any] = {}
        self.ended = threading.Event()

    def answer(self, connection: socket.socket, request: bytes) -> None:
        path = request.split()[1].decode().partition("?")[0]
        path = path[path.index("/", 1) :] if path.startswith("/v1.") else path
        self.asked.append(path)
        body = {"/version": VERSION, "/info": self.info, **self.answers}.get(path, [])
        if body == "hang":
            self.ended.wait(30)
        status, body = body if isinstance(body, tuple) else ("200 OK", body)
        connection.sendall(http(json.dumps(body).encode(), status))


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    manager = Manager(f"unix://{tmp_path}/s")
    with listening(tmp_path / "s", manager.answer):
        yield manager
        manager.ended.set()


DEPLOY = {"replicas": 2, "resources": {"reservations": {"memory": str(3 * GIB)}}}
SHOP = Project(
    "shop", "/shop", ("/shop/compose.yaml",), "cli",
    {"services": {"a": {"image": "x", "deploy": DEPLOY}}},
)  # fmt: skip


def measured(manager: Manager, project: Project | None = None, timeout: float = 5) -> Facts:
    """Measure with a project of one service that reserves 3 GiB, twice, or with none."""
    context = MeasurementContext(MeasurementOptions(docker_host=manager.url, timeout=timeout))
    context.project = lambda: project  # type: ignore[assignment,method-assign]
    probe = Probe(FACT_DECLARATIONS_BY_SUBJECT["swarm"], "swarm")
    return build_facts(run_probe(probe, context), measured_at="", version="")


def of(facts: Facts, *path: str) -> Any:
    return facts.get(("docker", "swarm", *path))


def test_an_engine_outside_of_a_swarm_is_asked_nothing_more(manager: Manager) -> None:
    manager.info["Swarm"] = {"LocalNodeState": "inactive"}
    facts = measured(manager, SHOP)
    assert manager.asked == ["/version", "/info"]
    assert of(facts, "nodes") is None
    assert of(facts, "nodes", "w1", "memory") is None


@pytest.mark.parametrize("state", ["pending", "error", "locked", "", None, 5])
def test_a_node_that_is_not_active_can_not_tell(manager: Manager, state: Any) -> None:
    manager.info["Swarm"] = {"LocalNodeState": state, "ControlAvailable": True}
    found = of(measured(manager), "nodes")
    assert isinstance(found, Unknown)
    assert state not in ("pending", "error", "locked") or state in found.reason
    assert manager.asked == ["/version", "/info"]


@pytest.mark.parametrize("said", [{}, {"Swarm": None}, {"Swarm": []}])
def test_an_engine_that_does_not_speak_of_swarm(manager: Manager, said: dict[str, Any]) -> None:
    manager.info = said
    assert isinstance(of(measured(manager), "nodes"), Unknown)


@pytest.mark.parametrize("managers", [None, [], [5], [{"Addr": 5}], [{}]])
def test_a_worker_whose_managers_are_not_told(manager: Manager, managers: Any) -> None:
    manager.info["Swarm"] = {"LocalNodeState": "active", "RemoteManagers": managers}
    assert "--docker-host ssh://MANAGER" in of(measured(manager), "nodes").reason


def test_nodes_of_one_name_stay_apart(manager: Manager) -> None:
    twin = "0" * 12
    manager.answers["/nodes"] = [
        node(1, "twin"), node(2, "twin"), node(3, "other"), node(4, f"twin ({twin})")
    ]  # fmt: skip
    names = set(of(measured(manager), "nodes"))
    assert len(names) == 4
    assert "other" in names
    assert of(measured(manager), "ready") == 4


def test_what_a_node_does_not_say_is_unknown_and_may_decide(manager: Manager) -> None:
    dumb = node(2, Description={"Hostname": "dumb", "Resources": {"NanoCPUs": 0}})
    manager.answers["/nodes"] = [node(1), dumb]
    facts = measured(manager, SHOP)
    assert isinstance(of(facts, "nodes", "dumb", "memory"), Unknown)
    assert isinstance(of(facts, "nodes", "dumb", "free", "memory"), Unknown)
    assert of(facts, "services", "a", "fits") is True
    assert of(facts, "unplaced") is None  # the other has room for both
    manager.answers["/nodes"] = [dumb]
    facts = measured(manager, SHOP)
    assert "dumb" in of(facts, "services", "a", "fits").reason
    assert "dumb" in of(facts, "unplaced").reason


def test_a_manager_that_fails_is_unknown_as_a_whole(manager: Manager) -> None:
    manager.answers["/nodes"] = [node(1)]
    manager.answers["/tasks"] = ("500 Error", {"message": "rpc error: code = DeadlineExceeded"})
    facts = measured(manager, SHOP)
    for path in (("nodes",), ("services",), ("unplaced",), ("stack",)):
        assert "DeadlineExceeded" in of(facts, *path).reason


def test_a_manager_without_quorum_is_unknown(manager: Manager) -> None:
    manager.answers["/nodes"] = (
        "503 Unavailable",
        {"message": "The swarm does not have a leader."},
    )
    facts = measured(manager, SHOP)
    for path in (("nodes",), ("ready",), ("stack",), ("services",), ("unplaced",)):
        assert "does not have a leader" in of(facts, *path).reason


def task(service: str, where: int | None, state: str, memory: int, **more: Any) -> dict[str, Any]:
    reserved = {"Resources": {"Reservations": {"MemoryBytes": memory}}}
    found = {"ServiceID": service, "Spec": reserved, "Status": {"State": state, **more}}
    return found if where is None else {**found, "NodeID": f"{where:025d}"}


def service(key: str, name: str, **labels: str) -> dict[str, Any]:
    return {"ID": key, "Spec": {"Name": name, "Labels": labels, "Mode": {"Global": {}}}}


def test_what_holds_room_and_whose_it_is(manager: Manager) -> None:
    manager.answers["/nodes"] = [node(1)]
    manager.answers["/services"] = [
        service("own", "shop_a", **{"com.docker.stack.namespace": "shop"}),
        service("mine", "anything", **{"com.docker.stack.namespace": "shop"}),
        service("other", "shopping_a", **{"com.docker.stack.namespace": "shopping"}),
    ]
    manager.answers["/tasks"] = [
        task("own", 1, "running", GIB),
        task("mine", 1, "starting", GIB),
        task("other", 1, "running", GIB),
        task("other", 1, "preparing", GIB),
        task("other", 1, "complete", GIB),
        task("other", 1, "failed", GIB),
        task("other", 1, "pending", GIB),
        task("gone", 1, "running", GIB),  # of a job that was removed: it runs on
        task("own", None, "pending", GIB, Err="no suitable node (…)"),
    ]
    facts = measured(manager, SHOP)
    assert of(facts, "nodes", "w1", "free", "memory") == 5 * GIB
    assert of(facts, "stack") == "stack"
    assert of(facts, "services", "a", "pending") == 1
    assert of(facts, "unplaced") == ["a"]  # 2 × 3 GiB of 5
    sums = "6 GiB reserved, 5 GiB free"
    assert facts.source(("docker", "swarm", "unplaced")).endswith(sums)


@pytest.mark.parametrize("control", [True, False])
@pytest.mark.parametrize(
    ("label", "runs_as"),
    [
        ("com.docker.stack.namespace", "stack"),
        ("com.docker.compose.project", "compose"),
        ("some.other.label", None),
    ],
)
def test_containers_show_how_the_project_runs(
    manager: Manager, control: bool, label: str, runs_as: str | None
) -> None:
    manager.info["Swarm"] = {**ACTIVE, "ControlAvailable": control}
    manager.answers["/containers/json"] = [
        {"Id": "1", "State": "running", "Labels": {label: "shop"}},
        {"Id": "2", "State": "exited", "Labels": {"com.docker.compose.project": "shop"}},
        {"Id": "3", "State": "running", "Labels": {"com.docker.compose.project": "other"}},
    ]
    assert of(measured(manager, SHOP), "stack") == runs_as


def test_a_task_whose_state_is_none_holds_nothing(manager: Manager) -> None:
    needs = {"Resources": {"Reservations": {"MemoryBytes": 8 * GIB}}}
    task = {"ServiceID": "x", "NodeID": node(1)["ID"], "Spec": needs, "Status": {"State": {}}}
    manager.answers.update({"/nodes": [node(1)], "/tasks": [task]})
    assert of(measured(manager, SHOP), "unplaced") is None


@pytest.mark.parametrize("value", ["many", -5, True, 1.5, [], {}])
def test_amounts_of_another_type_are_not_reported(manager: Manager, value: Any) -> None:
    has = {"MemoryBytes": value, "NanoCPUs": value}
    manager.answers["/nodes"] = [node(1, Description={"Hostname": "w1", "Resources": has})]
    facts = measured(manager, SHOP)
    assert isinstance(of(facts, "nodes", "w1", "memory"), Unknown)
    assert isinstance(of(facts, "services", "a", "fits"), Unknown)


def test_a_manager_that_hangs_is_unknown(manager: Manager) -> None:
    manager.answers.update({"/nodes": [node(1)], "/tasks": "hang"})
    assert of(measured(manager, SHOP, timeout=0.3), "unplaced").kind == "timeout"


def test_hostile_names_command_no_terminal(
    manager: Manager, run_preflight: Run, tmp_path: Path
) -> None:
    hostile = "\x1b[2Jw\r\n::error::x\u202e<b>[red]"
    spec = {"Labels": {hostile: hostile}, "Role": "worker", "Availability": "active"}
    manager.answers["/nodes"] = [node(1, hostile, Spec=spec), node(2)]
    deploy = {"placement": {"constraints": [f"node.labels.w=={hostile}"]}}
    file = tmp_path / "compose.yaml"
    file.write_text(json.dumps({"services": {"a": {"image": "x", "deploy": deploy}}}))
    options = ("--docker-host", manager.url, "--compose-file", str(file), "--only", "swarm", "-v")
    options += ("--timeout", "60")
    done = run_preflight("check", *options, "-f", "github", "-f", "text:text", "-f", "markdown:md")
    assert done.returncode in (0, 3), done.stderr
    files = [Path(os.environ["HOME"], name).read_text() for name in ("text", "md")]
    for shown in (done.stdout, *files):
        assert "node.labels.w" in shown
        assert not set("\x1b\u202e\r") & set(shown)
        assert "\n::error::x" not in shown


# --- constraints: test_swarm_real has the scheduler itself decide some of these -----------------


@pytest.fixture
def labelled() -> SwarmNode:
    """A worker with labels of its own and of its engine."""
    spec = {"Role": "worker", "Availability": "active", "Labels": {"Disk": "SSD", "zone.a": "1"}}
    row = node(9, "w9.example.com", Spec=spec)
    row["Description"]["Engine"]["Labels"] = {"storage": "fast"}
    (parsed,) = parse_swarm_nodes([row])
    return parsed


@pytest.mark.parametrize(
    ("constraint", "met"),
    [
        ("node.role==worker", True),
        ("node.role == WORKER", True),
        ("NODE.Role!=worker", False),
        ("node.role!=manager", True),
        ("node.hostname==W9.example.com", True),
        ("node.hostname==w9", False),
        ("node.id==0000000000000000000000009", True),
        ("node.labels.Disk==ssd", True),
        ("node.labels.disk==ssd", False),  # the case of a label's name counts
        ("node.labels.disk!=ssd", True),  # a label that isn't there differs
        ("Node.Labels.Disk==ssd", True),
        ("node.labels.zone.a==1", True),
        ("node.labels.==ssd", False),
        ("engine.labels.storage==Fast", True),
        ("engine.labels.none!=x", True),
        ("node.platform.os==Linux", True),
        ("node.platform.arch==x86_64", True),
        ("node.platform.arch==amd64", False),
        ("node.colour!=red", False),  # Swarm knows no such key: nothing meets it
        ("node.role=worker", False),  # from here on Swarm refuses the constraint
        ("", False),
        ("n==1", False),
        ("node role==worker", False),
        ("node.labels.a!=", False),
        ("node.labels.a!=ä", False),
        ("node.labels.a!=~x", False),
        ("node.role==worker!=x", False),
    ],
)
def test_a_node_meets_a_constraint_as_in_swarmkit(
    labelled: SwarmNode, constraint: str, met: bool
) -> None:
    assert meets_placement_constraint(labelled, constraint) is met


# --- first-fit decreasing -----------------------------------------------------------------------

NODES = tuple(
    parse_swarm_nodes([node(number, name) for number, name in enumerate(("a", "b", "c"))])
)

rooms = st.fixed_dictionaries(
    {
        each.id: st.fixed_dictionaries({k: st.integers(-1, 8) for k in ("memory", "cpus")})
        for each in NODES
    }
)
services = st.lists(
    st.builds(
        SwarmServicePlacement,
        st.sampled_from(("x", "y", "z")),
        st.integers(0, 2),
        st.fixed_dictionaries({}, optional={k: st.integers(1, 6) for k in ("memory", "cpus")}),
        st.integers(0, 2),
        st.just(()),
        st.lists(st.sampled_from(NODES), unique_by=lambda each: each.id).map(tuple),
    ),
    max_size=3,
    unique_by=lambda service: service.name,
)


def is_possible(free: dict[str, dict[str, int]], wanted: list[SwarmServicePlacement]) -> bool:
    """Whether any way to give each task one of its nodes has room for all of them."""
    tasks = [service for service in wanted for _ in range(service.tasks)]
    for choice in product(*(service.nodes for service in tasks)):
        if all(has_room(free, tasks, choice, each) for each in choice):
            return True
    return False


def has_room(
    free: Any, tasks: list[SwarmServicePlacement], choice: tuple[SwarmNode, ...], node: SwarmNode
) -> bool:
    here = [task for task, chosen in zip(tasks, choice, strict=True) if chosen == node]
    room = free[node.id]
    used = {kind: sum(task.needs.get(kind, 0) for task in here) for kind in room}
    reserves = any(task.needs for task in here)
    return all(not task.per_node or here.count(task) <= task.per_node for task in here) and (
        not reserves or all(used[kind] <= room[kind] for kind in room)
    )


@given(rooms, services)
def test_what_is_said_to_be_placed_can_be_placed(
    free: dict[str, dict[str, int]], wanted: list[SwarmServicePlacement]
) -> None:
    left_over = find_unplaced_tasks(with_free(wanted, free))
    assert all(0 < left_over[s.name] <= s.tasks for s in wanted if s.name in left_over)
    if not left_over:
        assert is_possible(free, wanted)


def service_of(
    name: str, tasks: int | None, memory: int, nodes: Any = NODES, per_node: int = 0
) -> SwarmServicePlacement:
    needs, count = {"memory": memory} if memory else {}, len(nodes) if tasks is None else tasks
    return SwarmServicePlacement(name, count, needs, per_node, (), nodes, tasks is None)


def with_free(
    services: list[SwarmServicePlacement], free: dict[str, dict[str, int]]
) -> list[SwarmServicePlacement]:
    """Return the services on nodes with these amounts free, by their ids."""
    nodes = {each.id: each._replace(free=Counter(free[each.id])) for each in NODES}
    return [one._replace(nodes=[nodes[each.id] for each in one.nodes]) for one in services]


def unplaced(services: list[SwarmServicePlacement], **memory: int) -> dict[str, int]:
    """Return what is left over where nodes have this memory free, by their names."""
    free = {each.id: {"memory": memory.get(each.name, 0)} for each in NODES}
    return find_unplaced_tasks(with_free(services, free))


def test_the_largest_goes_first_so_that_it_finds_room() -> None:
    assert not unplaced([service_of("s", 2, 3), service_of("l", 1, 10)], a=10, b=7)


def test_a_service_that_is_bound_to_a_node_goes_before_larger_ones() -> None:
    wanted = [service_of("free", 1, 8), service_of("bound", 1, 7, NODES[:1])]
    assert not unplaced(wanted, a=10, b=10)


def test_a_global_service_needs_room_on_each_of_its_nodes() -> None:
    wanted = [service_of("g", None, 3, per_node=1)]
    assert unplaced(wanted, a=3, b=9, c=2) == {"g": 1}


def test_what_reserves_nothing_goes_anywhere_as_often_as_it_may() -> None:
    assert not unplaced([service_of("x", 9, 0)], a=0, b=-5)
    assert unplaced([service_of("x", 9, 0, NODES[:2], per_node=4)], a=0, b=-5) == {"x": 1}


def test_a_service_that_no_node_may_run() -> None:
    assert unplaced([service_of("x", 2, 1, ())], a=4) == {"x": 2}


@pytest.mark.parametrize(
    ("room", "needs", "tasks"),
    [
        ({"memory": 10}, {"memory": 3}, 3),
        ({"memory": 10, "cpus": 2}, {"memory": 3, "cpus": 1}, 2),
        ({"memory": 10}, {"gpu": 1}, 0),
        ({"memory": 10, "cpus": -1}, {"memory": 3}, 0),  # one kind is overdrawn
        ({}, {"memory": 3}, 0),
    ],
)
def test_capacity(room: dict[str, int], needs: dict[str, int], tasks: int) -> None:
    assert count_tasks_that_fit(room, needs) == tasks
    assert count_tasks_that_fit(room, {}) > 10**9


def test_a_service_of_the_compose_file() -> None:
    generic = [{"discrete_resource_spec": {"kind": "gpu", "value": 2}}]
    reservations = {"memory": "1024", "cpus": 0.1, "generic_resources": generic}
    ports = [{"mode": "host", "published": "80"}]
    placement = {"constraints": ["node.hostname!=b"], "max_replicas_per_node": 3}
    deploy = {"replicas": 4, "resources": {"reservations": reservations}, "placement": placement}
    parsed = parse_service_placement("a", {"deploy": deploy}, NODES)
    assert parsed.needs == {"memory": 1024, "cpus": 100_000_000, "gpu": 2}
    assert (parsed.tasks, parsed.per_node, [n.name for n in parsed.nodes]) == (4, 3, ["a", "c"])
    assert parse_service_placement("a", {"deploy": deploy, "ports": ports}, NODES).per_node == 1
    assert parse_service_placement("a", {}, NODES).tasks == 1
    everywhere = parse_service_placement("a", {"deploy": {"mode": "global"}}, NODES)
    assert (everywhere.is_global, everywhere.tasks, everywhere.per_node) == (True, 3, 1)


def test_a_service_read_without_compose(tmp_path: Path) -> None:
    """What is compared with numbers of nodes is a number there too."""
    deploy = "{replicas: 4, placement: {max_replicas_per_node: 1}}"
    file = tmp_path / "compose.yaml"
    file.write_text(f"services: {{a: {{image: x, deploy: {deploy}}}}}")
    config = read_project_without_compose([str(file)]).reading.config["services"]["a"]
    assert find_unplaced_tasks([parse_service_placement("a", config, NODES)]) == {"a": 1}
