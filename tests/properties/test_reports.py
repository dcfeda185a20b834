"""Any report survives every format, read by parsers that others wrote, and comes back from JSON."""

from __future__ import annotations

import json
import re
from collections import Counter
from functools import cache
from typing import Any

import html5lib
import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from lxml import etree
from markdown_it import MarkdownIt
from prometheus_client.parser import text_string_to_metric_families

from paths import GOLDEN, SHARED
from preflight import check as pipeline
from preflight.model.facts import Facts
from preflight.model.problems import InputError
from preflight.model.report import VERDICTS, Report
from preflight.model.rules import RuleSet
from preflight.render import RenderOptions, load_renderer
from preflight.snapshot import compare
from preflight.snapshot.facts_file import read_snapshot
from reports import HOSTILE, golden_report
from schemas import sealed

JUNIT = SHARED / "schemas/junit.xsd"

TEXTS = st.text(max_size=12) | st.sampled_from([one for one in HOSTILE.values() if len(one) < 999])
FIGURES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
)
ANY = st.recursive(
    FIGURES | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=4,
)
UNITS = ("bytes", "seconds", "cores", "number", "version", "text", "boolean", "list", "map")


@cache
def base() -> Report:
    return golden_report()


@st.composite
def reports(draw: st.DrawFn) -> Report:
    """Judge facts of any value, then put any text and verdict into some of the results."""
    report = base()
    results = []
    for number, one in enumerate(draw(st.permutations(report.results))):
        changed: dict[str, Any] = {}
        for name in draw(
            st.sets(
                st.sampled_from(
                    [
                        "message",
                        "actual_text",
                        "expected_text",
                        "title",
                        "reason_or_source",
                        "why",
                        "section",
                        "source",
                        "error",
                    ]
                )
            )
        ):
            changed[name] = draw(TEXTS)
        if draw(st.booleans()):
            changed |= {"actual": draw(ANY), "unit": draw(st.sampled_from(UNITS))}
            changed |= {"verdict": draw(st.sampled_from([v for v in VERDICTS if v != "waived"]))}
            changed |= {"severity": draw(st.sampled_from(["required", "recommended"]))}
            changed |= {"expected": {"at_least": draw(FIGURES)}, "waiver": None}
        results.append(
            one._replace(item=f"{draw(TEXTS)}{number}", **changed)
        )  # no two are the same
    if draw(st.booleans()):
        del results[draw(st.integers(0, len(results))) :]
    return report._replace(
        results=tuple(results),
        strict=draw(st.booleans()),
        notes=tuple(draw(st.lists(TEXTS, max_size=2))),
        rules_name=draw(TEXTS),
        engine={**report.engine, "context": draw(TEXTS)},
    )  # fmt: skip


any_report = settings(suppress_health_check=list(HealthCheck))
LOOKS = st.builds(
    RenderOptions, width=st.integers(1, 300), verbose=st.booleans(), color=st.booleans()
)


@cache
def junit_schema() -> etree.XMLSchema | None:
    """Return JUnit's schema where it is beside the checkout; test_junit tells where it isn't."""
    return etree.XMLSchema(etree.parse(JUNIT)) if JUNIT.exists() else None


REPORT = sealed("report")


@any_report
@given(reports())
def test_json_follows_its_schema_and_comes_back(report: Report) -> None:
    text = load_renderer("json")(report, RenderOptions())
    read = json.loads(text)
    REPORT.validate(read)
    back = compare.read_report_results(text.encode("ascii"), "report.json")
    assert [(one.id, one.item, one.verdict, one.actual, one.message) for one in back] == [
        (one.id, one.item, one.verdict, one.actual, one.message) for one in report.results
    ]
    assert read["summary"]["exit_code"] == report.exit_code


@any_report
@given(reports(), LOOKS)
def test_junit_is_xml_with_a_case_for_each_result(report: Report, options: RenderOptions) -> None:
    root = etree.fromstring(load_renderer("junit")(report, options).encode("ascii"))
    if (schema := junit_schema()) is not None:
        schema.assertValid(root)
    cases = list(root.iter("testcase"))
    assert len(cases) == len(report.results)
    red = [
        case for case in cases if case.find("failure") is not None or case.find("error") is not None
    ]
    assert len(red) == sum(map(report.affects_exit_code, report.results))


@any_report
@given(reports())
def test_sarif_is_json_with_an_alert_for_each_result(report: Report) -> None:
    (run,) = json.loads(load_renderer("sarif")(report, RenderOptions(verbose=True)))["runs"]
    told = Counter(one["kind"] for one in run["results"])
    assert told.total() == len(report.results)
    assert {one["ruleId"] for one in run["results"]} <= {
        rule["id"] for rule in run["tool"]["driver"]["rules"]
    }


@any_report
@given(reports(), LOOKS)
def test_tap_has_a_point_for_each_result_and_yaml_that_is_read(
    report: Report, options: RenderOptions
) -> None:
    stream = load_renderer("tap")(report, options)
    lines = stream.split("\n")
    points = [line for line in lines if re.match(r"(not )?ok\b", line)]
    assert len(points) == len(report.results)
    assert f"1..{len(points)}" in lines or any(line.startswith("1..0") for line in lines)
    assert not any(line.startswith("Bail out!") for line in lines)
    for block in re.findall(r"^  ---\n((?:  .*\n)*?)  \.\.\.\n", stream, re.MULTILINE):
        assert isinstance(yaml.safe_load(block), dict)


@any_report
@given(reports(), LOOKS)
def test_markdown_holds_no_markup_of_others(report: Report, options: RenderOptions) -> None:
    parser = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    tokens = parser.parse(load_renderer("markdown")(report, options))
    inline = [one for token in tokens for one in token.children or ()]
    raw = {one.content for one in (*tokens, *inline) if one.type in ("html_inline", "html_block")}
    ours = re.compile(r"(?:<details(?: open)?><summary>Every rule</summary>|</details>)\n*")
    assert all(ours.fullmatch(one) for one in raw), raw
    links = {one.attrs["href"] for one in inline if one.type == "link_open"}
    assert links <= {"https://example.org/memory"}


@any_report
@given(reports(), LOOKS)
def test_html_is_html_by_the_standard(report: Report, options: RenderOptions) -> None:
    page = html5lib.HTMLParser(strict=True).parse(load_renderer("html")(report, options))
    scripts = page.findall(".//{http://www.w3.org/1999/xhtml}script")
    assert len(scripts) <= 1


@any_report
@given(reports())
def test_prometheus_reads_every_verdict(report: Report) -> None:
    text = load_renderer("prometheus")(report, RenderOptions())
    series = [one for family in text_string_to_metric_families(text) for one in family.samples]
    verdicts = [one for one in series if one.name == "preflight_rule_verdict" and one.value == 1]
    assert len(verdicts) == len(report.results)
    told = Counter(one.labels["verdict"] for one in verdicts)
    assert told == Counter(one.verdict for one in report.results)
    assert len({(one.name, tuple(sorted(one.labels.items()))) for one in series}) == len(series)


@pytest.mark.parametrize("name", ["text", "github"])
@any_report
@given(report=reports(), options=LOOKS)
def test_text_for_people_and_logs_has_nothing_that_acts(
    name: str, report: Report, options: RenderOptions
) -> None:
    shown = load_renderer(name)(report, options._replace(color=False))
    assert not re.search(
        "[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]", shown
    )
    if name == "text":
        assert not any(line.lstrip().startswith("::") for line in shown.splitlines())


# --- facts of any value, by the golden rules ------------------------------------------------------


def leaves(node: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    if not isinstance(node, dict) or not node:
        return [path]
    return [path, *(leaf for key, one in node.items() for leaf in leaves(one, (*path, key)))]


FACTS = json.loads((GOLDEN / "facts.json").read_bytes())
PLACES = [path for path in leaves(FACTS["facts"]) if path]


@cache
def golden_rules() -> RuleSet:
    return pipeline.load_ruleset("rules.yaml", lambda name: (GOLDEN / name).read_bytes())


@example(("compose", "services", "ollama", "replicas"), -1)
@given(st.sampled_from(PLACES), ANY)
def test_a_snapshot_of_any_value_is_judged_and_shown(path: tuple[str, ...], value: Any) -> None:
    root = json.loads(json.dumps(FACTS))
    node = root["facts"]
    for segment in path[:-1]:
        node = node[segment]
    node[path[-1]] = value
    try:
        facts: Facts = read_snapshot(json.dumps(root).encode(), "facts.json")
    except InputError:
        return
    rules = golden_rules()
    selection = pipeline.make_rule_selection(rules, (), (), strict=False)
    report = pipeline.check(rules, pipeline.add_derived_facts(facts, rules), selection, 0)
    REPORT.validate(json.loads(load_renderer("json")(report, RenderOptions())))
    for name in ("text", "junit", "sarif", "github", "tap", "markdown", "html", "prometheus"):
        assert load_renderer(name)(report, RenderOptions(verbose=True)).encode("utf-8", "replace")
