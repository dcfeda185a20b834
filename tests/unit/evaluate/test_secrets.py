"""A variable that is named like a secret is judged, and nothing that is made from it is shown."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest

from preflight.evaluate.explain import explain
from preflight.evaluate.judge import judge_rules
from preflight.facts.table import ALL_FACTS
from preflight.model.facts import FactCatalogue, Facts
from preflight.rules.load import load_ruleset

CATALOGUE = FactCatalogue(ALL_FACTS)
SECRET = "734501"
"""What is made from it: 1469002 is twice as much, 265499 is lacking to a million."""
TRACES = ("7345", "1469", "2654", "2655", "734k", "717.3", "hunter2")
BEGINNING = "{id: r, title: Title, "

RULES = {
    "fact": "fact: env.DB_PASSWORD, require: {equals: other}",
    "number": "fact: env.DB_PASSWORD, type: number, require: {at_least: 1000000}",
    "bytes": "fact: env.DB_PASSWORD, type: bytes, require: {at_least: 1000000}",
    "not a number": "fact: env.API_KEY, type: number, require: {at_least: 5}",
    "recommendation": "fact: env.DB_PASSWORD, type: number, recommend: {at_least: 1000000}",
    "met": "fact: env.DB_PASSWORD, type: number, require: {at_least: 5}",
    "bound": "fact: host.swap.total, require: {equals: {fact: env.DB_PASSWORD}}",
    "product": "fact: host.swap.total, require: {at_least: {fact: env.DB_PASSWORD, times: 2}}",
    "sum": "fact: host.swap.total, require: {at_least: {sum: [1B, {fact: env.DB_PASSWORD}]}}",
    "one of": "fact: host.os, require: {one_of: [a, {fact: env.DB_PASSWORD}]}",
    "any of": "fact: host.os, require: {any_of: [{equals: {fact: env.DB_PASSWORD}}, {equals: b}]}",
    "close bound": "fact: host.swap.free, require: {at_least: {fact: env.DB_PASSWORD}}",
    "when": "fact: host.os, when: {env.DB_PASSWORD: {type: number, at_least: 1000000}},"
    " require: {equals: x}",
    "when unknown": "fact: host.os, when: {env.API_KEY: {type: number, at_least: 1}},"
    " require: {equals: x}",
    "when bound": "fact: host.os, when: {host.swap.total: {at_least: {fact: env.DB_PASSWORD}}},"
    " require: {equals: x}",
    "items": "for_each: compose.services, fact: replicas, require: {at_least: 2},"
    " when: {environment.DB_PASSWORD: {type: number, at_least: 1000000}}",
    "item": "for_each: compose.services, fact: environment.DB_PASSWORD, type: number,"
    " require: {at_least: 1000000}",
    "whole map": "fact: compose.services.db.environment, require: {exists: false}",
    "services": "fact: compose.services, require: {exists: false}",
}
FIXES = (
    ", error: 'not {env.DB_PASSWORD}', fixes: [{text: 'is {actual}'}, {text: 'to {expected}'},"
    " {text: 'add {missing}'}, {text: 'is {env.DB_PASSWORD}'}, {text: 'by hand'}]"
    ", problem: '{PROBLEM}'"
)
PROBLEMS = ("is {actual}", "wants {expected}", "lacks {missing}", "is {env.DB_PASSWORD}")


def facts() -> Facts:
    environment = {"DB_PASSWORD": SECRET, "LANG": "C"}
    return Facts(
        {
            "host": {"os": "linux", "swap": {"total": 10, "free": 734500.99}},
            "env": {"DB_PASSWORD": SECRET, "API_KEY": "hunter2"},
            "compose": {"services": {"db": {"environment": environment, "replicas": 1}}},
        },
        {"compose.services": "compose.yaml"},
    )


def shown(value: Any) -> str:
    return json.dumps(value, default=str)


@pytest.mark.parametrize("name", RULES)
@pytest.mark.parametrize("waiver", [False, True])
@pytest.mark.parametrize("problem", PROBLEMS)
def test_no_text_shows_what_is_made_from_a_secret(name: str, waiver: bool, problem: str) -> None:
    fixes = FIXES.replace("{PROBLEM}", problem)
    text = f"version: 1\nrules:\n  - {BEGINNING}{RULES[name]}{fixes}}}\n"
    if waiver:
        accept = "{at_least: {fact: env.DB_PASSWORD}}" if "fact: host.swap" in RULES[name] else "{}"
        accept = f", accept: {accept}" if accept != "{}" else ""
        text += f"waivers: [{{rule: r, reason: w, owner: o, until: 2027-01-31{accept}}}]\n"
    rules = load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE)
    today = date(2026, 11, 30)
    report = judge_rules(rules, facts(), CATALOGUE, today=today)
    explanation = explain(rules, facts(), CATALOGUE, rules.rules[0], today)._replace(rule=None)
    for output in map(shown, (report, explanation)):
        assert not [trace for trace in TRACES if trace in output], output


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fact", "Title: (not met)"),
        ("met", "Title: (met)"),
        ("recommendation", "Title: (not met)"),
        ("product", "Title: (not met)"),
        ("item", "Title · db: (not met)"),
        ("not a number", "Title: unknown, a value that isn't shown can't be compared"),
        ("when", "Title: skipped, applies only if env.DB_PASSWORD is at least 1000000 (not met)"),
        (
            "when bound",
            "Title: skipped, applies only if host.swap.total is at least env.DB_PASSWORD (not met)",
        ),
    ],
)
def test_of_a_secret_it_is_only_said_whether_it_meets_the_rule(name: str, message: str) -> None:
    fixes = FIXES.replace("{PROBLEM}", "is {actual}")
    text = f"version: 1\nrules:\n  - {BEGINNING}{RULES[name]}{fixes}}}\n"
    rules = load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE)
    (result,) = judge_rules(rules, facts(), CATALOGUE).results
    assert result.message == message
    if "env.DB_PASSWORD" in RULES[name] and "when" not in name:
        assert (result.actual, result.expected, result.change) == (None, {}, None)
        assert {fix.text for fix in result.fixes} <= {"by hand"}


@pytest.mark.parametrize(
    ("require", "message"),
    [
        ("{exists: true}", "Title: not set (not met)"),
        ("{exists: false}", "Title: not set (met)"),
        ("{equals: x}", "Title: not set (not met)"),
    ],
)
def test_of_a_variable_that_is_not_set_that_is_said(require: str, message: str) -> None:
    text = f"version: 1\nrules:\n  - {BEGINNING}fact: env.HF_TOKEN, require: {require}}}\n"
    rules = load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE)
    (result,) = judge_rules(rules, Facts({"env": {"HF_TOKEN": None}}), CATALOGUE).results
    assert (result.message, result.actual_text) == (message, "not set")


def test_a_sentence_of_the_rule_that_has_no_figure_is_shown() -> None:
    problem = "problem: 'The password of {item} is too short'"
    text = f"version: 1\nrules:\n  - {BEGINNING}{RULES['item']}, {problem}}}\n"
    rules = load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE)
    (result,) = judge_rules(rules, facts(), CATALOGUE).results
    assert result.message == "The password of db is too short"


def test_a_mapping_is_shown_by_its_names() -> None:
    text = f"version: 1\nrules:\n  - {BEGINNING}{RULES['services']}}}\n"
    (result,) = judge_rules(
        load_ruleset("r.yaml", lambda _: text.encode(), CATALOGUE), facts(), CATALOGUE
    ).results
    assert (result.actual, result.actual_text) == (["db"], "db")
