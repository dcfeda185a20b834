"""Values of answers that may have any shape."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_object,
    get_nested_text,
    get_nested_value,
    get_nested_whole_number,
    value_or_unreported,
)
from preflight.model.facts import Unknown

ANSWER = {"a": {"b": {"c": "x"}, "list": [1], "count": 0}, "text": ""}


@pytest.mark.parametrize("shape", [None, "text", 1, True, [], [{"b": 1}], {}, {"a": None}])
def test_what_has_another_shape_is_missing(shape: Any) -> None:
    assert get_nested_value(shape, "a.b") is None
    assert get_nested_object(shape, "a.b") == {}
    assert get_nested_list(shape, "a.b") == []
    assert get_nested_text(shape, "a.b") is None
    assert get_nested_whole_number(shape, "a.b") is None


def test_what_is_there_is_found_by_its_path() -> None:
    assert get_nested_text(ANSWER, "a.b.c") == "x"
    assert get_nested_object(ANSWER, "a.b") == {"c": "x"}
    assert get_nested_list(ANSWER, "a.list") == [1]
    assert get_nested_whole_number(ANSWER, "a.count") == 0
    assert get_nested_value(ANSWER, "text") == ""


@pytest.mark.parametrize("value", ["", "a\0b", "\ud800", 1, None, ["a"]])
def test_what_can_not_be_a_name_is_no_text(value: Any) -> None:
    assert get_nested_text({"key": value}, "key") is None


@pytest.mark.parametrize("value", [-1, 2**64, True, 1.0, "1", None])
def test_what_64_bits_do_not_hold_is_no_count(value: Any) -> None:
    assert get_nested_whole_number({"key": value}, "key") is None
    assert get_nested_whole_number({"key": 2**64 - 1}, "key") == 2**64 - 1


def test_nothing_reported_is_unknown_and_zero_is_reported() -> None:
    unknown = value_or_unreported(None, "NCPU")
    assert isinstance(unknown, Unknown)
    assert unknown.reason == "the engine doesn't report this value: NCPU is zero, null, or missing"
    assert value_or_unreported(0, "NCPU") == 0
