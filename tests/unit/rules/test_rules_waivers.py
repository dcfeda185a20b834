"""Waivers of a rule file: two for one rule, and those that override others."""

from __future__ import annotations

import pytest

from preflight import check as pipeline
from preflight.model.problems import InputError
from preflight.model.rules import RuleSet

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
    return pipeline.load_ruleset("r.yaml", lambda name: files[name].encode())


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
