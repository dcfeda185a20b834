"""The facts of real Swarms against their own CLI, and where tasks fit against their scheduler.

The two nodes are engines in network namespaces of their own, joined by a pair of virtual cables:
one of one CPU, one of two. `nsenter` and not `ip netns exec`, which would hide the cgroups.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from engines import IMAGE, Engine, make_image, require_programs, skip_or_fail, start_dockerd, stop

Run = Callable[..., "subprocess.CompletedProcess[str]"]
Compose = Mapping[str, Any]
PROJECT = "shop"
NANO = 10**9
MAX_WAIT_SECONDS = 120  # for the scheduler, on a busy machine


def ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        skip_or_fail(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


class Pair(NamedTuple):
    """A manager and a worker that joined it."""

    manager: Engine
    worker: Engine


def cable(stack: ExitStack) -> list[str]:
    """Make two network namespaces that reach each other at 10.231.7.1 and .2."""
    names = [f"pf{os.getpid()}{end}" for end in "ab"]
    for name in names:
        ip("netns", "add", name)
        stack.callback(ip, "netns", "del", name)
    ip("link", "add", names[0], "netns", names[0], "type", "veth",
       "peer", "name", names[1], "netns", names[1])  # fmt: skip
    for number, name in enumerate(names, 1):
        ip("-n", name, "addr", "add", f"10.231.7.{number}/24", "dev", name)
        ip("-n", name, "link", "set", name, "up")
        ip("-n", name, "link", "set", "lo", "up")
    return names


def start(stack: ExitStack, namespace: str, hostname: str, cpus: str) -> Engine:
    engine, process = start_dockerd(
        ("nsenter", f"--net=/run/netns/{namespace}", "unshare", "--uts", "sh", "-c",
         'hostname "$0" && exec "$@"', hostname, "taskset", "-c", cpus)
    )  # fmt: skip
    stack.callback(stop, process, engine.folder)
    make_image(engine)
    return engine


@pytest.fixture(scope="module")
def pair() -> Iterator[Pair]:
    require_programs("dockerd", "docker", "busybox", "ip", "nsenter", "unshare", "taskset")
    if len(os.sched_getaffinity(0)) < 2:
        skip_or_fail("two CPUs")
    with ExitStack() as stack:
        first, second = cable(stack)
        manager = start(stack, first, "alpha", "0")
        worker = start(stack, second, "beta", "0,1")
        manager.docker("swarm", "init", "--advertise-addr", "10.231.7.1")
        token = manager.docker("swarm", "join-token", "-q", "worker")
        worker.docker("swarm", "join", "--token", token, "10.231.7.1:2377",
                      "--advertise-addr", "10.231.7.2")  # fmt: skip
        yield Pair(manager, worker)
        worker.docker("swarm", "leave", "--force")
        manager.docker("swarm", "leave", "--force")


@pytest.fixture(scope="module")
def single() -> Iterator[Engine]:
    """A Swarm of one node."""
    require_programs("dockerd", "docker", "busybox")
    engine, process = start_dockerd()
    try:
        make_image(engine)
        engine.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
        yield engine
        engine.docker("swarm", "leave", "--force")
    finally:
        stop(process, engine.folder)


def write(folder: Path, services: Compose) -> Path:
    """Write a compose file of services that sleep on the host's network and end at once.

    Jobs end by themselves: Docker 20.10 lets their tasks run on after their service is removed.
    """
    jobs = any(deploy.get("mode") == "replicated-job" for deploy in services.values())
    usual = {
        "image": IMAGE,
        "command": ["/bin/sleep", "6" if jobs else "1000"],
        "networks": ["host"],
        "stop_grace_period": "0s",
    }
    file = folder / PROJECT / "compose.yaml"
    file.parent.mkdir(exist_ok=True)
    content = {
        "version": "3.8",
        "services": {name: {**usual, "deploy": deploy} for name, deploy in services.items()},
        "networks": {"host": {"external": True, "name": "host"}},
    }
    file.write_text(json.dumps(content))
    return file


def snapshot(run: Run, engine: Engine, *options: str) -> Any:
    done = run("facts", "-f", "json", "--no-redact", "--docker-host", engine.url, *options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def swarm_facts(run: Run, engine: Engine, file: Path | None = None) -> Any:
    options = () if file is None else ("--compose-file", str(file))
    return snapshot(run, engine, *options)["facts"]["docker"]["swarm"]


def nodes(engine: Engine) -> dict[str, Any]:
    rows = json.loads(engine.docker("node", "inspect", *engine.docker("node", "ls", "-q").split()))
    return {row["Description"]["Hostname"]: row for row in rows}


class Task(NamedTuple):
    service: str
    state: str
    error: str


def tasks(engine: Engine) -> list[Task]:
    """What the CLI says of the stack's tasks that shall run, once each runs or is refused."""
    ends = time.monotonic() + MAX_WAIT_SECONDS
    while True:
        done = subprocess.run(  # it fails where the manager has not made the tasks yet
            ["docker", "stack", "ps", PROJECT, "--no-trunc", "--format", "{{json .}}"],
            env={**os.environ, "DOCKER_HOST": engine.url}, capture_output=True, text=True,
        )  # fmt: skip
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        found = [
            Task(
                row["Name"].removeprefix(f"{PROJECT}_").partition(".")[0],
                row["CurrentState"].partition(" ")[0],
                row["Error"].strip('"'),
            )
            for row in rows
            if row["DesiredState"] in ("Running", "Complete", "Ready")
            and not row["CurrentState"].startswith("Complete")  # a job's that is done
        ]
        if found and all(one.state == "Running" or one.error for one in found):
            return found
        assert time.monotonic() < ends, rows
        time.sleep(0.2)


def gone(engine: Engine) -> None:
    """Wait until no task holds anything: it does until its end is known."""
    names, ends = engine.docker("node", "ls", "-q").split(), time.monotonic() + MAX_WAIT_SECONDS
    over = ("Complete", "Failed", "Rejected", "Remove", "Shutdown")
    while True:
        states = engine.docker("node", "ps", *names, "--format", "{{.CurrentState}}").splitlines()
        if all(state.startswith(over) for state in states):
            return
        assert time.monotonic() < ends, states
        time.sleep(0.2)


@pytest.fixture
def deploy() -> Iterator[Callable[[Engine, Path], None]]:
    """Deploy a stack, and take it away after the test, with all that it holds."""
    used: list[Engine] = []

    def put(engine: Engine, file: Path) -> None:
        used.append(engine)
        engine.docker("stack", "deploy", "-c", str(file), PROJECT)

    yield put
    for engine in used:
        engine.docker("stack", "rm", PROJECT)
        gone(engine)


def reserve(**amounts: Any) -> dict[str, Any]:
    return {"resources": {"reservations": amounts}}


def constrained(*constraints: str, **more: Any) -> dict[str, Any]:
    return {"placement": {"constraints": list(constraints), **more}}


# --- nodes --------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_nodes_are_what_the_manager_s_own_cli_says(pair: Pair, run_preflight: Run) -> None:
    said = nodes(pair.manager)
    pair.manager.docker("node", "update", "--label-add", "disk=ssd", said["beta"]["ID"])
    pair.manager.docker("node", "update", "--availability", "pause", said["alpha"]["ID"])
    try:
        facts, said = swarm_facts(run_preflight, pair.manager), nodes(pair.manager)
    finally:
        pair.manager.docker("node", "update", "--label-rm", "disk", said["beta"]["ID"])
        pair.manager.docker("node", "update", "--availability", "active", said["alpha"]["ID"])
    assert set(facts["nodes"]) == set(said) == {"alpha", "beta"}
    for name, row in said.items():
        node, has = facts["nodes"][name], row["Description"]["Resources"]
        assert node["role"] == row["Spec"]["Role"]
        assert node["state"] == row["Status"]["State"] == "ready"
        assert node["availability"] == row["Spec"]["Availability"]
        assert node["cpus"] == has["NanoCPUs"] / NANO
        assert node["memory"] == has["MemoryBytes"]
        assert node["labels"] == row["Spec"]["Labels"]
    assert facts["nodes"]["beta"]["labels"] == {"disk": "ssd"}
    assert (facts["nodes"]["alpha"]["cpus"], facts["nodes"]["beta"]["cpus"]) == (1, 2)
    assert (facts["ready"], facts["managers"], facts["stack"]) == (1, 1, None)


@pytest.mark.nightly
def test_what_others_reserve_is_not_free(pair: Pair, run_preflight: Run) -> None:
    pair.manager.docker(
        "service", "create", "--name", "other", "--detach", "--network", "host",
        "--constraint", "node.hostname==beta", "--reserve-cpu", "0.5", "--reserve-memory", "1g",
        "--stop-grace-period", "0s", IMAGE, "/bin/sleep", "1000",
    )  # fmt: skip
    try:
        ends = time.monotonic() + MAX_WAIT_SECONDS
        while "Running" not in pair.manager.docker("service", "ps", "other"):
            assert time.monotonic() < ends
            time.sleep(0.2)
        found = swarm_facts(run_preflight, pair.manager)["nodes"]
    finally:
        pair.manager.docker("service", "rm", "other")
        gone(pair.manager)
    assert found["beta"]["free"] == {"cpus": 1.5, "memory": found["beta"]["memory"] - 2**30}
    assert found["alpha"]["free"] == {"cpus": 1.0, "memory": found["alpha"]["memory"]}


@pytest.mark.nightly
def test_a_worker_says_which_manager_to_ask(pair: Pair, run_preflight: Run, tmp_path: Path) -> None:
    file = write(tmp_path, {"web": reserve(cpus="0.1")})
    found = snapshot(run_preflight, pair.worker, "--compose-file", str(file))
    assert found["facts"]["docker"]["swarm"] == {"state": "active", "stack": None}
    why = found["unknown"]["docker.swarm.nodes"]
    assert why["reason"] == (
        "this node is a worker: use a manager with --docker-host ssh://10.231.7.1"
    )
    done = run_preflight(
        "check", "--only", "swarm", "--docker-host", pair.worker.url, "--compose-file", str(file)
    )
    assert done.returncode == 0, done.stdout  # it may be for docker compose: nothing is required


def test_an_engine_outside_of_a_swarm_has_none(docker_engine: Engine, run_preflight: Run) -> None:
    found = snapshot(run_preflight, docker_engine)
    swarm = found["facts"]["docker"]["swarm"]
    assert swarm.pop("state") == "inactive"
    assert swarm["nodes"] is None
    assert swarm["services"] is None
    assert not [path for path in found["unknown"] if path.startswith("docker.swarm")]
    done = run_preflight("check", "--only", "swarm", "--docker-host", docker_engine.url)
    assert done.returncode == 0
    assert "✖" not in done.stdout
    assert "▲" not in done.stdout


# --- where tasks fit, and where the scheduler puts them -----------------------------------------

HUGE = "4000G"
# What is deployed, and whether a task of it waits for a node.
STACKS: dict[str, tuple[dict[str, Any], bool]] = {
    "all fits": ({"a": reserve(cpus="0.5"), "b": reserve(memory="100M")}, False),
    "nothing is reserved": ({"a": {"replicas": 5}}, False),
    "too much memory": ({"a": reserve(memory=HUGE)}, True),
    "no such label": ({"a": constrained("node.labels.gpu==true")}, True),
    "the wrong node has room": (
        {"a": {**reserve(cpus="2"), **constrained("node.hostname==ALPHA")}},
        True,
    ),
    "the right node has room": (
        {"a": {**reserve(cpus="2"), **constrained("node.role != manager")}},
        False,
    ),
    "one on each node": ({"a": {"mode": "global", **reserve(cpus="1")}}, False),
    "one node is too small for its own": (
        {"a": {"mode": "global", **reserve(cpus="2")}},
        True,
    ),
    "one a node": (
        {"a": {"replicas": 3, **constrained(max_replicas_per_node=1)}},
        True,
    ),
    "no such thing": (
        {"a": reserve(generic_resources=[{"discrete_resource_spec": {"kind": "GPU", "value": 1}}])},
        True,
    ),
    "all but one": ({"a": {"replicas": 7, **reserve(cpus="0.5")}}, True),
    "jobs": ({"a": {"mode": "replicated-job", "replicas": 2, **reserve(cpus="1")}}, False),
}


@pytest.mark.parametrize("name", STACKS)
@pytest.mark.nightly
def test_it_agrees_with_the_scheduler(
    name: str,
    pair: Pair,
    run_preflight: Run,
    deploy: Callable[[Engine, Path], None],
    tmp_path: Path,
) -> None:
    services, waits = STACKS[name]
    file = write(tmp_path, services)
    before = swarm_facts(run_preflight, pair.manager, file)
    assert before["stack"] is None
    assert (before["unplaced"] is not None) is waits
    deploy(pair.manager, file)
    found = tasks(pair.manager)
    after = swarm_facts(run_preflight, pair.manager, file)
    assert after["stack"] == "stack"
    for fact in ("services", "unplaced"):  # its own tasks count as free
        assert without_pending(after[fact]) == without_pending(before[fact])
    waiting = [one for one in found if one.state == "Pending"]
    assert bool(waiting) is waits
    for service, one in after["services"].items():
        errors = {task.error for task in waiting if task.service == service}
        assert one["pending"] == sum(task.service == service for task in waiting)
        assert {one["waits_for"]} - {None} == errors
        if one["fits"] is False:
            assert errors
        assert one["tasks"] == sum(task.service == service for task in found)


def without_pending(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    kept = {key: value for key, value in node.items() if key not in ("pending", "waits_for")}
    return {key: without_pending(value) for key, value in kept.items()}


@pytest.mark.nightly
def test_what_only_packing_places_the_scheduler_may_leave_pending(
    pair: Pair, run_preflight: Run, deploy: Callable[[Engine, Path], None], tmp_path: Path
) -> None:
    small = {"small": {"replicas": 2, **reserve(cpus="0.5")}}
    services = {**small, "large": reserve(cpus="2")}
    file = write(tmp_path, services)
    assert swarm_facts(run_preflight, pair.manager, file)["unplaced"] is None
    deploy(pair.manager, write(tmp_path, small))  # the order that is feared
    assert [one.state for one in tasks(pair.manager)] == ["Running", "Running"]
    deploy(pair.manager, write(tmp_path, services))
    (waiting,) = [one for one in tasks(pair.manager) if one.state == "Pending"]
    assert waiting.service == "large"
    options = ("--docker-host", pair.manager.url, "--compose-file", str(file))
    done = run_preflight("check", "--only", "swarm", *options)
    assert done.returncode == 1
    assert waiting.error in " ".join(done.stdout.split())


@pytest.mark.nightly
def test_constraints_that_swarm_refuses_are_met_by_no_node(
    pair: Pair, run_preflight: Run, tmp_path: Path
) -> None:
    file = write(tmp_path, {"a": constrained("node.labels.disk=ssd")})
    service = swarm_facts(run_preflight, pair.manager, file)["services"]["a"]
    assert service["fits"] is False
    assert "node.labels.disk=ssd" in service["reason"]
    done = subprocess.run(
        ["docker", "stack", "deploy", "-c", str(file), PROJECT],
        env={**os.environ, "DOCKER_HOST": pair.manager.url},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0


def test_a_single_node_that_is_drained(
    single: Engine, run_preflight: Run, deploy: Callable[[Engine, Path], None], tmp_path: Path
) -> None:
    file = write(tmp_path, {"a": reserve(cpus="0.5"), "b": {}})
    facts = swarm_facts(run_preflight, single, file)
    assert facts["unplaced"] is None
    (name,) = facts["nodes"]
    single.docker("node", "update", "--availability", "drain", name)
    facts = swarm_facts(run_preflight, single, file)
    assert facts["ready"] == 0
    assert facts["services"]["a"]["reason"] == "no node takes tasks"
    assert facts["unplaced"] == ["a", "b"]
    deploy(single, file)
    assert all(task.error for task in tasks(single))
    check = ("check", "--only", "swarm", "--docker-host", single.url, "--compose-file", str(file))
    assert run_preflight(*check).returncode == 1
    single.docker("node", "update", "--availability", "active", name)
    ends = time.monotonic() + MAX_WAIT_SECONDS
    while {one.state for one in tasks(single)} != {"Running"}:
        assert time.monotonic() < ends
        time.sleep(0.2)
    done = run_preflight(*check)
    assert done.returncode == 0, done.stdout
    assert "No memory reservation in Swarm: a and b" in done.stdout  # advice alone
    assert "▲ Ready Swarm nodes: 1, at least 2 recommended" in done.stdout


@pytest.mark.nightly
def test_a_project_that_runs_by_compose_is_not_judged_as_a_stack(
    single: Engine, run_preflight: Run, tmp_path: Path
) -> None:
    file = write(tmp_path, {"a": reserve(memory=HUGE)})
    check = ("check", "--docker-host", single.url, "--compose-file", str(file))
    rules = ("--only", "swarm-task-fits", "--only", "swarm-task-would-fit")
    done = run_preflight(*check, *rules)
    assert done.returncode == 0  # nobody deployed it: advice
    assert "▲" in done.stdout
    container = single.run(
        "--label", f"com.docker.compose.project={PROJECT}", IMAGE, "/bin/sleep", "1000"
    )
    try:
        done = run_preflight(*check, *rules)
    finally:
        single.docker("rm", "-f", container)
    assert done.returncode == 0
    assert "▲" not in done.stdout
