"""The rules with each host's vars, and the files of --save."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

from preflight.cli.app import run_command_line
from preflight.cli.fleet import load_rules_by_host, make_snapshot_file_name
from preflight.fleet import playbook_runner
from preflight.fleet.playbook_runner import FleetAnswers, FleetHostAnswer
from preflight.model.problems import InputError

NAMES = (
    "a/../../b", "..", ".hidden", "[red]x[/red]", "new\nline", "esc\x1b[31m", "<b>&\"'", "-i",
    "::error::x", "{{ 7*7 }}", 'q"u\\', "a b", "Web", "web", "web~1", "ü", "x" * 300,
)  # fmt: skip
RULES = """\
version: 1
vars: {least: 1GB}
rules:
  - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: "${least}"}}
"""


@pytest.fixture
def rules(tmp_path: Path) -> str:
    (tmp_path / "r.yaml").write_text(RULES)
    return str(tmp_path / "r.yaml")


def test_a_host_has_its_own_vars_and_the_command_line_wins(rules: str) -> None:
    larger = {"least": "2GB"}
    rulesets = load_rules_by_host(rules, [], {"a": {}, "b": larger, "c": larger})
    assert {host: ruleset.vars for host, ruleset in rulesets.items()} == {
        "a": {"least": "1GB"},
        "b": larger,
        "c": larger,
    }
    assert rulesets["b"] is rulesets["c"]
    (ruleset,) = load_rules_by_host(rules, ["least=3GB"], {"b": larger}).values()
    assert ruleset.vars == {"least": "3GB"}


@pytest.mark.parametrize(
    ("host_vars", "problem"),
    [
        ({"leest": 1}, "did you mean 'least'"),
        (["least"], "expected a mapping of names to values"),
        ({"least": True}, "least: expected a value such as 2GB, found True"),
    ],
)
def test_vars_that_cannot_be_used_name_their_hosts(
    rules: str, host_vars: object, problem: str
) -> None:
    with pytest.raises(InputError) as fault:
        load_rules_by_host(rules, [], dict.fromkeys(("a", "b", "c", "d"), host_vars))
    assert str(fault.value.problems[0]).startswith("preflight_vars of a, b, c and 1 more: ")
    assert problem in str(fault.value.problems[0])


def test_a_file_has_the_same_name_whichever_hosts_there_are() -> None:
    names = ("web-1", "db.example.org", "10.0.0.1", "fe80::1")
    assert [make_snapshot_file_name(name) for name in names] == [
        "web-1", "db.example.org", "10.0.0.1", "fe80%3A%3A1",
    ]  # fmt: skip
    assert len({make_snapshot_file_name(name).lower() for name in NAMES}) == len(NAMES)
    assert all(
        0 < len(make_snapshot_file_name(name).encode()) <= 250 for name in (*NAMES, "", "ü" * 300)
    )


SNAPSHOT = json.dumps({"schema": "preflight.facts/1", "facts": {"host": {"memory": {"total": 1}}}})


@pytest.fixture
def fleet(
    rules: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> Any:
    """Run the command with these answers of its hosts, by their names."""
    monkeypatch.chdir(tmp_path)

    def run(answers: dict[str, FleetHostAnswer], *options: str, number: int = 0) -> Any:
        given = FleetAnswers()
        given.hosts, given.signal = answers, number
        monkeypatch.setattr(playbook_runner, "run_playbook", lambda *_: given)
        exit_code = run_command_line(["fleet", "-i", "a,b", "-r", rules, *options])
        return exit_code, *capsys.readouterr()

    return run


def test_what_has_come_is_judged_after_an_interrupt(fleet: Any, tmp_path: Path) -> None:
    answers = {"a": FleetHostAnswer(SNAPSHOT), "b": FleetHostAnswer(failure="interrupted")}
    options = ("-f", "json", "--save", "saved")
    exit_code, stdout, stderr = fleet(answers, *options, number=signal.SIGINT)
    assert exit_code == 130
    hosts = json.loads(stdout)["hosts"]
    assert [result["verdict"] for result in hosts["a"]["results"]] == ["fail"]
    assert hosts["b"] == {"unreachable": "interrupted"}
    assert stderr == "preflight: interrupted: 1 of 2 hosts did not answer in time\n"
    assert [file.name for file in (tmp_path / "saved").iterdir()] == ["a.json"]
    assert fleet(answers, *options)[0] == 1
    assert fleet(answers, *options, number=signal.SIGTERM)[0] == 143


def test_a_snapshot_that_cannot_be_saved_is_bad_input(fleet: Any, tmp_path: Path) -> None:
    (tmp_path / "saved/a.json").mkdir(parents=True)
    exit_code, _, stderr = fleet({"a": FleetHostAnswer(SNAPSHOT)}, "--save", "saved")
    assert (exit_code, stderr.count("it is a folder")) == (2, 1)


def test_removing_says_what_was_removed(fleet: Any) -> None:
    answers = {
        "a": FleetHostAnswer("/home/a"),
        "b": FleetHostAnswer(""),
        "c": FleetHostAnswer(failure="refused"),
    }
    exit_code, stdout, stderr = fleet(answers, "--remove")
    assert (exit_code, stdout) == (3, "a: /home/a\nb: nothing to remove\n")
    assert stderr == "preflight: c: refused\n"


def test_an_inventory_that_is_a_pipe_is_refused(rules: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "hosts")
    with pytest.raises(InputError, match=r"hosts is neither a file nor a folder$"):
        run_command_line(["fleet", "-i", str(tmp_path / "hosts")])
