"""From a ticket to its cause: a stack is broken on a real engine, and diagnosed from a bundle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import html5lib
import pytest

from engines import IMAGE, Engine

Run = Callable[..., "subprocess.CompletedProcess[str]"]

REFUSED = "error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)"
STACK = f"""\
name: pftriage
services:
  ollama:
    image: {IMAGE}
    network_mode: none
    command: [sh, -c, "SCRIPT"]
    environment: {{OLLAMA_MODEL: "mistral:7b-instruct-q4_0"}}
    deploy:
      resources:
        limits: {{memory: LIMIT}}
"""


@pytest.fixture
def desk(docker_engine: Engine, run_preflight: Run, tmp_path: Path) -> Iterator[Path]:
    """A folder far from the engine, with a bundle of the good stack and one of the broken."""
    there, here = tmp_path / "there", tmp_path / "here"
    there.mkdir()
    here.mkdir()
    found = find_spec("compose")
    assert found is not None
    assert found.origin is not None
    compose = str(Path(found.origin).parent / "docker-compose")
    env = {"DOCKER_HOST": docker_engine.url}

    def bundle(limit: str, script: str, name: str) -> None:
        stack = STACK.replace("LIMIT", limit).replace("SCRIPT", script)
        (there / "compose.yaml").write_text(stack)
        up = subprocess.run(
            [compose, "-H", docker_engine.url, "up", "-d"],
            cwd=there, capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert up.returncode == 0, up.stderr
        if "exit" in script:
            docker_engine.docker("wait", "pftriage-ollama-1")
        made = run_preflight("bundle", "-o", str(here / name), "--yes", cwd=there, env=env)
        assert made.returncode == 0, made.stderr

    try:
        bundle("8G", "sleep 600", "good.zip")
        bundle("3G", f"echo '{REFUSED}'; exit 3", "ticket.zip")
    finally:
        docker_engine.docker("rm", "-f", "pftriage-ollama-1")
    return here


def test_another_desk_names_the_fault_and_its_fix(run_preflight: Run, desk: Path) -> None:
    def ask(*arguments: str) -> tuple[int, Any]:
        done = run_preflight(*arguments, cwd=desk, env={"DOCKER_HOST": "unix:///nowhere"})
        assert done.stderr == ""
        return done.returncode, json.loads(done.stdout)

    code, report = ask("check", "--facts", "ticket.zip", "-f", "json")
    failed = {
        (one["id"], one["item"]): one for one in report["results"] if one["verdict"] == "fail"
    }
    limit = failed["ollama-memory-limit", "ollama"]
    assert code == 1
    assert limit["actual"] == 3 * 2**30
    assert any("deploy.resources.limits.memory" in fix["text"] for fix in limit["fixes"])
    assert ("model-fits", None) in failed

    code, diagnosis = ask("diagnose", "ticket.zip", "-f", "json")
    refused = diagnosis["findings"][0]
    assert code == 1
    assert refused["id"] == "model-needs-more-memory"
    assert refused["values"] == {"required": "5.7 GiB", "available": "2.8 GiB"}
    fixes = " ".join(fix["text"] for fix in refused["fixes"])
    assert "for ollama (now 3 GiB) by at least" in fixes
    assert "phi:latest (1.6 GB)" in fixes

    code, changed = ask("diff", "good.zip", "ticket.zip", "-f", "json")
    worse = {one["id"] for one in changed["verdicts"] if one["after"] == "fail"}
    facts = {one["path"]: (one["before"], one["after"]) for one in changed["facts"]}
    assert code == 1
    assert worse >= {"ollama-memory-limit", "model-fits"}
    assert facts["compose.services.ollama.limits.memory"] == (8 * 2**30, 3 * 2**30)

    page = run_preflight("check", "--facts", "ticket.zip", "-f", "html", cwd=desk).stdout
    shown = " ".join("".join(html5lib.parse(page).itertext()).split())
    assert limit["message"] in shown
    assert limit["fixes"][0]["text"] in shown
    assert limit["fixes"][0]["command"].splitlines()[0] in shown
