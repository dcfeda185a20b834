"""Real logs with what must be found in them, where that collection is at hand."""

from __future__ import annotations

import io
import json

import pytest

from bundled_rules import bundled_rules
from paths import SHARED
from preflight.cli.diagnose import build_log_report
from preflight.logs.log_searcher import LogSearcher

RULES = bundled_rules(known_errors=True)
CASES = SHARED / "cases"
pytestmark = pytest.mark.skipif(not CASES.is_dir(), reason="no shared cases here")


def found(text: str) -> list[str]:
    reader = LogSearcher(RULES.diagnoses)
    reader.add_log("a.log", io.BytesIO(text.encode()))
    return [finding.id for finding in build_log_report(RULES, reader).findings]


def test_each_fault_is_found_and_no_calm_log_is_spoken_of() -> None:
    rows = [json.loads(line) for line in (CASES / "logs.jsonl").read_text("utf-8").splitlines()]
    wrong = [
        (row["id"], row["expected"], ids)
        for row in rows
        if bool(ids := found(row["text"])) != (row["kind"] == "fault")
    ]
    assert wrong == []


def test_each_error_text_has_one_cause() -> None:
    lines = (CASES / "errors.txt").read_text("utf-8").splitlines()
    assert [line for line in lines if len(found(f"{line}\n")) != 1] == []
