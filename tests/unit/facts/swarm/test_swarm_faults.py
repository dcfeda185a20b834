"""What a manager may answer, and what is said of it; an engine outside of a Swarm isn't asked."""

from __future__ import annotations

import json
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from preflight.facts.collect.context import MeasureContext
from preflight.facts.options import Options
from preflight.facts.swarm import facts as swarm
from preflight.model.facts import Facts, Unknown, gather

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
    """An engine over a unix socket: answers by path, and remembers what it was asked."""

    def __init__(self, place: str) -> None:
        self.url = f"unix://{place}"
        self.asked: list[str] = []
        self.info: dict[str, Any] = {"Swarm": ACTIVE, "OSType": "linux", "Containers": 0}
        self.answers: dict[str, Any] = {"/nodes": [], "/services": [], "/tasks": []}
        self.hang = threading.Event()
        manager = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.partition("?")[0]
                path = path[path.index("/", 1) :] if path.startswith("/v1.") else path
                manager.asked.append(path)
                status, body = manager.answer(path)
                data = json.dumps(body).encode()
                with suppress(OSError):  # who asked may have gone
                    self.send_response(status)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

            def address_string(self) -> str:
                return ""

        class Server(socketserver.ThreadingUnixStreamServer):
            daemon_threads = True

        self.server = Server(place, Handler)
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()

    def answer(self, path: str) -> tuple[int, Any]:
        if path == "/version":
            return 200, {
                "ApiVersion": "1.41",
                "Version": "20.10.24",
                "Os": "linux",
                "Arch": "amd64",
            }
        if path == "/info":
            return 200, self.info
        found = self.answers.get(path, [])
        if found == "hang":
            self.hang.wait(30)
        return found if isinstance(found, tuple) else (200, found)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(str(tmp_path / "s"))
    yield made
    made.hang.set()
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """One service that reserves 3 GiB, twice."""
    path = tmp_path / "shop" / "compose.yaml"
    path.parent.mkdir()
    deploy = {"replicas": 2, "resources": {"reservations": {"memory": "3G"}}}
    path.write_text(json.dumps({"services": {"a": {"image": "x", "deploy": deploy}}}))
    return path


def measured(manager: Manager, file: Path | None = None) -> Facts:
    files = () if file is None else (str(file),)
    options = Options(docker_host=manager.url, compose_files=files, timeout=2)
    return gather(swarm.measure(MeasureContext(options)), measured_at="", version="")


def of(facts: Facts, *path: str) -> Any:
    return facts.get(("docker", "swarm", *path))


def test_an_engine_outside_of_a_swarm_is_asked_nothing_more(manager: Manager, file: Path) -> None:
    manager.info["Swarm"] = {"LocalNodeState": "inactive"}
    facts = measured(manager, file)
    assert manager.asked == ["/version", "/info"]
    assert of(facts, "nodes") is None
    assert of(facts, "nodes", "w1", "memory") is None


def test_an_engine_outside_of_a_swarm_costs_no_import() -> None:
    code = "import sys; from preflight.facts.swarm import facts; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = {name for name in done.stdout.split() if name.startswith("preflight.facts.swarm")}
    assert loaded == {"preflight.facts.swarm", "preflight.facts.swarm.facts"}


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


def test_what_a_node_does_not_say_is_unknown_and_may_decide(manager: Manager, file: Path) -> None:
    dumb = node(2, Description={"Hostname": "dumb", "Resources": {"NanoCPUs": 0}})
    manager.answers["/nodes"] = [node(1), dumb]
    facts = measured(manager, file)
    assert isinstance(of(facts, "nodes", "dumb", "memory"), Unknown)
    assert isinstance(of(facts, "nodes", "dumb", "free", "memory"), Unknown)
    assert of(facts, "services", "a", "fits") is True
    assert of(facts, "packed", "state") == "placed"  # the other has room for both
    assert isinstance(of(facts, "loss", "state"), Unknown)
    manager.answers["/nodes"] = [dumb]
    facts = measured(manager, file)
    assert "dumb" in of(facts, "services", "a", "fits").reason
    assert "dumb" in of(facts, "packed", "state").reason


def test_nodes_are_told_where_tasks_are_not(manager: Manager, file: Path) -> None:
    manager.answers["/nodes"] = [node(1)]
    manager.answers["/tasks"] = (500, {"message": "rpc error: code = DeadlineExceeded"})
    facts = measured(manager, file)
    assert of(facts, "nodes", "w1", "memory") == 8 * GIB
    for path in (("nodes", "w1", "free"), ("services",), ("packed", "state"), ("stack",)):
        assert "DeadlineExceeded" in of(facts, *path).reason


def test_a_manager_without_quorum_is_unknown(manager: Manager, file: Path) -> None:
    manager.answers["/nodes"] = (503, {"message": "The swarm does not have a leader."})
    facts = measured(manager, file)
    for path in (("nodes",), ("ready",), ("stack",), ("services",), ("loss", "state")):
        assert "does not have a leader" in of(facts, *path).reason


def task(service: str, where: int | None, state: str, memory: int, **more: Any) -> dict[str, Any]:
    reserved = {"Resources": {"Reservations": {"MemoryBytes": memory}}}
    found = {"ServiceID": service, "Spec": reserved, "Status": {"State": state, **more}}
    return found if where is None else {**found, "NodeID": f"{where:025d}"}


def service(key: str, name: str, **labels: str) -> dict[str, Any]:
    return {"ID": key, "Spec": {"Name": name, "Labels": labels, "Mode": {"Global": {}}}}


def test_what_holds_room_and_whose_it_is(manager: Manager, file: Path) -> None:
    manager.answers["/nodes"] = [node(1)]
    manager.answers["/services"] = [
        service("own", "shop_a"),
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
    facts = measured(manager, file)
    assert of(facts, "nodes", "w1", "free", "memory") == 5 * GIB
    assert of(facts, "stack") == "stack"
    assert of(facts, "services", "a", "pending") == 1
    assert of(facts, "packed", "unplaced") == ["a"]  # 2 × 3 GiB of 5
    assert of(facts, "packed", "reason") == "a has 2 tasks, and there is room for 1 on w1"


GARBAGE: list[Any] = [
    [None, 5, "x", [], {}],
    [{"ID": 5}, {"ID": ""}, {"ID": "x"}],
    [{"ID": "x", "Spec": 5, "Description": "y", "Status": [], "ManagerStatus": 7}],
    [{"ID": "x", "Spec": {"Labels": [1], "Role": {}}, "Description": {"Resources": 5}}],
    [{"ID": "x", "Description": {"Resources": {"MemoryBytes": -5, "NanoCPUs": "many"}}}],
    [
        {
            "ID": "x",
            "Description": {"Resources": {"GenericResources": [5, {}, {"NamedResourceSpec": 1}]}},
        }
    ],
    [
        {
            "ID": "x",
            "Spec": {"Mode": [], "TaskTemplate": 5, "Name": {}, "EndpointSpec": {"Ports": [1]}},
        }
    ],
    [{"ID": "x", "ServiceID": "x", "NodeID": "x", "Status": 5, "Spec": {"Resources": 7}}],
    [{"ServiceID": "x", "NodeID": "x", "Status": {"State": "running"}, "Spec": None}],
]


def test_a_task_whose_state_is_none_holds_nothing(manager: Manager, file: Path) -> None:
    needs = {"Resources": {"Reservations": {"MemoryBytes": 8 * GIB}}}
    task = {"ServiceID": "x", "NodeID": node(1)["ID"], "Spec": needs, "Status": {"State": {}}}
    manager.answers.update({"/nodes": [node(1)], "/tasks": [task]})
    assert of(measured(manager, file), "packed", "state") == "placed"


@pytest.mark.parametrize("where", ["/nodes", "/services", "/tasks"])
@pytest.mark.parametrize("number", range(len(GARBAGE)))
def test_garbage_is_no_crash(manager: Manager, file: Path, where: str, number: int) -> None:
    manager.answers["/nodes"] = [node(1), node(2)]
    manager.answers[where] = GARBAGE[number]
    facts = measured(manager, file)
    assert isinstance(of(facts, "ready"), int)
    assert of(facts, "packed", "state") is not None


def test_more_nodes_than_are_taken_away_one_by_one(manager: Manager, file: Path) -> None:
    manager.answers["/nodes"] = [node(number) for number in range(201)]
    facts = measured(manager, file)
    assert of(facts, "packed", "state") == "placed"
    assert "200" in of(facts, "loss", "state").reason


def test_a_manager_that_hangs_leaves_what_it_said(
    manager: Manager, file: Path, run_preflight: Run
) -> None:
    manager.answers.update({"/nodes": [node(1)], "/tasks": "hang"})
    options = ("--docker-host", manager.url, "--compose-file", str(file), "--timeout", "2")
    done = run_preflight("facts", "-f", "json", *options)
    found = json.loads(done.stdout)
    assert found["facts"]["docker"]["swarm"]["ready"] == 1
    assert found["unknown"]["docker.swarm.packed.state"]["kind"] == "timeout"


def test_hostile_names_command_no_terminal(
    manager: Manager, file: Path, run_preflight: Run
) -> None:
    hostile = "\x1b[2Jw\r\n::error::x\u202e<b>[red]"
    spec = {"Labels": {hostile: hostile}, "Role": "worker", "Availability": "active"}
    manager.answers["/nodes"] = [node(1, hostile, Spec=spec), node(2)]
    big = {"replicas": 9, "resources": {"reservations": {"memory": "3G"}}}
    file.write_text(json.dumps({"services": {"a": {"image": "x", "deploy": big}}}))
    options = ("--docker-host", manager.url, "--compose-file", str(file), "--only", "swarm", "-v")
    for form in ("text", "markdown", "github"):
        done = run_preflight("check", *options, "-f", form)
        assert done.returncode in (0, 3), done.stderr
        assert "w2" in done.stdout
        assert not set("\x1b\u202e\r") & set(done.stdout)
        assert "\n::error::x" not in done.stdout
