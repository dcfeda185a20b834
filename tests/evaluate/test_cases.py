"""Whole machines: `tests/cases/NAME/{rules.yaml, facts.json, expected.json}`, picked up by itself.

expected.json maps `rule-id`, or `rule-id/item`, to the verdict of every rule.
"""

from __future__ import annotations

import json
import re
from datetime import date
from pathlib import Path

import pytest

from preflight import pipeline
from preflight.evaluate.judge import Selection, evaluate
from preflight.model.report import Report
from preflight.model.rules import DEFAULT, PLACEHOLDER

ROOT = Path(__file__).parents[2]
CASES = sorted(path.parent.name for path in ROOT.glob("tests/cases/*/facts.json"))
BAD = re.compile(r"  |\( | \)|\(\)|\(more|\bNone\b|\bnan\b|\$\{|^[,.;:]| [,.;:](?:\s|$)")


def judged(name: str) -> Report:
    folder = ROOT / "tests" / "cases" / name

    def read(path: str) -> bytes:
        return (ROOT / "rules.yaml" if path == DEFAULT else folder / path).read_bytes()

    rules = pipeline.load("rules.yaml", read)
    snapshot = pipeline.read_snapshot((folder / "facts.json").read_bytes(), "facts.json")
    facts = pipeline.with_model(snapshot, rules)
    return evaluate(rules, facts, pipeline.catalogue(), Selection(), date(2026, 11, 23))


@pytest.mark.parametrize("name", CASES)
def test_the_verdicts_of_a_case(name: str) -> None:
    expected = json.loads((ROOT / "tests/cases" / name / "expected.json").read_text())
    found = {
        r.id if r.item is None else f"{r.id}/{r.item}": r.verdict for r in judged(name).results
    }
    assert found == expected


@pytest.mark.parametrize("name", CASES)
def test_every_sentence_of_a_case_can_be_read(name: str) -> None:
    for result in judged(name).results:
        texts = [result.message, result.found, result.asked, result.error or "ok"]
        for fix in result.fixes:
            texts.append(fix.text)
            for text in (fix.text, fix.command or "", fix.url or ""):
                assert not PLACEHOLDER.search(text), text
                assert "unknown" not in text, text
                assert "not set" not in text, text
        for text in texts:
            assert not BAD.search(text), text
            assert text.strip() == text
            assert text


@pytest.mark.parametrize("name", CASES)
def test_what_fails_says_what_to_do(name: str) -> None:
    bundled = {"process-memory", "process-cpus"}  # nothing to do, and they say so
    for result in judged(name).results:
        if result.verdict in ("fail", "warn") and result.id not in bundled:
            assert result.fixes, result.id


@pytest.mark.parametrize(
    ("name", "exit_code"),
    [
        ("linux-healthy", 0),
        ("remote-engine", 0),
        ("rootless-without-limits", 0),
        ("ci-job-in-container", 0),
        ("docker-desktop-mac", 1),
        ("docker-permission", 1),
        ("memtotal-unknown", 3),
    ],
)
def test_the_exit_code_of_a_case(name: str, exit_code: int) -> None:
    assert judged(name).exit_code == exit_code


@pytest.mark.parametrize(
    ("name", "rule", "words", "command"),
    [
        ("docker-desktop-mac", "docker-memory", "Settings, Resources, Memory", None),
        ("docker-desktop-mac", "docker-disk-vm", "Disk usage limit", "docker system df"),
        ("docker-permission", "docker-reachable", "docker group", "usermod -aG docker"),
        (
            "podman-native",
            "docker-disk",
            "Free 8 GB on the disk of /home/me",
            "podman system prune",
        ),
        ("wsl2-desktop", "host-memory", ".wslconfig", "wsl --shutdown"),
        ("wsl2-desktop", "docker-memory", "WSL 2", "wsl --shutdown"),
        (
            "cgroup-limit-over-docker",
            "docker-memory",
            "limits Docker's containers to 4 GiB",
            "slice",
        ),
        (
            "just-under-8-gb",
            "docker-memory",
            "Take a machine with 8 GB or more",
            "docker system info",
        ),
        (
            "rootless-without-limits",
            "docker-memory-limits",
            "delegated controllers",
            "delegate.conf",
        ),
        ("all-bad", "docker-disk", "hold up to 5 GB", "docker system prune"),
        ("all-bad", "docker-memory-available", "until 7 GB more are free", "docker stats"),
        ("environment", "model-variable", "Choose phi:latest or gemma:2b.", "export"),
        ("environment", "model-memory", "with 4 GB or less (500 MB too much)", None),
    ],
)
def test_the_fix_is_the_one_for_this_machine(
    name: str, rule: str, words: str, command: str | None
) -> None:
    (result,) = (r for r in judged(name).results if r.id == rule)
    (fix,) = result.fixes
    assert words in fix.text
    assert command in fix.command if command and fix.command else command == fix.command


def test_what_the_engine_said_is_shown_once_with_what_it_holds_back() -> None:
    results = {result.id: result for result in judged("docker-permission").results}
    assert results["docker-reachable"].error == "permission denied on unix:///var/run/docker.sock"
    held = [r for r in results.values() if r.held_by is not None]
    assert len(held) >= 5
    assert {r.held_by for r in held} == {"docker-reachable"}
    assert {r.verdict for r in held} == {"skip"}


def test_rules_about_this_host_are_skipped_with_a_remote_engine() -> None:
    results = {result.id: result for result in judged("remote-engine").results}
    for name in ("host-memory", "host-cpus", "host-disk", "memory-allocation"):
        assert results[name].verdict == "skip"
        assert results[name].evidence == "applies where docker.local is yes, here no"


def test_a_failure_is_shown_in_both_families_and_with_what_is_short() -> None:
    results = {result.id: result for result in judged("docker-desktop-mac").results}
    message = results["docker-memory"].message
    assert message == "RAM for Docker: 6.2 GB (5.8 GiB), needs at least 8 GB (1.8 GB short)"
