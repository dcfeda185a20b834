"""Whole logs: calm ones and quoted errors, of which nothing is said, and events told once."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote_plus

import pytest

from bundled_rules import bundled_rules
from known_errors import CLEAN, lines_by_error
from log_matchers import share_matchers
from preflight.cli.diagnose import build_log_report
from preflight.logs.log_searcher import LogSearcher

RULES = bundled_rules(known_errors=True)
SUPPORT = Path(__file__).parents[2] / "support"
MIN_VARIANTS, MIN_NEAR_MISSES = 6, 3


@pytest.fixture(autouse=True)
def one_matcher(monkeypatch: pytest.MonkeyPatch) -> None:
    share_matchers(monkeypatch)


def excerpts(log: str) -> list[str]:
    reader = LogSearcher(RULES.diagnoses)
    reader.add_log("a.log", io.BytesIO(log.encode()))
    return [f"{found.id}: {found.excerpt}" for found in build_log_report(RULES, reader).findings]


def read_logs(name: str) -> list[tuple[str, str]]:
    """Return the logs of a file, each after its name, which stands after `===`."""
    _, *logs = f"\n{(SUPPORT / name).read_text('utf-8')}".split("\n=== ")
    return [(name, log) for name, _, log in (log.partition("\n") for log in logs)]


def test_nothing_is_said_of_a_calm_log() -> None:
    logs = dict(read_logs("calm_logs.txt"))
    assert len(logs) >= 300
    assert {name: said for name, log in logs.items() if (said := excerpts(log))} == {}


@pytest.mark.parametrize("name", ["reference/errors.md", "reference/refusals.md", "changelog.md"])
def test_nothing_is_said_of_the_docs_that_quote_errors(name: str) -> None:
    page = Path(__file__).parents[3] / "docs" / name
    assert excerpts(page.read_text("utf-8")) == []


def test_one_event_of_several_lines_is_told_once() -> None:
    logs = read_logs("fault_logs.txt")
    told = [(id_, [text.split(":")[0] for text in excerpts(log)]) for id_, log in logs]
    assert [(id_, ids) for id_, ids in told if ids != [id_]] == []


LOKI_QUERY = '{job="a"} |= "%s"'
QUOTATIONS: dict[str, Callable[[str], str]] = {
    "a chat in JSON": lambda text: json.dumps({"role": "user", "content": f"I see {text} again"}),
    "a chat in Python": lambda text: (
        f"INFO {{'messages': [{{'role': 'user', 'content': {text!r}}}]}}"
    ),
    "a prompt": lambda text: f"level=INFO msg=completion prompt={json.dumps(text)} tokens=12",
    "a web request": lambda text: f'10.0.0.7 - - "GET /search?q={quote_plus(text)} HTTP/1.1" 200 5',
    "a search": lambda text: f"level=info query={json.dumps(LOKI_QUERY % text)} status=200",
    "grep in source": lambda text: f"src/errors.go:13:\t\treturn errors.New({json.dumps(text)})",
    "grep in docs": lambda text: f"docs/faq.md:12:{text}",
    "Python": lambda text: f"        logger.error({text!r})",
    "Go": lambda text: f"\tlog.Fatal({json.dumps(text)})",
    "a comparison": lambda text: f"    if {text!r} in output:",
    "a constant": lambda text: f"ERROR_TEXT = {json.dumps(text)}",
    "a comment": lambda text: f"// {text}",
    "an alert": lambda text: f"        summary: {json.dumps(text)}",
    "a pattern": lambda text: f"  pattern: {json.dumps(text)}",
    "a command": lambda text: f"$ dmesg | grep -i {json.dumps(text)}",
    "go test": lambda text: f"--- PASS: TestErrors/{text} (0.00s)",
    "pytest": lambda text: f"tests/test_errors.py::test_known[{text}] PASSED [ 42%]",
    "a changelog": lambda text: f"- Fixed: {text} on start",
    "a commit": lambda text: f"3f4e012 Fix {text}",
    "a manual": lambda text: f"If you see `{text}`, raise the limit.",
    "a heading": lambda text: f"### {text}",
    "a question": lambda text: f"How to fix {text}?",
    "a question of a user": lambda text: f"Why does my API end with {text} at night? Help.",
    "a list": lambda text: f" * {json.dumps(text)} - see the next page",
}


@pytest.mark.parametrize("quotation", QUOTATIONS)
def test_an_error_that_is_only_quoted_is_not_told(quotation: str) -> None:
    lines = [d.examples[0].replace("\n", " ") for d in RULES.diagnoses if d.report and d.times == 1]
    assert excerpts("".join(f"{QUOTATIONS[quotation](line)}\n" for line in lines)) == []


def test_each_error_has_variants_and_near_misses() -> None:
    variants = Counter(id_ for id_, _ in lines_by_error(RULES.diagnoses))
    too_few = {
        diagnosis.id: counts
        for diagnosis in RULES.diagnoses
        if diagnosis.report and diagnosis.times == 1
        for counts in [(variants[diagnosis.id], len(CLEAN.get(diagnosis.id, ())))]
        if counts[0] < MIN_VARIANTS or counts[1] < MIN_NEAR_MISSES
    }
    assert too_few == {}
