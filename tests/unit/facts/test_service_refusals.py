"""What the engine refuses is said before, in the words that the real engine then uses."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from contexts import context_with
from engines import IMAGE, Engine
from preflight.check import check, load_ruleset
from preflight.cli.streams import read_rule_file
from preflight.facts import service_refusals
from preflight.facts.compose.compose_facts import has_healthcheck
from preflight.facts.compose.project import Project as ComposeProject
from preflight.facts.engine.api import LazyValue
from preflight.facts.service_refusals import parse_cpuset
from preflight.model.facts import Measured, Unknown, build_facts
from preflight.model.rules import GENERAL_RULE_SET
from refused_projects import NOT_ASKED_HERE, REFUSED_PROJECTS, Project, RefusedProject

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def project(docker_engine: Engine, tmp_path: Path, run_preflight: Run) -> Iterator[Project]:
    one = Project(docker_engine, tmp_path, run_preflight)
    yield one
    one.down()


def judge(project: Project, row: RefusedProject) -> None:
    """Compare what is predicted with what the engine says."""
    made = [project.engine.docker(*command.split()) for command in row.before]
    project.write(row.service, row.rest)
    try:
        failures = project.failures()
        done = project.up()
    finally:
        for command, name in zip(row.before, made, strict=True):
            kind = ["network", "rm"] if command.startswith("network") else ["rm", "-f"]
            project.engine.docker(*kind, name)
    assert list(failures) == [row.rule]
    assert failures[row.rule]["verdict"] == "fail"
    assert failures[row.rule]["fixes"]
    assert done.returncode != 0
    assert failures[row.rule]["error"].lower() in " ".join(done.stderr.split()).lower()


LOOKED_FOR = {"a logging driver", "a volume driver", "a network driver"}  # by Docker for 15 seconds
DOCKER = [
    pytest.param(name, marks=[pytest.mark.nightly] if name in LOOKED_FOR else [])
    for name, row in REFUSED_PROJECTS.items()
    if "docker" in row.engines
]
PODMAN = [name for name, row in REFUSED_PROJECTS.items() if "podman" in row.engines]


@pytest.mark.parametrize("name", DOCKER)
def test_docker_refuses_in_the_words_that_were_predicted(name: str, project: Project) -> None:
    judge(project, REFUSED_PROJECTS[name])


@pytest.mark.parametrize("name", PODMAN)
def test_podman_refuses_in_the_words_that_were_predicted(
    name: str, podman_engine: Engine, tmp_path: Path, run_preflight: Run
) -> None:
    judge(Project(podman_engine, tmp_path, run_preflight), REFUSED_PROJECTS[name])


@pytest.mark.parametrize("service", ["mem_reservation: -1", "mem_reservation: 0", "mem_limit: 0"])
def test_an_amount_below_one_that_docker_ignores_is_no_failure(
    service: str, project: Project
) -> None:
    project.write(service)
    assert project.failures() == {}
    assert project.up().returncode == 0


def test_the_logging_driver_that_no_engine_lists(project: Project) -> None:
    project.write("logging: {driver: none}")
    assert project.failures() == {}
    done = project.up()
    assert done.returncode == 0, done.stderr


def test_health_checks_of_images_on_podman(
    podman_engine: Engine, tmp_path: Path, run_preflight: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Podman's answer to Docker's API has no health check of an image."""
    (tmp_path / "Dockerfile").write_text(f"FROM {IMAGE}\nHEALTHCHECK CMD true\n")
    monkeypatch.setenv("DOCKER_BUILDKIT", "0")
    podman_engine.docker("build", "-q", "-t", "pf-healthy", str(tmp_path))
    project = Project(podman_engine, tmp_path, run_preflight)
    waits = "depends_on: {db: {condition: service_healthy}}"
    try:
        for image, failed in (("pf-healthy", []), (IMAGE, ["healthchecks"])):
            project.write(waits, f"  db: {{image: '{image}', command: [sleep, '9']}}\n")
            assert list(project.failures("--only", "healthchecks")) == failed
    finally:
        podman_engine.docker("rmi", "pf-healthy")


def test_every_row_of_the_table_is_asked_or_says_why_not() -> None:
    """Those that no engine here can be asked: without CFS, and a rootless one."""
    rules = load_ruleset(GENERAL_RULE_SET, read_rule_file).rules
    asked = {row.rule for row in REFUSED_PROJECTS.values()}
    # what well-known images need has its tests in tests/unit/rules/test_bundled_images.py
    refused = {rule.id for rule in rules if rule.error and rule.file != "bundled images"}
    assert refused - asked == NOT_ASKED_HERE.keys()


def test_of_mounts_that_are_partly_hidden_none_is_said_to_be_empty(tmp_path: Path) -> None:
    (tmp_path / "seen").mkdir()
    (tmp_path / "seen/file").touch()
    volumes = [
        {"type": "bind", "source": str(tmp_path / name), "target": f"/{name}"}
        for name in ("seen", "hidden")
    ]
    services = {"db": {"image": "postgres", "volumes": volumes}}
    project = ComposeProject("shop", str(tmp_path), (), "cli", {"services": services})
    context = context_with(project)
    engine = context.engine()
    path = ("compose", "services", "db", "filled_targets")

    def filled() -> Any:
        return {
            fact.path: fact.value for fact in service_refusals.measure_refusals(context, project)
        }[path]

    assert filled() == ["/seen"]
    hidden = Unknown("on another machine")
    visibility = engine.visibility._replace(
        path_hidden=lambda path: hidden if path.endswith("hidden") else None
    )
    context.engine = LazyValue(lambda: engine._replace(visibility=visibility))
    assert filled() == hidden


def test_ports_that_only_root_may_publish(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By the kernel's bound, unless Docker's rootlesskit was given the capability."""
    file = tmp_path / "proc/sys/net/ipv4/ip_unprivileged_port_start"
    file.parent.mkdir(parents=True)
    file.write_text("100\n")
    (tmp_path / "rootlesskit").touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    def ports(*published: str) -> dict[str, Any]:
        return {"image": "x", "ports": [{"published": p, "protocol": "tcp"} for p in published]}

    services = {"web": ports("8080", "80", "443"), "dns": ports("53-54"), "app": ports("100")}
    project = ComposeProject("shop", str(tmp_path), (), "cli", {"services": services})

    def measure(*, rootless: bool = True) -> dict[tuple[str, ...], Any]:
        options = ["name=rootless"] if rootless else []
        context = context_with(project, info={"SecurityOptions": options})
        facts = service_refusals.measure_refusals(context, project, tmp_path)
        return {fact.path[2:]: fact.value for fact in facts if "port" in fact.path[-1]
                or fact.path[-1].startswith("privileged")}  # fmt: skip

    assert measure() == {
        ("web", "privileged_ports"): ["80/tcp"],
        ("web", "privileged_refused"): "cannot expose privileged port 80",
        ("web", "lowest_port_of_project"): 53,
        ("dns", "privileged_ports"): ["53-54/tcp"],
        ("dns", "privileged_refused"): "cannot expose privileged port 53",
        ("dns", "lowest_port_of_project"): 53,
        ("app", "privileged_ports"): None,
    }
    assert measure(rootless=False) == {}
    monkeypatch.setattr(os, "getxattr", lambda *_: b"capability")
    assert measure()["web", "privileged_ports"] is None
    (tmp_path / "rootlesskit").unlink()
    assert isinstance(measure()["web", "privileged_ports"], Unknown)


def test_a_quota_over_the_container_is_what_the_kernel_holds_it_to(project: Project) -> None:
    cgroup = Path("/sys/fs/cgroup/cpu/pf-refused")
    if not cgroup.parent.is_dir():
        pytest.skip("cgroup v1 alone refuses it")
    cgroup.mkdir()
    try:
        (cgroup / "cpu.cfs_quota_us").write_text("50000")
        row = RefusedProject("cpu-limit-within-quota", "cpus: 1, cgroup_parent: /pf-refused")
        judge(project, row)
        project.write("cpus: 0.5, cgroup_parent: /pf-refused")
        assert project.failures() == {}
    finally:
        project.down()
        cgroup.rmdir()


@pytest.mark.parametrize(
    ("docker", "verdict"),
    [
        ({"limits": {"cpus": False}, "cgroup": {"driver": "cgroupfs"}}, "fail"),
        ({"limits": {"cpus": True}, "cgroup": {"driver": "cgroupfs"}}, "pass"),
        ({"limits": {"cpus": False}, "cgroup": {"driver": "none"}}, "skip"),
        ({"limits": {"cpus": False}, "platform": "windows/amd64"}, "skip"),
        ({"limits": {"cpus": False}, "engine": "podman"}, "skip"),
    ],
)
def test_a_kernel_without_cfs_is_refused_a_cpu_limit(docker: dict[str, Any], verdict: str) -> None:
    """As on many Synology devices; limits that an engine drops are refused nothing."""
    known = {"reachable": True, "engine": "docker", "platform": "linux/amd64", **docker}
    service = {"limits": {"cpus": 1.0}}
    measured = [
        Measured(("docker",), known, "test"),
        Measured(("compose", "services", "measure"), service, "test"),
    ]
    rules = load_ruleset(GENERAL_RULE_SET, read_rule_file)
    facts = build_facts(measured, measured_at="", version="1")
    (result,) = (r for r in check(rules, facts).results if r.id == "cpu-limit-supported")
    assert result.verdict == verdict
    assert (result.error or "").startswith("NanoCPUs can not be set") is (verdict == "fail")


@pytest.mark.parametrize(
    ("text", "cpus"), [("0", {0}), ("0-2,7", {0, 1, 2, 7}), ("", set()), ("3-3", {3})]
)
def test_cpus_are_read_as_the_kernel_writes_them(text: str, cpus: set[int]) -> None:
    assert parse_cpuset(text) == cpus


WAITS = "depends_on: {db: {condition: service_healthy}}"


def test_a_health_check_of_the_image_counts_once_it_is_here(project: Project) -> None:
    image = "pf-healthy:1"
    db = f"  db: {{image: '{image}', network_mode: none, command: [sleep, '60']}}\n"
    project.write(WAITS, db)
    failures = project.failures()
    assert {id_: failures[id_]["severity"] for id_ in failures} == {
        "healthchecks-of-images": "recommended"
    }
    container = project.engine.docker("create", "--health-cmd", "true", IMAGE, "true")
    project.engine.docker("commit", "--change", "HEALTHCHECK CMD true", container, image)
    project.engine.docker("rm", container)
    assert project.failures() == {}
    project.write(WAITS, db.replace("command", "healthcheck: {disable: true}, command"))
    assert set(project.failures()) == {"healthchecks"}
    project.engine.docker("rmi", image)


@pytest.mark.parametrize(
    ("service", "has"),
    [
        ({}, None),
        ({"healthcheck": {"interval": "5s"}}, None),
        ({"healthcheck": {"test": ["CMD", "true"]}}, True),
        ({"healthcheck": {"test": "curl -f http://localhost"}}, True),
        ({"healthcheck": {"test": ["NONE"]}}, False),
        ({"healthcheck": {"disable": True}}, False),
    ],
)
def test_what_the_file_says_of_a_health_check(service: dict[str, Any], has: bool | None) -> None:
    assert has_healthcheck(service) is has
