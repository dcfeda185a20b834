"""facts, explain, rules and schema as processes, held against each other and the machine."""

from __future__ import annotations

import json
import platform
import subprocess
from pathlib import Path
from typing import Any

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
    assert "/proc/meminfo" in done.stdout


def test_explain_tells_rule_value_and_fix(tmp_path: Path) -> None:
    done = run("explain", "host-memory", cwd=tmp_path)
    assert done.returncode == 0
    for word in ("asks", "why", "from", "here", "at least 10 GB"):
        assert word in done.stdout


def test_explain_takes_a_snapshot(tmp_path: Path) -> None:
    run("facts", "-o", "facts.json", cwd=tmp_path)
    data = json.loads((tmp_path / "facts.json").read_text())
    data["facts"]["host"]["memory"]["total"] = 4e9
    (tmp_path / "facts.json").write_text(json.dumps(data))
    done = run("explain", "host-memory", "--facts", "facts.json", cwd=tmp_path)
    assert "✖ 3.7 GiB" in done.stdout


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


@pytest.mark.parametrize("command", [(), ("check",), ("rules", "test"), ("help",)])
def test_help_is_the_help_of_a_command(command: tuple[str, ...], tmp_path: Path) -> None:
    done = run("help", *command, cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == run(*command, "--help", cwd=tmp_path).stdout
    assert done.stdout.startswith(" ".join(("Usage: preflight", *command, "[OPTIONS]")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("chek", "no such command 'chek', did you mean 'check'? See: preflight --help"),
        ("help chek", "no such command 'chek', did you mean 'check'? See: preflight --help"),
        ("rules lst", "no such command 'lst', did you mean 'list'? See: preflight rules --help"),
        ("xyz", "no such command 'xyz'. See: preflight --help"),
        (
            "check --onyl x",
            "no such option: --onyl, did you mean '--only'? See: preflight check --help",
        ),
        (
            "check --junit",
            "no such option: --junit, did you mean '-f junit'? See: preflight check --help",
        ),
        ("check -V", "no such option: -V, did you mean '-v'? See: preflight check --help"),
        ("check -x", "no such option: -x. See: preflight check --help"),
        ("check --timeout", "option '--timeout' requires an argument"),
        ("explain", "missing argument 'ID'. See: preflight explain --help"),
        (
            "facts -f jsn",
            (
                "invalid value for '--format' / '-f': 'jsn' isn't one of 'text', 'json', did you"
                " mean 'json'? See: preflight facts --help"
            ),
        ),
        (
            "check --timeout soon",
            (
                "invalid value for '--timeout' (env var: 'PREFLIGHT_TIMEOUT'): 'soon' isn't a"
                " number. See: preflight check --help"
            ),
        ),
        (
            "schema reprot",
            (
                "invalid value for 'rules|facts|report|fleet': 'reprot' isn't one of 'rules',"
                " 'facts', 'report', 'fleet', did you mean 'report'? See: preflight schema --help"
            ),
        ),
    ],
)
def test_wrong_usage_is_one_line_with_the_nearest_name(
    arguments: str, message: str, tmp_path: Path
) -> None:
    done = run(*arguments.split(), cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"preflight: {message}\n"


def test_without_a_command_the_help_is_shown(tmp_path: Path) -> None:
    done = run(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == run("--help", cwd=tmp_path).stdout


def names_of(*arguments: str, cwd: Path) -> set[str]:
    """The names of all facts that are printed, whether they are known or not."""

    def walk(node: Any, above: str = "") -> set[str]:
        if not isinstance(node, dict):
            return {above[1:]}
        return set().union(*(walk(inner, f"{above}.{name}") for name, inner in node.items()))

    done = run("facts", *arguments, "-f", "json", cwd=cwd)
    assert done.returncode == 0, done.stderr
    snapshot = json.loads(done.stdout)
    published("facts").validate(snapshot)
    return walk(snapshot["facts"]) | {*snapshot["unknown"]} - {""}


def test_facts_can_be_chosen_by_name_beginning_and_glob(tmp_path: Path) -> None:
    everything = names_of(cwd=tmp_path)
    memory = {name for name in everything if name.startswith("host.memory.")}
    assert names_of("host.memory", cwd=tmp_path) == memory
    assert names_of("host.mem", cwd=tmp_path) == memory
    assert names_of("host.memory.*", cwd=tmp_path) == memory
    assert names_of("host.memory.total", "host.os", cwd=tmp_path) == {
        "host.memory.total",
        "host.os",
    }
    totals = {name for name in everything if name.endswith(".total")}
    assert names_of("*.total", cwd=tmp_path) == totals
    assert len(totals) > 2


def test_a_fact_that_is_named_in_full_is_measured(tmp_path: Path) -> None:
    assert "host.ports.54321.free" not in names_of(cwd=tmp_path)
    assert names_of("host.ports.54321.free", cwd=tmp_path) == {"host.ports.54321.free"}
    assert run("facts", "env.HOME", cwd=tmp_path).stdout.startswith("env.HOME  ")


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("host.memroy", ", did you mean 'host.memory'?"),
        ("compose.services.*.imagee", ", did you mean 'compose.services.*.image'?"),
        ("[", "."),
        ("", "."),
        ('"', "."),
    ],
)
def test_a_name_that_no_fact_has(name: str, hint: str, tmp_path: Path) -> None:
    done = run("facts", name, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == f"preflight: no fact matches {name!r}{hint} To list the facts, run: preflight facts\n"
    )


def test_explain_says_who_waives_a_rule_and_until_when(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(
        '{"schema": "preflight.facts/1", "facts": {"host": {"memory": {"total": 4000000000}}}}'
    )
    (tmp_path / "preflight.yaml").write_text(
        "version: 1\nrules:\n"
        "  - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: 8GB}}\n"
        "waivers: [{rule: ram, reason: old host, owner: ops, until: 2999-01-31}]\n"
    )
    done = run("explain", "ram", "--facts", "facts.json", cwd=tmp_path)
    assert "  here    waived until 2999-01-31 by ops: old host\n" in done.stdout


@pytest.mark.parametrize("image", ["ollama/ollama", "postgres:17"])
def test_explain_names_the_document_of_the_rules_that_are_judged(
    tmp_path: Path, image: str
) -> None:
    """Without Ollama, the rules are those of `general`, which states no document."""
    (tmp_path / "compose.yaml").write_text(f"services: {{a: {{image: '{image}'}}}}\n")
    done = run("explain", "compose-conflict", cwd=tmp_path)
    assert ("Memory Requirements" in done.stdout) is (image == "ollama/ollama")
    assert "  here    ✔ a: " in done.stdout
