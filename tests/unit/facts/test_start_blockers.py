"""What keeps the stack from starting, against what the real Compose and engines then do."""

from __future__ import annotations

import os
import platform
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from compose_projects import compose_program
from contexts import REMOTE, context_with, without_engine
from engines import IMAGE, Engine
from paths import TESTS
from preflight.facts import ports, start_blockers
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.load import load_project
from preflight.facts.compose.project import NeededComposeFeature, Project
from preflight.facts.engine.api import LazyValue
from preflight.facts.ports import can_bind_port
from preflight.facts.start_blockers import find_port_clashes_within_project
from preflight.model.facts import FileLine, Measured, Source, Unknown, Value

Facts = dict[tuple[str, ...], Measured]
NOTHING: dict[str, str] = {"PATH": "/nowhere", "DOCKER_CONFIG": "/nowhere"}


def project_of(
    services: Mapping[str, Any], compose: str | None = "2.40.3", **reading: Any
) -> Project:
    config = {"name": "shop", "services": services}
    places: dict[tuple[str, ...], FileLine] = {
        ("services", name): FileLine("compose.yaml", 10 * (index + 1))
        for index, name in enumerate(services)
    }
    return Project("shop", "/shop", ("compose.yaml",), "cli", config, compose, places, **reading)


def machine_with(
    project: Project | None, *, arch: str = "amd64", **more: Any
) -> MeasurementContext:
    return context_with(project, version={"Os": "linux", "Arch": arch}, **more)


def measure(
    context: MeasurementContext, root: Path, environ: Mapping[str, str]
) -> Iterator[Measured]:
    project = context.project()
    assert project is not None
    return start_blockers.measure_start_blockers(context, project, root, environ)


def facts_of(context: MeasurementContext, root: Path = Path("/nowhere")) -> Facts:
    return {one.path: one for one in measure(context, root, NOTHING)}


def of_service(context: MeasurementContext, fact: str, root: Path = Path("/nowhere")) -> Value:
    return facts_of(context, root)["start", "services", "api", fact].value


class Stack:
    """A project in a folder of its own, on a real engine."""

    def __init__(self, running: Engine, folder: Path) -> None:
        self.folder = folder
        self.compose = compose_program()
        self.engine = running
        self.environ = {**NOTHING, "PATH": os.path.dirname(self.compose)}

    def write(self, service: str, rest: str = "") -> None:
        head = f"services:\n  api:\n    image: {IMAGE}\n    command: [sleep, '60']\n"
        self.file.write_text(f"{head}{service}{rest}")

    @property
    def file(self) -> Path:
        return self.folder / "compose.yaml"

    def facts(self) -> Facts:
        """Measure with the project as the real Compose reads it."""
        project = load_project(MeasurementOptions(compose_files=(str(self.file),)), self.environ)
        assert project is not None
        assert project.source == "cli"
        context = MeasurementContext(MeasurementOptions(docker_host=self.engine.url))
        context.project = LazyValue(lambda: project)
        return facts_of(context)

    def fact(self, name: str) -> Measured:
        return self.facts()["start", "services", "api", name]

    def port(self, number: int) -> Value:
        """Return whether a port is free for the project, under the name that `up` gives it."""
        project = load_project(MeasurementOptions(compose_files=(str(self.file),)), self.environ)
        assert project is not None
        context = MeasurementContext(MeasurementOptions(docker_host=self.engine.url))
        context.project = LazyValue(lambda: project._replace(name=f"pf{os.getpid()}"))
        told = ports.measure_ports(context)
        return {one.path: one.value for one in told}["host", "ports", str(number), "free"]

    def up(self) -> subprocess.CompletedProcess[str]:
        return self._run("up", "-d", "-t", "0")  # sleep ignores the signal that stops it

    def down(self) -> None:
        self._run("down", "-t", "0", "--remove-orphans")

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.compose, "-f", str(self.file), "-p", f"pf{os.getpid()}", *arguments],
            env={**self.environ, "DOCKER_HOST": self.engine.url},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip


@pytest.fixture
def stack(docker_engine: Engine, tmp_path: Path) -> Iterator[Stack]:
    one = Stack(docker_engine, tmp_path)
    yield one
    if one.file.exists():
        one.down()


@pytest.fixture
def free_port() -> int:
    """The first of three ports that are free now, below those that the system gives away."""
    while True:
        port = 20000 + secrets.randbelow(10000)
        if all(can_bind_port(("tcp", port + more), "127.0.0.1") is True for more in range(3)):
            return port


BESIDE = f"  web:\n    image: {IMAGE}\n    command: [sleep, '60']\n"


@pytest.mark.parametrize(
    ("service", "rest", "said"),
    [
        ("ports: ['A:P:80', 'A:P:81']", "", "P/tcp is published twice"),
        ("scale: 2\n    ports: ['A:P:80']", "", "2 replicas share P/tcp"),
        ("scale: 3\n    ports: ['A:P-Q:80']", "", "3 replicas share P-Q/tcp"),
        (
            "ports: ['A:P:80']",
            f"{BESIDE}    ports: ['A:P:80']\n",
            "P/tcp is also published by web",
        ),
        ("scale: 2\n    ports: ['A:P-Q:80']", "", None),
        ("ports: ['A:P-Q:80']", f"{BESIDE}    ports: ['A:P-Q:80']\n", None),
        ("ports: ['A:P:80', '127.0.0.2:P:81']", "", None),
        ("ports: ['A:P:80']", f"{BESIDE}    ports: ['A:P:80/udp']\n", None),
    ],
)
def test_what_clashes_is_what_docker_refuses(
    stack: Stack, free_port: int, service: str, rest: str, said: str | None
) -> None:
    def filled(text: str) -> str:
        text = text.replace("Q", str(free_port + 1))
        return text.replace("P", str(free_port)).replace("'A:", "'127.0.0.1:")

    stack.write(f"    {filled(service)}\n", filled(rest))
    clash = stack.fact("port_clash")
    done = stack.up()
    assert clash.value == (None if said is None else [filled(said)])
    assert (done.returncode != 0) is (said is not None), done.stderr


@pytest.mark.parametrize(
    ("deploy", "clashes"),
    [
        ({}, True),
        ({"placement": {}}, True),  # as Compose writes it where the file has none
        ({"placement": {"constraints": ["node.role == manager"]}}, False),
        ({"update_config": {"parallelism": 1}}, False),
    ],
)
def test_replicas_of_a_swarm_stack_share_a_port(deploy: dict[str, Any], clashes: bool) -> None:
    """Swarm publishes it once on every node and spreads the connections."""
    port = {"published": "8080", "target": 80, "protocol": "tcp", "mode": "ingress"}
    api = {"image": "x", "ports": [port], "deploy": {"replicas": 2, **deploy}}
    found = find_port_clashes_within_project(project_of({"api": api}))["api"]
    assert list(found) == (["2 replicas share 8080/tcp"] if clashes else [])


@pytest.mark.parametrize(
    ("path", "is_file"),
    [
        ("/srv/nginx.conf", True), ("/var/run/docker.sock", True), ("/srv/Data.JSON", True),
        ("/srv/data", False), ("/etc/conf.d", False), ("/home/me/.ollama", False),
        ("/srv/v1.2", False), ("/srv/my.app.data-dir", False),
    ],
)  # fmt: skip
def test_which_missing_paths_are_meant_as_files(path: str, is_file: bool) -> None:
    volumes = [{"type": "bind", "source": path, "target": "/x"}]
    project = project_of({"api": {"image": "x", "volumes": volumes}})
    value = facts_of(without_engine(project))["start", "services", "api", "files_created"].value
    assert value == ([path] if is_file else None)


@pytest.mark.parametrize("changed", ["", BESIDE + "    profiles: [debug]\n"])
def test_a_container_left_over_keeps_its_port_from_the_next_start(
    stack: Stack, free_port: int, changed: str
) -> None:
    """Compose leaves orphans alone, and what a profile has started."""
    port = f"    ports: ['127.0.0.1:{free_port}:80']\n"
    stack.write("    stop_grace_period: 0s\n", BESIDE + port)
    assert stack.up().returncode == 0
    stack.write(port, changed)
    free = stack.port(free_port)
    done = stack.up()
    assert free is False
    assert done.returncode != 0


def test_a_clash_names_the_line_of_the_port(stack: Stack) -> None:
    stack.write("    ports:\n      - 127.0.0.1:22001:80\n      - 127.0.0.1:22002:80\n"
                "      - 127.0.0.1:22002:81\n")  # fmt: skip
    told = stack.fact("port_clash").source.place
    assert told is not None
    assert told[1] in (7, 8)


SHORT = "    volumes: ['./x:/x']\n"
LONG = "    volumes: [{type: bind, source: ./x, target: /x%s}]\n"


@pytest.mark.parametrize(
    ("service", "rest", "made"),
    [
        (SHORT, "", True),
        ("    volumes: ['./x:/x:ro']\n", "", True),
        ("    volumes: ['./x/y/z:/x']\n", "", True),
        (LONG % "", "", True),
        (LONG % ", bind: {create_host_path: true}", "", True),
        (LONG % ", bind: {create_host_path: false}", "", False),
        (LONG % ", bind: {propagation: rprivate}", "", False),
        ("    secrets: [one]\n", "secrets: {one: {file: ./x}}\n", False),
        ("    configs: [one]\n", "configs: {one: {file: ./x}}\n", False),
    ],
)
def test_docker_makes_or_refuses_what_is_said_of_mounts(
    stack: Stack, service: str, rest: str, made: bool
) -> None:
    stack.write(f"    network_mode: none\n{service}", rest)
    facts = stack.facts()
    missing, created = (
        facts["start", "services", "api", name].value
        for name in ("mounts_missing", "mounts_created")
    )
    named = [str(stack.folder / ("x/y/z" if "x/y/z" in service else "x"))]
    done = stack.up()
    assert (missing, created) == ((None, named) if made else (named, None))
    assert (done.returncode == 0) is made, done.stderr
    assert os.path.isdir(named[0]) is made
    if made:
        assert os.stat(named[0]).st_uid == 0
        assert list(os.scandir(named[0])) == []


@pytest.mark.parametrize("link", [True, False])
def test_docker_cannot_make_a_folder_below_a_file_or_at_a_link(stack: Stack, link: bool) -> None:
    if link:
        (stack.folder / "x").symlink_to("nowhere")
    else:
        (stack.folder / "x").write_text("a file")
    source = "x" if link else "x/y"
    stack.write(f"    network_mode: none\n    volumes: ['./{source}:/x']\n")
    assert stack.fact("mounts_missing").value == [str(stack.folder / source)]
    assert stack.fact("mounts_created").value is None
    assert stack.up().returncode != 0


def test_what_is_there_is_neither_missing_nor_made(stack: Stack) -> None:
    (stack.folder / "x").write_text("a file")
    (stack.folder / "link").symlink_to("x")
    stack.write("    network_mode: none\n    volumes: ['./x:/x', './link:/link', 'data:/data']\n",
                "volumes: {data: {}}\n")  # fmt: skip
    facts = stack.facts()
    assert facts["start", "services", "api", "mounts_missing"].value is None
    assert facts["start", "services", "api", "mounts_created"].value is None
    assert stack.up().returncode == 0


def test_podman_makes_every_folder(podman_engine: Engine, tmp_path: Path) -> None:
    stack = Stack(podman_engine, tmp_path)
    limits = "    ulimits: {nofile: 1024, nproc: 1024}\n"
    stack.write(f"    network_mode: none\n{limits}{LONG % ', bind: {create_host_path: false}'}")
    try:
        assert stack.fact("mounts_created").value == [str(tmp_path / "x")]
        assert stack.up().returncode == 0
        assert (tmp_path / "x").is_dir()
    finally:
        stack.down()


def bind(source: Path, **options: Any) -> dict[str, Any]:
    return {"type": "bind", "source": str(source), "target": "/x", "bind": options}


@pytest.mark.parametrize(
    ("context", "seen"),
    [
        (machine_with, True),
        (lambda project: machine_with(project, native=False, name="docker-desktop"), True),
        (lambda project: machine_with(project, native=False), False),
        (lambda project: machine_with(project, endpoint=REMOTE, native=False), False),
        (without_engine, True),
        (lambda project: without_engine(project, REMOTE), False),
    ],
)
def test_only_an_engine_of_this_machine_has_its_paths(
    context: Callable[[Project], MeasurementContext], seen: bool, tmp_path: Path
) -> None:
    mounts = [bind(tmp_path / "a", create_host_path=True), bind(tmp_path / "b")]
    facts = facts_of(context(project_of({"api": {"volumes": mounts}})))
    missing, created = (
        facts["start", "services", "api", name].value
        for name in ("mounts_missing", "mounts_created")
    )
    if seen:
        assert (missing, created) == ([str(tmp_path / "b")], [str(tmp_path / "a")])
    else:
        assert isinstance(missing, Unknown)
        assert isinstance(created, Unknown)


@pytest.mark.parametrize(
    ("compose", "made"), [("2.40.3", False), ("5.0.0", True), ("5.1.0-rc1", True), (None, True)]
)
def test_from_compose_5_a_bind_makes_its_folder_unless_it_says_not(
    compose: str | None, made: bool, tmp_path: Path
) -> None:
    mounts = [bind(tmp_path / "a", propagation="rprivate")]
    context = machine_with(project_of({"api": {"volumes": mounts}}, compose))
    assert (of_service(context, "mounts_created") is not None) is made
    mounts[0]["bind"] = {"create_host_path": False}
    context = machine_with(project_of({"api": {"volumes": mounts}}, compose))
    assert of_service(context, "mounts_missing") == [str(tmp_path / "a")]


@pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to become somebody else")
def test_what_may_not_be_looked_at_is_unknown(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(0o700)
    code = f"""
import os, sys
sys.path[:0] = {[str(TESTS / "support"), str(TESTS / "unit/facts")]!r}
from pathlib import Path
import test_start_blockers as t
closed = Path(sys.argv[1])
made = [t.bind(one, create_host_path=True) for one in (closed / "y", Path("/nowhere/x"))]
mounts = [t.bind(closed / "x"), *made]
project = t.project_of({{"api": {{"volumes": mounts}}}})
t.facts_of(t.machine_with(project))
os.setgid(65534); os.setuid(65534)
facts = t.facts_of(t.machine_with(project))
for name in ("mounts_missing", "mounts_created"):
    print(facts["start", "services", "api", name].value)
"""
    done = subprocess.run([sys.executable, "-c", code, str(closed)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    missing, created = done.stdout.splitlines()
    assert missing == str(Unknown(f"{closed}/x: Permission denied", "permission"))
    assert created == "['/nowhere/x']"  # what is known of the others stands


def test_a_path_of_another_system_is_left_alone() -> None:
    mounts = [{"type": "bind", "source": "C:\\data", "target": "/x"}]
    context = machine_with(project_of({"api": {"volumes": mounts}}))
    assert of_service(context, "mounts_missing") is None


def emulating(root: Path, name: str, text: str) -> Path:
    folder = root / "proc/sys/fs/binfmt_misc"
    folder.mkdir(parents=True)
    (folder / name).write_text(text)
    return root


FIXED = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: OCF\noffset 0\n"


@pytest.mark.parametrize(
    ("asked", "arch", "runs"),
    [
        ("linux/amd64", "amd64", True),
        ("linux/x86_64", "amd64", True),
        ("linux/amd64", "x86_64", True),
        ("linux/amd64/v3", "amd64", True),
        ("linux/arm64/v8", "arm64", True),
        ("linux/aarch64", "arm64", True),
        ("linux/386", "amd64", True),
        ("linux/amd64", "386", False),
        ("amd64", "amd64", True),
        ("linux", "riscv64", True),
        ("LINUX/AMD64", "amd64", True),
        ("arm64", "amd64", False),
        ("linux/arm64", "amd64", False),
        ("linux/arm/v7", "amd64", False),
        ("windows/amd64", "amd64", False),
    ],
)
def test_platforms_of_an_engine_without_emulation(
    asked: str, arch: str, runs: bool, tmp_path: Path
) -> None:
    context = machine_with(project_of({"api": {"platform": asked}}), arch=arch)
    assert of_service(context, "platform_runs", tmp_path) is runs


@pytest.mark.parametrize(
    ("name", "text", "runs"),
    [
        ("qemu-aarch64", FIXED, True),
        ("qemu-aarch64-static", FIXED, True),
        ("qemu-aarch64", FIXED.replace("enabled", "disabled"), False),
        ("qemu-aarch64", FIXED.replace("OCF", "OC"), False),  # QEMU is not in the container
        ("qemu-arm", FIXED, False),
        ("status", "enabled\n", False),
    ],
)
def test_the_kernel_tells_what_it_emulates(
    name: str, text: str, runs: bool, tmp_path: Path
) -> None:
    root = emulating(tmp_path, name, text)
    context = machine_with(project_of({"api": {"platform": "linux/arm64"}}))
    assert of_service(context, "platform_runs", root) is runs


def test_platforms_in_a_vm_and_elsewhere(tmp_path: Path) -> None:
    project = project_of({"api": {"platform": "linux/amd64"}})
    for name in ("docker-desktop", "colima", "orbstack", "rancher-desktop"):
        vm = machine_with(project, native=False, name=name, arch="arm64")
        assert of_service(vm, "platform_runs", tmp_path) is True
    other = machine_with(project, native=False, name="docker-desktop", arch="riscv64")
    assert isinstance(of_service(other, "platform_runs", tmp_path), Unknown)
    remote = machine_with(project, endpoint=REMOTE, native=False, arch="arm64")
    assert isinstance(of_service(remote, "platform_runs", tmp_path), Unknown)
    same = machine_with(project, endpoint=REMOTE, native=False)
    assert of_service(same, "platform_runs", tmp_path) is True
    silent = machine_with(project, arch="")
    assert isinstance(of_service(silent, "platform_runs", tmp_path), Unknown)
    refused = Unknown("connection refused", "refused")
    assert of_service(without_engine(project), "platform_runs") == refused


def test_32_bit_arm_on_64_bit_arm_is_the_processors_choice(tmp_path: Path) -> None:
    project = project_of({"api": {"platform": "linux/arm/v7"}})
    context = machine_with(project, arch="arm64")
    assert isinstance(of_service(context, "platform_runs", tmp_path), Unknown)
    root = emulating(tmp_path, "qemu-arm", FIXED)
    assert of_service(context, "platform_runs", root) is True


def test_webassembly_is_run_by_a_runtime_and_not_by_emulation(tmp_path: Path) -> None:
    service = {"platform": "wasi/wasm"}
    context = machine_with(project_of({"api": service}))
    assert isinstance(of_service(context, "platform_runs", tmp_path), Unknown)
    context = machine_with(project_of({"api": service | {"runtime": "io.containerd.wasmedge.v1"}}))
    assert of_service(context, "platform_runs", tmp_path) is None


def test_no_platform_is_absent_and_a_real_engine_runs_its_own(stack: Stack) -> None:
    stack.write(f"    platform: linux/{platform.machine()}\n", BESIDE)
    facts = stack.facts()
    own = facts["start", "services", "api", "platform_runs"]
    assert own.value is True
    told = own.source.place
    assert told is not None
    assert told[1] == 5
    assert facts["start", "services", "web", "platform_runs"].value is None


@pytest.mark.parametrize(
    ("info", "gpus"),
    [
        ({"Runtimes": {"runc": {}, "nvidia": {}}}, True),
        ({"DiscoveredDevices": [{"Source": "cdi", "ID": "nvidia.com/gpu=0"}]}, True),
        ({"Runtimes": {"runc": {}}, "DiscoveredDevices": None}, False),
        ({"CDISpecDirs": ["/cdi"]}, True),
        ({"CDISpecDirs": ["/nowhere"]}, False),
        ({"CDISpecDirs": ["\0", "\ud800", 7, "/cdi"]}, True),
    ],
)
def test_gpus_by_what_the_engine_says(info: dict[str, Any], gpus: bool, tmp_path: Path) -> None:
    (tmp_path / "cdi").mkdir()
    (tmp_path / "cdi/nvidia.yaml").write_text("kind: nvidia.com/gpu")
    facts = facts_of(machine_with(project_of({}), info=info), tmp_path)
    assert facts["docker", "gpus"].value is gpus


def test_gpus_by_the_toolkit_on_the_path(tmp_path: Path) -> None:
    (tmp_path / "tools").mkdir()
    hook = tmp_path / "tools/nvidia-container-runtime-hook"
    hook.write_text("")
    hook.chmod(0o644)

    def gpus() -> Value:
        told = measure(machine_with(project_of({})), tmp_path, {"PATH": "/none:/tools"})
        return {one.path: one.value for one in told}["docker", "gpus"]

    assert gpus() is False  # it can't be run
    hook.chmod(0o755)
    assert gpus() is True


def test_gpus_of_a_vm_and_of_no_engine_are_unknown() -> None:
    vm = machine_with(project_of({}), native=False, name="docker-desktop")
    assert isinstance(facts_of(vm)["docker", "gpus"].value, Unknown)
    refused = Unknown("connection refused", "refused")
    assert facts_of(without_engine(project_of({})))["docker", "gpus"].value == refused


def test_gpus_of_the_real_engine(docker_engine: Engine) -> None:
    context = MeasurementContext(MeasurementOptions(docker_host=docker_engine.url))
    context.project = LazyValue(lambda: project_of({}))
    runtimes = docker_engine.docker("info", "--format", "{{json .Runtimes}}")
    assert facts_of(context)["docker", "gpus"].value is ("nvidia" in runtimes)


NEEDS = (
    NeededComposeFeature("2.20.3", "include", FileLine("compose.yaml", 3)),
    NeededComposeFeature("2.9.0", "older", FileLine("compose.yaml", 1)),
)


@pytest.mark.parametrize(
    ("compose", "met"), [("2.20.3", True), ("v2.40.3-desktop.1", True), ("2.20.2", False)]
)
def test_needs_name_the_highest_version(compose: str, met: bool) -> None:
    facts = facts_of(without_engine(project_of({}, compose, needs=NEEDS)))
    told = {path[-1]: one.value for path, one in facts.items() if path[:2] == ("compose", "needs")}
    assert told == {
        "version": "2.20.3",
        "feature": "include, used in compose.yaml:3",
        "met": met,
    }
    assert facts["compose", "needs", "met"].source == Source.in_file("compose.yaml", 3)
    assert facts["docker", "compose", "version"].value == compose


def test_needs_without_a_known_compose_and_without_needs() -> None:
    facts = facts_of(without_engine(project_of({}, None, needs=NEEDS)))
    assert isinstance(facts["compose", "needs", "met"].value, Unknown)
    version = facts["docker", "compose", "version"]
    assert (version.value, version.source) == (None, "docker compose is not installed")
    facts = facts_of(without_engine(project_of({}, None, needs=())))
    assert facts["compose", "needs", "version"].value is None
    assert facts["compose", "needs", "met"].value is True


def test_a_compose_that_is_there_but_tells_no_version_is_unknown(tmp_path: Path) -> None:
    program = tmp_path / "docker-compose"
    program.write_text("#!/bin/sh\nexit 1\n")
    program.chmod(0o755)
    context = without_engine(project_of({}, None))
    environ = {**NOTHING, "PATH": str(tmp_path)}
    told = {one.path: one.value for one in measure(context, tmp_path, environ)}
    assert isinstance(told["docker", "compose", "version"], Unknown)


def test_variables_env_files_and_conflicts_of_the_reading() -> None:
    project = project_of(
        {"api": {}, "web": {}},
        missing_variables={"API_KEY": "set it\nin .env", "TOKEN": ""},
        unset_variables=("TAG", "TOKEN"),  # a cause is shown once
        missing_env_files=(("api", "/shop/a.env"), ("api", "/shop/b.env")),
        conflicts=(("web", "it has neither an image nor a build"),),
    )
    facts = facts_of(without_engine(project))
    missing = facts["compose", "variables", "missing"].value
    assert missing == ["API_KEY (set it in .env)", "TOKEN"]
    assert facts["compose", "variables", "unset"].value == ["TAG"]
    files = facts["start", "services", "api", "env_files_missing"]
    assert files.value == ["/shop/a.env", "/shop/b.env"]
    assert files.source == Source.in_file("compose.yaml", 10)
    assert facts["start", "services", "web", "env_files_missing"].value is None
    conflict = facts["start", "services", "web", "conflict"]
    assert conflict.value == "it has neither an image nor a build"
    assert facts["start", "services", "api", "conflict"].value is None
    clean = facts_of(without_engine(project_of({})))
    assert clean["compose", "variables", "missing"].value is None
    assert clean["compose", "variables", "unset"].value is None


def test_the_mounts_come_last_for_a_dead_network_can_hang_them(tmp_path: Path) -> None:
    services = {"api": {"volumes": [bind(tmp_path / "x")]}, "web": {"platform": "linux/amd64"}}
    names = [one.path[-1] for one in measure(machine_with(project_of(services)), tmp_path, NOTHING)]
    mounts = ["mounts_missing", "mounts_created", "files_created"]
    assert names[-7:-1] == mounts * 2
    assert not {*mounts} & set(names[:-7])
