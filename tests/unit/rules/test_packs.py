"""The packs: a machine that meets each document passes, and each rule finds what it is about."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import pytest
import yaml

from bundled_rules import bundled_rules
from paths import ROOT
from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.evaluate.judge import RuleSelection
from preflight.model.facts import Facts, Measured, Unknown, build_facts, split_fact_path
from preflight.model.report import Report
from preflight.model.rules import IMAGES_BY_PACK, Rule, RuleSet
from preflight.render import RenderOptions, listings

RANK = ["pass", "waived", "skip", "unknown", "warn", "fail"]


@cache
def cases(pack: str) -> Any:
    return yaml.safe_load((ROOT / f"tests/packs/{pack}.yaml").read_text(encoding="utf-8"))


@cache
def load(pack: str, profile: str | None = None) -> RuleSet:
    return pipeline.load_ruleset(pack, read_rule_file, profile=profile)


def own_rules(pack: str) -> list[Rule]:
    ruleset = load(pack)
    own = [rule for rule in ruleset.rules if rule.file == ruleset.origin and rule.enabled]
    general = {rule.id for rule in bundled_rules("general").rules}
    return [rule for rule in own if rule.id not in general]


def facts(values: Mapping[str, Any]) -> Facts:
    """Return facts by dotted names; {unknown: REASON} stands for what couldn't be measured."""
    return build_facts(
        (
            Measured(
                split_fact_path(name),
                Unknown(value["unknown"])
                if isinstance(value, dict) and "unknown" in value
                else value,
                "the case",
            )
            for name, value in values.items()
        ),
        measured_at="2026-11-23T11:00:00Z",
        version="1",
    )


def judge(pack: str, change: Mapping[str, Any], profile: str | None = None) -> dict[str, str]:
    """Return the worst verdict of each of the pack's own rules."""
    own = [rule.id for rule in own_rules(pack)]
    measured = facts({**cases(pack)["passes"], **change})
    report = pipeline.check(load(pack, profile), measured, RuleSelection(only=own))
    verdicts: dict[str, str] = {}
    for result in report.results:
        verdicts[result.id] = max(verdicts.get(result.id, "pass"), result.verdict, key=RANK.index)
    return verdicts


@pytest.mark.parametrize("pack", IMAGES_BY_PACK)
def test_a_machine_that_meets_the_document_passes(pack: str) -> None:
    skipped = cases(pack).get("skipped", [])
    expected = {rule.id: "skip" if rule.id in skipped else "pass" for rule in own_rules(pack)}
    assert judge(pack, {}) == expected


def every_case() -> Iterator[Any]:
    for pack in IMAGES_BY_PACK:
        for number, case in enumerate(cases(pack)["cases"]):
            yield pytest.param(pack, case, id=f"{pack}-{number}")


@pytest.mark.parametrize(("pack", "case"), list(every_case()))
def test_a_case_gets_its_verdicts_and_all_else_passes(pack: str, case: Any) -> None:
    verdicts = judge(pack, case["set"], case.get("profile"))
    expected = {**judge(pack, {}), **case["verdicts"]}
    assert verdicts == expected


@pytest.mark.parametrize("pack", IMAGES_BY_PACK)
def test_each_rule_has_a_case_that_it_finds(pack: str) -> None:
    found = {
        rule
        for case in cases(pack)["cases"]
        for rule, verdict in case["verdicts"].items()
        if verdict in ("fail", "warn")
    }
    assert found == {rule.id for rule in own_rules(pack)}


@pytest.mark.parametrize("pack", IMAGES_BY_PACK)
def test_a_pack_names_its_document_and_each_rule_its_section(pack: str) -> None:
    ruleset = load(pack)
    assert ruleset.name == pack
    assert ruleset.source
    assert ruleset.edition is not None
    assert ruleset.edition.date is not None
    assert ruleset.edition.version
    assert ruleset.extends == ("general",)
    for rule in own_rules(pack):
        assert rule.id.startswith(f"{pack}-")  # so that one file can extend several packs
        assert rule.section
        assert rule.why
        assert rule.problem
        assert rule.fixes
        assert ruleset.get_document_name_of_rule(rule) == ruleset.source
    assert all(name.startswith(pack.replace("-", "_")) for name in ruleset.vars)


def load_extending(sets: str) -> RuleSet:
    def read(name: str) -> bytes:
        own = f"version: 1\nextends: {sets}\n".encode()
        return own if name == "shop.yaml" else read_rule_file(name)

    return pipeline.load_ruleset("shop.yaml", read)


def test_a_file_that_extends_two_packs_is_neither_of_them() -> None:
    both = load_extending("[sentry, general, dify]")
    assert (both.name, both.source, both.edition, both.next) == ("shop", "", None, "")
    assert {"sentry-memory", "dify-memory"} <= {rule.id for rule in both.rules}
    alone = load_extending("[general, sentry]")
    assert (alone.name, alone.next) == ("sentry", "./install.sh")


def test_the_list_of_packs_shows_their_documents() -> None:
    packs = [load(pack) for pack in IMAGES_BY_PACK]
    listed = listings.packs_as_json(packs)["packs"]
    assert [pack["name"] for pack in listed] == [*IMAGES_BY_PACK]
    sentry = listed[0]
    assert (sentry["version"], sentry["date"], sentry["rules"]) == ("26.8.0", "2026-08-21", 7)
    text = listings.render_packs(packs, RenderOptions(width=80))
    for pack in listed:
        assert pack["name"] in text
        assert pack["url"] in text
        assert f"{pack['rules']} rules" in " ".join(text.split())


# a project that is recognised by its images


def report_on(image: str, rules: str = "default") -> Report:
    project = {
        "compose.files": ["compose.yaml"],
        "compose.services.a.repository": image,
        "ollama.service": None,
    }
    return pipeline.check(bundled_rules(rules), facts(project))


@pytest.mark.parametrize(
    ("pack", "image"),
    [(pack, image) for pack, images in IMAGES_BY_PACK.items() for image in images],
)
def test_a_note_names_the_pack_of_a_project_without_a_rule_file(pack: str, image: str) -> None:
    note = f"The documented requirements of {pack}: preflight check --rules {pack}"
    notes = [text for text in report_on(image).notes if "preflight check --rules" in text]
    assert len(notes) == 1
    assert notes[0].endswith(note)


def test_what_a_snapshot_lacks_is_no_project_of_a_pack() -> None:
    for values in (
        {"compose": None},
        {"compose.services": None},
        {"compose.services.a": {"repository": ["x"]}},
    ):
        pipeline.check(bundled_rules(), facts({**values, "ollama.service": None}))


def test_no_note_on_other_images_nor_where_rules_were_chosen() -> None:
    for image, rules in (("nginx", "default"), ("ghcr.io/getsentry/snuba", "sentry")):
        notes = report_on(image, rules).notes
        assert not any("preflight check --rules" in note for note in notes)
