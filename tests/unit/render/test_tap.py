"""TAP 14 read by consumers that others wrote: npm's tap-parser, and Perl's prove."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engines import skip_or_fail
from preflight.model.report import Report
from preflight.render import RenderOptions, load_renderer
from preflight.render.sanitize import clean_and_shorten, sanitize_texts
from reports import golden_report, report_with_hostile_text

PLAIN = RenderOptions()


def tap(report: Report, options: RenderOptions = PLAIN) -> str:
    return load_renderer("tap")(report, options)


def program(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        skip_or_fail(f"{name} is not installed")
    return found


def consumed(stream: str) -> tuple[int, list[dict[str, Any]], dict[str, Any]]:
    """Return tap-parser's exit code, the test points and the summary that it saw."""
    done = subprocess.run(
        [program("tap-parser"), "--strict", "-j", "0"], input=stream.encode(), capture_output=True
    )
    events = json.loads(done.stdout)
    kinds = {event[0] for event in events}
    assert kinds <= {"version", "plan", "comment", "assert", "complete", "line", "finish", "close"}
    points = [event[1] for event in events if event[0] == "assert"]
    (complete,) = (event[1] for event in events if event[0] == "complete")
    return done.returncode, points, complete


def reads_as(report: Report, options: RenderOptions = PLAIN) -> list[dict[str, Any]]:
    """Assert that the consumer sees what the report says; returns the test points."""
    code, points, complete = consumed(tap(report, options))
    assert (code == 0) == (report.exit_code == 0)
    assert (complete["count"], complete["bailout"]) == (len(report.results), False)
    verdicts = Counter(one.verdict for one in report.results if not report.affects_exit_code(one))
    gating = sum(map(report.affects_exit_code, report.results))
    assert complete["fail"] - complete["todo"] == gating
    assert complete["skip"] == verdicts["skip"]
    assert complete["todo"] == verdicts["waived"] + verdicts["warn"] + verdicts["unknown"]
    for point, result in zip(points, report.results, strict=True):
        assert point["ok"] == (result.verdict in ("pass", "skip"))
        told = point["diag"]
        assert (told is not None) == (options.verbose or result.verdict != "pass")
        assert told is None or told["verdict"] == result.verdict
    return points


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("verbose", [False, True])
def test_consumer_counts_what_the_report_says(strict: bool, verbose: bool, report: Report) -> None:
    reads_as(report._replace(strict=strict), RenderOptions(verbose=verbose))


def test_consumer_is_red_exactly_where_the_exit_code_is(report: Report) -> None:
    by_verdict = {one.verdict: one for one in report.results}
    for one in by_verdict.values():
        reads_as(report._replace(results=(one,)))
    reads_as(report._replace(results=()))


def test_foreign_text_is_text_to_the_consumer(hostile: str, hostile_report: Report) -> None:
    told = clean_and_shorten(hostile).strip()
    for point, result in zip(reads_as(hostile_report), hostile_report.results, strict=True):
        assert point["name"] == f"{sanitize_texts(result).name} ({result.id})"
        if point["diag"] and told:
            assert point["diag"]["message"] == told
            assert point["diag"]["fixes"][0]["text"] == clean_and_shorten(hostile)


@pytest.mark.parametrize("text", ["a {", "# Subtest: x", "time=1ms", "\\#", "\\", "x # todo", "{"])
def test_no_description_opens_a_subtest_or_a_directive(text: str) -> None:
    reads_as(report_with_hostile_text(text))


def test_what_lets_a_run_pass_has_its_reason(report: Report) -> None:
    unknown = next(one for one in report.results if one.verdict == "unknown")
    more = (*report.results, unknown._replace(severity="recommended"))
    points = {point["name"]: point for point in reads_as(report._replace(results=more))}
    assert points["CPU cores (host-cpus)"]["todo"] == "recommended ≥ 4, found 2"
    kernel = points["Kernel (known-exception)"]
    assert kernel["todo"] == "waived until 2026-12-01 by ops: old hardware"
    assert kernel["diag"]["waiver"]["until"] == "2026-12-01"
    held = points["Held back (held)"]
    assert held["skip"] == "needs host-memory, which did not pass"
    undecided = points["Free disk space for Docker (docker-disk)"]
    assert undecided["todo"] == "undecided: its disk is inside the VM"


def test_diagnostics_tell_what_to_do(report: Report) -> None:
    points = {point["name"]: point for point in reads_as(report)}
    memory = points["Total RAM (host-memory)"]["diag"]
    assert memory["fixes"] == [
        {
            "text": "Get 10 GB, 1.6 GiB more than 7.8 GiB.",
            "command": "free -h",
            "url": "https://example.org/memory",
            "kind": "manual",
        }
    ]
    limit = points["CPU limit · api (cpu-limit)"]["diag"]
    assert (limit["file"], limit["line"]) == ("compose.yaml", 12)
    assert "2" in limit["fixes"][0]["text"], "so that the change isn't said again"
    assert "change" not in limit
    assert limit["error"] == "Range of CPUs is from 0.01 to 2.00"


def test_commands_keep_their_lines(report: Report) -> None:
    memory = report.results[1]
    fix = memory.fixes[0]._replace(command="one \\\n  two\n\n'three'")
    (point,) = reads_as(report._replace(results=(memory._replace(fixes=(fix,)),)))
    assert point["diag"]["fixes"][0]["command"] == "one \\\n  two\n\n'three'"


BLOCK = re.compile(r"^  ---\n((?:  .*\n)*?)  \.\.\.\n", re.MULTILINE)


@given(st.text())
def test_any_text_is_a_yaml_scalar(text: str) -> None:
    blocks = BLOCK.findall(tap(report_with_hostile_text(text)))
    read = [yaml.safe_load(block) for block in blocks]
    assert len(read) == sum(one.verdict != "pass" for one in golden_report().results)
    told = clean_and_shorten(text)
    assert not told.strip() or {one["message"] for one in read} == {told.strip()}
    assert all(one.get("found", "") == told for one in read)


def test_perl_agrees(report: Report, tmp_path: Path) -> None:
    prove = program("prove")
    passed = report._replace(
        results=tuple(r for r in report.results if not report.affects_exit_code(r))
    )
    for one in (
        report,
        passed,
        report_with_hostile_text("# TODO \\# {"),
        report._replace(strict=True),
    ):
        stream = tmp_path / "stream.tap"
        _, body = tap(one).split("\n", 1)  # the version: Perl reads up to TAP 13
        stream.write_text(body, encoding="utf-8")
        done = subprocess.run([prove, "--exec", "cat", str(stream)], capture_output=True, text=True)
        assert (done.returncode == 0) == (one.exit_code == 0), done.stdout
        assert f"Tests={len(one.results)}," in done.stdout


def test_notes_are_comments(report: Report) -> None:
    stream = tap(report._replace(notes=("Bail out! now\nok 99",)))
    assert "# note: Bail out! now ok 99\n" in stream
    assert consumed(stream)[2]["bailout"] is False
