"""Whole machines: `tests/cases/NAME/{rules.yaml, facts.json, expected.json}`, picked up by itself.

expected.json maps `rule-id`, or `rule-id/item`, to the verdict of every rule. Then: what `rules
test` finds where a report is another than expected.
"""

from __future__ import annotations

import json
import re
from datetime import date

import pytest

import program
from paths import ROOT
from preflight import check as pipeline
from preflight.cli.rules import judge_case
from preflight.cli.streams import read_rule_file
from preflight.evaluate.case_comparison import compare_with_expected_verdicts
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.model.cases import VerdictMismatch
from preflight.model.problems import InputError
from preflight.model.report import Report
from preflight.model.rules import BUNDLED_FILE_BY_SET, TEXT_PLACEHOLDER_PATTERN
from preflight.snapshot.cases import parse_case_expectations
from preflight.snapshot.facts_file import read_snapshot

CASES = sorted(path.parent.name for path in ROOT.glob("tests/cases/*/facts.json"))
BAD = re.compile(r"  |\( | \)|\(\)|\(more|\bNone\b|\bnan\b|\$\{|^[,.;:]| [,.;:](?:\s|$)")


def judged(name: str) -> Report:
    folder = ROOT / "tests" / "cases" / name

    def read(path: str) -> bytes:
        return read_rule_file(path) if path in BUNDLED_FILE_BY_SET else (folder / path).read_bytes()

    rules = pipeline.load_ruleset("rules.yaml", read)
    snapshot = read_snapshot((folder / "facts.json").read_bytes(), "facts.json")
    facts = pipeline.add_derived_facts(snapshot, rules)
    return judge_rules(
        rules, facts, pipeline.build_catalogue(), RuleSelection(), date(2026, 11, 23)
    )


@pytest.mark.parametrize("name", CASES)
def test_the_verdicts_of_a_case(name: str) -> None:
    folder = ROOT / "tests/cases" / name
    written = (folder / "expected.json").read_bytes()
    report = judged(name)
    compared, differences = compare_with_expected_verdicts(
        report, parse_case_expectations(written, name), exact=True, part=False
    )
    assert differences == ()
    assert compared == len(report.results) == len(json.loads(written))


def test_the_command_says_the_same_of_every_case() -> None:
    words = ("rules", "test", "tests/cases", "--exact", "-f", "json")
    done = program.run(*words, cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert {one["name"]: one["compared"] for one in told["cases"]} == {
        name: len(json.loads((ROOT / "tests/cases" / name / "expected.json").read_text()))
        for name in CASES
    }


@pytest.mark.parametrize("name", CASES)
def test_every_sentence_of_a_case_can_be_read(name: str) -> None:
    for result in judged(name).results:
        texts = [result.message, result.actual_text, result.expected_text, result.error or "ok"]
        for fix in result.fixes:
            texts.append(fix.text)
            for text in (fix.text, fix.command or "", fix.url or ""):
                assert not TEXT_PLACEHOLDER_PATTERN.search(text), text
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
        ("docker-desktop-mac", "docker-memory", "Settings > Resources, set Memory", None),
        ("docker-desktop-mac", "docker-disk-vm", "Disk usage limit", "docker system df"),
        ("docker-permission", "docker-reachable", "docker group", "usermod -aG docker"),
        (
            "podman-native",
            "docker-disk",
            "Free up 7.5 GiB on the disk that holds /home/me",
            "podman image prune -a",
        ),
        ("wsl2-desktop", "host-memory", ".wslconfig", "wsl --shutdown"),
        ("wsl2-desktop", "docker-memory", "WSL 2", "wsl --shutdown"),
        (
            "cgroup-limit-over-docker",
            "docker-memory",
            "limits Docker containers to 4 GiB",
            "slice",
        ),
        (
            "just-under-8-gb",
            "docker-memory",
            "has 7.4 GiB of this machine's 14.9 GiB of memory",
            None,
        ),
        (
            "rootless-without-limits",
            "docker-memory-limits",
            "delegated controllers",
            "delegate.conf",
        ),
        ("all-bad", "docker-disk", "frees up to 4.7 GiB", "docker image prune -a"),
        ("all-bad", "docker-memory-available", "to free up another 6.6 GiB", "docker stats"),
        ("environment", "model-variable", "Choose phi:latest or gemma:2b.", "export"),
        ("environment", "model-memory", "with 3.7 GiB or less (476.9 MiB too much)", None),
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
    held = [r for r in results.values() if r.blocked_by is not None]
    assert len(held) >= 5
    assert {r.blocked_by for r in held} == {"docker-reachable"}
    assert {r.verdict for r in held} == {"skip"}


def test_rules_about_this_host_are_skipped_with_a_remote_engine() -> None:
    results = {result.id: result for result in judged("remote-engine").results}
    for name in ("host-memory", "host-cpus", "host-disk", "memory-allocation"):
        assert results[name].verdict == "skip"
        assert results[name].reason_or_source == "applies only if docker.local is yes, but it is no"


def test_a_failure_is_in_gib_beside_what_the_document_says() -> None:
    results = {result.id: result for result in judged("docker-desktop-mac").results}
    message = results["docker-memory"].message
    assert message == "RAM for Docker: 5.8 GiB, 8 GB (7.5 GiB) required"


# what a case finds where something is another than expected

RULES = """\
version: 1
rules:
  - {id: os, title: OS, fact: host.os, require: {equals: linux}}
  - {id: off, title: Off, enabled: false, fact: host.os, require: {equals: plan9}}
  - id: limit
    title: Limit
    for_each: compose.services
    fact: limits.memory
    recommend: {at_least: 1GB}
"""
FACTS = {
    "schema": "preflight.facts/1",
    "measured_at": "2026-11-23T11:00:00Z",
    "facts": {
        "host": {"os": "linux"},
        "compose": {"services": {"a": {"limits": {"memory": 2e9}}, "b": {"limits": {"memory": 5}}}},
    },
}
FOUND = {"os": "pass", "limit/a": "pass", "limit/b": "warn"}


def tried(
    expected: object,
    *only: str,
    exact: bool = False,
    rules: str = RULES,
    services: tuple[str, ...] = ("a", "b"),
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    ruleset = pipeline.load_ruleset("r.yaml", lambda _: rules.encode())
    facts = read_snapshot(json.dumps(FACTS).encode(), "facts.json")
    more = {name: {"limits": {"memory": 5}} for name in services}
    known = facts.values["compose"]["services"]
    facts.values["compose"]["services"] = {name: known.get(name, more[name]) for name in services}
    wanted = parse_case_expectations(json.dumps(expected).encode(), "expected.json")
    return judge_case(ruleset, facts, wanted, only, exact=exact)


def differences(
    expected: object, *only: str, exact: bool = False, rules: str = RULES
) -> tuple[int, dict[str, tuple[str | None, str | None]]]:
    compared, found = tried(expected, *only, exact=exact, rules=rules)
    return compared, {one.name: (one.expected, one.found) for one in found}


@pytest.mark.parametrize(
    ("expected", "services", "why"),
    [
        ({"os": "fail"}, "ab", "OS: linux, linux required"),
        ({"limit/c": "warn"}, "ab", "found only limit/a, limit/b"),
        (
            {"limit/x": "warn"},
            "abcde",
            "found only limit/a, limit/b, limit/c, limit/d, limit/e",
        ),
        (
            {"limit/x": "warn"},
            "abcdefg",
            "found only limit/a, limit/b, limit/c, limit/d, limit/e and 2 more",
        ),
        ({"off": "pass"}, "ab", "the rule is disabled; name it under only"),
        ({"verdicts": {"os": "pass"}, "only": ["limit"]}, "ab", "not selected by only"),
    ],
)
def test_a_difference_says_why(expected: object, services: str, why: str) -> None:
    _, (found,) = tried(expected, services=tuple(services))
    assert found.message == why


@pytest.mark.parametrize(
    ("expected", "compared", "wrong"),
    [
        (FOUND, 3, {}),
        ({"os": "pass"}, 1, {}),
        ({"os": "fail"}, 1, {"os": ("fail", "pass")}),
        ({"limit": "pass"}, 2, {"limit/b": ("pass", "warn")}),
        ({"limit": "pass", "limit/b": "warn"}, 2, {}),
        ({"limit/c": "skip"}, 1, {"limit/c": ("skip", None)}),
        ({"os/x": "pass"}, 1, {"os/x": ("pass", None)}),
        ({"off": "fail"}, 1, {"off": ("fail", None)}),
        ({"verdicts": {"off": "fail"}, "only": ["off"]}, 1, {}),
        ({"verdicts": {"os": "pass"}, "only": ["off"]}, 1, {"os": ("pass", None)}),
        ({"verdicts": {}, "exit_code": 0}, 0, {}),
        ({"verdicts": {}, "exit_code": 1}, 1, {"exit code": ("1", "0")}),
        ({"verdicts": {}, "exit_code": 1, "strict": True}, 0, {}),
    ],
)
def test_what_is_named_is_compared(
    expected: object, compared: int, wrong: dict[str, tuple[str | None, str | None]]
) -> None:
    assert differences(expected) == (compared, wrong)


@pytest.mark.parametrize(
    ("expected", "wrong"),
    [
        (FOUND, {}),
        ({"os": "pass", "limit/a": "pass"}, {"limit/b": (None, "warn")}),
        ({"os": "pass", "limit": "pass"},
         {"limit/a": (None, "pass"), "limit/b": (None, "warn"), "limit": ("pass", None)}),
        ({**FOUND, "off": "skip"}, {"off": ("skip", None)}),
    ],
)  # fmt: skip
def test_exactly_each_verdict_is_named(
    expected: object, wrong: dict[str, tuple[str | None, str | None]]
) -> None:
    assert differences(expected, exact=True)[1] == wrong


def test_a_part_is_compared_for_what_it_has() -> None:
    expected = {"verdicts": {**FOUND, "os": "fail"}, "exit_code": 3}
    assert differences(expected, "limit") == (2, {})
    assert differences(expected, "limit", exact=True) == (2, {})
    assert differences(expected, "os") == (1, {"os": ("fail", "pass")})


@pytest.mark.parametrize(
    ("until", "today", "verdict"),
    [
        ("2026-11-23", None, "waived"),  # the day of the measuring
        ("2026-11-22", None, "fail"),
        ("2026-11-23", "2026-11-24", "fail"),
        ("2020-01-31", "2020-01-31", "waived"),
    ],
)
def test_the_day_of_a_case_decides_on_waivers(until: str, today: str | None, verdict: str) -> None:
    rules = RULES.replace("linux", "plan9") + (
        f"waivers: [{{rule: os, reason: r, owner: o, until: {until}}}]\n"
    )
    expected = {"verdicts": {"os": verdict}, **({"today": today} if today else {})}
    assert differences(expected, rules=rules) == (1, {})


@pytest.mark.parametrize(
    ("expected", "said"),
    [
        ({"oss": "pass", "limti/a": "warn", "x": "skip"},
         ["unknown rule 'oss', did you mean 'os'?", "unknown rule 'limti', did you mean 'limit'?",
          "unknown rule 'x'"]),
        ({"o" * 70: "pass"}, [f"unknown rule '{'o' * 60}'"]),
        ({"verdicts": {"os": "pass"}, "only": ["of"]},
         ["only: no rule has the id or tag 'of', did you mean 'off'?"]),
        ({"verdicts": {"os": "pass"}, "vars": {"a": 1}}, ["vars: unknown var 'a'"]),
    ],
)  # fmt: skip
def test_names_that_the_rules_do_not_have(expected: object, said: list[str]) -> None:
    with pytest.raises(InputError) as fault:
        differences(expected)
    assert list(map(str, fault.value.problems)) == [f"expected.json: {one}" for one in said]
