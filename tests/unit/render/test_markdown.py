"""Markdown read by a parser that others wrote: the structure is ours, foreign text is text."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it.token import Token

from preflight.model.report import Report, ResolvedFix, Result
from preflight.render import RenderOptions, load_renderer
from preflight.render.report_texts import find_action_items
from preflight.render.sanitize import clean_and_shorten
from report_readers import Read
from reports import golden_report, report_with_hostile_text

PLAIN = RenderOptions()
LIMIT = 65_536  # characters of a comment on GitHub
OURS = re.compile(r"<details(?: open)?><summary>Every rule</summary>|</details>")
NOTIFIES = re.compile(r"@\w|#\d|https?://|www\.|GH-\d|:\w+:", re.IGNORECASE)


def markdown(report: Report, options: RenderOptions = PLAIN) -> str:
    return load_renderer("markdown")(report, options)


def one_line(text: str, most: int) -> str:
    return clean_and_shorten(text, most).strip()


def listed(report: Report, options: RenderOptions) -> list[Result]:
    return [one for one in report.results if options.verbose or one.verdict != "skip"]


def action(report: Report) -> list[Result]:
    return [one for one in report.results if one.verdict in ("fail", "warn", "unknown")]


def test_headings_tell_the_order_of_thought(report: Report) -> None:
    read = Read(markdown(report))
    assert read.texts("heading_open") == ["✖ preflight: FAIL", "To do", "Waived", "Results"]
    assert read.texts("paragraph_open")[0].startswith("3 failed · 1 unknown · 1 warning")


def test_tables_hold_every_result_once(report: Report) -> None:
    rows = list(Read(markdown(report)).rows())
    assert rows[:2] == [
        ["", "section", "", "passed"],
        ["✖", "First", "7.8 GiB RAM · 2 cores", "1 of 3"],
    ]
    rows = rule_rows(report)
    assert rows[0] == ["", "rule", "found", "expected"]
    assert [row[1] for row in rows if row[2:] == ["", ""]] == ["First", "Second", "Third"]
    names = [row[1] for row in rows if row[0]]
    assert sorted(names) == sorted(one.name for one in listed(report, PLAIN))
    assert ["✖", "CPU limit · api", "4", "≤ 2"] in rows


def test_verbose_tells_where_every_figure_comes_from(report: Report) -> None:
    rows = rule_rows(report, RenderOptions(verbose=True))
    assert {len(row) for row in rows} == {5}
    (memory,) = [row for row in rows if row[1] == "Total RAM"]
    assert memory[4] == "psutil.virtual_memory().total · All share it."


def test_quiet_tells_what_to_do_and_no_more(report: Report) -> None:
    read = Read(markdown(report, RenderOptions(quiet=True)))
    assert read.texts("heading_open") == ["✖ preflight: FAIL", "To do", "Waived"]
    assert not list(read.rows())
    assert read.list_items(1) == len(action(report)) + 1


def test_to_do_has_place_change_fix_and_command(report: Report) -> None:
    text = markdown(report)
    limit = text[text.index("- ✖ **CPU limit · api: 4") :].splitlines()
    assert limit[1:4] == [
        "  - in compose.yaml:12",
        "  - error: Range of CPUs is from 0.01 to 2.00",
        "  - Lower it to '2'.",
    ]
    read = Read(text)
    assert [fence.content for fence in read.fences() if fence.info == "sh"] == ["free -h\n"]
    assert read.links() == ["https://example.org/memory"]
    assert "1 check skipped" in read.texts("paragraph_open")


def test_ledger_is_drawn(report: Report) -> None:
    (drawn,) = [one.content for one in Read(markdown(report)).fences() if one.info == "text"]
    assert drawn.startswith("Memory   host 7.8 GiB\n")
    assert "Docker has 5.6 GiB: 0.4 GiB less than the reservations" in drawn


def test_ledger_is_drawn_only_where_memory_is_short(report: Report) -> None:
    memory = report.memory._replace(tightest=None)
    calm = report._replace(results=report.results[2:3], memory=memory)
    assert "├ ollama" not in markdown(calm)
    assert "├ ollama" in markdown(calm, RenderOptions(verbose=True))


def rule_rows(report: Report, options: RenderOptions = PLAIN) -> list[list[str]]:
    """The rows of the table of every rule, which is the last one."""
    rows = list(Read(markdown(report, options)).rows())
    return rows[next(n for n, row in enumerate(rows) if row[1:2] == ["rule"]) :]


def structure_holds(text: str, report: Report, options: RenderOptions = PLAIN) -> Read:
    """Assert that a document is built of nothing but what was meant; returns it."""
    read = Read(text)
    assert len(text) < LIMIT
    html = [one for one in read.blocks if one.type == "html_block"]
    assert all(OURS.fullmatch(one.content.strip()) for one in html)
    assert len(html) == (0 if options.quiet else 2), html
    assert not read.kinds() & {"html_inline", "image", "code_inline", "s_open", "em_open"}
    assert not read.kinds() & {"code_block", "hr", "blockquote_open", "ordered_list_open"}
    assert read.texts("heading_open")[1:] == (
        ["To do", "Waived"] if options.quiet else ["To do", "Waived", "Results"]
    )
    fixes = [fix for item in find_action_items(report) for fix in item.fixes]
    assert len(read.links()) == len([fix for fix in fixes if fix.url and len(fix.url) <= 600])
    assert all(str(link).startswith("https://example.org/") for link in read.links())
    shells = [one for one in read.fences() if one.info == "sh"]
    assert len(shells) == len([fix for fix in fixes if fix.command and fix.command.strip()])
    assert {len(row) for row in read.rows()} <= ({4, 5} if options.verbose else {4})
    shown = [text for block in read.blocks if block.children for text in loose(block)]
    assert not [text for text in shown if NOTIFIES.search(text)]
    return read


def loose(inline: Token) -> Iterator[str]:
    """The texts outside of links, as they are searched for names and numbers to link."""
    inside = False
    for one in inline.children or ():
        inside = one.type == "link_open" or (inside and one.type != "link_close")
        if one.type == "text" and not inside:
            yield one.content


LOOKS = [
    RenderOptions(),
    RenderOptions(verbose=True),
    RenderOptions(quiet=True),
    RenderOptions(ascii=True),
]


@pytest.mark.parametrize("options", LOOKS)
def test_foreign_text_is_text(options: RenderOptions, hostile: str, hostile_report: Report) -> None:
    text = markdown(hostile_report, options)
    structure_holds(text, hostile_report, options)
    if not options.quiet:
        rows = [row for row in rule_rows(hostile_report, options) if row[0]]
        all_rows = len(listed(hostile_report, options))
        assert len(rows) == all_rows - left_out(text)["rows of tables"]
        told = one_line(hostile, 100)
        assert {(row[2], row[3]) for row in rows} == {(told, told)}


@given(st.text())
@example("\x1e")  # Python ends a line there, nothing else does
@example("\r")
@example(" \n ")
def test_any_text_is_text(text: str) -> None:
    report = report_with_hostile_text(text)
    structure_holds(markdown(report), report)
    told = one_line(text, 100)
    assert {row[2] for row in rule_rows(report) if row[0]} == {told}


PIECES = [
    "*",
    "_",
    "`",
    "[",
    "](x)",
    "<a>",
    "&amp;",
    "|",
    "\\",
    "~~",
    "$",
    "a",
    " ",
    "#1",
    "@b",
    "-",
]


@given(st.lists(st.sampled_from(PIECES)).map("".join))
def test_no_mixture_of_marks_is_markup(text: str) -> None:
    report = report_with_hostile_text(text)
    structure_holds(markdown(report), report)
    assert {row[2] for row in rule_rows(report) if row[0]} == {one_line(text, 100)}


@pytest.mark.parametrize("text", ["# head", "- item", "1. one", "10) ten", "> said", "===", ": x"])
def test_a_fix_begins_no_block(text: str, report: Report) -> None:
    memory = report.results[1]._replace(fixes=(ResolvedFix(text),))
    read = Read(markdown(report._replace(results=(memory,))))
    assert text in read.texts("paragraph_open")
    assert read.list_items(3) == 1


def test_a_command_keeps_its_lines_whatever_they_are(report: Report) -> None:
    lines = ["cat <<'E' | sh", "```", "````sh", "", "  - x", "</details>", "@everyone", "E"]
    memory = report.results[1]._replace(fixes=(ResolvedFix("Run", "\n".join(lines)),))
    read = Read(markdown(report._replace(results=(memory,))))
    (fence,) = [one for one in read.fences() if one.info == "sh"]
    assert fence.content.splitlines() == lines


def test_an_address_leads_where_it_says(report: Report) -> None:
    addresses = ["https://a.example/x?y=1&z=<b>\"'|é#top", "javascript:alert(1)"]
    fixes = tuple(ResolvedFix("See", None, url) for url in addresses)
    read = Read(markdown(report._replace(results=(report.results[1]._replace(fixes=fixes),))))
    assert read.links() == ["https://a.example/x?y=1&z=%3Cb%3E%22'%7C%C3%A9#top"]


def left_out(text: str) -> Counter[str]:
    told = re.findall(r"^Left out, so that this fits into a comment: (.*)", text, re.MULTILINE)
    pairs = (one.split(" ", 1) for one in " · ".join(told).split(" · ") if one)
    return Counter({what: int(count.replace(",", "")) for count, what in pairs})


def test_too_much_leaves_out_what_is_needed_least(report: Report) -> None:
    failed, passed = report.results[1], report.results[0]
    many = report._replace(results=(passed,) * 2000 + (failed,) * 40)
    text = markdown(many)
    assert len(text) < LIMIT
    read = Read(text)
    assert read.list_items(1) == 40
    rows = [row[0] for row in rule_rows(many)]
    assert 0 < rows.count("✔") + rows.count("✖") == 2040 - left_out(text)["rows of tables"]


def test_a_thousand_failures_fit(report: Report) -> None:
    many = report._replace(results=(report.results[1],) * 1_000)
    text = markdown(many)
    assert len(text) < LIMIT
    assert 0 < Read(text).list_items(1) == 1_000 - left_out(text)["to do"]


def test_one_cause_of_undecided_rules_is_told_once(report: Report) -> None:
    (unknown,) = [one for one in report.results if one.verdict == "unknown"]
    several = tuple(unknown._replace(id=f"r{n}", title=f"Rule {n}") for n in range(3))
    text = markdown(report._replace(results=several), RenderOptions(quiet=True))
    assert text.count(unknown.reason_or_source) == 1
    assert (
        f"- ? **3 checks undecided: {unknown.reason_or_source}**\n  - Rule 0, Rule 1 and Rule 2"
        in text
    )


def test_all_well_says_what_to_type_next(report: Report) -> None:
    passed = tuple(one for one in report.results if one.verdict == "pass")
    read = Read(markdown(report._replace(results=passed)))
    assert read.texts("heading_open") == ["✔ preflight: PASS", "Results"]
    assert [one.content for one in read.fences() if one.info == "sh"] == ["docker compose up -d\n"]


def test_notes_of_the_rule_file_are_told(report: Report) -> None:
    read = Read(markdown(report._replace(notes=("one *note*",))))
    assert "note: one *note*" in read.texts("paragraph_open")


def test_gating_is_in_bold() -> None:
    strict = markdown(golden_report()._replace(strict=True))
    assert "- ▲ **CPU cores" in strict
    assert "- ▲ CPU cores" in markdown(golden_report())
