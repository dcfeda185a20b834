"""Foreign text commands no CI system, in whatever it is printed."""

from __future__ import annotations

import json

import pytest

from preflight.model.report import ResolvedFix
from preflight.render.sanitize import clean_text, format_safe_json, sanitize_texts
from reports import golden_report

COMMANDS = (
    "##[error]x",
    "##vso[task.setvariable variable=PATH]/evil",
    "a ##VSO[task.complete]",
    "####[group]x",
    "##teamcity[buildStatus status='SUCCESS']",
)


@pytest.mark.parametrize("text", COMMANDS)
def test_a_text_holds_no_command_of_a_ci_system(text: str) -> None:
    assert "##[" not in clean_text(text)
    assert "##vso[" not in clean_text(text).lower()
    assert "##teamcity[" not in clean_text(text)


@pytest.mark.parametrize("text", COMMANDS)
@pytest.mark.parametrize("indent", [None, 2])
def test_json_holds_no_command_and_reads_back(text: str, indent: int | None) -> None:
    value = {text: [text]}
    printed = format_safe_json(value, indent)
    assert printed.isascii()
    assert not [name for name in ("##[", "##vso[", "##teamcity[") if name in printed.lower()]
    assert json.loads(printed) == value


def test_commands_keep_their_lines_and_are_cut_whole() -> None:
    report = golden_report()._replace(next="docker compose pull\n\x1b[31mdocker compose up -d")
    assert sanitize_texts(report).next == "docker compose pull\n\ufffd[31mdocker compose up -d"
    fix = sanitize_texts(ResolvedFix("a\nb", "x" * 5000 + "\ny", "u\nv"))
    assert fix == ("a b", "x" * 1999 + "…", "u v", "manual")
