"""Rules in a compose file: found at their lines, and nothing else of the file goes further."""

from __future__ import annotations

import pytest
import yaml

from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.model.problems import InputError
from preflight.model.rules import RuleSet
from preflight.rules.embedded import extract_embedded_rules

COMPOSE = """\
# x-preflight: is below
services:
  db:
    image: postgres:16  # ü
    environment: {POSTGRES_PASSWORD: hunter2}
x-preflight:
  version: 1
  rules:
    - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: 4GB}}
volumes:
  data: {labels: {token: s3cr3t}}
"""
FLOW = """\
services: {db: {image: a}}
x-preflight: {version: 1, rules: [
  {id: ram, title: RAM, fact: host.memory.total, require: {at_least: 4GB}}]}
"""
ALIAS = """\
x-rules: &rules
  version: 1
  rules:
    - {id: ram, title: RAM, fact: host.memory.total, require: {at_least: 4GB}}
services: {db: {image: a}}
x-preflight: *rules
"""


def load(text: str) -> RuleSet:
    def read(name: str) -> bytes:
        if name != "compose.yaml":
            return read_rule_file(name)
        return extract_embedded_rules(text.encode(), name) or b""

    return pipeline.load_ruleset("compose.yaml", read)


@pytest.mark.parametrize(
    "text",
    [COMPOSE, FLOW, ALIAS, "\ufeff" + COMPOSE, COMPOSE.replace("\n", "\r\n")],
    ids=["block", "flow", "alias", "byte order mark", "Windows"],
)
def test_rules_are_found_at_their_lines(text: str) -> None:
    extracted = extract_embedded_rules(text.encode(), "compose.yaml")
    assert extracted is not None
    assert yaml.safe_load(extracted).keys() == {"version", "rules"}
    (rule,) = load(text).rules
    line = 1 + next(n for n, line in enumerate(text.splitlines()) if "id: ram" in line)
    assert (rule.id, rule.file, rule.line) == ("ram", "compose.yaml", line)
    for foreign in ("hunter2", "s3cr3t", "postgres", "image"):
        assert foreign.encode() not in extracted


def test_problems_have_the_line_and_column_of_the_compose_file() -> None:
    with pytest.raises(InputError) as error:
        load(COMPOSE.replace("at_least", "at_leas"))
    (problem,) = error.value.problems
    column = COMPOSE.splitlines()[8].index("at_least") + 1
    assert str(problem).startswith(f"compose.yaml:9:{column}: unknown condition 'at_leas'")


@pytest.mark.parametrize(
    "text",
    [
        "services: {}\n",
        "# x-preflight: {version: 1}\nservices: {}\n",
        "services: {web: {x-preflight: {version: 1}}}\n",
        "- x-preflight\n",
        "x-preflight: [\n",
        "x-preflight: {}\n---\nx-preflight: {}\n",
    ],
)
def test_a_file_without_rules_has_none(text: str) -> None:
    assert extract_embedded_rules(text.encode(), "compose.yaml") is None
    assert extract_embedded_rules(text.encode("utf-16"), "compose.yaml") is None


def test_an_empty_key_is_a_problem() -> None:
    with pytest.raises(InputError, match=r"compose.yaml:2:1: x-preflight is empty"):
        extract_embedded_rules(b"services: {}\nx-preflight:\n", "compose.yaml")
