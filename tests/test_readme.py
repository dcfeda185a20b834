"""The README's examples work as they stand."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from preflight import pipeline
from preflight.cli.streams import read_rules
from preflight.model.rules import DEFAULT

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_rule_example_is_a_good_rule_file() -> None:
    (example,) = re.findall(r"```yaml\n(.*?)```", README, re.DOTALL)

    def read(name: str) -> bytes:
        return read_rules(name) if name == DEFAULT else example.encode()

    rules = {
        rule.id: rule for rule in pipeline.load("preflight.yaml", read, {"data": "80GB"}).rules
    }
    assert rules["host-disk"].require is not None
    assert rules["host-disk"].require.tests[0][1] == 80 * 10**9
    assert {"kernel", "docker-share", "host-memory"} <= rules.keys()


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
