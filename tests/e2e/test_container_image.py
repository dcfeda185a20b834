"""The image of `.ci/Dockerfile`: what it says from inside is what preflight says on the host.

What can't be seen from inside is unknown, and the reason names the container.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from documentation import PAGES_TEXT, ROOT, run, snippet
from engines import Engine
from ollama_server import serving
from python_image import write_archive

BASE, IMAGE = "preflight-test-python:latest", "preflight"
BUILD, CHECK = snippet(
    "build the image in a checkout, and check the host through the engine's socket"
).splitlines()[1:]
SECTION = PAGES_TEXT.partition("### In a container\n")[2].partition("\n### ")[0]
SOCKET = "/var/run/docker.sock"
DECIDED = {"pass", "warn", "fail"}
ITS_OWN = {  # of this process and its container, and said as such
    "host.container", "host.virtualization", "host.cpu.usable", "host.memory.limit",
    "host.memory.usable",
    "host.disk.path", "docker.endpoint", "docker.native", "env",
}  # fmt: skip
ADVICE = {"process-memory", "process-cpus"}  # rules about these
MOVES = re.compile(
    r"(memory\.(available|usage)|swap\.free|disk\.(free|inodes\.free|reclaimable)|model\.budget)$"
)
SLACK = 3_000_000_000  # bytes that such a figure may move while the tests run

pytestmark = pytest.mark.nightly  # imports a base image and builds on it

Document = Mapping[str, Any]


class Scene(NamedTuple):
    """A project on the host, whose port something holds and whose Ollama answers."""

    engine: Engine
    project: Path
    port: int

    def options(self, readme: str) -> list[str]:
        """Turn options as the README has them into those of this machine."""
        places = {
            f"-v {SOCKET}:": f"-v {self.engine.url.removeprefix('unix://')}:",
            "/srv/models": str(self.project.parent / "models"),
            "/var/lib/docker": f"{self.engine.folder}/data",
            '"$PWD"': str(self.project),
            "$PWD": str(self.project),
        }
        for old, new in places.items():
            readme = readme.replace(old, new)
        return shlex.split(readme)

    def inside(self, options: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run the image with the README's line, and further options of `docker run`."""
        start = CHECK.removesuffix(" preflight check")
        words = self.options(f"{start} {options}")
        if "--network" not in words:
            words += ["--network", "none"]  # this engine has no other
        env = {"DOCKER_HOST": self.engine.url}
        return run(*words, IMAGE, *command, cwd=self.project, env=env)

    def facts(self, options: str, *more: str) -> Document:
        done = self.inside(options, "facts", "-f", "json", *more)
        assert done.returncode == 0, done.stderr
        return dict(json.loads(done.stdout))

    def report(self, options: str, *more: str) -> Document:
        done = self.inside(options, "check", "-f", "json", *more)
        assert done.returncode in (0, 1, 3), done.stderr
        return dict(json.loads(done.stdout))


@pytest.fixture(scope="module")
def image(docker_engine: Engine, tmp_path_factory: pytest.TempPathFactory) -> Engine:
    """The engine with the image, built by the README's line on a Python that is imported."""
    folder = tmp_path_factory.mktemp("base")
    packages = ("pip", "download", "--quiet", "--dest", "wheels", str(ROOT), "hatchling>=1.21")
    done = run(sys.executable, "-m", *packages, cwd=folder)
    assert done.returncode == 0, done.stderr
    write_archive(folder / "base.tar", folder / "wheels")
    path = "ENV PATH=/usr/local/bin:/usr/bin:/bin"
    docker_engine.docker("import", "--change", path, str(folder / "base.tar"), BASE)
    line = BUILD.removesuffix(" .")
    options = ("--network=none", "--build-arg", f"PYTHON_IMAGE={BASE}", ".")
    env = {"DOCKER_HOST": docker_engine.url, "DOCKER_BUILDKIT": "0"}
    done = run(*shlex.split(line), *options, cwd=ROOT, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    return docker_engine


@pytest.fixture(scope="module")
def scene(image: Engine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """A port that is held, one of Ollama's, a mounted folder that is there and one that isn't."""
    top = tmp_path_factory.mktemp("host")
    project = top / "stack"
    for folder in (project, top / "models", top / "there"):
        folder.mkdir()
    with socket.socket() as held, serving() as ollama:
        held.bind(("127.0.0.1", 0))
        held.listen()
        port = held.getsockname()[1]
        at = ollama.url.rpartition(":")[2]
        services = {
            "ollama": {"image": "ollama/ollama", "ports": [f"127.0.0.1:{at}:11434"],
                       "environment": {"OLLAMA_MODEL": "mistral:7b"}},
            "api": {"image": "api", "ports": [f"127.0.0.1:{port}:8000"],
                    "volumes": [f"{top}/there:/a", f"{top}/nowhere:/b"]},
        }  # fmt: skip
        (project / "compose.yaml").write_text(json.dumps({"services": services}))
        yield Scene(image, project, port)


@pytest.fixture
def on_the_host(
    scene: Scene, run_preflight: Callable[..., subprocess.CompletedProcess[str]]
) -> Callable[..., Document]:
    """Ask preflight on the host, from a folder."""

    def ask(*command: str, cwd: Path) -> Document:
        done = run_preflight(*command, "-f", "json", cwd=cwd, env={"DOCKER_HOST": scene.engine.url})
        assert done.stdout, done.stderr
        return dict(json.loads(done.stdout))

    return ask


def _flat(node: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    if isinstance(node, dict) and node:
        for name, value in node.items():
            yield from _flat(value, f"{path}.{name}" if path else name)
    else:
        yield path, node


def _same(path: str, host: Any, inside: Any) -> bool:
    if path.endswith(".holder"):
        return (host is None) == (inside is None)  # that somebody has it is told, who may be hidden
    if MOVES.search(path) and isinstance(host, (int, float)) and isinstance(inside, (int, float)):
        return abs(host - inside) < SLACK
    return bool(host == inside)


def wrong(host: Document, inside: Document) -> dict[str, Any]:
    """Return what is measured inside and isn't so on the host."""
    true, hidden = dict(_flat(host["facts"])), host["unknown"]
    return {
        path: (value, true.get(path, hidden.get(path)), inside["sources"].get(path))
        for path, value in _flat(inside["facts"])
        if not any(path == one or path.startswith(f"{one}.") for one in ITS_OWN)
        and not (path in true and _same(path, true[path], value))
    }


def unexplained(host: Document, inside: Document) -> dict[str, str]:
    """Return what is unknown inside alone, and whose reason doesn't name the container."""
    return {
        path: one["reason"]
        for path, one in inside["unknown"].items()
        if path not in host["unknown"] and "container" not in one["reason"]
    }


def _verdicts(report: Document) -> dict[tuple[str, str | None], str]:
    return {(one["id"], one["item"]): one["verdict"] for one in report["results"]}


def _visible() -> set[str]:
    """Return the words of the options in the README's table: of `docker run` and of check."""
    rows = re.findall(r"^\| (`-[^|]+`.*?) \|", SECTION, re.MULTILINE)
    assert len(rows) > 3
    return {word for row in rows for code in re.findall("`([^`]+)`", row) for word in code.split()}


STACK = '-v "$PWD:$PWD:ro" -w "$PWD"'
DISK = "-v /srv/models:/srv/models:ro"
ROOM = "-v /var/lib/docker:/var/lib/docker:ro"
WAYS = {
    "socket": "",
    "limited": "-m 256m --cpus 0.5 --cpuset-cpus 0",
    "read-only": "--read-only --cap-drop ALL --security-opt no-new-privileges",
    "stack": STACK,
    "stack-limited": f"{STACK} -m 256m --cpus 0.5",
    "stack-pid": f"{STACK} --pid host",
    "stack-pid-limited": f"{STACK} --pid host -m 256m",
    "stack-network": f"{STACK} --network host",
    "stack-network-pid": f"{STACK} --network host --pid host",
    "everything": f"{STACK} {DISK} {ROOM} --network host --pid host",
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> str:
    """One set of options of `docker run`."""
    return WAYS[request.param]


def test_no_figure_from_inside_is_another_on_the_host(
    scene: Scene, on_the_host: Callable[..., Document], way: str
) -> None:
    cwd = scene.project if STACK in way else scene.project.parent
    host = on_the_host("facts", cwd=cwd)
    inside = scene.facts(way)
    assert inside["facts"]["host"]["container"] is True
    assert wrong(host, inside) == {}
    assert unexplained(host, inside) == {}


def test_no_verdict_from_inside_is_another_on_the_host(
    scene: Scene, on_the_host: Callable[..., Document], way: str
) -> None:
    cwd = scene.project if STACK in way else scene.project.parent
    host, inside = _verdicts(on_the_host("check", cwd=cwd)), scene.report(way)
    differences = {
        key: (verdict, host.get(key))
        for key, verdict in _verdicts(inside).items()
        if verdict in DECIDED and key[0] not in ADVICE and verdict != host.get(key)
    }
    assert differences == {}


def test_what_is_hidden_is_undecided_and_says_so(scene: Scene) -> None:
    facts = scene.facts(STACK)
    hidden = {
        "docker.disk.free", "docker.memory.available", "docker.memory.limit",
        f"host.ports.{scene.port}.free", "start.services.api.mounts_created",
        "docker.compose.version",
    }  # fmt: skip
    assert hidden <= facts["unknown"].keys()
    verdicts = _verdicts(scene.report(STACK))
    assert verdicts["port-free", str(scene.port)] == "unknown"
    assert verdicts["bind-mounts-created", "api"] == "unknown"


def test_its_own_disk_is_not_the_hosts(scene: Scene) -> None:
    facts = scene.facts("")
    disk = {path for path in facts["unknown"] if path.startswith("host.disk.")}
    assert {"host.disk.free", "host.disk.total"} <= disk
    assert _verdicts(scene.report(""))["host-disk", None] == "unknown"


def test_the_readmes_options_make_that_visible(
    scene: Scene, on_the_host: Callable[..., Document]
) -> None:
    """Each row of the table shows what it says; all together see nearly what the host sees."""
    everything = WAYS["everything"]
    assert _visible() == {*everything.split(), "check", "--path", "/srv/models"}
    models = str(scene.project.parent / "models")
    host = on_the_host("facts", "--path", models, cwd=scene.project)
    inside = scene.facts(everything, "--path", models)
    assert wrong(host, inside) == {}
    seen = dict(_flat(inside["facts"]))
    for path in (
        "host.disk.free", "docker.disk.free", "docker.memory.available",
        f"host.ports.{scene.port}.free", "ollama.version", "compose.project",
    ):  # fmt: skip
        assert path in seen, (path, inside["unknown"].get(path))
    assert seen[f"host.ports.{scene.port}.free"] is False
    assert seen["compose.project"] == "stack"


def test_the_readmes_line_as_it_stands(scene: Scene) -> None:
    words = [*scene.options(CHECK)[:2], "--network", "none", *scene.options(CHECK)[2:]]
    done = run(*words, cwd=scene.project, env={"DOCKER_HOST": scene.engine.url})
    assert done.returncode in (0, 1, 3), done.stderr
    assert f"unix://{SOCKET}" in done.stdout
    bare = scene.inside("")
    assert bare.stdout.splitlines()[2:5] == done.stdout.splitlines()[2:5]


def test_another_user_needs_the_sockets_group(scene: Scene) -> None:
    gid = os.stat(scene.engine.url.removeprefix("unix://")).st_gid
    user_options = re.search(r"`(--user \d+ --group-add) ", SECTION)
    assert user_options is not None
    without = scene.inside("--user 65534", "check", "--only=docker-reachable")
    assert without.returncode == 1
    assert "permission denied" in without.stdout
    done = scene.inside(f"{user_options[1]} {gid}", "check", "--only=docker-reachable")
    assert done.returncode == 0, done.stdout


def test_it_is_the_whole_program(scene: Scene) -> None:
    assert "host-memory" in scene.inside("", "rules", "list").stdout
    assert scene.inside("", "check", "--nonsense").returncode == 2


def test_it_ends_when_it_is_stopped(scene: Scene) -> None:
    """The first process of a container ignores SIGTERM, unless it asks for it."""
    docker = scene.engine.docker
    container = docker("run", "-d", "--network=none", IMAGE, "check", "--wait=3600")
    env = {"DOCKER_HOST": scene.engine.url}
    for _ in range(300):
        if "again in" in run("docker", "logs", container, cwd=ROOT, env=env).stderr:
            break
        time.sleep(0.1)
    docker("stop", "--time", "50", container)
    code = docker("inspect", "--format", "{{.State.ExitCode}}", container)
    docker("rm", container)
    assert code == "130"


def test_the_image_holds_nothing_but_the_program(image: Engine, tmp_path: Path) -> None:
    config = json.loads(image.docker("inspect", "--format", "{{json .Config}}", IMAGE))
    assert (config["Entrypoint"], config["Cmd"]) == (["preflight"], ["check"])
    assert {"title", "licenses"} <= {one.rpartition(".")[2] for one in config["Labels"]}
    container = image.docker("create", "--network=none", IMAGE)
    image.docker("export", "--output", str(tmp_path / "all.tar"), container)
    image.docker("rm", container)
    names = run("tar", "-tf", str(tmp_path / "all.tar"), cwd=tmp_path).stdout.splitlines()
    added = [one for one in names if one.startswith(("opt/preflight/", "root/", "src/", "work/"))]
    assert [one for one in added if one.endswith("preflight/cli/check.py")]
    assert not [one for one in added if one.startswith(("root/", "src/"))]
    assert not [one for one in added if "/pip/" in one or ".cache" in one or one.endswith(".whl")]
