"""The job of GitLab: held against GitLab's schema, and its script run by a shell."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from documentation import TOOLS, assert_valid, clean_copy, find_program, run, snippet

FILE = snippet(".gitlab-ci.yml")
((_, JOB),) = yaml.safe_load(FILE).items()
OS = "version: 1\nname: mine\nrules: [{id: os, title: OS, fact: %s, require: {equals: linux}}]\n"

Job = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job in which preflight is installed."""
    folder = tmp_path_factory.mktemp("builds")
    (folder / ".preflight").mkdir()
    (folder / ".preflight/bin").symlink_to(TOOLS)
    return folder


@pytest.fixture
def job(clean_environment: Path, project: Path) -> Job:
    """Run the job with a rule file, as a runner with the shell executor does."""

    def script(rules: str) -> subprocess.CompletedProcess[str]:
        (project / "preflight.yaml").write_text(rules)
        lines = [line for line in JOB["script"] if "preflight check" in line]
        return run_lines(lines, project, "")

    return script


def run_lines(lines: list[str], folder: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run lines of the job's script; preflight would be installed from `source`."""
    env = {**JOB["variables"], "DOCKER_HOST": "unix:///nowhere/docker.sock"}
    env |= {"PREFLIGHT": source, "CI": "true", "GITLAB_CI": "true"}
    bash = (find_program("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c")
    return run(*bash, "\n".join(lines), cwd=folder, env=env)


@pytest.mark.nightly
def test_the_whole_script_installs_and_checks(clean_environment: Path, tmp_path: Path) -> None:
    (tmp_path / "preflight.yaml").write_text(OS % "host.os")
    done = run_lines(JOB["script"], tmp_path, str(clean_copy(tmp_path / "source")))
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "preflight.json").exists()


def test_it_obeys_gitlabs_schema(tmp_path: Path) -> None:
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(FILE)
    assert_valid("vendor.gitlab-ci", file)


@pytest.mark.parametrize(
    ("fact", "code", "verdict"),
    [("host.os", 0, "pass"), ("host.arch", 1, "fail"), ("docker.version", 3, "unknown")],
)
def test_the_script_leaves_what_the_artifacts_name(
    job: Job, project: Path, fact: str, code: int, verdict: str
) -> None:
    done = job(OS % fact)
    assert done.returncode == code, done.stdout + done.stderr
    artifacts: dict[str, Any] = JOB["artifacts"]
    (document,) = artifacts["paths"]
    report = json.loads((project / document).read_text())
    assert report["summary"]["verdict"] == verdict
    suites = ET.parse(project / artifacts["reports"]["junit"]).getroot()
    assert len(list(suites.iter("testcase"))) == 1
    assert len(list(suites.iter("failure"))) == (verdict == "fail")


def test_an_undecided_rule_leaves_it_yellow_and_reports_come_whatever_happens() -> None:
    assert JOB["allow_failure"] == {"exit_codes": 3}
    assert JOB["artifacts"]["when"] == "always"
