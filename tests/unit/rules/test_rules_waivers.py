"""Waivers of a rule file: two for one rule, those that waive nothing, those that end."""

from __future__ import annotations

import json
from datetime import date, timedelta

import pytest

from preflight import check as pipeline
from preflight.model.problems import InputError, Problem
from preflight.model.report import WAIVER_NOTICE_DAYS
from preflight.model.rules import RuleSet
from preflight.rules import waivers
from preflight.snapshot.facts_file import read_snapshot

RULES = """\
version: 1
rules:
  - {id: a, title: A, fact: host.memory.total, %s}
  - {id: b, title: B, fact: host.os, require: {equals: linux}}
waivers:
  - {rule: a, reason: r, owner: ops, until: 2027-01-31, accept: {%s}}
"""
WAIVER = "  - {rule: %s, reason: r, owner: %s, until: 2027-01-31}\n"


def loaded(text: str, base: str = "") -> RuleSet:
    files = {"r.yaml": text, "base.yaml": base}
    return pipeline.load("r.yaml", lambda name: files[name].encode())


# two for one rule


def test_two_waivers_for_one_rule_in_a_file_are_a_problem() -> None:
    text = RULES % ("require: {at_least: 10GB}", "at_least: 8GB")
    assert len(loaded(text + WAIVER % ("b", "o")).waivers) == 2
    with pytest.raises(InputError) as fault:
        loaded(text + WAIVER % ("b", "o") + WAIVER % ("a", "o") + WAIVER % ("a", "o"))
    assert list(map(str, fault.value.problems)) == [
        f"r.yaml:{line}:12: duplicate rule 'a', first used on line 6" for line in (8, 9)
    ]


def test_waivers_without_a_rule_are_told_each_for_itself() -> None:
    text = "version: 1\nwaivers:\n" + "  - {reason: r, owner: o, until: 2027-01-31}\n" * 2
    with pytest.raises(InputError) as fault:
        loaded(text)
    assert [str(one) for one in fault.value.problems] == [
        f"r.yaml:{line}:5: a waiver needs 'rule'" for line in (3, 4)
    ]


def test_an_extending_file_overrides_the_waiver_of_the_file_below() -> None:
    base = RULES % ("require: {at_least: 10GB}", "at_least: 8GB") + WAIVER % ("b", "them")
    over = loaded("version: 1\nextends: [base.yaml]\nwaivers:\n" + WAIVER % ("a", "us"), base)
    assert {one.rule: (one.owner, one.file, one.line) for one in over.waivers} == {
        "a": ("us", "r.yaml", 4),
        "b": ("them", "base.yaml", 7),
    }
    assert all(one.accept is None for one in over.waivers)


# those that waive only what passes


@pytest.mark.parametrize(
    ("rule", "accept", "idle"),
    [
        ("require: {at_least: 10GB}", "at_least: 10GB", True),
        ("require: {at_least: 10GB}", "at_least: 11GB", True),
        ("require: {at_least: 10GB}", "at_least: 9.9GB", False),
        ("require: {at_least: 10GB}", "more_than: 10GB", False),  # another operator
        ("require: {at_least: 10GB}, recommend: {at_least: 12GB}", "at_least: 10GB", False),
        ("require: {at_least: 10GB}, recommend: {at_least: 12GB}", "at_least: 12GB", True),
        ("recommend: {at_least: 12GB}", "at_least: 12GB", True),
        ("require: {more_than: 10GB}", "more_than: 10GB", True),
        ("require: {at_most: 10GB}", "at_most: 10GB", True),
        ("require: {at_most: 10GB}", "at_most: 9GB", True),
        ("require: {at_most: 10GB}", "at_most: 11GB", False),
        ("require: {less_than: 10GB}", "less_than: 10GB", True),
        ("require: {less_than: 10GB}", "less_than: 11GB", False),
        ("require: {equals: 10GB}", "equals: 10GB", True),
        ("require: {equals: 10GB}", "equals: 9GB", False),
        ("require: {at_least: 2GB, at_most: 9GB}", "at_least: 3GB", False),
        ("require: {at_least: 2GB, at_most: 9GB}", "at_least: 3GB, at_most: 8GB", True),
        ("require: {at_least: {sum: [6GB, 4GB]}}", "at_least: 10GB", True),
        ("require: {at_least: {sum: [6GB, 4GB]}}", "at_least: 9GB", False),
        ("require: {at_least: {fact: host.memory.usable}}", "at_least: 99GB", False),
        ("require: {at_least: 10GB}", "at_least: {fact: host.memory.usable}", False),
    ],
)
def test_accept_no_looser_than_the_rule(rule: str, accept: str, idle: bool) -> None:
    found = [str(one) for one in waivers.find_ineffective(loaded(RULES % (rule, accept)))]
    said = "r.yaml:6:5: accept is no looser than the rule a, so nothing is waived"
    assert found == ([said] if idle else [])


SIZES = [0.5e9, 1e9, 2e9, 3e9, 8e9, 9e9, 9.9e9, 10e9, 11e9, 12e9, 13e9]


@pytest.mark.parametrize("rule", ["at_least", "at_most", "more_than", "less_than", "equals"])
@pytest.mark.parametrize("accept", ["at_least", "at_most", "more_than", "less_than", "equals"])
@pytest.mark.parametrize("bound", ["9GB", "10GB", "11GB"])
def test_what_is_called_idle_waives_nothing_on_any_machine(
    rule: str, accept: str, bound: str
) -> None:
    ruleset = loaded(RULES % (f"require: {{{rule}: 10GB}}", f"{accept}: {bound}"))
    verdicts = set()
    for size in SIZES:
        facts = {"schema": "preflight.facts/1", "facts": {"host": {"memory": {"total": size}}}}
        snapshot = read_snapshot(json.dumps(facts).encode(), "facts.json")
        report = pipeline.check(
            ruleset, snapshot, pipeline.select(ruleset, ["a"], [], strict=False), 0
        )
        verdicts.add(report.results[0].verdict)
    if list(waivers.find_ineffective(ruleset)):
        assert "waived" not in verdicts
    elif rule == accept:
        assert "waived" in verdicts


def test_it_is_no_problem_of_the_file_for_a_check_that_loosens_a_var() -> None:
    text = RULES % ('require: {at_least: "${size}"}', "at_least: 8GB")
    text = text.replace("rules:", "vars: {size: 10GB}\nrules:", 1)
    loosened = pipeline.load("r.yaml", lambda _: text.encode(), {"size": "7GB"})
    assert list(waivers.find_ineffective(loosened))
    assert not list(waivers.find_ineffective(loaded(text)))


# those that end


@pytest.mark.parametrize(
    ("left", "said"),
    [
        (-400, "ended on"),
        (-1, "ended on"),
        (0, "ends on"),
        (WAIVER_NOTICE_DAYS, "ends on"),
        (WAIVER_NOTICE_DAYS + 1, None),
        (9999, None),
    ],
)
def test_those_that_ended_or_soon_will_are_remarked(left: int, said: str | None) -> None:
    ruleset = loaded(RULES % ("require: {at_least: 10GB}", "at_least: 8GB"))
    today = date(2027, 1, 31) - timedelta(days=left)
    wanted = f"r.yaml:6:5: the waiver of a by ops {said} 2027-01-31"
    assert [str(one) for one in waivers.find_ending(ruleset, today)] == ([wanted] if said else [])


def test_a_waiver_that_has_no_place_is_told_without_one() -> None:
    (waiver,) = loaded(RULES % ("require: {at_least: 10GB}", "at_least: 8GB")).waivers
    nowhere = waiver._replace(line=None, column=None)
    assert waivers.problem_of(nowhere, "ends") == Problem("r.yaml", 0, 0, "ends")
