"""Values of driver options, by the drivers that read them."""

from __future__ import annotations

import pytest

from preflight.facts.driver_option_rules import (
    GO_BOOLEAN_PATTERN,
    DriverOptionRule,
    find_driver_option_refusals,
)

RULES = (
    DriverOptionRule((), "mode", "blocking|non-blocking", "mode not supported: {}"),
    DriverOptionRule(("bridge",), "icc", GO_BOOLEAN_PATTERN, "failed to parse {1} value: {0}"),
)


@pytest.mark.parametrize(
    ("driver", "options", "refusals"),
    [
        ("bridge", {"mode": "soon", "icc": "yes"},
         ["mode not supported: soon", "failed to parse icc value: yes"]),
        ("macvlan", {"mode": "soon", "icc": "yes"}, ["mode not supported: soon"]),
        ("bridge", {"mode": "", "icc": True}, []),
        ("bridge", {"icc": "1\n"}, ["failed to parse icc value: 1\n"]),
    ],
)  # fmt: skip
def test_only_drivers_that_read_an_option_refuse_its_value(
    driver: str, options: dict[str, object], refusals: list[str]
) -> None:
    assert [*find_driver_option_refusals(RULES, driver, options)] == refusals
