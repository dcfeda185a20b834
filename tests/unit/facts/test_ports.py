"""Published ports against real sockets, real containers, and captured tables of the kernel."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from contexts import LOCAL, REMOTE, SEEN, context_with, without_engine
from engines import IMAGE, Engine
from paths import TESTS
from preflight.facts import ports
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.project import ComposeError, Project
from preflight.facts.engine.api import EngineApi, LazyValue
from preflight.facts.engine.endpoint import Endpoint
from preflight.facts.ports import PublishedPort, addresses_conflict, can_bind_port
from preflight.model.facts import FileLine, Measured, Unknown, Value


class Told(EngineApi):
    """An engine that lists these containers."""

    listed: Sequence[dict[str, Any]] = ()

    def containers(self) -> list[dict[str, Any]]:
        return list(self.listed)


def project_of(services: Mapping[str, Any]) -> Project:
    places: dict[tuple[str, ...], FileLine] = {
        ("services", name, "ports", str(port.get("published"))): FileLine(
            "compose.yaml", 10 + index
        )
        for name, service in services.items()
        for index, port in enumerate(service.get("ports") or ())
    }
    config = {"name": "shop", "services": services}
    return Project("shop", "/shop", ("compose.yaml",), "cli", config, positions=places)


def port_of(published: int | str, address: str = "127.0.0.1", protocol: str = "tcp") -> Any:
    given = {"host_ip": address} if address else {}
    return {"target": 80, "published": str(published), "protocol": protocol, **given}


def machine_with(
    project: Project | None, containers: Sequence[dict[str, Any]] = (), **more: Any
) -> MeasurementContext:
    api = Told(more.get("endpoint", LOCAL), 1)
    api.listed = containers
    return context_with(project, api=api, **more)


def ports_of(measured: Iterator[Measured]) -> dict[str, dict[str, Value]]:
    found: dict[str, dict[str, Value]] = {}
    for one in measured:
        if len(one.path) == 4:
            found.setdefault(one.path[2], {})[one.path[3]] = one.value
    return found


def judged(services: Mapping[str, Any], *containers: dict[str, Any]) -> dict[str, dict[str, Value]]:
    return ports_of(ports.measure_ports(machine_with(project_of(services), containers)))


def container(port: int, project: str | None, address: str = "127.0.0.1") -> dict[str, Any]:
    labels = {} if project is None else {"com.docker.compose.project": project}
    published = {"IP": address, "PrivatePort": 80, "PublicPort": port, "Type": "tcp"}
    return {"Names": ["/web"], "Labels": labels, "Ports": [published, {"PrivatePort": 81}]}


def listen(address: str, protocol: str = "tcp") -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
    one = socket.socket(family, kind)
    try:
        one.bind((address, 0))
    except OSError as fault:
        one.close()
        pytest.skip(f"{address}: {fault.strerror}")
    if protocol == "tcp":
        one.listen()
    return one


def number(one: socket.socket) -> int:
    port: int = one.getsockname()[1]
    return port


@pytest.fixture
def free_port() -> int:
    """A port that is free now, below those that the system gives away by itself."""
    while True:
        port = 20000 + secrets.randbelow(10000)
        if can_bind_port(("tcp", port), "127.0.0.1") is True:
            return port


@pytest.mark.parametrize(
    ("address", "protocol"),
    [("127.0.0.1", "tcp"), ("127.0.0.1", "udp"), ("::1", "tcp"), ("::1", "udp")],
)
@pytest.mark.parametrize("asked", ["", "same"])
def test_a_port_is_held_while_a_socket_has_it(address: str, protocol: str, asked: str) -> None:
    with listen(address, protocol) as held:
        port = port_of(number(held), address if asked else "", protocol)
        key = port["published"] + ("" if protocol == "tcp" else "/udp")
        before = judged({"api": {"ports": [port]}})
    after = judged({"api": {"ports": [port]}})
    name = psutil.Process().name()
    assert before[key]["free"] is False
    assert before[key]["holder"] == f"{name} (pid {os.getpid()})"
    assert (after[key]["free"], after[key]["holder"]) == (True, None)


def test_tcp_and_udp_are_two_ports() -> None:
    with listen("127.0.0.1") as held:
        found = judged({"dns": {"ports": [port_of(number(held), protocol="udp")]}})
    assert found[f"{number_of(found)}/udp"]["free"] is True


def number_of(found: Mapping[str, Any]) -> str:
    return next(iter(found)).partition("/")[0]


def test_another_address_of_the_same_family_is_free() -> None:
    with listen("127.0.0.1") as held:
        found = judged({"api": {"ports": [port_of(number(held), "127.0.0.2")]}})
        everywhere = judged({"api": {"ports": [port_of(number(held), "0.0.0.0")]}})
        other_family = judged({"api": {"ports": [port_of(number(held), "::")]}})
    assert [one[number_of(one)]["free"] for one in (found, everywhere, other_family)] == [
        True, False, True,
    ]  # fmt: skip


def test_the_holder_is_the_process_that_listens() -> None:
    code = (
        "import socket, sys; s = socket.create_server(('127.0.0.1', 0));"
        "print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdin is not None
        port = int(child.stdout.readline())
        found = judged({"api": {"ports": [port_of(port)]}})
        name = psutil.Process(child.pid).name()
        child.stdin.close()
    assert found[str(port)]["holder"] == f"{name} (pid {child.pid})"


def test_of_a_server_that_forks_the_parent_is_the_holder() -> None:
    code = (
        "import os, socket, sys; s = socket.create_server(('127.0.0.1', 0)); worker = os.fork();"
        "worker and print(s.getsockname()[1], flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as server:
        assert server.stdout is not None
        assert server.stdin is not None
        port = int(server.stdout.readline())
        found = judged({"api": {"ports": [port_of(port)]}})
        server.stdin.close()
    assert str(found[str(port)]["holder"]).endswith(f"(pid {server.pid})")


def test_a_client_connection_is_no_listener() -> None:
    with listen("127.0.0.1") as server, socket.create_connection(server.getsockname()) as client:
        found = judged({"api": {"ports": [port_of(number(client))]}})
    assert found[number_of(found)]["free"] is True


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become somebody else")
def test_an_ordinary_user_sees_that_it_is_held_but_not_by_whom() -> None:
    code = f"""
import os, sys
sys.path[:0] = {[str(Path(__file__).parent), str(TESTS / "support")]!r}
import test_ports as t
services = {{"api": {{"ports": [t.port_of(sys.argv[1])]}}}}
t.judged(services)  # as root: the interpreter's own files may be closed to others
os.setgid(65534); os.setuid(65534)
found = t.judged(services)[sys.argv[1]]
print(found["free"], found["holder"], sep="|")
"""
    with listen("127.0.0.1") as held:
        done = subprocess.run(
            [sys.executable, "-c", code, str(number(held))], capture_output=True, text=True
        )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "False|a process of another user (root may see it)"


def test_another_projects_container_holds_a_port_without_a_socket(free_port: int) -> None:
    services = {"api": {"ports": [port_of(free_port)]}}
    found = judged(services, container(free_port, "other"))[str(free_port)]
    assert (found["free"], found["holder"]) == (False, "container web of project other")
    found = judged(services, container(free_port, None, "0.0.0.0"))[str(free_port)]
    assert (found["free"], found["holder"]) == (False, "container web")
    found = judged(services, container(free_port, "other", "127.0.0.2"))[str(free_port)]
    assert found["free"] is True


def test_the_projects_own_container_and_its_proxy_count_as_free() -> None:
    with listen("127.0.0.1") as proxy:
        port = number(proxy)
        services = {"api": {"ports": [port_of(port, "")]}}
        own = judged(services, container(port, "shop", "0.0.0.0"))
        elsewhere = judged(services, container(port, "shop", "127.0.0.2"))
    assert own[str(port)]["free"] is True
    assert elsewhere[str(port)]["free"] is False  # that socket isn't the container's


def of_service(port: int, service: str, **labels: str) -> dict[str, Any]:
    one = container(port, "shop")
    more = {"service": service, **labels}
    one["Labels"].update({f"com.docker.compose.{key}": value for key, value in more.items()})
    return one


def test_a_container_that_compose_leaves_alone_keeps_its_port(free_port: int) -> None:
    key, services = str(free_port), {"api": {"ports": [port_of(free_port)]}}
    assert judged(services, of_service(free_port, "api"))[key]["free"] is True
    found = judged(services, of_service(free_port, "old"))[key]
    assert (found["free"], found["holder"]) == (
        False, "container web (service old is not in the file)",
    )  # fmt: skip
    found = judged(services, of_service(free_port, "api", oneoff="True"))[key]
    assert (found["free"], found["holder"]) == (False, "container web of docker compose run")
    project = project_of(services)
    project = project._replace(inactive={"tool": ("debug",)})
    context = machine_with(project, [of_service(free_port, "tool")])
    held = ports_of(ports.measure_ports(context))[key]["holder"]
    assert held == (
        "container web (service tool is in the file, but its profile is not active: debug)"
    )


@pytest.fixture
def publishing(docker_engine: Engine) -> Iterator[Callable[..., int]]:
    """Start real containers that publish a port of loopback; returns which one Docker chose."""
    network = docker_engine.docker("network", "create", f"pf-{os.getpid()}")
    started: list[str] = []

    def start(project: str) -> int:
        label = f"--label=com.docker.compose.project={project}"
        one = docker_engine.docker(
            "run", "-d", f"--network={network}", "-p", "127.0.0.1::80", label, IMAGE, "sleep", "60"
        )
        started.append(one)
        return int(docker_engine.docker("port", one, "80/tcp").rpartition(":")[2])

    yield start
    docker_engine.docker("rm", "-f", *started)
    docker_engine.docker("network", "rm", network)


def test_ports_of_real_containers(docker_engine: Engine, publishing: Callable[..., int]) -> None:
    own, other = publishing("shop"), publishing("other")
    name = docker_engine.docker("ps", "--filter", f"publish={other}", "--format", "{{.Names}}")
    services = {"api": {"ports": [port_of(own, ""), port_of(other, "")]}}
    context = MeasurementContext(MeasurementOptions(docker_host=docker_engine.url))
    context.project = LazyValue(lambda: project_of(services))
    found = ports_of(ports.measure_ports(context))
    assert found[str(own)]["free"] is True
    assert found[str(other)]["free"] is False
    assert found[str(other)]["holder"] == f"container {name} of project other"
    # its proxy is there, and without the engine nobody knows whose container it is
    without = ports_of(ports.measure_ports(without_engine(project_of(services))))
    free = without[str(other)]["free"]
    assert isinstance(free, Unknown)
    assert free.reason.startswith("docker-proxy (pid ")


def test_without_an_engine_the_sockets_of_this_machine_decide(free_port: int) -> None:
    with listen("127.0.0.1") as held:
        port = number(held)
        project = project_of({"api": {"ports": [port_of(port), port_of(free_port)]}})
        found = ports_of(ports.measure_ports(without_engine(project)))
        away = ports_of(ports.measure_ports(without_engine(project, REMOTE)))
    assert (found[str(port)]["free"], found[str(free_port)]["free"]) == (False, True)
    assert away[str(port)]["free"] == Unknown("connection refused", "refused")


@pytest.mark.parametrize(
    ("endpoint", "native", "name", "known"),
    [
        (LOCAL, True, "docker", True),
        (LOCAL, False, "docker", False),  # inside of a container with its socket
        (LOCAL, False, "docker-desktop", True),
        (LOCAL, False, "colima", True),
        (REMOTE, False, "docker", False),
        (REMOTE, False, "docker-desktop", False),
    ],
)
def test_only_an_engine_of_this_machine_has_its_ports(
    endpoint: Endpoint, native: bool, name: str, known: bool, free_port: int
) -> None:
    project = project_of({"api": {"ports": [port_of(free_port)]}})
    context = machine_with(project, endpoint=endpoint, native=native, name=name)
    found = ports_of(ports.measure_ports(context))[str(free_port)]
    assert isinstance(found["free"], Unknown) is not known
    assert (found["service"], found["address"]) == ("api", "127.0.0.1")


def test_services_and_addresses_of_one_port(free_port: int) -> None:
    services = {
        "api": {"ports": [port_of(free_port)]},
        "web": {"ports": [port_of(free_port, "")]},
        "tool": {"ports": [port_of(free_port)], "network_mode": "host"},
        "none": {"ports": [port_of(free_port)], "deploy": {"replicas": 0}},
        "any": {"ports": [{"target": 80, "protocol": "tcp"}, port_of("0"), port_of("")]},
    }
    found = judged(services)
    assert list(found) == [str(free_port)]
    assert found[str(free_port)]["service"] == "api, web"
    assert found[str(free_port)]["address"] == "127.0.0.1, 0.0.0.0"


@pytest.mark.parametrize(("copies", "free"), [(1, True), (2, False)])
def test_of_a_range_enough_must_be_left(copies: int, free: bool, free_port: int) -> None:
    text = f"{free_port}-{free_port + 1}"
    services = {"api": {"ports": [port_of(text)], "scale": copies}}
    found = judged(services, container(free_port + 1, "other"))
    assert found[text]["free"] is free
    assert found[text]["holder"] == (None if free else "container web of project other")


def test_a_line_of_the_file_and_what_was_looked_at_are_the_source(free_port: int) -> None:
    project = project_of({"api": {"ports": [port_of(1), port_of(free_port)]}})
    sources = {one.path: one.source for one in ports.measure_ports(machine_with(project))}
    source = sources["host", "ports", str(free_port), "free"]
    assert source.text == "in compose.yaml:11; /proc/net, GET /containers/json"
    assert source.place == ("compose.yaml", 11)


def test_no_more_than_500_ports_are_looked_at() -> None:
    services = {"api": {"ports": [port_of(port) for port in range(1, 1000)]}}
    assert len(judged(services)) == 500


def test_sctp_is_not_looked_at() -> None:
    found = judged({"api": {"ports": [port_of(7000, protocol="sctp")]}})
    assert isinstance(found["7000/sctp"]["free"], Unknown)


@pytest.mark.parametrize(
    ("one", "other", "clashing"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "::", False),
        ("0.0.0.0", "::1", False),
        ("::", "::1", True),
        ("::1", "fe80::1", False),
        ("::1", "0:0:0:0:0:0:0:1", True),
        ("::ffff:127.0.0.1", "127.0.0.1", True),
        ("", "127.0.0.1", True),
        ("", "::1", True),
        ("", "", True),
    ],
)
def test_addresses_that_clash(one: str, other: str, clashing: bool) -> None:
    assert addresses_conflict(one, other) is clashing
    assert addresses_conflict(other, one) is clashing


@pytest.mark.skipif(sys.platform != "linux", reason="Linux lists them")
def test_the_sockets_that_the_kernel_lists_are_those_of_psutil() -> None:
    with (
        listen("127.0.0.1") as tcp,
        socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as udp,
        socket.create_connection(tcp.getsockname()) as connection,
    ):
        udp.bind(("::1", 0))
        used, listeners = ports.read_used_ports(), ports.read_listeners()
        assert used is not None
        assert isinstance(listeners, dict)
        mine = {("tcp", number(tcp)), ("udp", udp.getsockname()[1])}
        assert mine <= used & listeners.keys()
        assert ("tcp", connection.getsockname()[1]) not in used | listeners.keys()


def listening(monkeypatch: pytest.MonkeyPatch, address: str, port: int) -> None:
    """A system where one program has a port."""
    one = SimpleNamespace(
        type=socket.SOCK_STREAM, status=psutil.CONN_LISTEN, pid=os.getpid(),
        laddr=SimpleNamespace(ip=address, port=port),
    )  # fmt: skip
    monkeypatch.setattr(psutil, "net_connections", lambda kind: [one])
    monkeypatch.setattr(ports, "read_used_ports", lambda: None)


def test_a_socket_of_ipv6_has_ipv4_too_unless_the_port_can_be_had(
    monkeypatch: pytest.MonkeyPatch, free_port: int
) -> None:
    listening(monkeypatch, "::", free_port)
    own = f"{psutil.Process().name()} (pid {os.getpid()})"
    services = {"api": {"ports": [port_of(free_port)]}}
    assert judged(services)[str(free_port)]["free"] is True
    with socket.create_server(("127.0.0.1", free_port)):
        found = judged(services)[str(free_port)]
    assert (found["free"], found["holder"]) == (False, own)
    every = judged({"api": {"ports": [port_of(free_port, "")]}})
    assert every[str(free_port)]["holder"] == own


def test_where_the_network_is_another_only_containers_tell(free_port: int) -> None:
    why = Unknown("it is another", "unsupported")
    with listen("127.0.0.1") as held:
        key = str(number(held))
        asked = [port_of(key), port_of(free_port), port_of(free_port + 1)]
        others = [container(free_port, "other"), container(free_port + 1, "shop")]
        context = machine_with(project_of({"api": {"ports": asked}}), others)
        seen = context.engine()._replace(visibility=SEEN._replace(network_hidden=why))
        context.engine = LazyValue(lambda: seen)
        found = ports_of(ports.measure_ports(context))
    assert found[key]["free"] == why
    assert found[str(free_port)]["holder"] == "container web of project other"
    assert found[str(free_port + 1)]["free"] is True  # nobody else can have it


def test_where_psutil_may_not_look_the_port_is_tried(
    free_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def denied(kind: str) -> None:
        raise psutil.AccessDenied

    monkeypatch.setattr(psutil, "net_connections", denied)
    monkeypatch.setattr(ports, "read_used_ports", lambda: None)
    with listen("127.0.0.1") as held:
        port = number(held)
        asked = [port_of(port), port_of(free_port), port_of(8000, "192.0.2.1")]
        context = machine_with(project_of({"api": {"ports": asked}}))
        found = ports_of(ports.measure_ports(context))
    assert found[str(port)]["holder"] == "another process"
    assert found[str(free_port)]["free"] is True
    assert isinstance(found["8000"]["free"], Unknown)  # no address of this machine


def test_published_ports_keep_what_the_file_says() -> None:
    services = {"api": {"ports": [port_of("8000-8002", "")], "scale": 3}}
    (port,) = ports.list_published_ports(project_of(services))
    assert port == PublishedPort("api", "8000-8002", 8000, 8002, "tcp", "", 3)
    assert (port.fact_key, port.with_protocol) == ("8000-8002", "8000-8002/tcp")


# --- ports that a rule names --------------------------------------------------------------------


def with_asked_ports(project: Project | Unknown | None, *asked: str) -> MeasurementContext:
    context = machine_with(None)
    if isinstance(project, Unknown):
        context.project = LazyValue(lambda: raise_error(ComposeError("the file can't be read")))
    else:
        context.project = LazyValue(lambda: project)
    context.list_requested_keys = lambda *group: [*asked]  # type: ignore[method-assign]
    return context


def raise_error(error: Exception) -> Any:
    raise error


@pytest.mark.parametrize(
    ("project", "collection"),
    [
        (None, {}),
        (project_of({}), {}),
        (Unknown(""), Unknown("the file can't be read", "invalid")),
    ],
    ids=["no compose file", "no port", "broken compose file"],
)
def test_a_port_that_a_rule_names_is_measured(
    project: Project | Unknown | None, collection: Value | Unknown, free_port: int
) -> None:
    with listen("127.0.0.1") as taken:
        names = f"{number(taken)} {free_port} {free_port}-{free_port + 1} 53/udp 0 99999 x".split()
        measured = list(ports.measure_ports(with_asked_ports(project, *names)))
        free = {path[2]: value for path, value, _ in measured if path[-1] == "free"}
        assert free[names[0]] is False
        assert free[names[1]] is free[names[2]] is True
        assert set(free) == set(names[:4])
    assert next(value for path, value, _ in measured if path[2:] == ()) == collection
    services = {value for path, value, _ in measured if path[-1] == "service"}
    assert services == {None}


def test_without_a_compose_file_no_port_is_looked_at_unless_a_rule_names_it() -> None:
    (only,) = ports.measure_ports(with_asked_ports(None))
    assert only == Measured(("host", "ports"), None, "no compose file found")


def test_a_published_port_that_a_rule_names_is_measured_once(free_port: int) -> None:
    project = project_of({"web": {"ports": [port_of(free_port)]}})
    measured = list(ports.measure_ports(with_asked_ports(project, str(free_port))))
    assert len(measured) == len({fact.path for fact in measured}) == 5
    assert ports_of(iter(measured))[str(free_port)]["service"] == "web"
