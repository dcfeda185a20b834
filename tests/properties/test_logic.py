"""Verdicts know no more than the facts do: learning more never overturns what was decided."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bundled_rules import bundled_rules
from paths import ROOT
from preflight import check as pipeline
from preflight.evaluate.conditions import FactLookup, TruthOrUnknown, meets_condition
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.model.conditions import OPERATORS, Condition, FactBound, SumOfBounds
from preflight.model.facts import (
    Facts,
    Measured,
    Unknown,
    join_path,
    replace_facts,
    split_fact_path,
)
from preflight.model.report import Report, Result
from preflight.model.rules import RuleSet
from preflight.snapshot.facts_file import read_snapshot

CASES = sorted((ROOT / "tests/cases").iterdir())
WHY = Unknown("nobody looked", "timeout")
NAMES = ("a", "b", "c")
DECIDED = ("pass", "warn", "fail", "waived")

values = st.sampled_from([None, 0, 1, 2, 3, 2.5])
operands = st.one_of(
    st.integers(0, 3),
    st.builds(FactBound, st.sampled_from([(name,) for name in NAMES]), st.sampled_from([1, 2]),
              st.sampled_from([0, 1])),
    st.builds(lambda name, more: SumOfBounds((FactBound((name,)), more)),
              st.sampled_from(NAMES), st.integers(0, 2)),
)  # fmt: skip


def one(name: str, operand: Any) -> Condition:
    return Condition(((OPERATORS[name], operand),), "number")


def several(name: str, parts: list[Any]) -> Condition:
    return one(name, tuple(parts))


def no(condition: Condition) -> Condition:
    return one("not", condition)


leaves = st.one_of(
    st.builds(one, st.sampled_from(["at_least", "at_most", "more_than", "less_than"]), operands),
    st.builds(one, st.sampled_from(["equals", "not_equals"]), operands),
    st.builds(
        several, st.sampled_from(["one_of", "none_of"]), st.lists(operands, min_size=1, max_size=3)
    ),
    st.builds(one, st.just("exists"), st.booleans()),
)
conditions = st.recursive(
    leaves,
    lambda inner: st.one_of(
        inner.map(no),
        st.builds(
            several, st.sampled_from(["all_of", "any_of"]), st.lists(inner, min_size=1, max_size=3)
        ),
        st.builds(lambda x, y: Condition(x.tests + y.tests, "number"), inner, inner),
    ),
    max_leaves=6,
)
known = st.fixed_dictionaries({}, optional=dict.fromkeys((*NAMES, "actual"), values))


def truth(condition: Condition, facts: dict[str, Any]) -> TruthOrUnknown:
    """Judge the fact `actual`; what isn't among the facts is unknown."""
    hidden = {name: WHY for name in (*NAMES, "actual") if name not in facts}
    scope = FactLookup(Facts(facts, unknown=hidden))
    return meets_condition(condition, scope.get(("actual",)), scope)


def kind(of: TruthOrUnknown) -> str:
    return "unknown" if isinstance(of, Unknown) else str(of)


@given(conditions, known, known)
def test_learning_a_figure_never_overturns_a_verdict(
    condition: Condition, less: dict[str, Any], more: dict[str, Any]
) -> None:
    before = kind(truth(condition, less))
    after = kind(truth(condition, {**more, **less}))
    assert before in ("unknown", after)


@given(conditions, st.tuples(values, values, values, values))
def test_with_every_figure_known_nothing_is_undecided(
    condition: Condition, all_values: tuple[Any, ...]
) -> None:
    facts = dict(zip((*NAMES, "actual"), all_values, strict=True))
    assert kind(truth(condition, facts)) in ("True", "False")


@given(conditions, conditions, known)
def test_de_morgan_and_double_negation_over_figures(
    a: Condition, b: Condition, facts: dict[str, Any]
) -> None:
    def of(condition: Condition) -> str:
        return kind(truth(condition, facts))

    assert of(no(no(a))) == of(a)
    assert of(no(one("all_of", (a, b)))) == of(one("any_of", (no(a), no(b))))
    assert of(no(one("any_of", (a, b)))) == of(one("all_of", (no(a), no(b))))
    assert of(one("all_of", (a, b))) == of(one("all_of", (b, a)))
    assert of(one("any_of", (a, a))) == of(a)


# --- whole reports, by the bundled rules ----------------------------------------------------------


@cache
def rules() -> RuleSet:
    return bundled_rules()


@cache
def case(folder: Path) -> Facts:
    return read_snapshot((folder / "facts.json").read_bytes(), "facts.json")


def report_on(facts: Facts) -> Report:
    everything = RuleSelection(only=(*rules().tags(), *(rule.id for rule in rules().rules)))
    return judge_rules(rules(), facts, pipeline.build_catalogue(), everything)


def results(facts: Facts) -> dict[tuple[str, str | None], Result]:
    return {(one.id, one.item): one for one in report_on(facts).results}


def leaves_of(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    """Return the paths of all figures of a snapshot."""
    if not isinstance(node, dict) or not node:
        return [path]
    return [leaf for key, inner in node.items() for leaf in leaves_of(inner, (*path, key))]


@given(st.sampled_from(CASES), st.data())
def test_not_knowing_a_fact_decides_nothing(folder: Path, data: st.DataObject) -> None:
    """What is decided with fewer facts is decided the same with all of them."""
    whole = case(folder)
    hidden = data.draw(st.lists(st.sampled_from(leaves_of(whole.values)), min_size=1, max_size=8))
    before = results(replace_facts(whole, (Measured(path, WHY) for path in hidden)))
    after = results(whole)
    for key, was in before.items():
        if was.verdict in DECIDED:
            assert after[key].verdict == was.verdict, (hidden, was.message)


ANY = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=5,
)


@given(
    st.sampled_from(CASES),
    st.dictionaries(
        st.text(min_size=1, max_size=8).map("zz{}".format), ANY, min_size=1, max_size=4
    ),
)
def test_a_fact_that_no_bundled_rule_names_changes_nothing(
    folder: Path, more: dict[str, Any]
) -> None:
    facts = case(folder)
    unknown = {f"{join_path((name,))}.x": WHY for name in more}
    added = facts._replace(values={**more, **facts.values}, unknown={**facts.unknown, **unknown})
    assert repr(report_on(added)) == repr(report_on(facts))


MEMORY = (
    "host.memory.total", "docker.memory.total", "docker.memory.usable", "host.memory.available",
    "docker.memory.available", "host.disk.free", "docker.disk.free", "host.swap.total",
)  # fmt: skip
ORDER = {"fail": 0, "warn": 1, "pass": 2}


@pytest.mark.parametrize("path", MEMORY)
@given(folder=st.sampled_from(CASES), sizes=st.tuples(*[st.integers(0, 64 * 10**9)] * 2))
def test_more_room_never_turns_a_pass_of_at_least_into_a_failure(
    path: str, folder: Path, sizes: tuple[int, int]
) -> None:
    asking = {
        rule.id
        for rule in rules().rules
        if all(
            {row.name for row, _ in condition.tests} == {"at_least"}
            for condition in (rule.require, rule.recommend)
            if condition is not None
        )
        and join_path(rule.fact) == path
    }
    less, more = (
        results(replace_facts(case(folder), [Measured(split_fact_path(path), size, "a test")]))
        for size in sorted(sizes)
    )
    for key, was in less.items():
        now = more[key]
        if key[0] in asking and was.verdict in ORDER and now.verdict in ORDER:
            assert ORDER[was.verdict] <= ORDER[now.verdict], (key, sizes)


def test_rules_that_ask_for_room_are_among_the_bundled_ones() -> None:
    asked = {join_path(rule.fact) for rule in rules().rules}
    assert len(asked & set(MEMORY)) >= 3
