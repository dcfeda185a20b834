"""What is suggested for a name that doesn't exist."""

from __future__ import annotations

import pytest

from preflight.model.conditions import OPERATORS
from preflight.model.problems import did_you_mean


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


@pytest.mark.parametrize("name", ["", "min", "zzz"])
def test_a_name_that_is_not_known_is_never_suggested(name: str) -> None:
    assert did_you_mean(name, ["host-memory"]) == ""
