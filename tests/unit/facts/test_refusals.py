"""What the engine refuses is said before, in the words that the real engine then uses."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engines import Engine, make_image
from preflight.check import load_ruleset
from preflight.cli.streams import read_rule_file
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
    make_image(podman_engine)
    judge(Project(podman_engine, tmp_path, run_preflight), REFUSED_PROJECTS[name])


def test_every_row_of_the_table_is_asked_or_says_why_not() -> None:
    """Those that no engine here can be asked: without CFS, and a rootless one."""
    rules = load_ruleset(GENERAL_RULE_SET, read_rule_file).rules
    asked = {row.rule for row in REFUSED_PROJECTS.values()}
    # what well-known images need has its tests in tests/unit/rules/test_bundled_images.py
    refused = {rule.id for rule in rules if rule.error and rule.file != "bundled images"}
    assert refused - asked == NOT_ASKED_HERE.keys()
