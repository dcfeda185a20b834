"""The rules with each host's vars, and the files of --save."""

from __future__ import annotations

from pathlib import Path

import pytest

from preflight.cli.fleet import file_name, load_by_host
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
    rulesets = load_by_host(rules, [], {"a": {}, "b": larger, "c": larger})
    assert {host: ruleset.vars for host, ruleset in rulesets.items()} == {
        "a": {"least": "1GB"},
        "b": larger,
        "c": larger,
    }
    assert rulesets["b"] is rulesets["c"]
    (ruleset,) = load_by_host(rules, ["least=3GB"], {"b": larger}).values()
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
        load_by_host(rules, [], dict.fromkeys(("a", "b", "c", "d"), host_vars))
    assert str(fault.value.problems[0]).startswith("preflight_vars of a, b, c and 1 more: ")
    assert problem in str(fault.value.problems[0])


def test_a_file_has_the_same_name_whichever_hosts_there_are() -> None:
    assert [file_name(name) for name in ("web-1", "db.example.org", "10.0.0.1", "fe80::1")] == [
        "web-1", "db.example.org", "10.0.0.1", "fe80%3A%3A1",
    ]  # fmt: skip
    assert len({file_name(name).lower() for name in NAMES}) == len(NAMES)
    assert all(0 < len(file_name(name).encode()) <= 250 for name in (*NAMES, "", "ü" * 300))
