"""Fifteen requirements documents as rules: each kind can be stated, and each rule is judged."""

from __future__ import annotations

from functools import cache
from typing import Any

import pytest
import yaml

from preflight import check as pipeline
from preflight.model.facts import Facts, Measured, build_facts, split_fact_path
from preflight.model.rules import IMAGES_BY_PACK
from requirement_kinds import (
    DOCUMENTS,
    FACTS_BY_KIND,
    find_kinds,
    load_document,
    read_not_stated,
)

NAMES = list(read_not_stated())
OTHERS = [name for name in NAMES if name not in IMAGES_BY_PACK]


@cache
def machines() -> Any:
    return yaml.safe_load((DOCUMENTS / "machines.yaml").read_text(encoding="utf-8"))


def facts(*machine: str, **change: Any) -> Facts:
    values: dict[str, Any] = {}
    for name in machine:
        values |= machines()[name]
    measured = [
        Measured(split_fact_path(k), v, "the case") for k, v in {**values, **change}.items()
    ]
    return build_facts(measured, measured_at="2026-11-23T11:00:00Z", version="1")


def judge(name: str, measured: Facts) -> dict[str, str]:
    """Return the worst verdict of each rule."""
    rank = ["pass", "skip", "unknown", "warn", "fail"]
    verdicts: dict[str, str] = {}
    for result in pipeline.check(load_document(name), measured).results:
        verdicts[result.id] = max(verdicts.get(result.id, "pass"), result.verdict, key=rank.index)
    return verdicts


def test_there_are_fifteen_and_all_packs_are_among_them() -> None:
    assert len(NAMES) == 15
    assert set(IMAGES_BY_PACK) <= set(NAMES)
    files = {file.stem for file in DOCUMENTS.glob("*.yaml")} - {"machines", "not-stated"}
    assert files == set(OTHERS)


def test_each_kind_is_stated_by_a_document() -> None:
    stated = {kind for name in NAMES for kind in find_kinds(load_document(name))}
    assert stated == set(FACTS_BY_KIND)


@pytest.mark.parametrize("name", NAMES)
def test_a_document_has_an_address_and_its_rules_sections(name: str) -> None:
    ruleset = load_document(name)
    assert ruleset.edition is not None
    assert ruleset.source
    assert all(rule.section for rule in ruleset.rules)


@pytest.mark.parametrize("name", OTHERS)
def test_a_machine_that_meets_it_passes(name: str) -> None:
    assert set(judge(name, facts("meets")).values()) <= {"pass", "skip"}


@pytest.mark.parametrize("name", OTHERS)
def test_each_rule_finds_what_a_machine_lacks(name: str) -> None:
    verdicts = judge(name, facts("meets", "fails"))
    for document, rule, change in machines()["fails_elsewhere"]:
        if document == name:
            verdicts[rule] = judge(name, facts("meets", "fails", **change))[rule]
    assert set(verdicts.values()) <= {"warn", "fail"}, verdicts


@pytest.mark.parametrize("name", OTHERS)
def test_what_was_not_measured_is_neither_met_nor_missed(name: str) -> None:
    assert set(judge(name, facts()).values()) <= {"unknown", "skip"}
