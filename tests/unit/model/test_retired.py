"""Retired names: a note in overrides, waivers, --only and --skip; a reason where a fact is used."""

from __future__ import annotations

from datetime import date

import pytest

from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.facts.table import ALL_FACTS
from preflight.model.facts import RETIRED_FACTS, FactCatalogue, Facts, Unknown, split_fact_path
from preflight.model.problems import InputError
from preflight.model.report import Report
from preflight.model.rules import RETIRED_RULES
from preflight.rules.load import load_ruleset

CATALOGUE = FactCatalogue(ALL_FACTS)
RULE = "  - {id: a, title: A, fact: host.os, require: {equals: linux}}\n"
NOTE = "rule swarm-node-lost no longer exists: nothing replaces it"


def judged(text: str, facts: Facts, **selection: list[str]) -> Report:
    rules = load_ruleset("r.yaml", lambda _: f"version: 1\nrules:\n{text}".encode(), CATALOGUE)
    return judge_rules(rules, facts, CATALOGUE, RuleSelection(**selection), date(2026, 11, 29))


@pytest.mark.parametrize("rule", RETIRED_RULES)
def test_an_override_and_a_waiver_are_ignored_with_a_note(rule: str) -> None:
    text = f"{RULE}  - {{id: {rule}, enabled: false}}\nwaivers:\n"
    text += f"  - {{rule: {rule}, reason: r, owner: o, until: 2027-01-31}}\n"
    report = judged(text, Facts({}))
    assert [result.id for result in report.results] == ["a"]
    assert report.notes == (f"rule {rule} no longer exists: {RETIRED_RULES[rule]}",)


def test_a_rule_of_its_own_may_have_a_retired_id() -> None:
    report = judged(RULE.replace("id: a", "id: swarm-node-lost"), Facts({}))
    assert [result.id for result in report.results] == ["swarm-node-lost"]
    assert report.notes == ()


def test_a_selection_ignores_a_retired_rule_with_a_note() -> None:
    for selection in ({"skip": ["swarm-node-lost"]}, {"only": ["a", "swarm-node-lost"]}):
        report = judged(RULE, Facts({}), **selection)
        assert [result.id for result in report.results] == ["a"]
        assert report.notes == (NOTE,)


def test_a_selection_of_retired_rules_alone_is_refused() -> None:
    with pytest.raises(InputError, match="swarm-node-lost no longer exists"):
        judged(RULE, Facts({}), only=["swarm-node-lost"])


@pytest.mark.parametrize("name", RETIRED_FACTS)
def test_a_retired_fact_is_known_but_unknown_with_that_reason(name: str) -> None:
    path = split_fact_path(name)
    fact = CATALOGUE.find(path)
    assert fact is not None
    assert fact.unit == RETIRED_FACTS[name][0]
    assert name not in CATALOGUE.names()
    services = {"services": {"a": {"fits": True}}}
    facts = Facts({"docker": {"swarm": services}}, {"docker.swarm.services": "GET /services"})
    value = facts.get(tuple("a" if segment == "*" else segment for segment in path))
    assert isinstance(value, Unknown)
    assert "is no longer measured: " in value.reason


def test_a_rule_may_name_a_retired_fact() -> None:
    text = RULE.replace("host.os", "docker.swarm.packed.state")
    (result,) = judged(text, Facts({})).results
    assert result.verdict == "unknown"
    assert "docker.swarm.unplaced replaces it" in result.message
    old = Facts({"docker": {"swarm": {"packed": {"state": "linux"}}}})
    assert judged(text, old).results[0].verdict == "pass"  # of an old snapshot
