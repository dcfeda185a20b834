"""What a rule set tells of itself, and what a run of its cases comes to."""

from __future__ import annotations

import pytest

from preflight.model.cases import CaseOutcome, VerdictMismatch, compute_cases_exit_code
from preflight.model.difference import FactAndVerdictChanges, SnapshotFolderDifference
from preflight.model.rules import Fix, LanguageModel, Rule, RuleSet

OS = ("host", "os")


def ruleset(**keys: object) -> RuleSet:
    return RuleSet("r", "r.yaml", "0" * 64)._replace(**keys)


def test_the_variables_that_are_asked_for_are_named_in_order() -> None:
    asks = frozenset({OS, ("env", "B"), ("env", "A"), ("env",), ("env", "A", "x"), ("x", "C")})
    assert ruleset(required_facts=asks).environment_variables() == ["A", "B"]


def test_the_words_of_rules_and_models_are_no_names_to_hide() -> None:
    fix = Fix("Ask Ops.", command="reboot-now", url="https://x.example/HowTo")
    rule = Rule("host-os", "The Kernel", OS, why="It's OLD.", section="Size", tags=("gpu_1",),
                fixes=(fix,))  # fmt: skip
    words = ruleset(
        name="my-Stack", source="Plan B", next="start it", rules=(rule,),
        models=(LanguageModel("Phi:Latest", 1),),
    ).collect_unredacted_words()  # fmt: skip
    assert {"phi:latest", "my-stack", "plan", "start", "host-os", "kernel", "old", "size", "gpu_1",
            "ops", "reboot-now", "x.example", "howto"} <= words  # fmt: skip
    assert all(word == word.lower() for word in words)


@pytest.mark.parametrize(
    ("written", "size"), [({"system_overhead": "2GB"}, 2 * 10**9), ({}, None),
                          ({"overhead": "2GB"}, None), ({"system_overhead": "much"}, None)]
)  # fmt: skip
def test_what_the_host_keeps_for_itself(written: dict[str, str], size: int | None) -> None:
    assert ruleset(vars=written).system_overhead_bytes == size


def test_the_document_of_a_rule_is_that_of_its_file() -> None:
    rules = ruleset(source="Own", documents={"base.yaml": "Theirs"})
    own, theirs = Rule("a", "A", OS, file="r.yaml"), Rule("b", "B", OS, file="base.yaml")
    assert (rules.get_document_name_of_rule(own), rules.get_document_name_of_rule(theirs)) == (
        "Own",
        "Theirs",
    )
    assert rules.get_document_name_of_rule(theirs._replace(document=False)) == ""


PASS, FAIL = (
    CaseOutcome("a", "."),
    CaseOutcome("b", ".", differences=(VerdictMismatch("r", "pass", "fail"),)),
)
UNUSABLE = CaseOutcome("c", ".", problems=("no facts.json",))


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [((), 0), ((PASS,), 0), ((PASS, FAIL), 1), ((PASS, UNUSABLE), 2), ((FAIL, UNUSABLE, PASS), 2)],
)
def test_the_exit_code_of_cases_is_that_of_the_worst(
    outcomes: tuple[CaseOutcome, ...], code: int
) -> None:
    assert compute_cases_exit_code(outcomes) == code


def test_machines_that_went_or_came_are_a_difference_and_those_alike_are_none() -> None:
    assert not SnapshotFolderDifference({}, same=3)
    assert SnapshotFolderDifference({"a": FactAndVerdictChanges((), ())})
    assert SnapshotFolderDifference({}, gone=("a",))
    assert SnapshotFolderDifference({}, new=("a",))
