"""A compose project may come from anybody: what it names outside of its place isn't read."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SECRET = "sekret-1234abcd"
NO_ENGINE = ("--docker-host", "unix:///nonexistent")
# a Compose that reads whatever the file names, and tells that it was asked
COMPOSE = '#!/bin/sh\necho asked >> {asked}\necho \'{{"name": "p", "services": {{"a": {{}}}}}}\'\n'
ONE = "services:\n  a:\n    image: x\n"
ENV_FILE = ONE + "    env_file: {file}\n"


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder beside a file that it may not read, and a link to that."""
    (tmp_path / "outside").write_text(f"TOKEN={SECRET}\n")
    folder = tmp_path / "project"
    (folder / "bin").mkdir(parents=True)
    (folder / "link").symlink_to("../outside")
    (folder / "base.yaml").write_text("services: {b: {image: x}}\n")
    program = folder / "bin/docker-compose"
    program.write_text(COMPOSE.format(asked=folder / "asked"))
    program.chmod(0o755)
    return folder


def compose(run: Run, folder: Path, env: dict[str, str] | None = None) -> dict[str, Any]:
    path = f"{folder / 'bin'}:{os.environ['PATH']}"
    done = run("facts", "-f", "json", *NO_ENGINE, cwd=folder, env={"PATH": path, **(env or {})})
    assert SECRET not in done.stdout + done.stderr
    facts: dict[str, Any] = json.loads(done.stdout)["facts"]["compose"]
    return facts


def test_a_file_outside_is_refused_and_compose_not_asked(run_preflight: Run, project: Path) -> None:
    (project / "compose.yaml").write_text(ENV_FILE.format(file="../outside"))
    found = compose(run_preflight, project)
    assert "lies outside the project and its repository" in found["problem"]
    assert not (project / "asked").exists()


@pytest.mark.parametrize("way", ["allowed", "repository", "typed folder"])
def test_it_is_read_where_the_user_pointed(way: str, run_preflight: Run, project: Path) -> None:
    (project / "compose.yaml").write_text(ENV_FILE.format(file="../outside"))
    env = {}
    if way == "allowed":
        env = {"PREFLIGHT_ALLOW_READ": f"/nowhere:{project.parent}"}
    elif way == "repository":
        (project.parent / ".git").mkdir()
    else:
        (project.parent / "more.yaml").write_text("services: {}\n")
        env = {"COMPOSE_FILE": f"compose.yaml:{project.parent / 'more.yaml'}"}
    assert compose(run_preflight, project, env)["problem"] is None
    assert (project / "asked").exists()


def test_a_repository_that_is_all_of_home_opens_nothing(run_preflight: Run, project: Path) -> None:
    (project.parent / ".git").mkdir()
    (project / "compose.yaml").write_text(ENV_FILE.format(file="../outside"))
    found = compose(run_preflight, project, {"HOME": str(project.parent)})
    assert "lies outside" in found["problem"]


def test_a_file_of_the_folder_above_is_found_with_what_it_names(
    run_preflight: Run, project: Path
) -> None:
    (project.parent / "compose.yaml").write_text(ENV_FILE.format(file="outside"))
    assert compose(run_preflight, project)["problem"] is None


@pytest.mark.parametrize("link", ["compose.yaml", ".env"])
def test_a_link_that_leads_outside_is_refused(link: str, run_preflight: Run, project: Path) -> None:
    (project / "compose.yaml").write_text(ONE)
    (project / link).unlink(missing_ok=True)
    (project / link).symlink_to("../outside")
    found = compose(run_preflight, project)
    assert f"(a link to {project.parent}/outside)" in found["problem"]
    assert not (project / "asked").exists()


def test_an_env_file_of_the_project_names_no_compose_file_elsewhere(
    run_preflight: Run, project: Path
) -> None:
    (project / ".env").write_text("COMPOSE_FILE=../outside\n")
    assert "lies outside" in compose(run_preflight, project)["problem"]


def test_a_link_that_was_typed_is_the_users_word(run_preflight: Run, project: Path) -> None:
    (project.parent / "stack.yaml").write_text(ONE)
    (project / "own.yaml").symlink_to("../stack.yaml")
    found = compose(run_preflight, project, {"COMPOSE_FILE": "own.yaml"})
    assert found["problem"] is None
