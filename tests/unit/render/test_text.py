"""The report for a terminal: what to do first, the evidence in short, the verdict last."""

from __future__ import annotations

import re
from datetime import date
from typing import Any

import pytest
from rich.cells import cell_len

from paths import CASES
from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.model.facts import Facts
from preflight.model.report import Report, ResolvedFix
from preflight.render import RenderOptions, load_renderer
from preflight.snapshot.facts_file import read_snapshot

MACHINE = CASES / "document-stack-on-desktop/facts.json"
FIXED = {
    "docker.memory.total": 25 * 10**9,
    "docker.memory.usable": 25 * 10**9,
    "docker.memory.available": 20 * 10**9,
    "docker.disk.free": 90 * 10**9,
    "host.memory.total": 33 * 10**9,
    "host.memory.usable": 33 * 10**9,
    "stack.containers": {},
    "ollama.settings.ollama.ignored": None,
}
ONE_FAILURE = FIXED | {
    "docker.memory.total": 7_200_000_000,
    "docker.memory.usable": 7_200_000_000,
    "ollama.settings.ollama.ignored": ["OLLAMA_KEEP_ALIVE=5 minutes"],
}


def judge(changes: dict[str, Any]) -> Report:
    """Judge the stack of the document on Docker Desktop with other figures."""
    facts = read_snapshot(MACHINE.read_bytes(), "facts.json")
    values = _change(facts.values, changes)
    unknown = {name: why for name, why in facts.unknown.items() if name not in changes}
    rules = pipeline.load_ruleset("default", read_rule_file)
    measured = pipeline.add_derived_facts(
        Facts(values, facts.sources, unknown, facts.measured_at, facts.version), rules
    )
    report = judge_rules(rules, measured, pipeline.build_catalogue(), RuleSelection(), date.min)
    return report._replace(seconds=0.14)


def _change(values: Any, changes: dict[str, Any]) -> dict[str, Any]:
    changed = dict(values)
    for name, value in changes.items():
        first, _, rest = name.partition(".")
        changed[first] = _change(changed[first], {rest: value}) if rest else value
    return changed


def lines_of(report: Report, **options: Any) -> list[str]:
    return load_renderer("text")(report, RenderOptions(**options)).splitlines()


@pytest.mark.parametrize("ascii_", [False, True])
def test_one_failure_and_three_warnings_fit_a_screen(ascii_: bool) -> None:
    report = judge(ONE_FAILURE)
    assert (
        report.counts_by_verdict["fail"],
        report.counts_by_verdict["warn"],
        report.counts_by_verdict["unknown"],
    ) == (1, 3, 0)
    lines = lines_of(report, ascii=ascii_)
    assert len(lines) <= 40
    assert max(map(cell_len, lines)) <= 80
    assert "RAM for Docker: 6.7 GiB, 8 GB (7.5 GiB) required" in lines[3]
    assert lines[-2].startswith("FAIL  1 failed")
    assert "preflight explain docker-memory" in lines[-1]


@pytest.mark.parametrize("ascii_", [False, True])
def test_all_well_takes_fifteen_lines_at_most(ascii_: bool) -> None:
    report = judge(FIXED)
    lines = lines_of(report, ascii=ascii_)
    assert report.verdict == "pass", lines
    assert len(lines) <= 15
    assert max(map(cell_len, lines)) <= 80
    assert lines[-2].startswith("PASS  ")
    assert lines[-1] == "Next: docker compose up -d"


def test_verbose_lists_every_rule_and_others_only_judged_sections() -> None:
    report = judge(FIXED)
    sections = {result.section for result in report.results}
    judged = {result.section for result in report.results if result.verdict != "skip"}
    short, full = lines_of(report, width=120), lines_of(report, width=120, verbose=True)
    assert all(any(section in line for line in short) for section in judged)
    assert not [line for line in short for section in sections - judged if section in line]
    text = " ".join(" ".join(full).split())
    for result in report.results:
        assert result.title[:35] in text
        assert result.item is None or f"{result.item}: " in text or f"{result.item}, " in text
    assert len(full) < 2 * len(report.results)


def test_verbose_says_what_several_results_share_once() -> None:
    report = judge(FIXED)
    first, *_ = (result for result in report.results if result.verdict == "pass")
    limit = first._replace(id="limit", title="Limit is met", section="S", actual_text="2 GiB")
    skipped = first._replace(verdict="skip", section="S", reason_or_source="no engine")
    results = (
        skipped._replace(title="Memory fits"),
        limit._replace(item="api", reason_or_source="in a.yaml:3"),
        limit._replace(item="db", reason_or_source="in a.yaml:9"),
        limit._replace(item="web", reason_or_source="in a.yaml:9"),
        limit._replace(item="cache", reason_or_source="in b.yaml:1", actual_text="1 GiB"),
        skipped._replace(title="CPUs fit"),
    )
    lines = lines_of(report._replace(results=results), verbose=True)
    start = lines.index("S")
    assert [re.split(" +[12] GiB ", line)[0] for line in lines[start + 1 : start + 7]] == [
        "  ✔ Limit is met",
        "      api: in a.yaml:3 · db, web: in a.yaml:9",
        "  ✔ Limit is met",
        "      cache: in b.yaml:1",
        "  · Memory fits; CPUs fit",
        "      no engine",
    ]


def test_rules_of_images_that_nobody_runs_share_a_line() -> None:
    report = judge(FIXED)
    first = report.results[0]
    skipped = [
        first._replace(
            verdict="skip", section="S", title=f"{image} is set up", rule_file="bundled images",
            reason_or_source=f"applies only if repository is {image}, but nothing matches",
        )
        for image in ("postgres", "mysql")
    ]  # fmt: skip
    other = skipped[0]._replace(title="Java heap fits", rule_file="bundled general")
    for results, expected in (
        ((*skipped, other), ["  · postgres is set up; mysql is set up",
                             "      nothing matches what they apply to",
                             "  · Java heap fits"]),
        (skipped[:1], ["  · postgres is set up",
                       "      applies only if repository is postgres, but nothing matches"]),
    ):  # fmt: skip
        lines = lines_of(report._replace(results=tuple(results)), verbose=True)
        start = lines.index("S") + 1
        assert lines[start : start + len(expected)] == expected


def test_a_fix_that_two_tasks_share_is_shown_once() -> None:
    """CPU cores of the host, and those of Docker, where both have too few."""
    facts = read_snapshot((CASES / "all-bad/facts.json").read_bytes(), "facts.json")
    rules = pipeline.load_ruleset("default", read_rule_file)
    report = judge_rules(rules, facts, pipeline.build_catalogue())
    lines = lines_of(report)
    first = next(i for i, line in enumerate(lines) if line.startswith("▲ CPU cores: 2,"))
    assert lines[first + 1].startswith("▲ CPU cores for Docker: 2,")
    assert lines[first + 2].startswith("    The stack will run, but slowly.")
    assert sum("The stack will run, but slowly" in line for line in lines) == 1
    for format_ in ("markdown", "html"):
        page = load_renderer(format_)(report, RenderOptions(quiet=True))
        assert page.count("The stack will run, but slowly") == 1, format_


def test_a_long_address_leaves_the_stack_a_line_of_its_own() -> None:
    report = judge(FIXED)
    engine, stack = lines_of(report)[1].split(" · ")
    report = report._replace(engine={**report.engine, "context": "long-" * 8})
    assert lines_of(report)[1:3] == [engine.replace("desktop-linux", "long-" * 8), stack]


@pytest.mark.parametrize("color", [False, True])
def test_in_ascii_a_line_stays_within_the_terminal(color: bool) -> None:
    """Though `<=` takes a column more than its sign, and colours take none."""
    printed = lines_of(judge(ONE_FAILURE), ascii=True, verbose=True, color=color)
    lines = [re.sub("\x1b[^m]*m", "", line) for line in printed]
    assert [line for line in lines if "  <= " in line and len(line) == 80]
    assert not [line for line in lines if len(line) > 80 and not line.strip().startswith("http")]


def test_memory_is_drawn_only_where_it_is_the_matter() -> None:
    assert any("Docker has 6.7 GiB" in line for line in lines_of(judge(ONE_FAILURE)))
    assert not [line for line in lines_of(judge(FIXED)) if "├" in line]
    assert [line for line in lines_of(judge(FIXED), verbose=True) if "├" in line]


@pytest.mark.parametrize("changes", [FIXED, ONE_FAILURE, {}])
@pytest.mark.parametrize("verbose", [False, True])
def test_what_is_on_or_off_is_a_sentence(changes: dict[str, Any], verbose: bool) -> None:
    text = "\n".join(lines_of(judge(changes), verbose=verbose))
    for clumsy in ("not set, needs set", "none, advised", "yes → no", "needs yes", ": no, "):
        assert clumsy not in text


def test_what_one_cause_keeps_from_being_judged_is_said_under_it() -> None:
    facts = read_snapshot((CASES / "docker-permission/facts.json").read_bytes(), "facts.json")
    rules = pipeline.load_ruleset("default", read_rule_file)
    report = judge_rules(rules, facts, pipeline.build_catalogue())
    lines = lines_of(report)
    assert lines[3] == "✖ Docker is not reachable: permission denied on unix:///var/run/docker.sock"
    blocked = sum(result.blocked_by is not None for result in report.results)
    assert f"    {blocked} checks skipped until then" in lines


@pytest.mark.parametrize(("text", "shown"), [("Install it by hand:", True), ("Install it.", False)])
def test_a_warning_shows_a_link_only_where_it_is_the_fix(text: str, shown: bool) -> None:
    report = judge(FIXED | {"docker.compose.version": None})
    fixes = (ResolvedFix(text, url="https://example.org/install"),)
    results = [r._replace(fixes=fixes) if r.verdict == "warn" else r for r in report.results]
    lines = lines_of(report._replace(results=tuple(results)))
    assert any("https://example.org/install" in line for line in lines) is shown


def test_verbose_cuts_no_title_while_there_are_blanks_in_its_row() -> None:
    report = judge(ONE_FAILURE)
    long = "A title that is about as long as titles of rules get"
    results = [r._replace(title=long, actual_text="yes", expected_text="") for r in report.results]
    results[0] = results[0]._replace(actual_text="25.3 GB (23.5 GiB)")
    rows = lines_of(report._replace(results=tuple(results)), verbose=True)
    titles = [line for line in rows if line[4:].startswith("A title")]
    assert len([line for line in titles if long in line]) >= len(titles) - 1 > 5


def test_a_report_without_sections_has_no_two_empty_lines() -> None:
    report = judge(ONE_FAILURE)
    skipped = [result._replace(verdict="skip") for result in report.results]
    text = "\n".join(lines_of(report._replace(results=tuple(skipped))))
    assert "\n\n\n" not in text
    assert "\n\n" in text
