"""A rule file may come from anybody: what it can't reach, and what it can't have shown."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Run = Callable[..., "subprocess.CompletedProcess[str]"]

SECRET = "sekret-1234abcd"
ASKS = """\
version: 1
name: asks
rules:
  - id: token
    title: Token
    fact: env.API_TOKEN
    require: {matches: "^ghx_"}
    fixes: [{text: "It is {actual}, or {env.API_TOKEN}"}]
  - {id: region, title: Region, fact: env.REGION, require: {equals: eu-1}}
"""


@pytest.mark.parametrize(
    "arguments", [("check", "-v"), ("check", "-f", "json"), ("explain", "token")]
)
def test_a_secret_that_a_rule_asks_for_is_judged_and_not_shown(
    run_preflight: Run, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    (tmp_path / "preflight.yaml").write_text(ASKS)
    env = {"API_TOKEN": SECRET, "REGION": "us-99"}
    done = run_preflight(*arguments, cwd=tmp_path, env=env)
    assert SECRET not in done.stdout + done.stderr
    assert ("not shown" if arguments[0] == "explain" else "(not met)") in done.stdout
    if arguments[0] == "check":
        assert done.returncode == 1
        assert "us-99" in done.stdout
        passed = run_preflight("check", cwd=tmp_path, env={"API_TOKEN": "ghx_1", "REGION": "eu-1"})
        assert passed.returncode == 0


ROUNDABOUT = """\
version: 1
rules:
  - {id: when, title: T, fact: host.os, when: {env.API_TOKEN: {exists: false}}, require: &no
      {equals: none}}
  - {id: kind, title: T, fact: host.os, when: {env.API_TOKEN: {type: number, at_least: 3}},
     require: *no}
  - {id: bound, title: T, fact: host.os, require: {equals: {fact: env.API_TOKEN}}}
  - {id: fix, title: T, fact: host.os, require: *no, error: "not {env.API_TOKEN}",
     fixes: [{text: "It is {env.API_TOKEN}", command: "echo {env.API_TOKEN}"}]}
diagnoses:
  - {id: boom, title: T, patterns: [boom], fixes: [{text: "It is {env.API_TOKEN}"}]}
"""


@pytest.mark.parametrize("secret", [SECRET, "".join(f"{n}-Ab" for n in range(80))])
def test_a_secret_that_a_rule_only_mentions_is_not_shown(
    run_preflight: Run, tmp_path: Path, secret: str
) -> None:
    (tmp_path / "preflight.yaml").write_text(ROUNDABOUT)
    (tmp_path / "a.log").write_text("boom\n")
    facts = {"host": {"os": "linux"}, "env": {"API_TOKEN": secret}}
    (tmp_path / "facts.json").write_text(
        json.dumps({"schema": "preflight.facts/1", "facts": facts})
    )
    for arguments in (
        ("check", "-v"), ("check", "-f", "json"), ("explain", "when"), ("explain", "kind"),
        ("explain", "bound"), ("explain", "fix"), ("facts",),
        ("diagnose", "a.log", "--facts", "facts.json"),
    ):  # fmt: skip
        done = run_preflight(*arguments, cwd=tmp_path, env={"API_TOKEN": secret})
        assert done.returncode in (0, 1), done.stderr
        assert secret[:15] not in done.stdout.replace("\n", "") + done.stderr, arguments


@pytest.mark.parametrize("secret", [SECRET, "Hunter2envsecret"])
def test_a_compose_file_gets_no_secret_of_its_user_into_a_snapshot(
    run_preflight: Run, tmp_path: Path, secret: str
) -> None:
    """Neither a variable, put where values are shown, nor a file that isn't a Dockerfile."""
    (tmp_path / "compose.yaml").write_text(
        "services:\n"
        "  a: {image: 'x:${PROD_DB_PASSWORD}', container_name: 'n-${PROD_DB_PASSWORD}'}\n"
        "  b: {build: {context: ., dockerfile: .env}}\n"
        "  c: {build: {context: ., args: {P: '${PROD_DB_PASSWORD}'}}}\n"
    )
    (tmp_path / ".env").write_text("LOGIN_OF_ADMIN=horsebattery\n")
    (tmp_path / "Dockerfile").write_text("FROM scratch\nARG P\nCOPY $P /\n")
    env = {"PROD_DB_PASSWORD": secret}
    for arguments in (("facts", "-f", "json"), ("facts", "-o", "/dev/stdout"), ("check", "-v")):
        done = run_preflight(*arguments, cwd=tmp_path, env=env)
        assert "horsebattery" not in done.stdout.lower()
        assert "unknown instruction" in done.stdout
        assert arguments[0] == "check" or secret not in done.stdout


def test_a_password_that_is_the_name_of_an_image_leaves_that_readable(
    run_preflight: Run, tmp_path: Path
) -> None:
    (tmp_path / "compose.yaml").write_text("services: {db: {image: 'postgres:16'}}\n")
    done = run_preflight("facts", "-f", "json", cwd=tmp_path, env={"DB_PASSWORD": "postgres"})
    assert '"postgres:16"' in done.stdout


def test_the_host_of_a_proxy_is_redacted(run_preflight: Run, tmp_path: Path) -> None:
    env = {
        "HTTP_PROXY": "http://bob:s3cretpw99@proxy.corp.example:3128",
        "DOCKER_HOST": "tcp://engine.corp.example:2375",
        "REQUEST_METHOD": None,
        "http_proxy": None,
    }
    done = run_preflight("facts", "docker", "-f", "json", cwd=tmp_path, env=env)
    assert "the proxy <host-" in done.stdout
    assert "corp" not in done.stdout
    assert "s3cret" not in done.stdout


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A folder with rules in it and below it, in one that it may not reach."""
    (tmp_path / "outside.yaml").write_text("version: 1\nname: root:x:0\nrules: []\n")
    folder = tmp_path / "project"
    (folder / "rules").mkdir(parents=True)
    (folder / "base.yaml").write_text("version: 1\nname: base\nrules: []\n")
    (folder / "link.yaml").symlink_to("../outside.yaml")
    return folder


def _extends(folder: Path, base: str) -> Path:
    file = folder / "rules/mine.yaml"
    file.write_text(f"version: 1\nextends: [{json.dumps(base)}]\nrules: []\n")
    return file


@pytest.mark.parametrize("base", ["../../outside.yaml", "/etc/passwd", "../link.yaml"])
def test_rules_extend_nothing_outside_of_their_folder_and_this_one(
    run_preflight: Run, project: Path, base: str
) -> None:
    file = _extends(project, base)
    done = run_preflight("rules", "validate", str(file), cwd=project)
    assert done.returncode == 1
    assert "mine.yaml:2:11: cannot read " in done.stdout
    assert "the file must be in the rule file's folder or in the current folder" in done.stdout
    assert "root:" not in done.stdout


def test_rules_extend_what_lies_below_the_current_folder(run_preflight: Run, project: Path) -> None:
    file = _extends(project, "../base.yaml")
    assert run_preflight("rules", "validate", str(file), cwd=project).returncode == 0
    assert run_preflight("rules", "validate", str(file), cwd="/").returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [("rules", "validate", "fifo"), ("check", "-r", "fifo"), ("check", "--facts", "fifo"),
     ("diff", "fifo", "fifo"), ("rules", "validate", "--facts", "fifo")],
    ids=" ".join,
)  # fmt: skip
def test_a_pipe_that_nobody_writes_to_is_not_waited_for(
    run_preflight: Run,
    project: Path,
    arguments: tuple[str, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("preflight.cli.streams._PIPE_WRITER_TIMEOUT_SECONDS", 0.1)
    os.mkfifo(project / "fifo")
    done = run_preflight(*arguments, cwd=project)
    assert done.returncode in (1, 2)
    assert "no program is writing to this pipe" in done.stdout + done.stderr


def test_a_pipe_with_a_writer_is_read(project: Path) -> None:
    command = "sleep 0.3; cat base.yaml"
    done = subprocess.run(
        ["bash", "-c", f"{sys.executable} -m preflight rules validate <({command})"],
        cwd=project, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert "0 rules, no problems" in done.stdout, done.stderr
