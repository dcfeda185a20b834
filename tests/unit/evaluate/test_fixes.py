"""The smallest change that passes: proved, nearest, and none where nothing helps."""

from __future__ import annotations

import time
from typing import Any

import pytest

from preflight.evaluate.judge import judge_rules
from preflight.model.facts import FactCatalogue, FactDeclaration, Facts, Measured, replace_facts
from preflight.model.report import ProposedChange
from preflight.rules.load import load_ruleset

CATALOGUE = FactCatalogue(
    (
        FactDeclaration("a.size", "bytes", ""),
        FactDeclaration("a.count", "number", ""),
        FactDeclaration("a.cores", "cores", ""),
        FactDeclaration("a.flag", "boolean", ""),
        FactDeclaration("a.text", "text", ""),
        FactDeclaration("a.list", "list", ""),
        FactDeclaration("b.size", "bytes", ""),
        FactDeclaration("many.*.count", "number", ""),
        FactDeclaration("b.text", "text", ""),
    )
)


def change(fact: str, value: Any, require: str, **others: Any) -> ProposedChange | None:
    text = f"version: 1\nrules: [{{id: r, title: R, fact: a.{fact}, require: {require}}}]"
    ruleset = load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE)
    (result,) = judge_rules(ruleset, Facts({"a": {fact: value}, **others}), CATALOGUE).results
    assert result.verdict == "fail"
    return result.change


@pytest.mark.parametrize(
    ("fact", "value", "require", "after"),
    [
        ("size", 8 * 10**9, "{at_least: 10GB}", 10**10),
        ("size", 9 * 2**30, "{at_most: 8GiB}", 2**33),
        ("count", 3, "{more_than: 3}", 4),
        ("count", 3, "{less_than: 3}", 2),
        ("count", 9, "{one_of: [1, 7, 30]}", 7),
        ("count", "9", "{one_of: [1, 7, 30]}", 7),  # written as text
        ("count", 3, "{at_least: 5, at_most: 8}", 5),
        ("count", 30, "{at_least: 5, at_most: 8}", 8),
        ("count", 3, "{any_of: [{at_least: 100}, {equals: 2}]}", 2),
        ("count", 2, "{not_equals: 2}", 3),
        ("count", 7, "{not: {at_least: 7}}", 6),
        ("flag", False, "{equals: true}", True),
        ("flag", True, "{not_equals: true}", False),
        ("text", "hdd", "{equals: ssd}", "ssd"),
        ("list", ["x"], "{exists: false}", None),
    ],
)
def test_the_nearest_value_that_passes(fact: str, value: Any, require: str, after: Any) -> None:
    found = change(fact, value, require)
    assert found is not None
    assert (found.fact, found.before, found.after) == (f"a.{fact}", value, after)


def test_a_change_is_written_in_the_units_of_what_is_asked() -> None:
    texts = []
    for size, bound in ((8 * 10**9, "{at_least: 10GB}"), (9 * 2**30, "{at_most: 8GiB}")):
        found = change("size", size, bound)
        assert found is not None
        texts.append(found.text)
    measured = change("size", 9 * 2**30, "{at_most: {fact: b.size}}", b={"size": 8 * 10**9})
    assert measured is not None
    assert [*texts, measured.text] == ["7.5 GiB → 10 GB", "9 GiB → 8 GiB", "9 GiB → 7.5 GiB"]


def test_cores_just_beyond_a_bound_are_the_next_number_there_is() -> None:
    more, less = (change("cores", 2.5, f"{{{name}: 2.5}}") for name in ("more_than", "less_than"))
    assert more is not None
    assert less is not None
    assert 2.5 - 1e-12 < less.after < 2.5 < more.after < 2.5 + 1e-12


@pytest.mark.parametrize(
    ("fact", "value", "require", "after"),
    [
        ("size", 5, "{at_most: {fact: b.size, times: 0.5}}", 4),
        ("size", 5, "{any_of: [{equals: 1B}, {at_least: {fact: b.size}}]}", 8),
        ("text", "x", "{equals: {fact: b.text}}", "y"),
    ],
)
def test_another_fact_as_the_bound(fact: str, value: Any, require: str, after: Any) -> None:
    found = change(fact, value, require, b={"size": 8, "text": "y"})
    assert found is not None
    assert found.after == after


def test_a_bound_that_is_absent_is_no_value_to_take() -> None:
    assert change("text", "x", "{not: {one_of: [x, {fact: b.text}]}}", b={"text": None}) is None


@pytest.mark.parametrize(
    ("fact", "value", "require"),
    [
        ("text", "x", "{matches: '^y'}"),
        ("count", 5, "{all_of: [{at_least: 7}, {at_most: 6}]}"),
        ("text", None, "{exists: true}"),
    ],
)
def test_where_no_value_is_known_to_pass_there_is_none(fact: str, value: Any, require: str) -> None:
    assert change(fact, value, require) is None


def test_facts_that_are_replaced_leave_the_others_and_the_original_alone() -> None:
    facts = Facts({"a": {"size": 1, "count": 2}, "b": {"size": 3}}, {"a.size": "here"})
    other = replace_facts(
        facts, [Measured(("a", "size"), 9, "there"), Measured(("c", "x"), None, "n")]
    )
    assert other.values == {"a": {"size": 9, "count": 2}, "b": {"size": 3}, "c": {"x": None}}
    assert other.source(("a", "size")) == "there"
    assert facts.values == {"a": {"size": 1, "count": 2}, "b": {"size": 3}}


def test_of_many_items_that_fail_each_has_its_own_and_they_cost_alike() -> None:
    rule = "{id: r, title: R, for_each: many, fact: count, require: {at_least: 5}}"
    ruleset = load_ruleset("r.yaml", lambda _: f"version: 1\nrules: [{rule}]".encode(), CATALOGUE)

    def seconds(count: int) -> float:
        many = {f"m{number}": {"count": number % 5} for number in range(count)}
        began = time.process_time()
        results = judge_rules(ruleset, Facts({"many": many}), CATALOGUE).results
        took = time.process_time() - began
        assert {one.change and one.change.after for one in results} == {5}
        assert len({one.change and one.change.fact for one in results}) == count
        return took

    assert seconds(16_000) < 20 * seconds(2_000)  # 8 where each costs alike, 64 where all is copied
