"""Workflow commands, read by the grammar of GitHub's runner.

The grammar is that of actions/runner, src/Runner.Common/ActionCommand.cs: `TryParseV2` takes a
line that starts with `::` once its leading blanks are gone, up to the next `::`; where that is no
command, `TryParse` takes `##[name …]` anywhere in the line. Only registered names count. Escapes
are undone one after the other, `%25` last.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.model.report import Report
from preflight.model.rules import BUNDLED_FILE_BY_DISPLAY_NAME
from preflight.render import FORMATS, RenderOptions, load_renderer
from preflight.render.sanitize import clean_and_shorten
from report_readers import Command, commands, new_style
from reports import golden_report, report_with_hostile_text

PLAIN = RenderOptions()


def github(report: Report, options: RenderOptions = PLAIN) -> list[Command]:
    text = load_renderer("github")(report, options)
    *found, last = text.splitlines()
    assert last.startswith("preflight ")
    assert [new_style(line) is not None for line in found] == [True] * len(found)
    return commands(text)


def test_gating_results_are_errors_and_advice_is_a_warning(report: Report) -> None:
    kinds = [command.name for command in github(report)]
    assert kinds == ["error"] * 4 + ["warning"] + ["notice"]
    kinds = [command.name for command in github(report._replace(strict=True))]
    assert kinds == ["error"] * 5 + ["notice"]
    for one in report.results:
        alone = report._replace(results=(one,))
        errors = [command for command in github(alone) if command.name == "error"]
        assert bool(errors) == (alone.exit_code != 0)


def test_an_annotation_stands_at_the_line_that_decides(report: Report) -> None:
    memory, _, limit, *_ = github(report)
    assert limit.properties == {
        "file": "compose.yaml",
        "line": "12",
        "title": "preflight · CPU limit · api",
    }
    assert limit.data.splitlines() == [
        "CPU limit · api: 4, at most 2 required",
        "error: Range of CPUs is from 0.01 to 2.00",
        "fix: Lower it to '2'.",
    ]
    assert (memory.properties["file"], memory.properties["line"]) == ("rules.yaml", "13")
    assert memory.data.splitlines()[1:] == [
        "fix: Get 10 GB, 1.6 GiB more than 7.8 GiB.",
        "$ free -h",
        "see https://example.org/memory",
        "1 check skipped",
    ]


@pytest.mark.parametrize("name", BUNDLED_FILE_BY_DISPLAY_NAME)
def test_the_bundled_rules_are_no_place_in_a_repository(report: Report, name: str) -> None:
    bundled = tuple(one._replace(rule_file=name) for one in report.results)
    files = {command.properties.get("file") for command in github(report._replace(results=bundled))}
    assert files == {None, "compose.yaml"}


def test_foreign_text_commands_nothing_and_arrives(hostile: str, hostile_report: Report) -> None:
    for options in (RenderOptions(), RenderOptions(verbose=True), RenderOptions(quiet=True)):
        found = github(hostile_report, options)
        notices = ["notice"] if options.quiet else ["notice"] * 2
        assert [command.name for command in found] == ["error"] * 4 + ["warning", *notices]
        for command in found:
            assert set(command.properties) <= {"file", "line", "title"}
            assert command.properties["title"].startswith("preflight · ")
            told = clean_and_shorten(hostile).strip()
            assert not told or command.data.strip().startswith(told)
            assert command.properties.get("file", told) == told


@given(st.text())
def test_any_text_arrives_as_it_is_shown(text: str) -> None:
    told = clean_and_shorten(text).strip()
    found = github(report_with_hostile_text(text))
    assert [command.name for command in found] == ["error"] * 4 + ["warning"] + ["notice"] * 2
    if told:
        assert {command.data.split("\n")[0].strip() for command in found} == {told}


@pytest.mark.parametrize("name", [name for name in FORMATS if name != "github"])
def test_no_other_format_commands_the_runner(name: str, hostile_report: Report) -> None:
    for options in (RenderOptions(width=40), RenderOptions(verbose=True, color=True)):
        assert commands(load_renderer(name)(hostile_report, options)) == []


def test_more_than_github_shows_is_said_where_it_shows_it(report: Report) -> None:
    failed, warned = report.results[1], report.results[2]
    waived = next(one for one in report.results if one.verdict == "waived")
    results = (warned,) * 11 + (waived,) * 12 + (failed,) * 13
    many = report._replace(results=results)
    found = github(many)
    kinds = [command.name for command in found]
    assert kinds == ["error"] * 13 + ["warning"] * 11 + ["notice"] * 13
    first = found[kinds.index("notice")].data
    assert first.startswith("There are 13 errors, 11 warnings, 12 notices; GitHub shows 10 of each")
    few = report._replace(results=(failed,) * 10)
    assert [command.name for command in github(few)] == ["error"] * 10


def test_one_cause_of_undecided_rules_is_one_annotation(report: Report) -> None:
    (unknown,) = [one for one in report.results if one.verdict == "unknown"]
    several = tuple(unknown._replace(id=f"r{n}", title=f"Rule {n}") for n in range(3))
    (command,) = github(report._replace(results=several))
    assert command.properties == {"title": "preflight · 3 checks undecided"}
    assert (
        command.data == f"3 checks undecided: {unknown.reason_or_source}\nRule 0, Rule 1 and Rule 2"
    )


def test_quiet_leaves_out_what_needs_no_action(report: Report) -> None:
    waived = next(one for one in report.results if one.verdict == "waived")
    assert waived.waiver is not None
    long = waived._replace(waiver=waived.waiver._replace(days_left=400), title="Long")
    few = report._replace(results=(long, waived), notes=("a note",))
    assert [one.properties["title"] for one in github(few)] == [
        "preflight · Kernel",
        "preflight · Long",
        "preflight · rules",
    ]
    (soon,) = github(few, RenderOptions(quiet=True))
    assert soon.data.endswith("(8 days left)")


def test_all_well_is_the_counts_alone(report: Report) -> None:
    passed = tuple(one for one in report.results if one.verdict == "pass")
    text = load_renderer("github")(report._replace(results=passed), RenderOptions())
    assert text == "preflight PASS: 2 passed\n"


def test_the_worst_comes_first() -> None:
    report = golden_report()
    turned = report._replace(results=report.results[::-1])
    assert [one.name for one in github(turned)][:5] == ["error"] * 4 + ["warning"]
    assert "unknown" in github(turned)[3].data
