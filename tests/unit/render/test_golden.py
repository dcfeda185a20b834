"""One report through every renderer, held against files that a person has read.

`PREFLIGHT_WRITE_GOLDEN=1 pytest tests/render` writes them anew, to be read again in the diff.
"""

from __future__ import annotations

import json
import os
import re

import pytest

from paths import GOLDEN
from preflight.cli.listings import load_json_schema
from preflight.model.report import Report
from preflight.render import FORMATS, RenderOptions, load_renderer
from report_readers import ACTS


@pytest.mark.parametrize("name", FORMATS)
def test_renderer_writes_the_golden_file(name: str, report: Report) -> None:
    text = load_renderer(name)(report, RenderOptions(width=80))
    golden = GOLDEN / f"report.{name}"
    if os.environ.get("PREFLIGHT_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("ascii_", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_no_format_lets_foreign_control_characters_through(
    name: str, ascii_: bool, verbose: bool, report: Report
) -> None:
    text = load_renderer(name)(report, RenderOptions(ascii=ascii_, verbose=verbose))
    assert not {"\x1b", "\u202e", "\x00"} & set(text)


@pytest.mark.parametrize("name", FORMATS)
def test_whatever_a_text_holds_none_acts_on_a_terminal(name: str, hostile_report: Report) -> None:
    text = load_renderer(name)(hostile_report, RenderOptions(verbose=True))
    assert not ACTS.search(text)


@pytest.mark.parametrize("width", [40, 80, 120, 300])
@pytest.mark.parametrize("verbose", [False, True])
def test_text_stays_within_the_columns(width: int, verbose: bool, report: Report) -> None:
    from rich.cells import cell_len

    text = load_renderer("text")(report, RenderOptions(width=width, verbose=verbose))
    free = ("$", "http")  # what is to be copied stays whole
    lines = [line for line in text.splitlines() if not line.strip().startswith(free)]
    assert max(map(cell_len, lines)) <= width


def test_color_changes_nothing_but_color(report: Report) -> None:
    render = load_renderer("text")
    plain = render(report, RenderOptions(width=80))
    colored = render(report, RenderOptions(width=80, color=True))
    assert "\x1b[1;31m" in colored
    stripped = re.sub(r"\x1b\[[0-9;]*m", "", colored)
    assert [line.rstrip() for line in stripped.splitlines()] == plain.splitlines()


def test_ascii_is_ascii_where_the_facts_are(report: Report) -> None:
    host = {**report.host, "hostname": "vm"}
    results = tuple(r for r in report.results if r.id != "hostile")
    text = load_renderer("text")(
        report._replace(host=host, results=results), RenderOptions(ascii=True)
    )
    assert text.isascii()
    assert "FAIL" in text
    assert "at least 10 GB" in text


def test_quiet_shows_only_what_needs_action(report: Report) -> None:
    text = load_renderer("text")(report, RenderOptions(quiet=True))
    assert "Total RAM: 7.8 GiB" in text
    assert "Docker is reachable" not in text
    assert "preflight" not in text


def test_all_well_is_one_screen(report: Report) -> None:
    passed = tuple(r for r in report.results if r.verdict == "pass")
    well = report._replace(results=passed, host={**report.host, "hostname": "vm"})
    lines = load_renderer("text")(well, RenderOptions()).splitlines()
    assert lines[0].startswith("preflight")
    assert lines[2:6] == [
        "",
        "  ✔ First                                                                      1",
        "  ✔ Third                                                                      1",
        "",
    ]
    verdict, what_next = lines[-2:]
    assert verdict.startswith("PASS")
    assert what_next == "Next: docker compose up -d"


def test_what_one_cause_holds_back_is_told_once_under_it(report: Report) -> None:
    text = load_renderer("text")(report, RenderOptions())
    assert text.count("1 check skipped") == 1
    assert "Held back" not in text


def test_json_follows_its_schema_and_counts_agree(report: Report) -> None:
    import jsonschema

    data = json.loads(load_renderer("json")(report, RenderOptions()))
    jsonschema.Draft202012Validator(load_json_schema("report")).validate(data)
    verdicts = [result["verdict"] for result in data["results"]]
    assert {v: verdicts.count(v) for v in set(verdicts)}.items() <= data["summary"].items()
    assert data["summary"]["exit_code"] == 1


def test_one_cause_of_undecided_rules_is_told_once(report: Report) -> None:
    (unknown,) = [one for one in report.results if one.verdict == "unknown"]
    several = tuple(unknown._replace(id=f"r{n}", title=f"Rule {n}") for n in range(3))
    text = load_renderer("text")(
        report._replace(results=several), RenderOptions(width=80, quiet=True)
    )
    assert text.count(unknown.reason_or_source) == 1
    assert f"3 checks undecided: {unknown.reason_or_source}" in text
    assert unknown.fixes[0].text not in text


@pytest.mark.parametrize("name", FORMATS)
def test_an_engine_of_unknown_kind_is_not_called_none(name: str, report: Report) -> None:
    unknown = report._replace(engine={**report.engine, "engine": None, "context": None})
    text = load_renderer(name)(unknown, RenderOptions(verbose=True))
    assert "None" not in text
    if name == "text":
        assert "Container Engine 28.2.2 at unix:///var/run/docker.sock" in text
