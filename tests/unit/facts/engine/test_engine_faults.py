"""What may listen at an engine's address, and what is said of each; nothing of it is a crash."""

from __future__ import annotations

import errno
import json
import platform
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psutil
import pytest

from docker_facts import facts_of, problem
from engine_server import (
    HTML,
    INFO,
    VERSION,
    Answer,
    answer_with_error_at,
    chunked_flood,
    drip,
    engine,
    flood,
    http,
    http_bomb,
    listening,
    listening_by_tls,
    make_certificates,
    reset,
    send_bytes,
)
from preflight.facts.engine.api import EngineApi, explain_engine_failure
from preflight.facts.engine.endpoint import EngineError, resolve_endpoint
from preflight.facts.engine.host_visibility import identify_engine
from preflight.facts.table import FACT_DECLARATIONS_BY_SUBJECT
from preflight.model.facts import Unknown


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[[Answer], str]]:
    """Listen on a unix socket and give every connection to `answer`."""
    with ExitStack() as stack:
        yield lambda answer: stack.enter_context(listening(tmp_path / "s", answer))


WRONG: dict[str, tuple[Answer, str, str]] = {
    "closes at once": (lambda c, _: c.close(), "invalid", "respond like a container engine"),
    "resets": (reset, "invalid", "respond like a container engine"),
    "html": (send_bytes(HTML), "invalid", "a web page"),
    "half a json": (send_bytes(http(b'{"Version": "28')), "invalid", "invalid JSON"),
    "less than it promised": (
        send_bytes(b"HTTP/1.1 200 OK\r\nContent-Length: 900\r\n\r\n{"),
        "invalid",
        "respond like a container engine",
    ),
    "no http": (
        send_bytes(b"SSH-2.0-OpenSSH_9.2\r\n"),
        "invalid",
        "respond like a container engine",
    ),
    "a line without end": (
        send_bytes(b"HTTP/1.1 200 " + b"x" * 100_000),
        "invalid",
        "respond like",
    ),
    "no json": (send_bytes(http(b"OK")), "invalid", "invalid JSON"),
    "deep json": (send_bytes(http(b"[" * 200_000)), "invalid", "invalid JSON"),
    "nan": (send_bytes(http(b"NaN")), "invalid", "didn't return a JSON object"),
    "a list": (send_bytes(http(b"[]")), "invalid", "didn't return a JSON object"),
    "null": (send_bytes(http(b"null")), "invalid", "didn't return a JSON object"),
    "another api": (
        send_bytes(http(b'{"version": 3}')),
        "invalid",
        "respond like a container engine",
    ),
    "an api that is no number": (engine(version={"ApiVersion": [1]}), "invalid", "respond like a"),
    "an error": (
        send_bytes(http(b'{"message": "out of\\norder"}', "500 Oops")),
        "error",
        "GET /version failed with status 500 out of order",
    ),
    "an error without words": (send_bytes(http(b"", "502 Bad Gateway")), "error", "status 502"),
    "forbidden": (send_bytes(http(b'{"message": "no entry"}', "403 No")), "permission", "no entry"),
    "a redirect": (
        send_bytes(
            b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n"
        ),
        "invalid",
        "respond like a container engine",
    ),
    "300 MB": (flood, "invalid", "more than 32 MiB"),
    "300 MB in chunks": (chunked_flood, "invalid", "more than 32 MiB"),
    "info is no object": (engine(info=[1]), "invalid", "didn't return a JSON object"),
    "info is an error": (
        answer_with_error_at("/info", 500, {"message": "sick"}),
        "error",
        "500 sick",
    ),
    "info is forbidden": (
        answer_with_error_at("/info", 403, {"message": "no"}),
        "permission",
        "status 403 no",
    ),
    "an error in plain words": (
        send_bytes(http(b"upstream is\naway", "503 No", "text/plain")),
        "error",
        "503 upstream is away",
    ),
    "an error page": (send_bytes(http(HTML[-40:], "502 Bad", "text/html")), "error", "status 502"),
    "a bomb": (send_bytes(http_bomb()), "invalid", "invalid JSON"),
    "an api of 5000 digits": (engine(version={"ApiVersion": "1." + "9" * 5000}), "invalid", "not"),
    "an api in other digits": (engine(version={"ApiVersion": "١.٥٠"}), "invalid", "respond like a"),
    "only tls": (
        send_bytes(http(b"Client sent an HTTP request to an HTTPS server.\n", "400 Bad Request")),
        "invalid",
        "DOCKER_TLS_VERIFY",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_engine_is_not_reachable_and_why(
    name: str, serve: Callable[[Answer], str]
) -> None:
    answer, kind, said = WRONG[name]
    facts = facts_of(serve(answer), timeout=10)
    reachable, found_kind, reason = problem(facts)
    assert (reachable, found_kind) == (False, kind), reason
    assert said in reason
    assert "\n" not in reason
    declared = {fact.path for fact in FACT_DECLARATIONS_BY_SUBJECT["docker"]}
    known = {
        "endpoint",
        "context",
        "local",
        "reachable",
        "candidates",
        "problem",
        "alternative_endpoint",
    }
    for path in declared:
        if path.split(".")[1] not in known:
            assert facts.unknown[path].kind == kind, path


def test_an_engine_is_reachable(serve: Callable[[Answer], str]) -> None:
    facts = facts_of(serve(engine()))
    assert problem(facts) == (True, None, "None")
    assert facts.get(("docker", "engine")) == "docker-desktop"
    assert facts.get(("docker", "native")) is False
    assert facts.get(("docker", "memory", "total")) == 8_000_000_000
    assert facts.get(("docker", "memory", "usable")) == 8_000_000_000
    assert facts.get(("docker", "warnings")) == []
    assert (
        facts.unknown["docker.disk.free"].reason
        == "the engine's data is visible only inside its VM"
    )


def test_an_engine_newer_than_we_know_is_asked_in_its_own_api(
    serve: Callable[[Answer], str],
) -> None:
    asked = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request.split()[1].decode())
        engine(version={**VERSION, "ApiVersion": "99.9"})(connection, request)

    facts = facts_of(serve(answer))
    assert problem(facts) == (True, None, "None")
    assert facts.get(("docker", "api")) == "99.9"
    assert asked == [
        "/version", "/v99.9/info", "/v99.9/images/json", "/v99.9/containers/json?all=1",
    ]  # fmt: skip


def test_a_redirect_is_not_followed(serve: Callable[[Answer], str]) -> None:
    asked = []

    def answer(connection: socket.socket, request: bytes) -> None:
        asked.append(request.split()[1])
        connection.sendall(
            b"HTTP/1.1 307 No\r\nLocation: http://docker/version\r\nContent-Length: 0\r\n\r\n"
        )

    assert problem(facts_of(serve(answer)))[0] is False
    assert asked == [b"/version"]


def listing(
    images: Any, containers: Any, info: Any = INFO, inspected: tuple[str, Any] = ("404 No", {})
) -> Answer:
    """Answer as an engine that has images and containers."""

    def answer(connection: socket.socket, request: bytes) -> None:
        path = request.split()[1].decode()
        if "/images/json" in path:
            connection.sendall(http(json.dumps(images).encode()))
        elif "/containers/json" in path:
            connection.sendall(http(json.dumps(containers).encode()))
        elif "/containers/" in path:
            connection.sendall(http(json.dumps(inspected[1]).encode(), inspected[0]))
        else:
            engine(info)(connection, request)

    return answer


RECLAIMABLE = ("docker", "disk", "reclaimable")


@pytest.mark.parametrize(
    ("images", "containers", "expected"),
    [
        ([], [], 0),
        ([{"Id": "a", "Size": 5}, {"Id": "b", "Size": 7}], [{"ImageID": "a"}], 7),
        ([{"Id": "a", "Size": 0}], [], 0),
        ([{"Id": "a", "Size": 5}, {"Id": "b", "Size": None}], [], "size"),
        ([{"Id": "a", "Size": 5}, {"Id": "b"}], [], "size"),
        ([{"Id": "a", "Size": -1}], [], "size"),
        ([{"Id": "a", "Size": "5"}], [], "size"),
        ([{"Id": "a", "Size": True}], [], "size"),
        ([{"Id": "a", "Size": None}], [{"ImageID": "a"}], 0),
        ([{"Id": [1], "Size": 5}, {"Id": {}, "Size": 5}], [{"ImageID": [1]}], 5),
        ([None, 3, "x"], [None, 3], 0),
        (None, [], "didn't return a JSON list"),
        ([], {}, "didn't return a JSON list"),
    ],
)
def test_reclaimable_of_whatever_is_listed(
    images: Any, containers: Any, expected: Any, serve: Callable[[Answer], str]
) -> None:
    facts = facts_of(serve(listing(images, containers)))
    found = facts.get(RECLAIMABLE)
    assert facts.get(("docker", "reachable")) is True
    if isinstance(expected, int):
        assert found == expected
    else:
        assert isinstance(found, Unknown)
        assert expected in found.reason
    assert facts.get(("docker", "memory", "usable")) == INFO["MemTotal"]


NATIVE = {
    **INFO,
    "OperatingSystem": "Linux",
    "Name": platform.node(),
    "KernelVersion": platform.release(),
    "MemTotal": psutil.virtual_memory().total,
}


@pytest.mark.parametrize(
    "inspected",
    [
        ("404 No", {"message": "no such container"}),
        ("200 OK", {}),
        ("200 OK", {"State": None, "HostConfig": None, "memory_stats": None}),
        ("200 OK", {"State": {"Pid": "1"}, "HostConfig": 3, "memory_stats": {"stats": None}}),
    ],
)
def test_a_container_that_goes_meanwhile_costs_no_figure(
    inspected: tuple[str, Any], serve: Callable[[Answer], str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("name: shop\nservices: {api: {image: x}}\n")
    labels = {"com.docker.compose.project": "shop"}
    containers = [{"Id": "gone", "State": "running", "Labels": labels}]
    facts = facts_of(serve(listing([], containers, NATIVE, inspected)))
    assert facts.get(("docker", "native")) is True
    assert not isinstance(facts.get(("docker", "memory", "limit")), Unknown)
    assert facts.get(("docker", "memory", "available")) > 0


@pytest.mark.parametrize("usage", ["1e999", "-1e999", "NaN", "9" * 400, '"much"', "[1]", "{}"])
def test_a_memory_usage_that_is_no_figure_is_no_crash(
    usage: str, serve: Callable[[Answer], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "compose.yaml").write_text("name: shop\nservices: {api: {image: x}}\n")
    labels = {"com.docker.compose.project": "shop"}
    containers = [{"Id": "odd", "State": "running", "Labels": labels}]
    stats = b'{"memory_stats": {"usage": ' + usage.encode() + b"}}"

    def answer(connection: socket.socket, request: bytes) -> None:
        if b"/stats?" in request:
            connection.sendall(http(stats))
        else:
            listing([], containers, NATIVE)(connection, request)

    facts = facts_of(serve(answer))
    found = facts.get(("docker", "memory", "available"))
    assert isinstance(found, Unknown) or found > 0


def test_a_number_beyond_64_bits_is_no_figure(serve: Callable[[Answer], str]) -> None:
    facts = facts_of(serve(engine({**INFO, "MemTotal": 10**400, "NCPU": 10**30})))
    assert facts.get(("docker", "reachable")) is True
    assert "MemTotal" in facts.unknown["docker.memory.usable"].reason
    assert "NCPU" in facts.unknown["docker.cpus"].reason


def test_words_that_no_text_can_hold_are_printed_somehow(
    serve: Callable[[Answer], str], run_preflight: Any
) -> None:
    odd = {**INFO, "Driver": "\ud800", "Warnings": ["\udcff", "\x1b[31mred", "\x00"]}
    url = serve(engine(odd, {**VERSION, "Version": "\ud800\x1b[2J"}))
    for form in ("json", "text"):
        done = run_preflight("facts", "-f", form, "--docker-host", url)
        assert (done.returncode, done.stderr) == (0, "")
        assert "\x1b" not in done.stdout


def test_the_socket_that_was_asked_is_no_other_engine(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (".docker/run", ".rd"):
        (clean_environment / name).mkdir(parents=True)
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(clean_environment / name / "docker.sock"))
    asked = f"unix://{clean_environment}/.docker/run/docker.sock"
    others = facts_of(asked).get(("docker", "candidates"))
    assert f"unix://{clean_environment}/.rd/docker.sock" in others
    assert asked not in others


@pytest.mark.parametrize("value", [0, None, -5, "8000000000", 1.5, True, [], {}])
@pytest.mark.parametrize(
    ("key", "path"),
    [
        ("MemTotal", "docker.memory.total"),
        ("MemTotal", "docker.memory.usable"),
        ("NCPU", "docker.cpus"),
    ],
)
def test_what_is_no_figure_is_unknown(
    key: str, path: str, value: Any, serve: Callable[[Answer], str]
) -> None:
    facts = facts_of(serve(engine({**INFO, key: value})))
    assert facts.get(("docker", "reachable")) is True
    assert key in facts.unknown[path].reason


@pytest.mark.parametrize("value", ["/srv/\0", "/srv/\ud800"])
def test_a_folder_that_no_path_can_name_is_not_said(
    value: str, serve: Callable[[Answer], str]
) -> None:
    facts = facts_of(serve(engine({**INFO, "DockerRootDir": value})))
    assert "DockerRootDir" in facts.unknown["docker.disk.root"].reason


def test_an_id_that_no_request_can_hold_is_asked_for_all_the_same(
    serve: Callable[[Answer], str],
) -> None:
    api = EngineApi(resolve_endpoint(serve(engine()), None), 2)
    with pytest.raises(EngineError, match="didn't return a JSON object"):
        api.inspect("\ud800")


@pytest.mark.parametrize("key", INFO)
@pytest.mark.parametrize("value", [None, 7, "x", [None], {"a": None}, True, "MISSING"])
def test_no_answer_of_an_engine_is_a_crash(
    key: str, value: Any, serve: Callable[[Answer], str]
) -> None:
    info = (
        {k: v for k, v in INFO.items() if k != key} if value == "MISSING" else {**INFO, key: value}
    )
    facts = facts_of(serve(engine(info)))
    assert facts.get(("docker", "reachable")) is True
    for fact in FACT_DECLARATIONS_BY_SUBJECT["docker"]:
        path = tuple(fact.path.split("."))
        value_found = facts.get(path)
        assert value_found != Unknown("the facts don't include this value"), fact.path


def test_limits_do_not_bind_without_a_cgroup_driver(serve: Callable[[Answer], str]) -> None:
    facts = facts_of(serve(engine({**INFO, "CgroupDriver": "none"})))
    assert facts.get(("docker", "limits", "memory")) is False
    assert facts.get(("docker", "limits", "cpus")) is False


@pytest.mark.parametrize(
    ("info", "version", "engine_name"),
    [
        ({"OperatingSystem": "Docker Desktop"}, {}, "docker-desktop"),
        ({"OperatingSystem": "OrbStack"}, {}, "orbstack"),
        ({"Name": "colima"}, {}, "colima"),
        ({"OperatingSystem": "Rancher Desktop WSL Distribution"}, {}, "rancher-desktop"),
        ({"Name": "lima-rancher-desktop"}, {}, "rancher-desktop"),
        ({"OperatingSystem": "fedora"}, {"Components": [{"Name": "Podman Engine"}]}, "podman"),
        ({"OperatingSystem": "Debian GNU/Linux 12"}, {"Components": None}, "docker"),
        ({}, {"Components": [None, 3]}, "docker"),
    ],
)
def test_engines_are_told_apart(
    info: dict[str, Any], version: dict[str, Any], engine_name: str
) -> None:
    assert identify_engine(version, info, "unix:///var/run/docker.sock") == engine_name


def test_no_socket(tmp_path: Path) -> None:
    reachable, kind, reason = problem(facts_of(f"unix://{tmp_path}/none"))
    assert (reachable, kind) == (False, "unavailable")
    assert reason.startswith("no socket at unix://")


def test_a_stale_socket_refuses(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(tmp_path / "s"))
    assert problem(facts_of(f"unix://{tmp_path}/s"))[:2] == (False, "refused")


@pytest.mark.parametrize("make", [Path.touch, Path.mkdir])
def test_something_else_in_the_sockets_place(make: Callable[[Path], None], tmp_path: Path) -> None:
    make(tmp_path / "s")
    reachable, kind, _ = problem(facts_of(f"unix://{tmp_path}/s"))
    assert reachable is False
    assert kind in ("refused", "invalid")


def test_a_closed_port_refuses() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    facts = facts_of(f"tcp://127.0.0.1:{port}")
    assert problem(facts)[:2] == (False, "refused")
    assert facts.get(("docker", "local")) is True


def test_a_host_that_is_not_found() -> None:
    facts = facts_of("tcp://no-such-host.invalid:2375")
    assert problem(facts)[:2] == (False, "unavailable")
    assert facts.get(("docker", "local")) is False


def test_a_proxy_is_not_for_loopback(
    monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        accepted = []

        def one() -> None:
            connection, _ = listener.accept()
            accepted.append(connection.recv(100))
            connection.close()

        thread = threading.Thread(target=one, daemon=True)
        thread.start()
        facts_of(f"tcp://127.0.0.1:{listener.getsockname()[1]}")
        thread.join(5)
    assert accepted[0].startswith(b"GET /version ")


def test_ssh_without_its_package_is_unknown_not_down() -> None:
    pytest.importorskip("docker")
    try:
        import paramiko  # noqa: F401
    except ImportError:
        facts = facts_of("ssh://user@127.0.0.1:1")
        assert isinstance(facts.get(("docker", "reachable")), Unknown)
        assert "preflight[ssh]" in facts.unknown["docker.reachable"].reason
    else:
        pytest.skip("paramiko is installed")


GARBAGE = [
    *("garbage", "unix://", "tcp://", "://", "fd://3", "ssh://", "http:/x", "\x00", "unix:// "),
    *("unix:///a\nb", "tcp://127.0.0.1:1\x00", "host:", "/var/run/docker.sock", "tcp://ho st:1\t2"),
    *("tcp://host:port", "tcp://[::1", "tcp://user:secret@host:1", "a b c", "tcp://host:99999"),
]


@pytest.mark.parametrize("url", GARBAGE)
def test_garbage_for_an_address_is_told_with_what_one_looks_like(
    url: str, clean_environment: Path
) -> None:
    facts = facts_of(url)
    reachable, kind, reason = problem(facts)
    assert (reachable, kind) == (False, "invalid")
    assert "unix:///PATH" in reason
    assert "secret" not in reason
    assert facts.get(("docker", "local")) is True  # the rules about this host are still judged


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificates(tmp_path_factory.mktemp("tls"))


@pytest.fixture
def tls_port(certificates: Path) -> Iterator[int]:
    with listening_by_tls(certificates, engine()) as port:
        yield port


def test_tls_whose_certificate_names_another_host(
    tls_port: int, certificates: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "0")  # set, so it counts, as in the CLI
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    reachable, kind, reason = problem(facts_of(f"tcp://127.0.0.1:{tls_port}"))
    assert (reachable, kind) == (False, "invalid")
    assert reason.startswith("TLS with tcp://127.0.0.1")
    assert "mismatch" in reason


def test_tls_that_is_not_verified_is_reachable(
    tls_port: int, certificates: Path, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_TLS", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    assert problem(facts_of(f"tcp://127.0.0.1:{tls_port}"))[0] is True


def test_tls_without_its_certificates(
    tls_port: int, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(clean_environment))
    reachable, kind, reason = problem(facts_of(f"tcp://127.0.0.1:{tls_port}"))
    assert (reachable, kind) == (False, "invalid")
    assert "ca.pem" in reason


def test_plain_http_to_a_tls_port(tls_port: int, clean_environment: Path) -> None:
    reachable, kind, _ = problem(facts_of(f"tcp://127.0.0.1:{tls_port}"))
    assert (reachable, kind) == (False, "invalid")


def test_tls_to_a_plain_port(
    serve: Callable[[Answer], str], certificates: Path, clean_environment: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("DOCKER_TLS_VERIFY", "1")
    monkeypatch.setenv("DOCKER_CERT_PATH", str(certificates))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def one() -> None:
            connection, _ = listener.accept()
            connection.recv(1000)
            connection.sendall(HTML)
            connection.close()

        threading.Thread(target=one, daemon=True).start()
        reachable, kind, reason = problem(facts_of(f"tcp://127.0.0.1:{listener.getsockname()[1]}"))
    assert (reachable, kind) == (False, "invalid")
    assert reason.startswith("TLS with")


@pytest.mark.parametrize("answer", [drip, lambda c, _: time.sleep(30)], ids=["drips", "silent"])
@pytest.mark.parametrize("timeout", [1, 4])
def test_the_deadline_holds_whatever_the_daemon_does(
    timeout: int, answer: Answer, serve: Callable[[Answer], str], run_preflight: Any
) -> None:
    """Silence for the whole of 3 s or more is a finding; for less, the engine may be in order."""
    url = serve(answer)
    start = time.monotonic()
    done = run_preflight("facts", "-f", "json", "--docker-host", url, "--timeout", str(timeout))
    took = time.monotonic() - start
    snapshot = json.loads(done.stdout)
    assert took < 15  # a machine may be busy; who waits for the daemon waits for longer
    if timeout >= 3:
        assert snapshot["facts"]["docker"]["reachable"] is False
        assert snapshot["facts"]["docker"]["problem"]["kind"] == "timeout"
    else:
        assert snapshot["unknown"]["docker.reachable"]["kind"] == "timeout"
    assert snapshot["facts"]["host"]["memory"]["total"] > 0
    assert snapshot["unknown"]["docker.memory.total"]["kind"] == "timeout"


def test_a_full_backlog_is_a_timeout(tmp_path: Path, run_preflight: Any) -> None:
    place = str(tmp_path / "s")
    with socket.socket(socket.AF_UNIX) as listener, socket.socket(socket.AF_UNIX) as first:
        listener.bind(place)
        listener.listen(0)
        first.connect(place)
        done = run_preflight(
            "facts", "-f", "json", "--docker-host", f"unix://{place}", "--timeout", "1"
        )
    assert json.loads(done.stdout)["unknown"]["docker.reachable"]["kind"] == "timeout"


def test_modules_of_the_current_folder_are_not_taken(
    serve: Callable[[Answer], str], run_preflight: Any, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    for name in ("docker", "psutil", "json", "queue", "http"):
        (project / f"{name}.py").write_text("raise SystemExit('taken from the project')")
    import sys

    script = Path(sys.executable).with_name("preflight")
    done = subprocess.run(
        [script, "facts", "-f", "json", "--docker-host", serve(engine())],
        cwd=project, capture_output=True, text=True, timeout=30,
    )  # fmt: skip
    snapshot = json.loads(done.stdout)
    assert snapshot["facts"]["docker"]["reachable"] is True
    assert snapshot["facts"]["host"]["memory"]["total"] > 0


@pytest.mark.parametrize(
    ("fault", "said", "kind"),
    [
        (MemoryError(), "tcp://e:1: the response doesn't fit into memory", "invalid"),
        (PermissionError(errno.EACCES, "denied"), "permission denied on tcp://e:1", "permission"),
        (OSError(errno.EHOSTUNREACH, "No route"), "no route to tcp://e:1", "unavailable"),
        (RuntimeError("first\nsecond"), "tcp://e:1: first", "error"),
        (RuntimeError(" "), "tcp://e:1: RuntimeError", "error"),
    ],
)
def test_what_no_machine_here_can_be_made_to_raise(
    fault: BaseException, said: str, kind: str
) -> None:
    found = explain_engine_failure(fault, "tcp://e:1", 5)
    assert (str(found), found.unknown.kind) == (said, kind)
