"""The page, read by html5lib, and opened once in Chromium, where axe judges it."""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from html import escape
from pathlib import Path
from typing import Any

import html5lib
import pytest

from engines import skip_or_fail
from preflight.model.fleet import Fleet, HostReport
from preflight.model.report import (
    MemoryBreakdown,
    Report,
    ResolvedFix,
    ServiceMemory,
)
from preflight.render import RenderOptions, load_renderer
from report_readers import AXE, BREAKING_OUT, CACHE, program
from reports import golden_report, hosts, report_with_hostile_text

GIB = 2**30
SVG = "{http://www.w3.org/2000/svg}"
PLAIN = RenderOptions()


def page_of(report: Report, options: RenderOptions = PLAIN) -> str:
    return load_renderer("html")(report, options)


def changed(report: Report, id_: str, **fields: Any) -> Report:
    results = [one._replace(**fields) if one.id == id_ else one for one in report.results]
    return report._replace(results=tuple(results))


def parsed(text: str) -> Any:
    """Read a page as the standard says; raises where it has any parse error."""
    parser = html5lib.HTMLParser(strict=True, namespaceHTMLElements=False)
    return parser.parse(text)


def tags(text: str) -> Counter[str]:
    return Counter(str(one.tag) for one in parsed(text).iter())


@pytest.mark.parametrize("options", [PLAIN, RenderOptions(verbose=True), RenderOptions(quiet=True)])
def test_it_is_html_by_the_standard(options: RenderOptions, report: Report) -> None:
    assert tags(page_of(report, options))["h1"] == 1


def test_hostile_text_leaves_it_html(hostile_report: Report) -> None:
    assert tags(page_of(hostile_report, RenderOptions(verbose=True)))["script"] == 1


@pytest.mark.parametrize("text", BREAKING_OUT.values(), ids=BREAKING_OUT)
def test_nothing_breaks_out(text: str) -> None:
    page = page_of(report_with_hostile_text(text), RenderOptions(verbose=True))
    assert tags(page) == tags(
        page_of(report_with_hostile_text("harmless"), RenderOptions(verbose=True))
    )


def test_a_command_that_is_cut_can_not_be_copied(report: Report) -> None:
    fixes = (ResolvedFix("x", "rm -r /" + "x" * 5000), ResolvedFix("y", "true"))
    tree = parsed(page_of(changed(report, "host-memory", fixes=fixes)))
    first, second = tree.findall(".//*[@class='command']")[:2]
    assert "".join(first.find("pre").itertext()).endswith("x…")
    assert [first.find("button"), second.find("button").get("hidden")] == [None, ""]


def test_one_cause_of_undecided_rules_is_told_once(report: Report) -> None:
    (unknown,) = [one for one in report.results if one.verdict == "unknown"]
    several = tuple(unknown._replace(id=f"r{n}", title=f"Rule {n}") for n in range(3))
    tree = parsed(page_of(report._replace(results=several)))
    (task,) = tree.findall(".//li[@class='unknown']")
    told = " ".join("".join(task.itertext()).split())
    assert f"3 checks undecided: {unknown.reason_or_source}" in told
    assert "Rule 0, Rule 1, Rule 2" in told
    assert unknown.fixes[0].text not in told
    ids = {one.get("id") for one in tree.iter() if one.get("id")}
    links = [one.get("href") for one in task.iter("a")]
    assert len(links) == 3
    assert {one.removeprefix("#") for one in links} <= ids


def test_a_thousand_services_are_a_picture_still(report: Report) -> None:
    services = tuple(
        ServiceMemory(f"s{n}", 1, n * 2**20, None if n == 3 else GIB) for n in range(1000)
    )
    tree = parsed(
        page_of(report._replace(memory=MemoryBreakdown(16 * GIB, GIB, services=services)))
    )
    drawn = tree.find(f".//figure/{SVG}svg")
    names = [one.text for one in drawn.findall(f"{SVG}text") if not one.get("class")]
    assert (len(names), names[-1]) == (22, "981 more")
    assert len(tree.findall(".//tbody/tr")) == 1002


MEASURE_FRAMES = """onload = async () => {
    const frames = [...document.querySelectorAll("iframe")].map(async frame => ({
        width: frame.contentDocument.documentElement.scrollWidth,
        axe: frame.contentWindow.axe ? await frame.contentWindow.axe.run() : null,
    }));
    document.body.textContent = JSON.stringify(await Promise.all(frames));
};"""


def test_it_is_accessible_and_never_scrolls_sideways(
    report: Report, all_hostile: Report, tmp_path: Path
) -> None:
    if not AXE.exists():
        skip_or_fail(f"{AXE}: npm install --prefix {CACHE} axe-core")
    # many hosts, and a quiet page, name the rule in a command
    ids = (result._replace(id=f"{result.id}-within-memory-of-docker") for result in report.results)
    changed_ids = report._replace(results=tuple(ids))
    axe = f"<script>{AXE.read_text(encoding='utf-8')}</script>"
    pages: list[tuple[Report | Fleet, int, str]] = [
        (report, 375, axe),
        (report, 1280, axe),
        (all_hostile, 375, ""),
        (all_hostile, 1280, ""),
        (changed_ids, 375, ""),
        (Fleet("shop", (HostReport("a", changed_ids), *hosts()), 1.2), 375, ""),
    ]
    text = f"<!doctype html><script>{MEASURE_FRAMES}</script><body>"
    for shown, width, script in pages:
        options = RenderOptions(verbose=shown is not changed_ids, quiet=shown is changed_ids)
        page = load_renderer("html")(shown, options)
        page = re.sub("<meta http-equiv=.*>", "", page) + script  # its policy would refuse axe
        text += f'<iframe width={width} height=900 srcdoc="{escape(page)}"></iframe>'
    file = tmp_path / "frames.html"
    file.write_text(text, encoding="utf-8")
    done = subprocess.run(
        [
            *(program("chromium"), "--headless", "--no-sandbox", "--virtual-time-budget=60000"),
            *(f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", file.as_uri()),
        ],
        capture_output=True,
        encoding="utf-8",
        timeout=120,
    )
    tree = html5lib.parse(done.stdout, namespaceHTMLElements=False)
    frames = json.loads("".join(tree.find("body").itertext()))
    for frame, (_, width, script) in zip(frames, pages, strict=True):
        assert 0 < frame["width"] <= width
        if script:
            passes = {rule["id"] for rule in frame["axe"]["passes"]}
            assert {"color-contrast", "heading-order", "region"} <= passes
            assert [(rule["id"], rule["nodes"]) for rule in frame["axe"]["violations"]] == []


def test_the_same_report_gives_the_same_bytes_whatever_the_terminal(report: Report) -> None:
    first = page_of(report)
    assert first.isascii()
    assert first == page_of(golden_report(), RenderOptions(width=200, color=True, ascii=True))


def test_a_quiet_page_still_says_of_which_machine_and_when(report: Report) -> None:
    about = "".join(parsed(page_of(report, RenderOptions(quiet=True))).find(".//header").itertext())
    assert "Linux x86_64" in about
    assert report.measured_at in about


def test_a_page_about_many_hosts_says_by_which_version_and_when() -> None:
    def header_of(fleet: Fleet) -> str:
        page = parsed(load_renderer("html")(fleet, RenderOptions()))
        return "".join(page.find(".//header").itertext())

    fleet = Fleet("shop", tuple(hosts()), 1.2)
    header = header_of(fleet)
    judged = next(host.report for host in fleet.hosts if host.report)
    assert f"preflight {judged.version}" in header
    assert f"measured {judged.measured_at}" in header
    assert "measured" not in header_of(Fleet("shop", (HostReport("a", None, "gone"),), 1.2))


def test_no_section_holds_only_what_was_skipped(report: Report) -> None:
    skipped = tuple(
        result._replace(verdict="skip") if result.section == "Second" else result
        for result in report.results
    )
    page = parsed(page_of(report._replace(results=skipped)))
    names = [
        name.text
        for part in page.iterfind(".//details[@class='part']")
        for name in part.iterfind("summary/span[@class='name']")
    ]
    assert names == ["First", "Third", "Skipped"]


def test_identifiers_are_code_and_every_task_leads_to_its_explanation(report: Report) -> None:
    page = parsed(page_of(report))
    codes = {code.text for code in page.iter("code")}
    assert {"host-memory", "host.memory.total", "compose.yaml:12"} <= codes
    targets = {part.get("id") for part in page.iter("dl")}
    tasks = page.findall(".//ol[@class='tasks']/li")
    links = [task.find("p[@class='aside']/a").get("href") for task in tasks]
    assert len(links) == len(tasks) == 5
    assert {link.removeprefix("#") for link in links} <= targets
    quiet = parsed(page_of(report, RenderOptions(quiet=True)))  # it has nothing to lead to
    commands = [code.text for code in quiet.iterfind(".//p[@class='aside']/code")]
    assert len(commands) == len(tasks)
    assert "preflight explain host-memory" in commands


def test_bars_have_their_names_and_figures(report: Report) -> None:
    texts = [text.text for text in parsed(page_of(report)).iter(f"{SVG}text")]
    for name, figure in (("host", "7.8 GiB"), ("api × 2", "0 … 2.0 GiB")):
        assert texts[texts.index(name) + 1] == figure
