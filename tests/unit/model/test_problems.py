"""What is suggested for a name that doesn't exist."""

from __future__ import annotations

import re

import pytest

from preflight.check import load_ruleset
from preflight.model.conditions import OPERATORS
from preflight.model.problems import InputError, did_you_mean


@pytest.mark.parametrize(
    ("name", "known", "suggested"),
    [
        ("host-memroy", ["host-cpus", "host-memory"], "host-memory"),
        ("MEMORY", ["document", "memory"], "memory"),
        ("min", OPERATORS, "at_least"),
        (">=", OPERATORS, "at_least"),
        ("max", OPERATORS, "at_most"),
        ("regex", OPERATORS, "matches"),
        ("host.cpu.cores", ["host.ports.*", "host.cpu.logical"], "host.cpu.logical"),
        ("host.cpus", ["docker.cpus", "host.cpu.logical"], "host.cpu.logical"),
    ],
)
def test_the_nearest_name_is_suggested(name: str, known: list[str], suggested: str) -> None:
    assert did_you_mean(name, known) == f", did you mean {suggested!r}?"


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("host.ram", "host.memory.total"),
        ("host.cpu", "host.cpu.logical"),
        ("host.disk", "host.disk.free"),
        ("docker.mem", "docker.memory.total"),
        ("docker.running", "docker.reachable"),
        ("docker.compose", "docker.compose.version"),
        ("services.db.image", "compose.services.db.image"),
    ],
)
def test_a_fact_that_is_known_by_another_name_is_suggested(name: str, suggested: str) -> None:
    """Not one that is spelled alike: `host.ram` isn't `host.arch`."""
    text = f"version: 1\nrules: [{{id: a, title: A, fact: {name}, require: {{exists: true}}}}]"
    with pytest.raises(InputError, match=re.escape(f"did you mean {suggested!r}?")):
        load_ruleset("r.yaml", lambda _: text.encode())


@pytest.mark.parametrize("name", ["", "min", "zzz"])
def test_a_name_that_is_not_known_is_never_suggested(name: str) -> None:
    assert did_you_mean(name, ["host-memory"]) == ""
