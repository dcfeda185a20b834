"""What registries say of images, against what the real Docker then says; hostile registries."""

from __future__ import annotations

import base64
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from compose_projects import compose_program
from engines import Engine
from preflight.facts import registry
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.load import load_project
from preflight.facts.engine.api import LazyValue
from preflight.facts.engine.endpoint import EngineError
from preflight.model.facts import Unknown
from real_registry import LOGIN, MANIFEST, Registry, running_registry

GIB = 2**30


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry that has app:1, arm:1 (an index without amd64), single:1 and huge:1."""
    with running_registry(tmp_path_factory.mktemp("registry")) as running:
        amd64 = running.put_image("app", size=2 * GIB)
        running.put_index("app", {"amd64": amd64})
        running.put_index("arm", {"arm64": running.put_image("arm", "arm64")})
        running.put_image("single", "s390x", size=5 * GIB)
        yield running


def refuse() -> Any:
    raise EngineError("connection refused", "refused")


def ask(
    folder: Path, url: str | None, *services: str, config: object = None, timeout: float = 10
) -> dict[str, dict[str, Any]]:
    """Return what is known of each image of a project with these services."""
    file = folder / "compose.yaml"
    listed = "".join(f"  s{number}: {text}\n" for number, text in enumerate(services))
    file.write_text(f"services:\n{listed}")
    (folder / "config.json").write_text(json.dumps(config or {}))
    environ = {"PATH": f"{Path(compose_program()).parent}:{folder}", "DOCKER_CONFIG": str(folder)}
    options = MeasurementOptions(
        compose_files=(str(file),), docker_host=url, timeout=timeout, online=True
    )
    context = MeasurementContext(options)
    if url is None:
        context.engine = LazyValue(refuse)
    project = load_project(options, environ)
    assert project is not None
    answers: dict[str, dict[str, Any]] = {}
    for fact in registry.measure_registry(context, project, environ):
        if len(fact.path) == 4:
            answers.setdefault(fact.path[2], {})[fact.path[3]] = fact.value
    return answers


def up(folder: Path, url: str) -> str:
    done = subprocess.run(
        [compose_program(), "-f", str(folder / "compose.yaml"), "up", "--no-start"],
        env={"PATH": str(folder), "DOCKER_CONFIG": str(folder), "DOCKER_HOST": url},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode != 0
    return done.stdout + done.stderr


def test_an_image_that_is_there(docker_engine: Engine, shop: Registry, tmp_path: Path) -> None:
    name = f"{shop.address}/app:1"
    answers = ask(tmp_path, docker_engine.url, f"{{image: '{name}'}}", f"{{image: '{name}'}}")
    assert answers == {
        name: {
            "exists": True, "error": None, "platforms": ["linux/amd64"],
            "platform_matches": True, "size": 2 * GIB, "services": ["s0", "s1"],
            "similar_stage": None,
        }
    }  # fmt: skip


@pytest.mark.parametrize("image", ["app:nope", "gone:1", "app@sha256:" + "0" * 64])
def test_an_image_that_is_not_there(
    image: str, docker_engine: Engine, shop: Registry, tmp_path: Path
) -> None:
    name = f"{shop.address}/{image}"
    answer = ask(tmp_path, docker_engine.url, f"{{image: '{name}'}}")[name]
    assert answer["exists"] is False
    assert answer["error"] in up(tmp_path, docker_engine.url)


def test_a_base_image_that_is_not_there(
    docker_engine: Engine, shop: Registry, tmp_path: Path
) -> None:
    name = f"{shop.address}/base:gone"
    (tmp_path / "Dockerfile").write_text(f"FROM {name} AS a\nFROM other AS b\nFROM a\n")
    answers = ask(tmp_path, docker_engine.url, "{build: .}")
    assert list(answers) == [name], "the stage b isn't needed"
    assert answers[name]["exists"] is False
    assert answers[name]["error"] in up(tmp_path, docker_engine.url)


def test_an_image_that_may_be_a_misspelt_stage(tmp_path: Path) -> None:
    stages = "FROM localhost:1/go AS builder\nFROM localhost:1/go AS nginx-conf\n"
    copies = "COPY --from=buidler a /\nCOPY --from=nginx-conf a /\nCOPY --from=localhost:1/x a /\n"
    (tmp_path / "Dockerfile").write_text(f"{stages}FROM scratch\n{copies}")
    (tmp_path / "compose.yaml").write_text("services: {web: {build: .}}\n")
    options = MeasurementOptions(compose_files=(str(tmp_path / "compose.yaml"),))
    project, context = load_project(options, {}), MeasurementContext(options)
    assert project is not None
    context.engine = LazyValue(refuse)
    wanted = registry.list_images_to_pull(context, project, {})
    assert {image.text: image.similar_stage for image in wanted} == {
        "localhost:1/go": None, "buidler": "builder", "localhost:1/x": None,
    }  # fmt: skip


def test_an_index_without_the_platform(
    docker_engine: Engine, shop: Registry, tmp_path: Path
) -> None:
    name = f"{shop.address}/arm:1"
    answer = ask(tmp_path, docker_engine.url, f"{{image: '{name}'}}")[name]
    assert answer["platforms"] == ["linux/arm64"]
    assert answer["platform_matches"] is False
    assert answer["error"] in up(tmp_path, docker_engine.url)
    asked = ask(tmp_path, docker_engine.url, f"{{image: '{name}', platform: linux/arm64}}")
    assert asked[name]["platform_matches"] is True


def test_an_image_without_an_index(docker_engine: Engine, shop: Registry, tmp_path: Path) -> None:
    name = f"{shop.address}/single:1"
    answer = ask(tmp_path, docker_engine.url, f"{{image: '{name}'}}")[name]
    assert (answer["platforms"], answer["size"]) == (["linux/s390x"], 5 * GIB)
    assert answer["platform_matches"] is None, "Docker pulls it all the same"


def test_what_is_not_pulled_is_not_asked(docker_engine: Engine, tmp_path: Path) -> None:
    services = (
        "{image: 'preflight-test:latest'}",
        "{image: 'localhost:1/a', pull_policy: never}",
        "{image: 'localhost:1/a', build: {context: https://a.b/c.git}}",
        "{image: 'A b'}",
        "{image: 'localhost:1/b', build: {dockerfile_inline: FROM scratch}}",
        "{image: 'localhost:1/b:latest'}",
        "{build: {dockerfile_inline: FROM localhost:1/b}}",
    )
    assert ask(tmp_path, docker_engine.url, *services) == {}
    assert list(
        ask(tmp_path, docker_engine.url, "{image: 'preflight-test:latest', pull_policy: always}")
    )


def test_a_registry_that_wants_a_login(docker_engine: Engine, tmp_path: Path) -> None:
    with running_registry(tmp_path, with_login=True) as private:
        name = f"{private.address}/app:1"
        service = f"{{image: '{name}'}}"
        assert ask(tmp_path, docker_engine.url, service)[name]["exists"] is False
        encoded = base64.b64encode(LOGIN.encode()).decode()
        login = {"auths": {private.address: {"auth": encoded}}}
        answer = ask(tmp_path, docker_engine.url, service, config=login)[name]
        assert (
            answer["error"] == f"manifest for {name} not found: manifest unknown: manifest unknown"
        )
        helper = tmp_path / "docker-credential-mine"
        helper.write_text('#!/bin/sh\necho \'{"Username": "user", "Secret": "pass"}\'\n')
        helper.chmod(0o755)
        answer = ask(tmp_path, docker_engine.url, service, config={"credsStore": "mine"})[name]
        assert "manifest unknown" in answer["error"]
        login["auths"][private.address] = {"identitytoken": "x"}
        answer = ask(tmp_path, docker_engine.url, service, config=login)[name]
        assert "identity token" in answer["exists"].reason


Answer = Callable[[BaseHTTPRequestHandler], tuple[int, Mapping[str, str], bytes]]


@contextmanager
def server(answer: Answer) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Serve answers; yields the address, and method, path and Authorization of each request."""
    requests: list[tuple[str, str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            authorization = self.headers.get("Authorization", "")
            requests.append((self.command, self.path, authorization))
            status, headers, body = answer(self)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        do_HEAD = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            """Say nothing."""

    running = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    running.daemon_threads = True
    thread = threading.Thread(target=running.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    yield f"127.0.0.1:{running.server_port}", requests
    running.shutdown()
    running.server_close()


HTML = {"Content-Type": "text/html"}


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (lambda _: (200, HTML, b"<html>"), "doesn't respond like a registry"),
        (lambda _: (404, HTML, b"<html>"), "returned status 404"),
        (lambda _: (500, {}, b""), "returned status 500"),
        (lambda _: (403, {}, b""), "returned status 403"),
        (lambda _: (429, {}, b""), "toomanyrequests"),
        (lambda _: (404, {}, b"x" * 50_000_000), "more than 4 MiB"),
        (lambda own: (302, {"Location": own.path}, b""), "redirects too many times"),
        (lambda own: (302, {"Location": "unix:///run/docker.sock"}, b""), "another protocol"),
        (
            lambda _: (401, {"WWW-Authenticate": 'Bearer realm="file:///etc/passwd"'}, b""),
            "a usable token server",
        ),
    ],
    ids=range(9),
)
def test_what_is_no_registry_is_unknown(
    answer: Answer, reason: str, docker_engine: Engine, tmp_path: Path
) -> None:
    with server(answer) as (address, _):
        facts = ask(tmp_path, docker_engine.url, f"{{image: '{address}/a'}}")[f"{address}/a"]
    assert isinstance(facts["exists"], Unknown)
    assert reason in facts["exists"].reason
    assert facts["size"] is None


def test_a_manifest_of_fifty_megabytes(docker_engine: Engine, tmp_path: Path) -> None:
    def answer(own: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        body = b"[" * 50_000_000 if "manifests" in own.path else b""
        return 200, {"Content-Type": MANIFEST}, body

    with server(answer) as (address, _):
        facts = ask(tmp_path, docker_engine.url, f"{{image: '{address}/a'}}")[f"{address}/a"]
    assert isinstance(facts["size"], Unknown)


def test_a_registry_that_says_nothing_takes_no_longer_than_the_deadline(
    docker_engine: Engine, tmp_path: Path
) -> None:
    never = threading.Event()

    def wait(_: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
        never.wait(60)
        return 200, {}, b""

    started = time.monotonic()
    with server(wait) as (address, _):
        services = [f"{{image: '{address}/a{number}'}}" for number in range(20)]
        answers = ask(tmp_path, docker_engine.url, *services, timeout=3)
        took = time.monotonic() - started
        never.set()
    assert took < 15  # a busy machine; who waits for the registry takes a minute
    assert {type(answer["exists"]) for answer in answers.values()} == {Unknown}
    assert len(answers) == 20


def test_a_registry_that_is_not_there(docker_engine: Engine, tmp_path: Path) -> None:
    facts = ask(tmp_path, docker_engine.url, "{image: '127.0.0.1:1/a'}")["127.0.0.1:1/a"]
    assert facts["exists"] == Unknown(
        "127.0.0.1:1 can't be reached: Connection refused", "unavailable"
    )


def test_credentials_go_to_the_token_server_and_the_token_to_the_registry(
    docker_engine: Engine, tmp_path: Path
) -> None:
    tokens = server(lambda _: (200, {}, b'{"token": "T"}'))
    with tokens as (token_address, token_requests):

        def answer(own: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
            if own.headers.get("Authorization") == "Bearer T":
                return 404, {}, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}'
            realm = f'Bearer realm="http://{token_address}/t",service="s",scope="repository:a:pull"'
            return 401, {"WWW-Authenticate": realm}, b""

        with server(answer) as (address, requests):
            encoded = base64.b64encode(LOGIN.encode()).decode()
            config = {"auths": {address: {"auth": encoded}, token_address: {"auth": "eDp5"}}}
            facts = ask(tmp_path, docker_engine.url, f"{{image: '{address}/a'}}", config=config)
    assert facts[f"{address}/a"]["exists"] is False
    assert {header for _, _, header in requests} == {"", "Bearer T"}
    path = "/t?service=s&scope=repository%3Aa%3Apull"
    assert token_requests == [("GET", path, f"Basic {encoded}")]


def test_a_redirect_to_another_host_carries_no_credentials(
    docker_engine: Engine, tmp_path: Path
) -> None:
    with server(lambda _: (200, {"Content-Type": MANIFEST}, b"{}")) as (other, other_requests):

        def answer(own: BaseHTTPRequestHandler) -> tuple[int, Mapping[str, str], bytes]:
            if not own.headers.get("Authorization"):
                return 401, {"WWW-Authenticate": 'Basic realm="r"'}, b""
            return 307, {"Location": f"http://{other}/x"}, b""

        with server(answer) as (address, requests):
            encoded = base64.b64encode(LOGIN.encode()).decode()
            config = {"auths": {address: {"auth": encoded}, other: {"auth": encoded}}}
            facts = ask(tmp_path, docker_engine.url, f"{{image: '{address}/a'}}", config=config)
    assert facts[f"{address}/a"]["exists"] is True
    assert f"Basic {encoded}" in {header for _, _, header in requests}
    assert {header for _, _, header in other_requests} == {""}


def test_without_an_engine_the_platform_is_unknown(shop: Registry, tmp_path: Path) -> None:
    name = f"{shop.address}/app:1"
    answer = ask(tmp_path, None, f"{{image: '{name}'}}")[name]
    assert answer["exists"] is True
    assert isinstance(answer["platform_matches"], Unknown)


@pytest.mark.parametrize(
    ("platform", "wanted", "matches"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/arm/v7", "linux/arm64", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/386", "linux/amd64", True),
        ("linux/amd64", "linux/386", False),
        ("windows/amd64", "linux/amd64", False),
    ],
)
def test_platforms(platform: str, wanted: str, matches: bool) -> None:
    assert registry.is_accepted_platform(platform, wanted) is matches


def test_thirty_images_are_asked_side_by_side(
    docker_engine: Engine, shop: Registry, tmp_path: Path
) -> None:
    services = [f"{{image: '{shop.address}/app:1', platform: linux/amd64}}"]
    services += [f"{{image: '{shop.address}/n{number}:1'}}" for number in range(29)]
    started = time.process_time()
    assert len(ask(tmp_path, docker_engine.url, *services)) == 30
    assert time.process_time() - started < 2
