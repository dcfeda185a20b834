"""Many machines in every format, as others read them; no machine's name or reason breaks one.

`PREFLIGHT_WRITE_GOLDEN=1 pytest tests/render` writes the golden files anew.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections import Counter
from typing import Any

import html5lib
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree
from prometheus_client.parser import text_string_to_metric_families
from rich.cells import cell_len

from preflight.model.fleet import Fleet, HostReport
from preflight.model.report import ExitCode, Report, Result
from preflight.render import FORMATS, RenderOptions
from preflight.render.fleet_summary import group_problems_across_hosts, summarize_each_host
from preflight.render.sanitize import clean_and_shorten
from report_readers import (
    ACTS,
    BREAKING_OUT,
    Read,
    check_github,
    commands,
    expected,
    program,
    states,
)
from reports import GOLDEN, HOSTILE, golden_report, hosts, render_hosts, report_with_hostile_text
from schemas import published, sealed

PLAIN, ALL, QUIET = RenderOptions(), RenderOptions(verbose=True), RenderOptions(quiet=True)
LOOKS = (PLAIN, ALL, QUIET)


def reports(many: list[HostReport]) -> dict[str, Report]:
    return {one.name: one.report for one in many if one.report is not None}


def results(many: list[HostReport]) -> list[Result]:
    return [result for one in reports(many).values() for result in one.results]


# --- every format ---


@pytest.mark.parametrize("name", FORMATS)
def test_a_writer_writes_the_golden_file(name: str) -> None:
    text = render_hosts(name, hosts(), PLAIN)
    golden = GOLDEN / f"hosts.{name}"
    if os.environ.get("PREFLIGHT_WRITE_GOLDEN"):
        golden.write_text(text, encoding="utf-8")
    assert text == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_whatever_a_machine_is_called_acts_on_nothing(name: str, text: str) -> None:
    for options in LOOKS:
        told = render_hosts(
            name,
            [*hosts(text, text), HostReport(f"{text}2", report_with_hostile_text(text[:5000]))],
            options,
        )
        assert not ACTS.search(told)
        allowed = {"error", "warning", "notice"} if name == "github" else set()
        assert {one.name for one in commands(told)} <= allowed


@pytest.mark.parametrize("options", LOOKS)
@pytest.mark.parametrize("many", [[], hosts()[3:], hosts()[2:3]], ids=["none", "lost", "well"])
def test_no_machine_and_only_lost_ones_are_written(
    many: list[HostReport], options: RenderOptions
) -> None:
    every = {name: render_hosts(name, many, options) for name in FORMATS}
    assert len(json.loads(every["json"])["hosts"]) == len(many)
    suites = etree.fromstring(every["junit"].encode("ascii"))
    assert len({suite.get("hostname") for suite in suites}) == len(many)
    check_github(json.loads(every["sarif"])["runs"][0])
    assert len(points(every["tap"])) == len(many)
    assert tags(every["html"])["h1"] == 1
    hosts_ = {one.labels["host"] for one in samples(every["prometheus"])}
    assert hosts_ == {host.name for host in many}
    assert Read(every["markdown"]).texts("heading_open")


def test_the_gravest_verdict_is_the_exit_code() -> None:
    bad, well, lost = hosts()[0], hosts()[2], hosts()[3]

    def code(*many: HostReport, failure_code: int = ExitCode.UNDECIDED) -> int:
        return Fleet("", many, 0, failure_code).exit_code

    assert code(well) == 0
    assert code(well, lost) == 3
    assert code(well, lost, bad) == 1
    assert code(well, lost, bad, failure_code=ExitCode.USAGE) == 2


@pytest.mark.parametrize(
    ("fact", "column"),
    [
        ("host.memory.total", "host"),
        ("host.disk.free", "disk"),
        ("docker.disk.free", "disk"),
        ("docker.cpus", "docker"),
        ("compose.services.disk.limits.cpus", "stack"),
        ("model.memory", "stack"),
    ],
)
def test_a_rule_stands_in_the_column_of_its_fact(fact: str, column: str) -> None:
    one = golden_report().results[0]._replace(fact=fact, verdict="fail")
    (host,) = summarize_each_host(
        Fleet("", (HostReport("vm", golden_report()._replace(results=(one,))),), 0)
    )
    assert host.columns == {column: "fail"}


@pytest.mark.parametrize("name", ["text", "markdown", "html"])
def test_what_two_machines_lack_is_said_once_with_both(name: str) -> None:
    bad = hosts()[0].report
    text = render_hosts(
        name,
        [
            HostReport("gpu-03", bad),
            HostReport("web-01", hosts()[2].report),
            HostReport("gpu-04", bad),
        ],
        PLAIN,
    )
    if name == "html":
        text = "To do" + "".join(html5lib.parse(text).find(".//*[@class='tasks']").itertext())
    to_do = text[text.index("To do") :]
    assert to_do.count("such as Total RAM: 7.8 GiB") == 1
    assert "gpu-03, gpu-04" in to_do
    assert "2 of 3" in to_do


# --- text ---


@pytest.mark.parametrize("width", [40, 60, 80, 120, 300])
@pytest.mark.parametrize("options", LOOKS)
def test_text_stays_within_the_columns(width: int, options: RenderOptions) -> None:
    for name in ("edge-7", "名" * 12, "a-name-without-end-" * 9):
        text = render_hosts("text", hosts(name), options._replace(width=width))
        lines = [one for one in text.splitlines() if not one.strip().startswith(("$", "http"))]
        assert max(map(cell_len, lines)) <= width


def test_signs_stand_below_their_columns() -> None:
    for ascii_ in (False, True):
        text = render_hosts("text", hosts(), RenderOptions(width=100, ascii=ascii_))
        head, *rows = text.splitlines()
        (row,) = [one for one in rows if "vm-1" in one and "Total" in one]
        start = head.index("docker")
        assert row[start : start + 6].strip() in ("ok", "✔")
        start = head.index("host ", head.index("golden"))
        assert row[start : start + 4].strip() in ("FAIL", "✖")


def test_the_worst_come_first_and_what_is_lost_is_told_whole() -> None:
    why = "sudo refused: " + "a reason that no line of eighty columns would hold, " * 3
    lines = render_hosts("text", hosts(reason=why), PLAIN).splitlines()
    assert [line.split()[1] for line in lines[1:5]] == ["gpu-03", "vm-1", "edge", "edge-8"]
    for options in (PLAIN, QUIET):
        text = " ".join(render_hosts("text", hosts(reason=why), options).split())
        assert text.count(why.strip()) == 1
        assert "edge <7>, edge-8" in text
    text = render_hosts("text", hosts(reason=why), PLAIN, ExitCode.USAGE)
    assert [line.split()[1] for line in text.splitlines()[1:3]] == ["edge", "edge-8"]


def test_a_reason_of_a_rule_and_of_a_machine_are_two_causes() -> None:
    (unknown,) = [one for one in golden_report().results if one.verdict == "unknown"]
    fleet = Fleet("", tuple(hosts(reason=unknown.reason_or_source)), 0)
    problems = group_problems_across_hosts(fleet, recommended=False)
    having = [one.hosts for one in problems if one.task.result.verdict == "unknown"]
    assert sorted(having) == [("edge <7>", "edge-8"), ("vm-1",)]


def test_three_hundred_machines_fit_a_screen_and_verbose_lists_them() -> None:
    bad = hosts()[0].report
    many: list[HostReport] = [HostReport(f"vm-{n:04}", bad) for n in range(300)]
    text = render_hosts("text", many, PLAIN)
    assert len(text.splitlines()) < 120
    assert "✖ 260 more" in text
    assert "300 of 300" in text
    assert re.search(r"vm-0007 and\s+292 more", text)
    assert render_hosts("text", many, ALL).count("Total RAM 7.8 GiB") == 300


# --- formats that others read ---


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_json_follows_its_schema_and_names_are_whole(text: str) -> None:
    many = [*hosts(text, text), HostReport("poisoned", report_with_hostile_text(text[:5000]))]
    raw = render_hosts("json", many, PLAIN)
    assert raw.isascii()
    told = json.loads(raw)
    published("fleet").validate(told)
    sealed("fleet").validate(told)
    assert list(told["hosts"]) == [host.name for host in many]
    assert told["summary"]["unreachable"] == 2
    assert told["summary"]["hosts"] == len(many)
    lost = [name for name, one in told["hosts"].items() if "unreachable" in one]
    assert lost == [text, "edge-8"]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_junit_is_valid_and_has_every_result_once(
    text: str,
    schema: etree.XMLSchema,
) -> None:
    many = hosts(text, text)
    root = etree.fromstring(render_hosts("junit", many, ALL).encode("ascii"))
    schema.assertValid(root)
    each = (expected(one) for one in reports(many).values())
    assert states(root) == sum(each, Counter(error=2))
    assert [suite.get("id") for suite in root] == [str(n) for n in range(len(root))]
    assert {suite.get("hostname") for suite in root} >= {"vm-1", "gpu-03", "vm-2", "edge-8"}
    cases = [(one.get("classname"), one.get("name")) for one in root.iter("testcase")]
    assert len(set(cases)) == len(cases), "a CI system follows a test by its names"


@pytest.mark.parametrize("options", LOOKS)
@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_sarif_is_valid_and_github_takes_it(
    text: str,
    options: RenderOptions,
    validator: Any,
) -> None:
    many = [*hosts(text, text), HostReport("poisoned", report_with_hostile_text(text[:5000]))]
    log = json.loads(render_hosts("sarif", many, options))
    validator.validate(log)
    check_github(log["runs"][0])


def prints(many: list[HostReport]) -> dict[str, str]:
    (run,) = json.loads(render_hosts("sarif", many, PLAIN))["runs"]
    return {
        one["partialFingerprints"]["primaryLocationLineHash"]: one["message"]["text"]
        for one in run["results"]
    }


def test_an_alert_is_followed_by_its_machine_whoever_else_is_there() -> None:
    all_ = prints(hosts())
    for host in hosts():
        name = host.name
        alone = prints([host])
        assert alone.items() <= all_.items()
        assert all(text.startswith(f"{name}: ") for text in alone.values())
    assert len(all_) == sum(_is_told(one) for one in results(hosts())) + 2
    (run,) = json.loads(render_hosts("sarif", hosts(), PLAIN))["runs"]
    assert run["invocations"][0]["exitCode"] == 1


def _is_told(one: Result) -> bool:
    return one.verdict not in ("pass", "skip")


def test_annotations_name_their_machine() -> None:
    told = commands(render_hosts("github", hosts(), PLAIN))
    gating = [
        (name, result)
        for name, one in reports(hosts()).items()
        for result in one.results
        if one.affects_exit_code(result)
    ]
    errors = [one for one in told if one.name == "error"]
    assert len(errors) == len(gating) + 1  # two were lost for one reason
    for name, result in gating:
        said = clean_and_shorten(f"{name}: {result.message}")
        assert any(one.data.splitlines()[0] == said for one in errors), said
    (lost,) = [one for one in errors if "host key changed" in one.data]
    assert lost.properties["title"] == "preflight · Host reached"
    assert "edge <7>" in lost.data
    assert "edge-8" in lost.data


@pytest.mark.parametrize("text", [t for t in HOSTILE.values() if len(t) < 1000])
def test_tap_has_a_point_a_machine(text: str) -> None:
    many = hosts(text, text)
    told = points(render_hosts("tap", many, ALL))
    assert [one["ok"] for one in told] == [False, False, True, False, False]
    assert [one["name"].partition(" ")[0] for one in told[:3]] == ["vm-1.", "gpu-03.", "vm-2."]


def points(stream: str) -> list[dict[str, Any]]:
    """Return the machines' test points as the consumer sees them; it takes each subtest whole."""
    done = subprocess.run(
        [program("tap-parser"), "--strict", "-j", "0"], input=stream.encode(), capture_output=True
    )
    events = json.loads(done.stdout)
    kinds = {event[0] for event in events}
    known = {"version", "plan", "comment", "assert", "complete", "child", "finish", "close"}
    assert kinds <= known, "what it doesn't know is `extra`"
    told = [event[1] for event in events if event[0] == "assert"]
    (complete,) = (event[1] for event in events if event[0] == "complete")
    assert complete["count"] == len(told)
    assert (done.returncode == 0) == complete["ok"] == all(one["ok"] for one in told)
    for child in (event[1] for event in events if event[0] == "child"):
        assert {event[0] for event in child} <= known
    return told


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_markdown_keeps_its_structure(text: str) -> None:
    read = Read(render_hosts("markdown", hosts(text, text), PLAIN))
    plain = Read(render_hosts("markdown", hosts("edge", "lost"), PLAIN))
    assert read.kinds() == plain.kinds()
    assert read.texts("heading_open") == ["✖ preflight: FAIL", "To do"]
    assert [len(row) for row in read.rows()] == [7] * 5
    assert read.list_items(1) == plain.list_items(1)
    assert not [one for one in read.inline if one.type == "html_inline"]


@pytest.mark.parametrize("text", ["# a", "- a", "+ a", "1. a", "> a", "=", "---", "::error::a"])
def test_markdown_takes_no_name_for_a_block(text: str) -> None:
    read = Read(
        render_hosts(
            "markdown", [HostReport(text, None, text), HostReport("b", None, "lost")], PLAIN
        )
    )
    plain = Read(
        render_hosts(
            "markdown", [HostReport("a", None, "gone"), HostReport("b", None, "lost")], PLAIN
        )
    )
    assert [one.type for one in read.blocks] == [one.type for one in plain.blocks]


def test_markdown_fits_into_a_comment_and_says_what_is_left_out() -> None:
    bad = golden_report()
    many: list[HostReport] = [HostReport(f"host-{n:05}.example.org", bad) for n in range(300)]
    text = render_hosts("markdown", many, PLAIN)
    assert len(text) < 65_536
    (left_out,) = re.findall(r"Left out, so that this fits into a comment: ([\d,]+) hosts", text)
    rows = [row for row in Read(text).rows() if "host-" in row[1]]
    assert len(rows) + int(left_out.replace(",", "")) == 300
    assert "Total RAM" in text.partition("To do")[2], "what to do is told all the same"


def samples(text: str) -> list[Any]:
    families = list(text_string_to_metric_families(text))
    assert len({one.name for one in families}) == len(families)
    assert len(re.findall(r"^# TYPE (\S+)", text, re.M)) == len(families)
    return [sample for family in families for sample in family.samples]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_metrics_have_the_machine_as_a_label(text: str) -> None:
    many = [*hosts(text, text), HostReport("poisoned", report_with_hostile_text(text[:5000]))]
    told = samples(render_hosts("prometheus", many, PLAIN))
    assert {"host" in one.labels for one in told} == {True}
    places = [(one.name, *sorted(one.labels.items())) for one in told]
    assert len(set(places)) == len(places), "a series stands there once"
    reached = [one.value for one in told if one.name == "preflight_host_reached"]
    assert reached == [1, 1, 1, 0, 0, 1]
    for name, report in reports(many).items():
        mine = [one for one in told if one.labels["host"] == clean_and_shorten(name, 200)]
        values = {one.name: one.value for one in mine if len(one.labels) == 1}
        assert values["preflight_exit_code"] == report.exit_code
        chosen = [one.labels["verdict"] for one in mine if one.name == "preflight_verdict"]
        assert chosen == [report.verdict]


@given(st.lists(st.text(max_size=300), min_size=2, max_size=4, unique=True))
def test_no_two_machines_become_one(names: list[str]) -> None:
    many: list[HostReport] = [HostReport(name, None, "lost") for name in names]
    told = samples(render_hosts("prometheus", many, PLAIN))
    assert len({one.labels["host"] for one in told}) == len(names)
    assert len(prints(many)) == len(names)
    assert list(json.loads(render_hosts("json", many, PLAIN))["hosts"]) == names


def test_promtool_takes_the_metrics() -> None:
    done = subprocess.run(
        [program("promtool"), "check", "metrics"],
        input=render_hosts("prometheus", hosts('a"b\\c\nd', "lost"), PLAIN),
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- the page ---


def tags(text: str) -> Counter[str]:
    root = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False).parse(text)
    return Counter(str(one.tag) for one in root.iter())


@pytest.mark.parametrize(
    "text", [*HOSTILE.values(), *BREAKING_OUT.values()], ids=[*HOSTILE, *BREAKING_OUT]
)
def test_a_page_is_html_whatever_a_machine_is_called(text: str) -> None:
    page = render_hosts("html", hosts(text or "x", text or "x"), ALL)
    assert page.isascii()
    assert tags(page) == tags(render_hosts("html", hosts("edge", "lost"), ALL))
