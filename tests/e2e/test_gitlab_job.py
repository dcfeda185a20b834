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

from place import clean_copy, needs, obeys, run, snippet

FILE = snippet(".gitlab-ci.yml")
((_, JOB),) = yaml.safe_load(FILE).items()
OS = "version: 1\nname: mine\nrules: [{id: os, title: OS, fact: %s, require: {equals: linux}}]\n"

Job = Callable[[str], subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a job; the script's first run installs preflight in it."""
    return tmp_path_factory.mktemp("builds")


@pytest.fixture
def job(clean_environment: Path, project: Path, tmp_path: Path) -> Job:
    """Run the job with a rule file, as a runner with the shell executor does."""

    def script(rules: str) -> subprocess.CompletedProcess[str]:
        (project / "preflight.yaml").write_text(rules)
        installed = (project / ".preflight/bin/preflight").exists()
        lines = [line for line in JOB["script"] if not installed or "preflight check" in line]
        source = "" if installed else str(clean_copy(tmp_path / "source"))
        env = {**JOB["variables"], "DOCKER_HOST": "unix:///nowhere/docker.sock"}
        env |= {"PREFLIGHT": source, "CI": "true", "GITLAB_CI": "true"}
        bash = (needs("bash"), "--noprofile", "--norc", "-eo", "pipefail", "-c")
        return run(*bash, "\n".join(lines), cwd=project, env=env)

    return script


def test_it_obeys_gitlabs_schema(tmp_path: Path) -> None:
    file = tmp_path / ".gitlab-ci.yml"
    file.write_text(FILE)
    obeys("vendor.gitlab-ci", file)


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
