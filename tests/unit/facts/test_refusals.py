"""What the engine refuses is said before, in the words that the real engine then uses."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from compose_projects import compose_program
from engines import IMAGE, Engine, make_image
from preflight.check import load_ruleset
from preflight.cli.streams import read_rule_file
from preflight.model.rules import GENERAL_RULE_SET
from refused_projects import NOT_ASKED_HERE, REFUSED_PROJECTS, RefusedProject

Run = Callable[..., "subprocess.CompletedProcess[str]"]


class Project:
    """A project in a folder of its own, checked and then started by the real Compose."""

    def __init__(self, engine: Engine, folder: Path, run: Run) -> None:
        self.engine, self.folder, self._run = engine, folder, run
        self.compose = compose_program()
        self.environ = {"PATH": f"{os.path.dirname(self.compose)}:{os.environ['PATH']}"}

    def write(self, service: str, rest: str = "") -> None:
        keys = "" if "network" in service else "network_mode: none, "
        api = f"{{image: '{IMAGE}', {keys}command: [sleep, '60'], {service}}}"
        (self.folder / "compose.yaml").write_text(
            f"name: pf-refused\nservices:\n  api: {api}\n{rest}"
        )

    def failures(self, *options: str) -> dict[str, dict[str, Any]]:
        """Return the results of `check` that aren't met or not known, by their rule."""
        done = self._run(
            "check", "-r", "general", "-f", "json", "--docker-host", self.engine.url, *options,
            cwd=self.folder, env=self.environ,
        )  # fmt: skip
        assert done.returncode in (0, 1, 3), done.stderr
        results = json.loads(done.stdout)["results"]
        return {one["id"]: one for one in results if one["verdict"] in ("fail", "unknown")}

    def up(self) -> subprocess.CompletedProcess[str]:
        return self._compose("up", "-d", "-t", "0")

    def down(self) -> None:
        self._compose("down", "-v", "-t", "0", "--remove-orphans")

    def _compose(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.compose, "-f", str(self.folder / "compose.yaml"), *arguments],
            env={**os.environ, "DOCKER_HOST": self.engine.url},
            capture_output=True, text=True, timeout=60,
        )  # fmt: skip


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
    assert {rule.id for rule in rules if rule.error} - asked == NOT_ASKED_HERE.keys()
