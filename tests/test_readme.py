"""The README's examples work as they stand."""

from __future__ import annotations

import io
import re
import subprocess
import sys

import pytest

from paths import ROOT
from preflight import check as pipeline
from preflight.cli.streams import read_rules
from preflight.model.rules import DEFAULT_RULES, RuleSet

README = (ROOT / "README.md").read_text(encoding="utf-8")


def _example(number: int, overrides: dict[str, str] | None = None) -> RuleSet:
    """Load one of the page's rule files."""
    example = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)[number]

    def read(name: str) -> bytes:
        return read_rules(name) if name == DEFAULT_RULES else example.encode()

    return pipeline.load("preflight.yaml", read, overrides)


def test_the_rule_example_is_a_good_rule_file() -> None:
    rules = {rule.id: rule for rule in _example(0, {"data": "80GB"}).rules}
    assert rules["host-disk"].require is not None
    assert rules["host-disk"].require.tests[0][1] == 80 * 10**9
    assert {"kernel", "docker-share", "host-memory"} <= rules.keys()


@pytest.mark.parametrize(("times", "found"), [(2, []), (3, ["pool-exhausted"])])
def test_the_example_of_a_known_error_finds_it(times: int, found: list[str]) -> None:
    rules = _example(1)
    reader = pipeline.log_reader(rules)
    line = "2026-01-01 10:0{}:00 ERROR QueuePool limit of size 5 overflow 10 reached\n"
    log = "".join(line.format(minute) for minute in range(times))
    reader.add("api.log", io.BytesIO(log.encode()))
    told = pipeline.diagnose(rules, reader)
    assert [one.id for one in told.findings] == found
    assert all(one.figures == "5 connections" for one in told.findings)


def test_the_tables_are_those_of_the_code() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / ".ci/readme.py", "--check"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", sorted(set(re.findall(r"^preflight ([a-z]+)", README, re.M))))
def test_every_command_it_names_is_there(command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "preflight", command, "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr


SECTIONS = (
    "Minimum System Requirements",
    "Memory Allocation",
    "Docker Resource Configuration",
    "Environment Variables for Memory Optimization",
    "Troubleshooting Memory Issues",
    "Model Alternatives for Lower Memory",
    "Monitoring and Maintenance",
    "Production Recommendations",
    "Support",
)


def test_every_section_of_the_document_has_its_rules() -> None:
    rules = {rule.id: rule for rule in pipeline.load(DEFAULT_RULES, read_rules).rules}
    (block,) = re.findall(r"<!-- sections -->\n(.*?)<!-- end -->", README, re.DOTALL)
    rows = dict(re.findall(r"^\| ([^|]+?) \| (`.*`) \|$", block, re.M))
    assert set(rows) == {*SECTIONS, "Starting the stack"}
    named = {section: re.findall(r"`([a-z0-9-]+)`", ids) for section, ids in rows.items()}
    assert all(named.values())
    for section, ids in named.items():
        assert set(ids) <= rules.keys()
        if section != "Support":
            assert ids == [one.id for one in rules.values() if one.section == section]
    assert all("start" in rules[id_].tags for id_ in named["Starting the stack"])
    production = [r for r in rules.values() if r.section == "Production Recommendations"]
    assert not any(rule.enabled for rule in production)
    assert all("production" in rule.tags for rule in production)
