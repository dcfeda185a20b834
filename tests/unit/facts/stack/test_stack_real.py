"""Containers of a compose project on real engines, each figure held against one that isn't ours."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import IMAGE, V1_MEMORY, Engine, memory_cgroup
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.compose.project import Project
from preflight.facts.engine.engine_facts import read_memory_available_to_stack
from preflight.facts.host import machine
from preflight.facts.host.proc_and_cgroups import read_memory
from preflight.facts.stack import containers as stack
from preflight.model.facts import Facts, Unknown, build_facts

NAME = f"pf-stack-{os.getpid()}"
MIB = 2**20
# busybox would replace the shell by a last command, and what it holds would be gone
HOLD = "x=$(busybox head -c 40000000 /dev/zero | busybox tr '\\0' x); sleep 600; :"
HOG = "x=$(busybox yes | busybox head -c 300000000); :"
# the score makes the kernel take the children, however often it has to choose
SCORE = "echo 1000 > /proc/self/oom_score_adj"
CHILD = f"while :; do ({SCORE}; x=$(busybox yes | busybox head -c 300000000)); sleep 4; done"
PODMAN = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")  # crun asks for more
SERVICES: dict[str, Any] = {
    "api": {
        "image": IMAGE,
        "environment": {"SAME": "1", "OTHER": "file", "MISSING": "x"},
        "deploy": {"resources": {"limits": {"memory": str(1024 * MIB), "cpus": "0.5"}}},
    }
}


def start(engine: Engine, name: str, *options: str, service: str = "api") -> None:
    labels = (f"com.docker.compose.project={NAME}", f"com.docker.compose.service={service}")
    named = [part for label in labels for part in ("--label", label)]
    engine.run("--name", f"{NAME}-{name}", *named, *options)


def measure(engine: Engine) -> Facts:
    config = {"services": SERVICES}
    context: Any = MeasurementContext(MeasurementOptions(docker_host=engine.url, timeout=30))
    project = Project(NAME, "/x", ("/x/compose.yaml",), "cli", config)
    context.project = lambda: project
    return build_facts(stack.measure_containers(context, project), measured_at="", version="")


def of(facts: Facts, name: str, path: str) -> Any:
    return facts.get(("stack", "containers", f"{NAME}-{name}", *path.split(".")))


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(engine.docker("inspect", f"{NAME}-{name}"))[0]
    return answer


def until(engine: Engine, holds: Callable[[Facts], bool]) -> Facts:
    """Measure until something holds; a slow machine gets the time it needs."""
    ends = time.monotonic() + 90
    while not holds(facts := measure(engine)):
        assert time.monotonic() < ends, facts.get(("stack", "containers"))
        time.sleep(0.2)
    return facts


def state(name: str, wanted: str) -> Callable[[Facts], bool]:
    return lambda facts: of(facts, name, "state") == wanted


def kernels(engine: Engine, name: str, v1: str, v2: str) -> str:
    """Read a file of a container's memory cgroup, by what the kernel says of its process."""
    pid = inspect(engine, name)["State"]["Pid"]
    lines = Path(f"/proc/{pid}/cgroup").read_text().splitlines()
    places = {line.split(":", 2)[1]: line.split(":", 2)[2].lstrip("/") for line in lines}
    if "memory" in places:
        return (V1_MEMORY / places["memory"] / v1).read_text()
    return (V1_MEMORY.parent / places[""] / v2).read_text()


def remove(engine: Engine) -> None:
    label = f"label=com.docker.compose.project={NAME}"
    own = engine.docker("ps", "-aq", "--filter", label).split()
    if own:
        engine.docker("rm", "-f", *own)


@pytest.fixture(scope="module")
def small_cgroup() -> Iterator[str]:
    with memory_cgroup(NAME, 100 * MIB) as path:
        yield path


@pytest.fixture(scope="module")
def docker_stack(docker_engine: Engine) -> Iterator[Engine]:
    """Containers of every fate, started once for all tests."""
    engine = docker_engine
    start(engine, "calm", "-m", "256m", "--cpus", "0.5", IMAGE, "sh", "-c", HOLD)
    start(engine, "free", IMAGE, "sleep", "600")
    start(engine, "killed", IMAGE, "sleep", "600")
    start(engine, "oom", "-m", "16m", IMAGE, "sh", "-c", HOG)
    start(engine, "child", "-m", "64m", IMAGE, "sh", "-c", CHILD)
    start(engine, "loop", "--restart=always", IMAGE, "sh", "-c", "exit 3")
    engine.docker("kill", f"{NAME}-killed")
    yield engine
    remove(engine)


@pytest.fixture(scope="module")
def podman_stack(podman_engine: Engine) -> Iterator[Engine]:
    engine = podman_engine
    start(engine, "calm", *PODMAN, "-m", "256m", "--cpus", "0.5", IMAGE, "sh", "-c", HOLD)
    start(engine, "killed", *PODMAN, IMAGE, "sleep", "600")
    start(engine, "child", *PODMAN, "-m", "64m", IMAGE, "sh", "-c", CHILD)
    engine.docker("kill", f"{NAME}-killed")
    yield engine
    remove(engine)
    # conmon notes a kill in its working folder, which is the service's
    Path(f"/proc/{engine.pid}/cwd/oom").unlink(missing_ok=True)


@pytest.fixture(params=["docker_stack", "podman_stack"])
def either(request: pytest.FixtureRequest) -> Engine:
    engine: Engine = request.getfixturevalue(request.param)
    return engine


def until_the_engine_notes_it(engine: Engine) -> Facts:
    """Let a container be killed; dockerd 20.10 loses the news that come after the exit itself."""
    for _ in range(10):
        facts = until(engine, state("oom", "exited"))
        if inspect(engine, "oom")["State"]["OOMKilled"]:
            return facts
        engine.docker("start", f"{NAME}-oom")
    pytest.fail("the engine noted none of ten kills")


def test_a_killed_main_process_is_certain(docker_stack: Engine) -> None:
    facts = until_the_engine_notes_it(docker_stack)
    assert of(facts, "oom", "oom_killed") is True
    assert of(facts, "oom", "oom_certainty") == "certain"
    assert "State.OOMKilled is true" in of(facts, "oom", "oom_evidence")
    assert of(facts, "oom", "exit_code") == 137
    assert of(facts, "oom", "memory.configured") == 16 * MIB
    assert of(facts, "oom", "memory.usage") is None


def test_a_killed_child_is_found_by_the_kernels_count(either: Engine) -> None:
    facts = until(either, lambda facts: of(facts, "child", "oom_killed") is True)
    assert of(facts, "child", "oom_certainty") == "certain"
    assert "its cgroup counts" in of(facts, "child", "oom_evidence")
    assert of(facts, "child", "state") == "running"
    counted = kernels(either, "child", "memory.oom_control", "memory.events").split()
    assert int(counted[counted.index("oom_kill") + 1]) >= 1


def test_docker_kill_is_no_lack_of_memory(docker_stack: Engine) -> None:
    facts = until(docker_stack, state("killed", "exited"))
    assert of(facts, "killed", "exit_code") == 137
    assert of(facts, "killed", "oom_killed") is False
    assert of(facts, "killed", "oom_certainty") is None
    assert of(facts, "killed", "oom_evidence") is None


def test_a_kill_on_podman_is_unknown(podman_stack: Engine) -> None:
    facts = until(podman_stack, state("killed", "exited"))
    assert of(facts, "killed", "exit_code") == 137
    assert isinstance(of(facts, "killed", "oom_killed"), Unknown)
    assert "137" in of(facts, "killed", "oom_killed").reason


def test_a_loop_of_restarts(docker_stack: Engine) -> None:
    facts = until(docker_stack, lambda facts: of(facts, "loop", "restarts") >= 3)
    assert of(facts, "loop", "restarting") is True
    assert of(facts, "loop", "oom_killed") is False
    assert of(facts, "calm", "restarting") is False
    assert inspect(docker_stack, "loop")["RestartCount"] >= of(facts, "loop", "restarts")


def test_a_calm_one_says_what_inspect_says(either: Engine) -> None:
    facts = measure(either)
    told = inspect(either, "calm")
    assert of(facts, "calm", "service") == "api"
    assert of(facts, "calm", "state") == told["State"]["Status"] == "running"
    assert of(facts, "calm", "exit_code") is None
    assert of(facts, "calm", "restarts") == 0
    assert of(facts, "calm", "oom_killed") is False
    assert of(facts, "calm", "started_at") == told["State"]["StartedAt"]
    assert of(facts, "calm", "image") == told["Config"]["Image"]
    assert of(facts, "calm", "cpus") == told["HostConfig"]["NanoCpus"] / 1e9 == 0.5
    names = {one.partition("=")[0] for one in told["Config"]["Env"] or ()}
    assert set(of(facts, "calm", "environment")) == names


def test_memory_is_what_the_kernel_and_docker_stats_say(either: Engine) -> None:
    facts = until(either, lambda facts: of(facts, "calm", "memory.usage") > 40e6)
    limit = int(kernels(either, "calm", "memory.limit_in_bytes", "memory.max"))
    assert of(facts, "calm", "memory.configured") == of(facts, "calm", "memory.limit") == limit
    assert of(facts, "calm", "memory.parent") is None
    usage = of(facts, "calm", "memory.usage")
    whole = int(kernels(either, "calm", "memory.usage_in_bytes", "memory.current"))
    assert usage <= whole * 1.05
    told = either.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", f"{NAME}-calm")
    shown, _, unit = told.partition("MiB")
    assert unit, told
    assert usage / MIB == pytest.approx(float(shown), rel=0.1)


def test_without_a_limit_there_is_none(docker_stack: Engine) -> None:
    facts = measure(docker_stack)
    for name in ("configured", "limit", "parent"):
        assert of(facts, "free", f"memory.{name}") is None
    assert of(facts, "free", "cpus") is None


def test_a_lower_limit_above_the_container_binds(docker_stack: Engine, small_cgroup: str) -> None:
    start(docker_stack, "below", "-m", "8g", "--cgroup-parent", small_cgroup, IMAGE, "sleep", "600")
    try:
        facts = measure(docker_stack)
        told = kernels(docker_stack, "below", "memory.stat", "memory.stat").split()
    finally:
        docker_stack.docker("rm", "-f", f"{NAME}-below")
    assert int(told[told.index("hierarchical_memory_limit") + 1]) == 100 * MIB
    assert of(facts, "below", "memory.configured") == 8192 * MIB
    assert of(facts, "below", "memory.limit") == of(facts, "below", "memory.parent") == 100 * MIB
    source = facts.source(("stack", "containers", f"{NAME}-below", "memory", "limit"))
    assert source.startswith(str(V1_MEMORY))


@pytest.mark.parametrize("engine_name", ["docker_stack", "podman_stack"])
def test_drift(engine_name: str, request: pytest.FixtureRequest) -> None:
    engine: Engine = request.getfixturevalue(engine_name)
    options = PODMAN if engine_name == "podman_stack" else ()
    environment = ("-e", "SAME=1", "-e", "OTHER=run")
    start(engine, "drift", *options, *environment, "-m", "512m", "--cpus", "1", IMAGE, "true")
    same = ("-e", "SAME=1", "-e", "OTHER=file", "-e", "MISSING=x", "-m", "1g", "--cpus", "0.5")
    start(engine, "same", *options, *same, IMAGE, "true")
    start(engine, "old", *options, IMAGE, "true", service="old")
    facts = measure(engine)
    assert of(facts, "drift", "drift") == [
        "variable OTHER has another value than in the file",
        "variable MISSING is not set, the file sets it",
        "memory limit 512 MiB, the file says 1 GiB",
        "CPU limit 1, the file says 0.5",
    ]
    assert of(facts, "same", "drift") is None
    assert of(facts, "old", "drift") == ["service old is not in the file"]


def test_rotated_logs(docker_stack: Engine) -> None:
    options = {
        "endless": ("--log-driver", "json-file"),
        "limited": ("--log-opt", "max-size=1m"),
        "local": ("--log-driver", "local"),
        "none": ("--log-driver", "none"),
    }
    for name, one in options.items():
        start(docker_stack, name, *one, IMAGE, "true")
    facts = measure(docker_stack)
    docker_stack.docker("rm", "-f", *(f"{NAME}-{name}" for name in options))
    rotated = {name: of(facts, name, "log.rotated") for name in options}
    assert rotated == {"endless": False, "limited": True, "local": True, "none": True}


def test_the_flag_that_outlives_a_start_says_so(docker_stack: Engine) -> None:
    once = "if [ -e /was ]; then sleep 600; fi; echo > /was; " + HOG
    start(docker_stack, "again", "-m", "16m", IMAGE, "sh", "-c", once)
    try:
        until(docker_stack, state("again", "exited"))
        docker_stack.docker("start", f"{NAME}-again")
        facts = until(docker_stack, state("again", "running"))
        flag = inspect(docker_stack, "again")["State"]["OOMKilled"]
    finally:
        docker_stack.docker("rm", "-f", f"{NAME}-again")
    assert of(facts, "again", "oom_killed") is flag  # cleared by an engine from 24 on
    if flag:
        assert of(facts, "again", "oom_certainty") == "likely"
        assert "before its last start" in of(facts, "again", "oom_evidence")


def test_what_the_projects_containers_use_counts_as_free(
    either: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory = read_memory()  # other tests take and free memory meanwhile
    monkeypatch.setattr(machine, "read_memory", lambda root: memory)
    until(either, lambda facts: of(facts, "calm", "memory.usage") > 40e6)

    def free(project: str) -> Any:
        context = MeasurementContext(MeasurementOptions(docker_host=either.url))
        return read_memory_available_to_stack(context.engine().api, "", None, project)

    value, source = free(NAME)
    without, other_source = free(NAME.upper())
    # calm holds 40 MB; child and oom fill their limits now and then, the others need little
    assert 36e6 < value - without < 55e6 + (64 + 16) * MIB
    assert "this stack's containers" in source
    assert "containers" not in other_source
