"""facts, explain, rules and schema as processes, held against each other and the machine."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path

import jsonschema
import pytest
import yaml

import program
from preflight.cli.streams import read_rule_file
from schemas import published, sealed


def run(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return program.run(*arguments, cwd=cwd)


def schema(name: str, cwd: Path) -> jsonschema.Draft202012Validator:
    made = json.loads(run("schema", name, cwd=cwd).stdout)
    assert made == published(name).schema
    return jsonschema.Draft202012Validator(made)


def test_outputs_follow_the_published_schemas(tmp_path: Path) -> None:
    facts = json.loads(run("facts", "-f", "json", cwd=tmp_path).stdout)
    report = json.loads(run("check", "-f", "json", cwd=tmp_path).stdout)
    for name, one in (("facts", facts), ("report", report)):
        schema(name, tmp_path).validate(one)
        sealed(name).validate(one)
    rules = yaml.safe_load(read_rule_file("default"))
    schema("rules", tmp_path).validate(rules)


def test_a_saved_snapshot_gives_the_verdicts_of_the_machine(tmp_path: Path) -> None:
    assert run("facts", "-o", "facts.json", cwd=tmp_path).returncode == 0
    there = json.loads(run("check", "--facts", "facts.json", "-f", "json", cwd=tmp_path).stdout)
    here = json.loads(run("check", "-f", "json", cwd=tmp_path).stdout)
    assert {r["id"]: r["verdict"] for r in there["results"]} == {
        r["id"]: r["verdict"] for r in here["results"]
    }


def test_a_dash_is_standard_output(tmp_path: Path) -> None:
    done = run("facts", "-o", "-", cwd=tmp_path)
    assert json.loads(done.stdout)["schema"] == "preflight.facts/1"
    assert list(tmp_path.iterdir()) == []


def test_facts_text_names_every_figure_and_its_source(tmp_path: Path) -> None:
    done = run("facts", cwd=tmp_path)
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    assert f"host.kernel {platform.release()} platform.release()" in words
    assert "psutil.virtual_memory().total" in done.stdout


def test_explain_tells_rule_value_and_fix(tmp_path: Path) -> None:
    done = run("explain", "host-memory", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("asks", "why", "says", "here", "fix", "at least 10 GB", "free -h"):
        assert word in done.stdout


def test_explain_takes_a_snapshot(tmp_path: Path) -> None:
    run("facts", "-o", "facts.json", cwd=tmp_path)
    data = json.loads((tmp_path / "facts.json").read_text())
    data["facts"]["host"]["memory"]["total"] = 4e9
    (tmp_path / "facts.json").write_text(json.dumps(data))
    done = run("explain", "host-memory", "--facts", "facts.json", cwd=tmp_path)
    assert "4 GB ✖" in done.stdout


def test_rules_list_names_every_rule_of_the_file(tmp_path: Path) -> None:
    names = ("default", "general")
    written = [rule for name in names for rule in yaml.safe_load(read_rule_file(name))["rules"]]
    listed = json.loads(run("rules", "list", "-f", "json", cwd=tmp_path).stdout)
    assert {rule["id"] for rule in listed["rules"]} == {rule["id"] for rule in written}
    text = run("rules", "list", cwd=tmp_path).stdout
    assert all(rule["id"] in text for rule in written)


def test_rules_validate_takes_several_files(tmp_path: Path) -> None:
    (tmp_path / "good.yaml").write_text("version: 1\nextends: [default]\n", encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("version: 2\n", encoding="utf-8")
    done = run("rules", "validate", "good.yaml", "bad.yaml", cwd=tmp_path)
    assert done.returncode == 1
    good, bad = done.stdout.splitlines()
    assert good.startswith("good.yaml: ")
    assert bad.startswith("bad.yaml:1:10: ")


@pytest.mark.parametrize("command", ["check", "facts", "explain", "schema", "rules validate"])
def test_every_command_has_help_with_an_example(command: str, tmp_path: Path) -> None:
    done = run(*command.split(), "--help", cwd=tmp_path)
    assert done.returncode == 0
    assert f"Example: preflight {command}" in done.stdout
