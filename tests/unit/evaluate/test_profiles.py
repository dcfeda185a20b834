"""Which profile the facts choose, and what the report says of it."""

from __future__ import annotations

from typing import Any

import pytest

from preflight import check as pipeline
from preflight.model.facts import Facts, Measured, Unknown, build_facts
from preflight.model.report import Report
from preflight.render import RenderOptions, junit, tap
from preflight.render.json_report import report_as_json
from preflight.render.text import render_report

RULES = b"""\
version: 1
name: shop
vars: {cores: 4}
profiles:
  full: {when: {compose.profiles: {contains: full}}, vars: {cores: 8}}
  small: {when: {compose.profiles: {contains: small}, host.os: linux}, vars: {cores: 2}}
  huge: {vars: {cores: 64}}
rules:
  - {id: cores, title: Cores, fact: host.cpu.logical, require: {at_least: "${cores}"}}
"""


def facts(profiles: Any, **more: Any) -> Facts:
    values = {"compose.profiles": profiles, "host.os": "linux", "host.cpu.logical": 4, **more}
    return build_facts(
        [Measured(tuple(name.split(".")), value, "test") for name, value in values.items()],
        measured_at="2026-11-23T11:00:00Z",
        version="1",
    )


def judge(profiles: Any, profile: str | None = None, **more: Any) -> Report:
    rules = pipeline.load_ruleset("r.yaml", lambda _: RULES, profile=profile)
    return pipeline.check(rules, facts(profiles, **more))


@pytest.mark.parametrize(
    ("profiles", "chosen", "verdict"),
    [
        (None, "", "pass"),
        (["other"], "", "pass"),
        (["full"], "full", "fail"),
        (["small"], "small", "pass"),
        (["full", "small"], "small", "pass"),  # the last one that holds
    ],
)
def test_the_last_that_holds_is_chosen(profiles: Any, chosen: str, verdict: str) -> None:
    report = judge(profiles)
    assert (report.profile, report.verdict) == (chosen, verdict)
    assert any("full" in note or "small" in note for note in report.notes) is bool(chosen)


def test_a_name_counts_whatever_the_facts_are() -> None:
    report = judge(["full"], "small")
    assert (report.profile, report.verdict, report.notes) == ("small", "pass", ())


@pytest.mark.parametrize("reason", ["the compose file was not read", "is the engine running?"])
def test_one_that_cannot_be_decided_is_not_chosen_and_a_note_says_so(reason: str) -> None:
    report = judge(Unknown(reason))
    assert report.profile == ""
    sentence = reason if reason.endswith("?") else f"{reason}."
    assert [note.partition(" applies: ")[2] for note in report.notes] == [
        f"{sentence} --profile NAME chooses one."
    ] * 2


def test_the_report_names_it() -> None:
    report = judge(["small"])
    assert report_as_json(report)["rules"]["profile"] == "small"
    assert report_as_json(judge(None))["rules"]["profile"] is None
    first = render_report(report, RenderOptions(width=80)).splitlines()[0]
    assert first.startswith("preflight 1.0.0 · shop (r.yaml), profile small · ")
    assert 'name="rules.profile" value="small"' in junit.render_report(report, RenderOptions())
    assert " · shop (r.yaml), profile small\n" in tap.render_report(report, RenderOptions())
    note = "Profile small: compose.profiles contains small and host.os is linux."
    assert note in report.notes
