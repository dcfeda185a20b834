"""SARIF by its schema, by what GitHub's code scanning takes, and by readers written by others."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import unquote, urlsplit

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from preflight import check as pipeline
from preflight.cli.streams import find_bundled_rule_file, read_rule_file
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.model.report import VERDICTS, Report, ResolvedFix, Result
from preflight.model.rules import BUNDLED_FILE_BY_SET, DEFAULT_RULE_SET, GENERAL_RULE_SET
from preflight.render import RenderOptions, load_renderer, sarif
from preflight.snapshot.facts_file import read_snapshot
from report_readers import check_github, check_uri
from reports import GOLDEN, golden_report

ALL = RenderOptions(verbose=True)
FAIL_LEVELS = {"fail": "error", "warn": "warning", "waived": "note"}


def run_of(report: Report, options: RenderOptions = ALL) -> dict[str, Any]:
    """The only run of the log."""
    text = load_renderer("sarif")(report, options)
    assert text.isascii()
    (run,) = json.loads(text)["runs"]
    assert isinstance(run, dict)
    return run


def results_of(report: Report, options: RenderOptions = ALL) -> list[dict[str, Any]]:
    results: list[dict[str, Any]] = run_of(report, options)["results"]
    return results


def by_rule(report: Report) -> dict[str, dict[str, Any]]:
    """The golden results by rule; of the rule with items, the first."""
    return {one["ruleId"]: one for one in reversed(results_of(report))}


@pytest.mark.parametrize("verbose", [False, True])
def test_the_report_is_valid_and_github_takes_it(
    verbose: bool, report: Report, validator: jsonschema.Draft4Validator
) -> None:
    text = load_renderer("sarif")(report, RenderOptions(verbose=verbose))
    validator.validate(json.loads(text))
    check_github(json.loads(text)["runs"][0])


@pytest.mark.parametrize("verbose", [False, True])
def test_foreign_text_breaks_neither(
    verbose: bool, hostile_report: Report, validator: jsonschema.Draft4Validator
) -> None:
    text = load_renderer("sarif")(hostile_report, RenderOptions(verbose=verbose))
    validator.validate(json.loads(text))
    check_github(json.loads(text)["runs"][0])


def test_no_foreign_text_becomes_a_link_or_a_placeholder(report: Report) -> None:
    text = "see [here](https://evil.example) and {0} of {{.Name}} in a[1] (b)"
    results = tuple(one._replace(message=text) for one in report.results)
    for result in results_of(report._replace(results=results, notes=(text,))):
        told = result["message"]["text"]
        assert not re.search(r"\]\(|\{\d+\}", told)
        assert "{{.Name}} in a[1] (b)" in told


def test_levels_and_kinds_agree_with_the_counts(report: Report) -> None:
    results = results_of(report)
    verdicts = Counter(one["properties"]["verdict"] for one in results)
    assert {verdict: verdicts[verdict] for verdict in VERDICTS} == dict(report.counts_by_verdict)
    levels = Counter(one.get("level") for one in results)
    assert levels == {
        "error": report.counts_by_verdict["fail"],
        "warning": report.counts_by_verdict["warn"],
        "note": report.counts_by_verdict["waived"],
        "none": report.counts_by_verdict["pass"] + report.counts_by_verdict["skip"],
        None: report.counts_by_verdict["unknown"],
    }
    for one in results:  # SARIF 3.27.10: a level belongs to what failed
        if one["kind"] == "fail":
            assert one["level"] == FAIL_LEVELS[one["properties"]["verdict"]]
        else:
            assert one.get("level", "none") == "none"


def test_what_is_undecided_is_open_and_has_the_level_of_its_rule_at_github(report: Report) -> None:
    run = run_of(report)
    (result,) = [one for one in run["results"] if one["ruleId"] == "docker-disk"]
    assert result["kind"] == "open"
    assert "level" not in result
    rule = run["tool"]["driver"]["rules"][result["ruleIndex"]]
    assert rule["defaultConfiguration"]["level"] == "error"


def test_without_verbose_there_are_only_problems(report: Report) -> None:
    run = run_of(report, RenderOptions())
    shown = {one["properties"]["verdict"] for one in run["results"]}
    assert shown == {"fail", "unknown", "warn", "waived"}
    assert [one["properties"]["verdict"] for one in run["results"]].index("waived") == 5
    assert run["invocations"][0]["exitCode"] == report.exit_code == 1
    assert run["invocations"][0]["executionSuccessful"]


def test_every_result_leads_to_its_rule(report: Report) -> None:
    run = run_of(report)
    rules = run["tool"]["driver"]["rules"]
    assert {rule["id"] for rule in rules} == {result.id for result in report.results}
    assert len({rule["id"] for rule in rules}) == len(rules)
    for result in run["results"]:
        assert rules[result["ruleIndex"]]["id"] == result["ruleId"]


def test_the_sentence_of_every_format_comes_first_then_what_to_do(report: Report) -> None:
    found = by_rule(report)
    memory = next(one for one in report.results if one.id == "host-memory")
    first, *rest = found["host-memory"]["message"]["text"].splitlines()
    assert first == f"{memory.message}."
    assert rest == [f"fix: {memory.fixes[0].text}", "$ free -h", "see https://example.org/memory"]
    told = found["cpu-limit"]["message"]["text"]
    assert "error: Range of CPUs" in told
    assert told.endswith("fix: Lower it to '2'.")


def place(result: dict[str, Any]) -> tuple[str, str | None, int]:
    (location,) = result["locations"]
    artifact = location["physicalLocation"]["artifactLocation"]
    line: int = location["physicalLocation"]["region"]["startLine"]
    return artifact["uri"], artifact.get("uriBaseId"), line


def test_a_result_stands_at_the_line_that_decides_else_at_its_rule(report: Report) -> None:
    found = by_rule(report)
    assert place(found["cpu-limit"]) == ("compose.yaml", "%SRCROOT%", 12)
    lines = (GOLDEN / "rules.yaml").read_text(encoding="utf-8").splitlines()
    for id_ in ("host-memory", "docker-disk", "known-exception"):
        uri, base, line = place(found[id_])
        assert (uri, base) == ("rules.yaml", "%SRCROOT%")
        assert f"id: {id_}" in lines[line - 1]


@pytest.mark.parametrize("name", [DEFAULT_RULE_SET, GENERAL_RULE_SET])
def test_a_bundled_rule_is_found_under_a_base_of_its_own(name: str) -> None:
    rules = pipeline.load_ruleset(name, read_rule_file)
    facts = read_snapshot((GOLDEN / "facts.json").read_bytes(), "facts.json")
    run = run_of(
        judge_rules(rules, facts, pipeline.build_catalogue(), RuleSelection(), date(2026, 11, 23))
    )
    # a set may extend others, such as images; its own rules are among the results
    names = {f"preflight/{file}": set_ for set_, file in BUNDLED_FILE_BY_SET.items()}
    own = [one for one in run["results"] if place(one)[1] == "PREFLIGHT"]
    assert own
    for result in own:
        uri, _, line = place(result)
        lines = Path(find_bundled_rule_file(names[uri])).read_text(encoding="utf-8").splitlines()
        assert f"id: {result['ruleId']}" in lines[line - 1]
    assert name in {names[place(result)[0]] for result in own}
    assert run["originalUriBaseIds"]["PREFLIGHT"]["description"]["text"]


def placed(report: Report, path: str, windows: bool = False) -> tuple[str, str | None]:
    """The URI and the base that a rule file with this path gets."""
    result = report.results[1]._replace(file=None, rule_file=path)
    host = {**report.host, "os": "windows" if windows else "linux"}
    uri, base, _ = place(results_of(report._replace(results=(result,), host=host))[0])
    check_uri(uri)
    return uri, base


@pytest.mark.parametrize(
    ("path", "read"),
    [
        ("compose.yaml", "compose.yaml"),
        ("./deploy/compose.yaml", "deploy/compose.yaml"),
        ("a b/ü #1?.yaml", "a b/ü #1?.yaml"),
        ("a:b.yaml", "a:b.yaml"),
        ("100%25.yaml", "100%25.yaml"),
        ("back\\slash.yaml", "back\\slash.yaml"),
        ("../above.yaml", "../above.yaml"),
    ],
)
def test_a_relative_path_is_below_the_sources(path: str, read: str, report: Report) -> None:
    uri, base = placed(report, path)
    assert base == "%SRCROOT%"
    assert not urlsplit(uri).scheme
    assert unquote(uri) == read


@pytest.mark.parametrize("path", ["/srv/a b/ü%.yaml", "/c.yaml", "/a:b#c?d/e.yaml"])
def test_an_absolute_path_is_a_file_uri(path: str, report: Report) -> None:
    assert placed(report, path) == (PurePosixPath(path).as_uri(), None)


@pytest.mark.parametrize(
    "path", ["C:\\Users\\a b\\rules.yaml", "d:/x/y#.yaml", "\\\\server\\share\\ü.yaml"]
)
@pytest.mark.parametrize("windows", [False, True])
def test_a_path_of_windows_is_known_anywhere(path: str, windows: bool, report: Report) -> None:
    assert placed(report, path, windows) == (PureWindowsPath(path).as_uri(), None)


def test_backslashes_part_folders_on_windows_alone(report: Report) -> None:
    assert placed(report, "deploy\\compose.yaml", windows=True)[0] == "deploy/compose.yaml"


@given(st.from_regex(r"[^/\\]{1,20}(/[^/\\]{1,20}){0,3}", fullmatch=True))
def test_any_relative_path_reads_back(path: str) -> None:
    import posixpath

    uri, base = placed(golden_report(), path)
    assert base == "%SRCROOT%" or re.match("[A-Za-z]:/", path)
    wanted = posixpath.normpath(path) if base else f"/{path}"
    assert unquote(urlsplit(uri).path, errors="surrogatepass") == wanted


def test_fingerprints_are_unique_and_stay_when_lines_and_figures_change(report: Report) -> None:
    def prints(changed: Report) -> list[str]:
        return [o["partialFingerprints"]["primaryLocationLineHash"] for o in results_of(changed)]

    before = prints(report)
    assert len(set(before)) == len(before) == len(report.results)
    moved = tuple(
        one._replace(
            line=one.line and one.line + 7, rule_line=99, message="another", actual_text="9"
        )
        for one in report.results
    )
    assert prints(report._replace(results=moved)) == before
    later = tuple(one for one in report.results if one.item != "api")  # is of a rule with items
    assert set(prints(report._replace(results=later))) == set(before) - {
        o["partialFingerprints"]["primaryLocationLineHash"]
        for o in results_of(report)
        if o["message"]["text"].startswith("CPU limit · api")
    }
    twice = report._replace(results=report.results * 2)
    assert len(set(prints(twice))) == 2 * len(before)


def test_what_is_waived_is_suppressed_with_who_and_until_when(report: Report) -> None:
    (waived,) = [one for one in report.results if one.verdict == "waived"]
    assert waived.waiver is not None
    for result in results_of(report):
        if result["ruleId"] != waived.id:
            assert result["suppressions"] == []  # of all results or of none, SARIF 3.27.23
            continue
        (suppression,) = result["suppressions"]
        assert (suppression["kind"], suppression["status"]) == ("external", "accepted")
        for part in (waived.waiver.reason, waived.waiver.owner, waived.waiver.until.isoformat()):
            assert part in suppression["justification"]


def test_a_waiver_that_has_ended_suppresses_nothing(report: Report) -> None:
    ended = tuple(
        one._replace(verdict="fail", waiver=one.waiver._replace(holds=False, days_left=-1))
        for one in report.results
        if one.waiver is not None
    )
    (result,) = results_of(report._replace(results=ended))
    assert result["level"] == "error"
    assert result["suppressions"] == []


def test_a_rule_says_what_is_asked_why_where_and_how_to_mend_it(report: Report) -> None:
    rules = {one["id"]: one for one in run_of(report)["tool"]["driver"]["rules"]}
    memory = rules["host-memory"]
    assert memory["shortDescription"]["text"] == "Total RAM"
    assert memory["fullDescription"]["text"] == "All share it."
    assert memory["properties"]["tags"] == ["host", "memory"]
    for text in memory["help"].values():
        for part in ("All share it.", "≥ 10 GB", "First", "free -h", "preflight explain"):
            assert part in text
    assert rules["host-cpus"]["defaultConfiguration"]["level"] == "warning"
    assert "limits.cpus" not in rules["cpu-limit"]["help"]["text"]  # a fact of one item alone


def html(markdown: str) -> str:
    """Markdown as another program reads it, raw HTML let through."""
    rendered: str = MarkdownIt("commonmark", {"html": True}).enable("table").render(markdown)
    return rendered


def test_the_help_reads_as_it_is_meant(report: Report) -> None:
    rules = {one["id"]: one for one in run_of(report)["tool"]["driver"]["rules"]}
    page = html(rules["host-memory"]["help"]["markdown"])
    assert "<strong>Total RAM</strong>" in page
    assert "<li>Asked: ≥ 10 GB (9.3 GiB)</li>" in page
    assert '<pre><code class="language-sh">free -h\n</code></pre>' in page
    assert '<a href="https://example.org/memory">' in page


def test_no_foreign_text_becomes_markup_in_the_help(hostile_report: Report) -> None:
    for rule in run_of(hostile_report)["tool"]["driver"]["rules"]:
        page = html(rule["help"]["markdown"])
        tags = set(re.findall(r"</?([a-z0-9]+)", page))
        assert tags <= {"p", "strong", "ul", "li", "code", "pre", "a"}
        assert not re.search(r'href="(?!https://example\.org/)', page)
        assert "<strong><" not in page


@pytest.mark.parametrize("command", ["```", "a\n````\n# not a heading", "`x`", "~~~\n```sh\n```"])
def test_no_command_ends_its_block(command: str, report: Report) -> None:
    result = report.results[1]._replace(fixes=(ResolvedFix("Do:", command),))
    (rule,) = run_of(report._replace(results=(result,)))["tool"]["driver"]["rules"]
    page = html(rule["help"]["markdown"])
    assert page.count("<pre>") == 1
    assert f">{command}\n</code></pre>" in page
    assert "<h1>" not in page


def test_notes_on_the_rule_file_are_told(report: Report) -> None:
    notes = ("waiver of a: the rule passes without it; remove the waiver", "")
    (invocation,) = run_of(report._replace(notes=notes))["invocations"]
    told = [one["message"]["text"] for one in invocation["toolConfigurationNotifications"]]
    assert told == [notes[0]]


def test_more_than_github_takes_is_cut_at_the_lightest_and_said(
    report: Report, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sarif, "_MAX_SARIF_RESULTS", 250)
    verdicts = {one.verdict: one for one in report.results}

    def many(verdict: str, count: int) -> list[Result]:
        return [verdicts[verdict]._replace(id=f"{verdict}-{n}") for n in range(count)]  # type: ignore[index]

    results = (*many("warn", 250), *many("fail", 10))
    run = run_of(report._replace(results=results), RenderOptions())
    check_github(run)
    assert len(run["results"]) == 250
    assert Counter(one["level"] for one in run["results"]) == {"error": 10, "warning": 240}
    (told,) = run["invocations"][0]["toolConfigurationNotifications"]
    assert told["message"]["text"].startswith("10 more results")


def test_check_writes_it(
    run_preflight: Callable[..., Any], tmp_path: Path, validator: jsonschema.Draft4Validator
) -> None:
    done = run_preflight(
        "check", "--facts", str(GOLDEN / "facts.json"), "-r", str(GOLDEN / "rules.yaml"),
        "-f", "text", "-f", "sarif:out.sarif", cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 1, done.stderr
    log = json.loads((tmp_path / "out.sarif").read_bytes())
    validator.validate(log)
    check_github(log["runs"][0])
    uris = {place(one)[0] for one in log["runs"][0]["results"]}
    assert uris == {"compose.yaml", (GOLDEN / "rules.yaml").as_uri()}


def test_a_rule_without_any_place_still_has_one(report: Report) -> None:
    bare = report.results[1]._replace(file=None, line=None, rule_file="", rule_line=None)
    bundled = bare._replace(rule_file="bundled")
    for result in results_of(report._replace(results=(bare, bundled))):
        assert place(result) == ("preflight/rules.yaml", "PREFLIGHT", 1)
