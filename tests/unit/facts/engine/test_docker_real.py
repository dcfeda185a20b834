"""The facts of real engines, each held against a reading that is not ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from engines import IMAGE, Engine, make_image, memory_cgroup

Run = Callable[..., "subprocess.CompletedProcess[str]"]


def docker_facts(run: Run, engine: Engine, *options: str, **extra: Any) -> dict[str, Any]:
    done = run("facts", "-f", "json", "--docker-host", engine.url, *options, **extra)
    assert done.returncode == 0, done.stderr
    snapshot: dict[str, Any] = json.loads(done.stdout)
    return snapshot


def memory_total() -> int:
    with open("/proc/meminfo", encoding="ascii") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemTotal"))


def room(path: str) -> int:
    out = subprocess.run(["df", "-B1", "--output=avail", path], capture_output=True, text=True)
    return int(out.stdout.split()[1])


def test_docker_facts_are_what_its_own_cli_says(docker_engine: Engine, run_preflight: Run) -> None:
    snapshot = docker_facts(run_preflight, docker_engine)
    facts = snapshot["facts"]["docker"]
    info = json.loads(docker_engine.docker("info", "--format", "{{json .}}"))
    server = json.loads(docker_engine.docker("version", "--format", "{{json .Server}}"))
    assert facts["reachable"] is True
    assert facts["engine"] == "docker"
    assert facts["native"] is True
    assert facts["local"] is True
    assert facts["endpoint"] == docker_engine.url
    assert facts["version"] == server["Version"]
    assert facts["api"] == server["ApiVersion"]
    assert facts["edition"] == (server["Platform"]["Name"] or None)
    assert facts["platform"] == f"{server['Os']}/{server['Arch']}"
    assert facts["memory"]["total"] == info["MemTotal"] == memory_total()
    assert facts["memory"]["usable"] == memory_total()
    assert facts["memory"]["limit"] is None
    assert facts["cpus"] == info["NCPU"] == len(os.sched_getaffinity(0))
    assert facts["cgroup"]["version"] == int(info["CgroupVersion"])
    assert facts["limits"] == {
        "memory": info["MemoryLimit"],
        "cpus": info["CpuCfsQuota"],
        "swap": info["SwapLimit"],
    }
    assert facts["disk"]["root"] == info["DockerRootDir"] == f"{docker_engine.folder}/data"
    assert facts["disk"]["free"] == pytest.approx(room(info["DockerRootDir"]), rel=0.02)
    assert facts["storage"]["driver"] == info["Driver"]
    assert facts["log"]["driver"] == info["LoggingDriver"]
    assert facts["swarm"]["state"] == info["Swarm"]["LocalNodeState"]
    assert facts["rootless"] is False
    assert facts["problem"] == {"kind": None, "reason": None}


def test_available_memory_is_what_the_kernel_calls_available(
    docker_engine: Engine, run_preflight: Run
) -> None:
    facts = docker_facts(run_preflight, docker_engine)["facts"]["docker"]
    with open("/proc/meminfo", encoding="ascii") as lines:
        rows = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines}
    assert facts["memory"]["available"] == pytest.approx(rows["MemAvailable"], rel=0.05)


def test_reclaimable_is_the_size_of_images_that_no_container_uses(
    own_dockerd: Callable[..., Engine], run_preflight: Run
) -> None:
    engine = own_dockerd()  # no other test leaves an image there
    make_image(engine)
    size = int(engine.docker("image", "inspect", IMAGE, "--format", "{{.Size}}"))
    before = docker_facts(run_preflight, engine)["facts"]["docker"]["disk"]["reclaimable"]
    engine.docker("create", "--network=none", IMAGE, "true")
    used = docker_facts(run_preflight, engine)["facts"]["docker"]["disk"]["reclaimable"]
    assert (before, used) == (size, 0)


@pytest.fixture
def small_cgroup() -> Iterator[str]:
    with memory_cgroup(f"pf-{os.getpid()}", 2**30) as path:
        yield path


def test_a_limit_over_the_containers_is_dockers_limit(
    own_dockerd: Callable[..., Engine], run_preflight: Run, small_cgroup: str
) -> None:
    engine = own_dockerd(options=("--cgroup-parent", small_cgroup))
    make_image(engine)
    container = engine.run(IMAGE, "sleep", "60")
    try:
        snapshot = docker_facts(run_preflight, engine)
        memory = snapshot["facts"]["docker"]["memory"]
        assert memory["total"] == memory_total()
        assert memory["limit"] == memory["usable"] == 2**30
        assert memory["available"] <= 2**30
        assert small_cgroup in snapshot["sources"]["docker.memory.limit"]
        done = run_preflight(
            "check", "--docker-host", engine.url, "-f", "json", "--only", "docker-memory"
        )
        (result,) = json.loads(done.stdout)["results"]
        assert (done.returncode, result["verdict"], result["actual"]) == (1, "fail", 2**30)
        assert "cgroup" in result["fixes"][0]["text"]
    finally:
        engine.docker("rm", "-f", container)


def test_a_container_that_chose_its_own_cgroup_says_nothing_of_dockers(
    docker_engine: Engine, run_preflight: Run, small_cgroup: str
) -> None:
    container = docker_engine.run("--cgroup-parent", small_cgroup, IMAGE, "sleep", "60")
    try:
        memory = docker_facts(run_preflight, docker_engine)["facts"]["docker"]["memory"]
    finally:
        docker_engine.docker("rm", "-f", container)
    assert memory["limit"] is None
    assert memory["usable"] == memory_total()


def test_docker_has_the_cpus_of_its_daemon_not_ours(
    own_dockerd: Callable[..., Engine], run_preflight: Run
) -> None:
    engine = own_dockerd(prefix=("taskset", "-c", "0"))
    assert docker_facts(run_preflight, engine)["facts"]["docker"]["cpus"] == 1
    facts = docker_facts(run_preflight, engine)["facts"]
    assert facts["host"]["cpu"]["logical"] == os.cpu_count()


@pytest.mark.alone
def test_a_stopped_daemon_is_given_up_in_time(
    own_dockerd: Callable[..., Engine], run_preflight: Run
) -> None:
    engine = own_dockerd()
    os.kill(engine.pid, signal.SIGSTOP)
    max_seconds = 3 + 0.5 + 0.5  # the deadline, half a second, and room for a busy machine
    for _ in range(3):  # a busier one is late once; a check that waits is late each time
        start = time.monotonic()
        done = run_preflight("check", "-f", "json", "--docker-host", engine.url, "--timeout", "3")
        took = time.monotonic() - start
        if took < max_seconds:
            break
    os.kill(engine.pid, signal.SIGCONT)
    report = json.loads(done.stdout)
    assert took < max_seconds
    verdicts = {result["id"]: result["verdict"] for result in report["results"]}
    assert verdicts["docker-reachable"] == "fail"
    assert verdicts["host-memory"] in ("pass", "fail", "warn")
    reason = next(r["error"] for r in report["results"] if r["id"] == "docker-reachable")
    assert reason == f"no answer from {engine.url} within 3 s"
    held = [r["held_by"] for r in report["results"] if r["verdict"] == "skip"]
    assert "docker-reachable" in held
    assert done.returncode == 1


def test_a_killed_daemon_leaves_a_socket_that_refuses(
    own_dockerd: Callable[..., Engine], run_preflight: Run
) -> None:
    engine = own_dockerd()
    os.kill(engine.pid, signal.SIGKILL)
    time.sleep(0.5)
    facts = docker_facts(run_preflight, engine)["facts"]["docker"]
    assert facts["reachable"] is False
    assert facts["problem"]["kind"] == "refused"


def test_podman_is_told_apart(podman_engine: Engine, run_preflight: Run) -> None:
    facts = docker_facts(run_preflight, podman_engine)["facts"]["docker"]
    assert facts["reachable"] is True
    assert facts["engine"] == "podman"
    assert facts["native"] is True
    assert facts["memory"]["total"] == memory_total()
    assert facts["cpus"] == os.cpu_count()
    root = f"{podman_engine.folder}/root"
    assert facts["disk"]["root"] == root
    assert facts["disk"]["free"] == pytest.approx(room(root), rel=0.02)
    assert facts["rootless"] is False
    info = json.loads(podman_engine.docker("info", "--format", "{{json .}}"))
    assert facts["version"] == info["ServerVersion"]
    assert facts["cgroup"]["version"] == int(info["CgroupVersion"])
    assert facts["limits"] == {
        "memory": info["MemoryLimit"],
        "cpus": info["CpuCfsQuota"],
        "swap": info["SwapLimit"],
    }
    assert facts["storage"]["driver"] == info["Driver"]


def test_podmans_images_are_reclaimable_until_a_container_uses_them(
    podman_engine: Engine, run_preflight: Run
) -> None:
    size = int(podman_engine.docker("image", "inspect", IMAGE, "--format", "{{.Size}}"))
    before = docker_facts(run_preflight, podman_engine)["facts"]["docker"]["disk"]["reclaimable"]
    container = podman_engine.docker("create", "--network=none", IMAGE, "true")
    try:
        used = docker_facts(run_preflight, podman_engine)["facts"]["docker"]["disk"]["reclaimable"]
    finally:
        podman_engine.docker("rm", container)
    assert (before, used) == (size, 0)


def test_podmans_empty_logging_driver_is_unknown(podman_engine: Engine, run_preflight: Run) -> None:
    snapshot = docker_facts(run_preflight, podman_engine)
    assert "docker.log.driver" in snapshot["unknown"]
    assert snapshot["facts"]["docker"]["memory"]["limit"] is None
    assert snapshot["facts"]["docker"]["memory"]["usable"] == memory_total()


def test_permission_denied_as_an_ordinary_user(docker_engine: Engine) -> None:
    docker_engine.folder.chmod(0o755)
    # everything is imported as root: the interpreter's own files may be closed to others
    code = f"""
import http.client, json, os, shlex
from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.collect.worker import run_probe
from preflight.facts.table import PROBES
probe = next(probe for probe in PROBES if probe.module == "engine.engine_facts")
os.setgid(65534); os.setuid(65534)
options = MeasurementOptions(docker_host={docker_engine.url!r})
for one in run_probe(probe, MeasurementContext(options)):
    print(json.dumps([one.path, str(one.value)]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = reversed(done.stdout.splitlines())  # of two values the first counts
    facts = {tuple(path): value for path, value in map(json.loads, lines)}
    assert facts["docker", "reachable"] == "False"
    assert facts["docker", "problem", "kind"] == "permission"
    assert facts["docker", "problem", "reason"] == f"permission denied on {docker_engine.url}"
