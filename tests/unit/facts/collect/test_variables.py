"""Environment variables that rules name."""

from __future__ import annotations

from preflight.facts.collect.measurement import read_variables


def test_a_variable_that_is_not_set_is_absent_and_an_empty_one_is_empty() -> None:
    names, environ = ["SET", "EMPTY", "UNSET"], {"SET": "a=b\n\udcff", "EMPTY": "", "OTHER": "x"}
    values = {one.path: one.value for one in read_variables(names, environ)}
    assert values == {("env", "SET"): "a=b\n\udcff", ("env", "EMPTY"): "", ("env", "UNSET"): None}
