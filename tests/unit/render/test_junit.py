"""JUnit XML against the schema of its first reader, and read back as CI systems read it."""

from __future__ import annotations

import pytest
from lxml import etree

from preflight.model.report import Report
from preflight.render import RenderOptions, load_renderer
from preflight.render.sanitize import clean_and_shorten
from report_readers import expected, state, states

PLAIN = RenderOptions()


def parsed(report: Report, options: RenderOptions = PLAIN) -> etree._Element:
    return etree.fromstring(load_renderer("junit")(report, options).encode("ascii"))


@pytest.mark.parametrize("strict", [False, True])
def test_golden_report_is_valid_and_counts_agree(
    strict: bool, report: Report, schema: etree.XMLSchema
) -> None:
    root = parsed(report._replace(strict=strict))
    schema.assertValid(root)
    assert states(root) == expected(report._replace(strict=strict))


def test_foreign_text_breaks_nothing_and_arrives(
    hostile: str, hostile_report: Report, schema: etree.XMLSchema
) -> None:
    root = parsed(hostile_report, RenderOptions(verbose=True))
    schema.assertValid(root)
    assert states(root) == expected(hostile_report)
    told = clean_and_shorten(hostile).strip()
    messages = {case[0].get("message") for case in root.iter("testcase") if len(case)}
    assert not told or messages == {told}
    assert {element.tag for element in root.iter()} <= {
        *("testsuites", "testsuite", "properties", "property", "testcase"),
        *("failure", "error", "skipped", "system-out", "system-err"),
    }


def test_any_time_and_a_nameless_host_are_valid(report: Report, schema: etree.XMLSchema) -> None:
    root = parsed(report._replace(measured_at="yesterday\x00", host={"hostname": " "}))
    schema.assertValid(root)
    assert root[0].get("hostname") == "localhost"
    schema.assertValid(parsed(report._replace(results=())))


def test_red_exactly_where_the_exit_code_is(report: Report) -> None:
    for strict in (False, True):
        for one in report.results:
            alone = report._replace(results=(one,), strict=strict)
            found = states(parsed(alone))
            assert bool(found["failure"] + found["error"]) == (alone.exit_code != 0), one.id


def test_sections_are_suites_and_items_have_names(report: Report) -> None:
    without = report._replace(results=(*report.results, report.results[0]._replace(section=" ")))
    root = parsed(without)
    assert [suite.get("name") for suite in root] == ["First", "Second", "Third", "Other"]
    names = [case.get("name") for case in root[2].iter("testcase")]
    assert names == ["CPU limit · api", "CPU limit · ollama"]


def test_a_failure_says_where_why_and_what_to_do(report: Report) -> None:
    (failure,) = parsed(report).xpath("//testcase[@name='CPU limit · api']/failure")
    assert failure.get("type") == "fail"
    assert failure.text.splitlines() == [
        "CPU limit · api: 4, at most 2 required",
        "in compose.yaml:12",
        "error: Range of CPUs is from 0.01 to 2.00",
        "fix: Lower it to '2'.",
    ]
    (memory,) = parsed(report).xpath("//testcase[@name='Total RAM']/failure")
    assert {"$ free -h", "see https://example.org/memory", "1 check skipped"} < set(
        memory.text.splitlines()
    )


def test_advice_is_told_where_no_case_tells_it(report: Report) -> None:
    first = parsed(report)[0]
    assert "CPU cores: 2, at least 4 recommended" in first.findtext("system-out")
    (warned,) = [case for case in first.iter("testcase") if case.get("name") == "CPU cores"]
    assert state(warned) == "passed"


def test_waived_and_undecided_advice_are_skipped_with_their_reason(report: Report) -> None:
    (waived,) = parsed(report).xpath("//testcase[@name='Kernel']/skipped/@message")
    assert "waived until 2026-12-01 by ops: old hardware" in waived
    (unknown,) = [one for one in report.results if one.verdict == "unknown"]
    recommended = report._replace(results=(unknown._replace(severity="recommended"),))
    (skipped,) = parsed(recommended).xpath("//skipped/@message")
    assert skipped == unknown.message


def test_properties_tell_what_was_judged(report: Report) -> None:
    root = parsed(report._replace(notes=("one", "two")))
    pairs = [(one.get("name"), one.get("value")) for one in root[0].iter("property")]
    assert {("rules.sha256", report.rules_sha256), ("verdict", "fail")} < set(pairs)
    assert [value for name, value in pairs if name == "note"] == ["one", "two"]
