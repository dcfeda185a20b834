"""Rules held against facts: verdicts and their reasons, causes, selection, fixes, waivers."""

from __future__ import annotations

import itertools
import shlex
from datetime import date
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.check import build_catalogue
from preflight.evaluate import judge
from preflight.evaluate.explain import explain
from preflight.evaluate.judge import RuleSelection, judge_rules, select_rules
from preflight.model.facts import FactCatalogue, FactDeclaration, Facts, FileLine, Unknown
from preflight.model.problems import InputError
from preflight.model.report import Report, Result
from preflight.model.rules import RuleSet
from preflight.rules.load import load_ruleset

CATALOGUE = FactCatalogue(
    [
        FactDeclaration("host.memory.total", "bytes", ""),
        FactDeclaration("host.memory.limit", "bytes", ""),
        FactDeclaration("host.os", "text", ""),
        FactDeclaration("docker.local", "boolean", ""),
        FactDeclaration("docker.cpus", "cores", ""),
        FactDeclaration("docker.warnings", "list", ""),
        FactDeclaration("compose.services.*.limits.cpus", "cores", ""),
        FactDeclaration("compose.services.*.image", "text", ""),
        FactDeclaration("env.*", "text", ""),
        FactDeclaration("net.resolve.*", "boolean", ""),
    ]
)
CLOSED = Unknown("permission denied", "permission")
GB = 10**9


def facts(unknown: dict[str, Unknown] | None = None, **groups: Any) -> Facts:
    values = {"host": {"memory": {"total": 8 * GB, "limit": None}, "os": "linux"}, **groups}
    return Facts(values, {"host.memory.total": "MemTotal"}, unknown or {}, "2026-11-23T11:00:00Z")


def rules(text: str) -> RuleSet:
    return load_ruleset("r.yaml", lambda _: f"version: 1\n{text}".encode(), CATALOGUE)


def one(keys: str) -> RuleSet:
    return rules(f"rules: [{{id: a, title: Memory, {keys}}}]")


def judged(ruleset: RuleSet, given: Facts | None = None, **options: Any) -> Report:
    today = options.pop("today", date(2026, 11, 23))
    return judge_rules(ruleset, given or facts(), CATALOGUE, RuleSelection(**options), today)


def result(keys: str, given: Facts | None = None, **options: Any) -> Result:
    return judged(one(keys), given, **options).results[0]


TOTAL = "fact: host.memory.total"
LIMIT = "fact: host.memory.limit"
UNKNOWN = facts({"host.memory.total": CLOSED}, host={"memory": {"limit": None}, "os": "linux"})


@pytest.mark.parametrize(
    ("keys", "given", "verdict", "severity", "exit_code", "strict_code"),
    [
        ("require: {at_least: 8GB}", facts(), "pass", "required", 0, 0),
        ("require: {at_least: 9GB}", facts(), "fail", "required", 1, 1),
        ("require: {at_least: 8GB}", UNKNOWN, "unknown", "required", 3, 3),
        ("recommend: {at_least: 8GB}", facts(), "pass", "recommended", 0, 0),
        ("recommend: {at_least: 9GB}", facts(), "warn", "recommended", 0, 1),
        ("recommend: {at_least: 8GB}", UNKNOWN, "unknown", "recommended", 0, 3),
        (
            "require: {at_least: 8GB}, recommend: {at_least: 9GB}",
            facts(),
            "warn",
            "recommended",
            0,
            1,
        ),
        ("require: {at_least: 9GB}, recommend: {at_least: 8GB}", facts(), "fail", "required", 1, 1),
        (
            "require: {at_least: 8GB}, recommend: {at_least: {fact: host.memory.limit}}",
            facts({"host.memory.limit": CLOSED}, host={"memory": {"total": 8 * GB}}),
            "unknown",
            "recommended",
            0,
            3,
        ),
        ("when: {host.os: plan9}, require: {at_least: 9GB}", facts(), "skip", "required", 0, 0),
    ],
)
def test_verdict_severity_and_exit_code(
    keys: str, given: Facts, verdict: str, severity: str, exit_code: int, strict_code: int
) -> None:
    report = judged(one(f"{TOTAL}, {keys}"), given)
    (found,) = report.results
    assert (found.verdict, found.severity) == (verdict, severity)
    assert report.exit_code == exit_code
    assert judged(one(f"{TOTAL}, {keys}"), given, strict=True).exit_code == strict_code
    assert report.counts_by_verdict[found.verdict] == 1
    assert sum(report.counts_by_verdict.values()) == 1


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ("require: {at_least: 8GB}", "Memory: 7.5 GiB, at least 8 GB (7.5 GiB) required"),
        ("require: {at_least: 9GB}", "Memory: 7.5 GiB, at least 9 GB (8.4 GiB) required"),
        (
            "recommend: {at_least: 9GB}",
            "Memory: 7.5 GiB, at least 9 GB (8.4 GiB) recommended",
        ),
        ("require: {at_most: 7GB}", "Memory: 7.5 GiB, at most 7 GB (6.5 GiB) required"),
        ("require: {more_than: 8GB}", "Memory: 7.5 GiB, more than 8 GB (7.5 GiB) required"),
        (
            "require: {at_least: 8GiB}",
            "Memory: 7.5 GiB, at least 8 GiB required",
        ),
        ("require: {exists: false}", "Memory: 7.5 GiB"),
        (
            "require: {at_most: {fact: host.memory.limit}}",
            "Memory: 7.5 GiB, at most host.memory.limit (not set) required",
        ),
        (
            "require: {exists: true, at_least: 8GiB}",
            "Memory: 7.5 GiB, set and at least 8 GiB required",
        ),
        (
            "require: {any_of: [{at_least: 8GiB}, {at_least: 9GiB}]}",
            "Memory: 7.5 GiB, at least 8 GiB or at least 9 GiB required",
        ),
        (
            "require: {not: {at_most: 8GiB}}",
            "Memory: 7.5 GiB, must not be at most 8 GiB",
        ),
        (
            "when: {host.os: plan9}, require: {at_least: 1B}",
            "Memory: skipped, applies only if host.os is plan9, but it is linux",
        ),
    ],
)
def test_the_sentence(keys: str, message: str) -> None:
    assert result(f"{TOTAL}, {keys}").message == message


def test_absent_is_said_as_not_set_and_unknown_with_its_reason() -> None:
    absent = result(f"{LIMIT}, require: {{at_least: 1GB}}")
    assert (absent.verdict, absent.actual, absent.actual_text) == ("fail", None, "not set")
    assert absent.message == "Memory: not set, at least 1 GB (953.7 MiB) required"
    assert result(f"{LIMIT}, require: {{exists: false}}").verdict == "pass"
    unknown = result(f"{TOTAL}, require: {{at_least: 1GB}}", UNKNOWN)
    assert unknown.message == "Memory: unknown, permission denied"
    assert (unknown.actual, unknown.actual_text, unknown.reason_or_source) == (
        None,
        "unknown",
        CLOSED.reason,
    )


def test_the_result_holds_what_was_found_and_asked() -> None:
    found = result(f"{TOTAL}, require: {{at_least: {{fact: host.memory.total, times: 2}}}}")
    assert found.actual == 8 * GB
    assert found.expected == {"at_least": 16 * GB}
    assert (found.actual_text, found.expected_text, found.reason_or_source) == (
        "7.5 GiB",
        "≥ 14.9 GiB",
        "MemTotal",
    )
    assert found.fact == "host.memory.total"
    assert (found.rule_file, found.rule_line) == ("r.yaml", 2)
    text = result("fact: host.os, require: {equals: {fact: env.OS}}", facts(env={"OS": "linux"}))
    assert text.expected == {"equals": "linux"}
    both = result(f"{TOTAL}, require: {{at_least: 8GB, less_than: 16GB}}")
    assert (both.expected_text, both.message) == (
        "≥ 8 GB (7.5 GiB), < 16 GB (14.9 GiB)",
        "Memory: 7.5 GiB, at least 8 GB (7.5 GiB) and less than 16 GB (14.9 GiB) required",
    )


@pytest.mark.parametrize(
    ("fact", "value", "verdict", "found"),
    [
        ("host.os", "x" * 200, "fail", "x" * 200),
        ("host.os", "x" * 201, "fail", "x" * 199 + "…"),
        ("host.os", 5, "unknown", "5"),
        ("docker.warnings", None, "fail", "none"),
        ("docker.warnings", "broken", "unknown", "broken"),
    ],
)
def test_a_value_of_any_kind_is_shown_in_short(
    fact: str, value: Any, verdict: str, found: str
) -> None:
    group, name = fact.split(".")
    judged_ = result(f"fact: {fact}, require: {{contains: linux}}", facts(**{group: {name: value}}))
    assert (judged_.verdict, judged_.actual_text) == (verdict, found)


def test_a_report_says_of_which_host_it_is() -> None:
    assert judged(rules("rules: []")).host == {"hostname": None, "os": "linux", "arch": None}


# when


@pytest.mark.parametrize(
    ("when", "verdict"),
    [
        ("{host.os: linux}", "pass"),
        ("{host.os: linux, host.memory.limit: {exists: false}}", "pass"),
        ("{host.os: linux, host.memory.limit: {exists: true}}", "skip"),
        ("{docker.local: true}", "unknown"),
        ("{docker.local: true, host.os: plan9}", "skip"),  # false wins over unknown
        ("{docker.local: true, host.os: linux}", "unknown"),
        ("{host.os: plan9, docker.local: true}", "skip"),
        ("{host.os: {matches: lin}}", "pass"),
        ("{}", "pass"),
    ],
)
def test_when(when: str, verdict: str) -> None:
    found = result(f"{TOTAL}, require: {{at_least: 1B}}, when: {when}")
    assert found.verdict == verdict
    if verdict == "unknown":
        assert (
            found.message == "Memory: unknown, cannot tell whether the rule applies: "
            "the facts don't include this value"
        )


# needs

CHAIN = """\
rules:
  - {id: d, title: D, fact: host.os, require: {equals: linux}, needs: [c]}
  - {id: c, title: C, fact: host.os, require: {equals: linux}, needs: [b]}
  - {id: b, title: B, fact: host.os, require: {equals: linux}, needs: [ok, a]}
  - {id: ok, title: Fine, fact: host.os, require: {equals: linux}}
  - {id: a, title: A, tags: [root], fact: host.memory.total, %s}
"""


@pytest.mark.parametrize(
    ("bound", "holds_back"),
    [
        ("require: {at_least: 1B}", False),
        ("recommend: {at_least: 9GB}", False),
        ("require: {at_least: 9GB}", True),
        ("require: {at_least: {fact: host.memory.total}}, when: {docker.local: true}", True),
        ("require: {at_least: 1B}, when: {host.os: plan9}", True),
    ],
)
def test_what_one_cause_holds_back_names_it(bound: str, holds_back: bool) -> None:
    report = judged(rules(CHAIN % bound))
    held = {r.id: r.blocked_by for r in report.results if r.verdict == "skip" and r.id != "a"}
    assert held == (dict.fromkeys("bcd", "a") if holds_back else {})
    if holds_back:
        assert [r.id for r in report.results] == ["d", "c", "b", "ok", "a"]
        assert report.results[0].message == "D: skipped, needs c, which did not pass"


def test_what_is_needed_is_judged_even_where_it_is_not_selected() -> None:
    chain = rules(CHAIN % "require: {at_least: 9GB}")
    report = judged(chain, only=["d"])
    assert [(r.id, r.verdict, r.blocked_by) for r in report.results] == [("d", "skip", "a")]
    assert report.exit_code == 0
    assert report.notes == (
        "1 check skipped because a did not pass: A: 7.5 GiB, at least 9 GB (8.4 GiB) required",
    )
    report = judged(chain, skip=["root"])
    assert [r.id for r in report.results] == ["d", "c", "b", "ok"]
    assert report.notes[0].startswith("3 checks skipped because a did not pass: A: ")


@pytest.mark.parametrize(("memory", "expected"), [("1B", "up"), ("9GB", "")])
def test_the_next_command_is_not_named_if_what_is_needed_failed(memory: str, expected: str) -> None:
    chain = rules(CHAIN % f"require: {{at_least: {memory}}}")._replace(next="up")
    assert judged(chain, only=["d"]).next == judged(chain, skip=["root"]).next == expected


@pytest.mark.parametrize("services", [{}, {"a": {"image": "x"}}, None])
def test_the_next_command_is_not_named_where_it_would_start_nothing(
    services: dict[str, Any] | None,
) -> None:
    given = facts(compose={"services": services}) if services is not None else facts()
    report = judged(one(f"{TOTAL}, require: {{at_least: 1GB}}")._replace(next="up"), given)
    starts_nothing = services == {}
    assert report.next == ("" if starts_nothing else "up")
    assert any("No service is active" in note for note in report.notes) is starts_nothing


def test_a_needed_rule_that_is_off_is_still_judged() -> None:
    text = (
        "rules:\n  - {id: a, title: A, fact: host.os, require: {equals: linux}, needs: [b]}\n"
        "  - {id: b, title: B, fact: host.os, require: {equals: %s}, enabled: false}"
    )
    assert [(r.id, r.verdict) for r in judged(rules(text % "linux")).results] == [("a", "pass")]
    assert [(r.id, r.verdict) for r in judged(rules(text % "plan9")).results] == [("a", "skip")]


# for_each

EACH = "for_each: compose.services, fact: limits.cpus, require: {at_most: {fact: docker.cpus}}"


def services(**cpus: Any) -> Facts:
    found = {name.replace("__", "."): {"limits": {"cpus": n}} for name, n in cpus.items()}
    return facts(docker={"cpus": 4}, compose={"services": found})


NOTHING = "compose.services is empty"
NO_STACK = facts(compose=None)._replace(sources={"compose": "no compose file found"})


def test_one_result_an_item() -> None:
    report = judged(one(EACH), services(api=2, web__v2=8, free=None))
    assert [(r.item, r.verdict, r.actual) for r in report.results] == [
        ("api", "pass", 2),
        ("web.v2", "fail", 8),
        ("free", "fail", None),
    ]
    web = report.results[1]
    assert web.name == "Memory · web.v2"
    assert web.fact == 'compose.services."web.v2".limits.cpus'
    assert web.message == "Memory · web.v2: 8, at most 4 required"


@pytest.mark.parametrize(
    ("given", "verdict", "reason"),
    [
        (services(), "skip", NOTHING),
        (facts(compose={"services": None}), "skip", NOTHING),
        (facts(compose=None), "skip", NOTHING),
        (NO_STACK, "skip", "no compose file found"),
        (NO_STACK._replace(values={"compose": {"services": {}}}), "skip", NOTHING),
        (facts({"compose": CLOSED}), "unknown", CLOSED.reason),
        (facts({"compose.services": CLOSED}), "unknown", CLOSED.reason),
        (facts(), "unknown", "the facts don't include this value"),
        (facts(compose={"services": 5}), "unknown", "compose.services isn't a collection"),
        (facts(compose={"services": ["api"]}), "unknown", "compose.services isn't a collection"),
        (facts(compose={"services": "api"}), "unknown", "compose.services isn't a collection"),
    ],
)
def test_over_nothing_is_one_skip_and_over_an_unknown_collection_one_unknown(
    given: Facts, verdict: str, reason: str
) -> None:
    (found,) = judged(one(EACH), given).results
    assert (found.item, found.verdict, found.reason_or_source) == (None, verdict, reason)


@pytest.mark.parametrize(
    ("system", "verdict", "reason"),
    [
        ("linux", "unknown", CLOSED.reason),
        ("darwin", "skip", "applies only if host.os is linux, but it is darwin"),
        (CLOSED, "unknown", CLOSED.reason),
    ],
)
def test_what_does_not_apply_is_no_matter_of_an_unknown_collection(
    system: str | Unknown, verdict: str, reason: str
) -> None:
    unknown = {"compose.services": CLOSED, "host.os": CLOSED}
    given = facts(unknown, **({} if isinstance(system, Unknown) else {"host": {"os": system}}))
    found = result(f"{EACH}, when: {{host.os: linux}}", given)
    assert (found.item, found.verdict, found.reason_or_source) == (None, verdict, reason)


def test_names_are_relative_to_the_item_first() -> None:
    found = result(
        f"{EACH}, when: {{image: {{matches: ollama}}}}, "
        "fixes: [{text: 'Set {item} ({image}) to {docker.cpus} on {host.os}.'}]",
        facts(
            docker={"cpus": 4},
            compose={"services": {"llm": {"image": "ollama/ollama", "limits": {"cpus": 8}}}},
        ),
    )
    assert found.fixes[0].text == "Set llm (ollama/ollama) to 4 on linux."


def test_one_item_that_fails_holds_back_what_needs_the_rule() -> None:
    text = (
        f"rules:\n  - {{id: a, title: A, {EACH}}}\n"
        "  - {id: b, title: B, fact: host.os, require: {equals: linux}, needs: [a]}"
    )
    assert judged(rules(text), services(x=1, y=2)).results[-1].verdict == "pass"
    assert judged(rules(text), services(x=1, y=8)).results[-1].blocked_by == "a"


# selection

SELECTION = rules(
    "rules:\n"
    + "".join(
        f"  - {{id: {id_}, title: T, fact: host.os, require: {{equals: linux}}, "
        f"tags: [{tags}], enabled: {enabled}}}\n"
        for id_, tags, enabled in [
            ("host-memory", "host, memory", "true"),
            ("host-disk", "host", "true"),
            ("docker-memory", "memory", "false"),
        ]
    )
)


@pytest.mark.parametrize(
    ("only", "skip", "ids"),
    [
        ([], [], ["host-memory", "host-disk"]),
        (["host"], [], ["host-memory", "host-disk"]),
        (["memory"], [], ["host-memory", "docker-memory"]),
        (["docker-memory"], [], ["docker-memory"]),
        (["host-disk", "docker-memory"], [], ["host-disk", "docker-memory"]),
        ([], ["memory"], ["host-disk"]),
        (["memory"], ["host"], ["docker-memory"]),
        (["host"], ["host"], []),
        (["*-memory"], [], ["host-memory", "docker-memory"]),
        (["h*t"], ["*disk"], ["host-memory"]),
    ],
)
def test_only_and_skip_by_id_and_tag(only: list[str], skip: list[str], ids: list[str]) -> None:
    assert [r.id for r in select_rules(SELECTION, RuleSelection(only, skip))] == ids
    assert judged(SELECTION, only=only, skip=skip).exit_code == 0


NAMES = """rules:
- {id: a, title: A, fact: net.resolve.a.test, require: {equals: true}}
- {id: b, title: B, fact: host.os, when: {net.resolve.b.test: true}, require: {exists: true}}
- {id: c, title: C, fact: host.os, recommend: {exists: true}}
- {id: d, title: D, for_each: net.resolve, fact: host.os, require: {exists: true}}
"""


def test_what_needs_the_network_is_skipped_and_counted() -> None:
    report = judged(rules(NAMES), facts({"net": Unknown("needs --online")}))
    assert [r.verdict for r in report.results] == ["skip", "skip", "pass", "skip"]
    assert [r.message for r in report.results[:2]] == [
        "A: skipped, needs --online",
        "B: skipped, needs --online",
    ]
    assert report.notes == ("3 rules need the network: add --online to judge them.",)
    assert report.exit_code == 0
    late = judged(rules(NAMES), facts({"net": Unknown("a.test didn't answer", "timeout")}))
    assert [r.verdict for r in late.results] == ["unknown", "unknown", "pass", "unknown"]
    assert (late.notes, late.exit_code) == ((), 3)


def test_what_the_network_said_is_in_the_sentence() -> None:
    given = facts(net={"resolve": {"a.test": False, "b.test": True}})
    source = {"net.resolve.a.test": "a.test has no address in DNS"}
    (first, *_) = judged(rules(NAMES), given._replace(sources=source)).results
    assert first.message == "A: no (a.test has no address in DNS)"


@pytest.mark.parametrize("option", ["only", "skip"])
@pytest.mark.parametrize("name", ["[", "nothing-*"])
def test_a_glob_that_matches_nothing_is_refused(option: str, name: str) -> None:
    with pytest.raises(InputError, match="no rule has this id or tag"):
        judged(SELECTION, **{option: [name]})


@pytest.mark.parametrize("option", ["only", "skip"])
def test_a_name_no_rule_has_is_refused_with_a_suggestion(option: str) -> None:
    with pytest.raises(InputError) as fault:
        judged(SELECTION, **{option: ["host-memroy"]})
    assert str(fault.value) == (
        f"--{option} host-memroy: no rule has this id or tag, did you mean 'host-memory'?"
    )


# exit codes

OUTCOMES = {
    "pass": "require: {at_least: 1B}",
    "fail": "require: {at_least: 9GB}",
    "warn": "recommend: {at_least: 9GB}",
    "skip": "require: {at_least: 1B}, when: {host.os: plan9}",
    "unknown": "require: {at_least: {fact: host.memory.limit}}",
    "advice-unknown": "recommend: {at_least: {fact: host.memory.limit}}",
    "waived": "require: {at_least: 9GB}",
}


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("kinds", list(itertools.combinations(OUTCOMES, 2)))
def test_the_exit_code_of_every_pair(kinds: tuple[str, str], strict: bool) -> None:
    text = "rules:\n" + "".join(
        f"  - {{id: {kind}, title: T, {TOTAL}, {OUTCOMES[kind]}}}\n" for kind in kinds
    )
    if "waived" in kinds:
        text += "waivers: [{rule: waived, reason: r, owner: o, until: 2027-01-31}]\n"
    given = facts({"host.memory.limit": CLOSED}, host={"memory": {"total": 8 * GB}, "os": "linux"})
    report = judged(rules(text), given, strict=strict)
    if "fail" in kinds or (strict and "warn" in kinds):
        assert (report.exit_code, report.verdict) == (1, "fail")
    elif "unknown" in kinds or (strict and "advice-unknown" in kinds):
        assert (report.exit_code, report.verdict) == (3, "unknown")
    else:
        assert report.exit_code == 0
        assert report.verdict == ("warn" if {"warn", "advice-unknown"} & set(kinds) else "pass")


def test_no_rules_at_all_pass() -> None:
    assert judged(rules("rules: []")).exit_code == 0


# fixes

FIXES = (
    "fixes: [{when: {docker.local: true}, text: unknown}, {text: always one},"
    " {when: {host.os: plan9}, text: other}, {when: {host.os: linux}, text: first},"
    " {when: {host.memory.limit: {exists: false}}, text: second}, {text: always two}]"
)


def test_the_first_fix_that_holds_and_those_without_when() -> None:
    found = result(f"{TOTAL}, require: {{at_least: 9GB}}, {FIXES}")
    assert [fix.text for fix in found.fixes] == ["always one", "first", "always two"]


@pytest.mark.parametrize(
    ("bound", "given", "shown"),
    [
        ("require: {at_least: 9GB}", facts(), True),
        ("recommend: {at_least: 9GB}", facts(), True),
        ("require: {at_least: 9GB}", UNKNOWN, True),
        ("require: {at_least: 1B}", facts(), False),
        ("require: {at_least: 9GB}, when: {host.os: plan9}", facts(), False),
    ],
)
def test_fixes_are_shown_where_there_is_something_to_do(
    bound: str, given: Facts, shown: bool
) -> None:
    assert bool(result(f"{TOTAL}, {bound}, fixes: [{{text: Do.}}]", given).fixes) is shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{expected}, not {actual}: {missing}", "9 GB, not 7.5 GiB: 953.7 MiB"),
        ("on {host.os}", "on linux"),
        ("limit {host.memory.limit}", "limit not set"),
        ("for {item}", None),  # no item here
        ("{docker.cpus} cores", None),  # nobody knows
        ("docker ps --format '{{.Names}}'", "docker ps --format '{{.Names}}'"),
        ("awk '{print $1}' ${{item}} $$", "awk '{print $1}' ${{item}} $$"),
    ],
)
def test_placeholders(text: str, said: str | None) -> None:
    found = result(f'{TOTAL}, require: {{at_least: 9GB}}, fixes: [{{text: "{text}"}}]')
    assert [fix.text for fix in found.fixes] == ([] if said is None else [said])


def test_a_fix_that_can_not_be_filled_gives_way_to_the_next() -> None:
    found = result(
        f"{TOTAL}, require: {{at_least: 9GB}}, fixes: "
        "[{when: {host.os: linux}, text: 'add {missing}'}, {when: {host.os: linux}, text: more}]",
        UNKNOWN,
    )
    assert [fix.text for fix in found.fixes] == ["more"]
    assert found.error is None


def test_what_a_fact_says_is_not_filled_again() -> None:
    given = facts(env={"X": "{host.os} {expected}"})
    found = result(
        f"{TOTAL}, require: {{at_least: 9GB}}, error: '{{env.X}}', fixes: [{{text: '{{env.X}}'}}]",
        given,
    )
    assert found.fixes[0].text == "{host.os} {expected}"
    assert found.error == "{host.os} {expected}"


@pytest.mark.parametrize(
    ("bound", "given"),
    [
        ("require: {at_least: {fact: host.memory.limit}}", facts()),
        ("require: {equals: {fact: host.memory.limit}}", facts()),
        (
            "require: {at_least: {fact: host.memory.limit}}",
            facts({"host.memory.limit": CLOSED}, host={"memory": {"total": GB}, "os": "linux"}),
        ),
    ],
)
def test_no_fix_recommends_what_is_not_known(bound: str, given: Facts) -> None:
    found = result(f"{TOTAL}, {bound}, fixes: [{{text: 'Take {{expected}}.'}}]", given)
    assert found.fixes == ()


# waivers

WAIVED = (
    f"rules: [{{id: a, title: A, {TOTAL}, %s}}]\n"
    "waivers: [{rule: a, reason: Old machine, owner: ops, until: 2027-01-31%s}]"
)


def waived(bound: str, accept: str = "", day: date = date(2026, 11, 23)) -> Result:
    return judged(rules(WAIVED % (bound, accept)), today=day).results[0]


def test_a_waiver_holds_through_its_last_day() -> None:
    bound = "require: {at_least: 9GB}"
    found = waived(bound, day=date(2027, 1, 31))
    assert found.verdict == "waived"
    told = "; waived until 2027-01-31 by ops: Old machine (its last day)"
    assert found.message.endswith(told)
    found = waived(bound, day=date(2027, 2, 1))
    assert found.verdict == "fail"
    assert found.message.endswith("; its waiver by ops ended on 2027-01-31")


@pytest.mark.parametrize(
    ("day", "left", "said"),
    [
        (date(2027, 1, 16), 15, None),
        (date(2027, 1, 17), 14, "14 days left"),
        (date(2027, 1, 30), 1, "1 day left"),
        (date(2027, 1, 31), 0, "its last day"),
        (date(2027, 2, 1), -1, None),
    ],
)
def test_a_waiver_that_ends_soon_is_announced(day: date, left: int, said: str | None) -> None:
    report = judged(rules(WAIVED % ("require: {at_least: 9GB}", "")), today=day)
    (found,) = report.results
    assert found.waiver is not None
    assert found.waiver[:3] == ("Old machine", "ops", date(2027, 1, 31))
    assert (found.waiver.days_left, found.waiver.holds) == (left, left >= 0)
    assert found.waiver.ends_soon is (said is not None)
    assert (f"({said})" in found.message) is (said is not None)
    assert report.notes == ()


def test_a_waiver_of_what_passes_is_noted() -> None:
    report = judged(rules(WAIVED % ("require: {at_least: 1B}", "")), today=date(2027, 1, 31))
    assert report.notes == ("waiver of a: the rule passes without it; remove the waiver",)
    assert (
        judged(rules(WAIVED % ("require: {at_least: 1B}, when: {host.os: plan9}", ""))).notes == ()
    )


@pytest.mark.parametrize(
    ("accept", "verdict"), [("7.5GB", "waived"), ("8GB", "waived"), ("8.5GB", "fail")]
)
def test_a_waiver_accepts_down_to_its_bound(accept: str, verdict: str) -> None:
    found = waived("require: {at_least: 9GB}", f", accept: {{at_least: {accept}}}")
    assert found.verdict == verdict
    assert ("its waiver by ops accepts at least 8.5 GB" in found.message) is (verdict == "fail")


def test_a_waiver_may_accept_what_another_fact_says() -> None:
    accept = ", accept: {at_least: {fact: host.memory.limit}}"
    ruleset = rules(WAIVED % ("require: {at_least: 9GB}", accept))
    for limit, verdict in ((7 * GB, "waived"), (9 * GB, "fail"), (None, "fail")):
        given = facts(host={"memory": {"total": 8 * GB, "limit": limit}})
        (found,) = judged(ruleset, given, today=date(2026, 11, 23)).results
        assert found.verdict == verdict


def test_only_what_is_not_met_is_waived() -> None:
    assert waived("require: {at_least: 1B}").verdict == "pass"
    assert waived("recommend: {at_least: 9GB}").verdict == "waived"
    report = judged(rules(WAIVED % ("require: {at_least: 9GB}", "")), UNKNOWN)
    assert report.results[0].verdict == "unknown"
    assert report.exit_code == 3


# properties

MIXED = rules(
    "rules:\n"
    + "".join(
        f"  - {{id: {kind}, title: T, {TOTAL}, {bound}, fixes: [{{text: 'now {{actual}}'}}]}}\n"
        for kind, bound in OUTCOMES.items()
    )
)
values = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just({})


@given(values)
def test_the_same_facts_and_rules_give_the_same_report(value: Any) -> None:
    given = facts(host={"memory": {"total": value, "limit": 1}, "os": "linux"})
    assert repr(judged(MIXED, given)) == repr(judged(MIXED, given))


@given(st.dictionaries(st.text(min_size=1), values))
def test_a_fact_that_no_rule_names_changes_nothing(more: dict[str, Any]) -> None:
    given = facts()
    added = given._replace(values={**more, **given.values, "compose": more})
    assert judged(MIXED, added) == judged(MIXED, given)


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.integers(1, 1000))
def test_more_memory_never_turns_a_pass_into_a_failure(a: int, b: int, gigabytes: int) -> None:
    ruleset = one(f"{TOTAL}, require: {{at_least: {gigabytes}GB}}")
    order = ["fail", "pass"]
    less, more = (
        order.index(judged(ruleset, facts(host={"memory": {"total": n}})).results[0].verdict)
        for n in sorted((a, b))
    )
    assert less <= more


def test_explain_says_the_same_as_check() -> None:
    ruleset = one(f"{TOTAL}, require: {{at_least: 9GB}}, recommend: {{at_least: 16GB}}, {FIXES}")
    told = explain(ruleset, facts(), CATALOGUE, ruleset.rules[0])
    assert told.results == judged(ruleset).results
    assert (told.text.requires, told.text.recommends) == (
        "at least 9 GB (8.4 GiB)",
        "at least 16 GB (14.9 GiB)",
    )
    assert told.fixes == told.results[0].fixes


def test_explain_advises_where_a_rule_is_not_met_item_by_item() -> None:
    ruleset = one(f"{EACH}, fixes: [{{text: 'Lower {{item}} to 4.'}}]")
    explained = explain(ruleset, services(api=2, web=8, db=9), CATALOGUE, ruleset.rules[0])
    assert [fix.text for fix in explained.fixes] == ["Lower web to 4.", "Lower db to 4."]
    met = explain(ruleset, services(api=2), CATALOGUE, ruleset.rules[0])
    assert (met.results[0].verdict, met.fixes) == ("pass", ())


def test_what_is_unknown_is_not_to_be_edited() -> None:
    kinds = {"Look.": "manual", "Lower it.": "edit", "Prune.": "destructive"}
    fixes = ", ".join(f"{{text: {text}, kind: {kind}}}" for text, kind in kinds.items())
    fixes = f"fixes: [{fixes}]"
    known = services(api=8)
    unknown = known._replace(unknown={"docker.cpus": CLOSED})
    del unknown.values["docker"]["cpus"]
    (result,) = judged(one(f"{EACH}, {fixes}"), unknown).results
    assert (result.verdict, [fix.text for fix in result.fixes]) == ("unknown", ["Look."])
    (result,) = judged(one(f"{EACH}, {fixes}"), services(api=8)).results
    assert len(result.fixes) == 3


def test_explain_advises_the_same_once() -> None:
    ruleset = one(f"{EACH}, fixes: [{{text: Get more CPUs.}}]")
    explained = explain(ruleset, services(web=8, db=9), CATALOGUE, ruleset.rules[0])
    assert [fix.text for fix in explained.fixes] == ["Get more CPUs."]


def test_explain_reads_the_facts_that_a_rule_names() -> None:
    ruleset = rules(
        f"rules:\n  - {{id: a, title: A, {TOTAL}, when: {{host.memory.total: {{more_than:"
        " {fact: host.memory.limit}}}, require: {at_least: {fact: host.memory.limit, times: 3}},"
        " fixes: [{text: '{actual} on {host.os}'}]}\n"
        "waivers: [{rule: a, reason: r, owner: o, until: 2027-01-31}]"
    )
    given = facts(host={"memory": {"total": 8 * GB, "limit": 3 * GB}, "os": "linux"})
    today = date(2026, 11, 23)
    told = explain(ruleset, given, CATALOGUE, ruleset.rules[0], today)
    assert told.text.applies_if == ("host.memory.total is more than 2.8 GiB",)
    assert told.text.requires == "at least 8.4 GiB"
    assert [fix.text for fix in told.fixes] == ["7.5 GiB on linux"]
    assert told.results == judged(ruleset, given, today=today).results
    assert told.results[0].verdict == "waived"


def test_explain_says_what_the_rule_is_and_where_it_applies() -> None:
    ruleset = rules(
        "source: The plan\nrules:\n  - {id: b, title: B, fact: host.os, require: {equals: linux}}\n"
        f"  - {{id: a, title: Memory, {TOTAL}, section: Size, why: It is shared., needs: [b],\n"
        "     when: {host.os: linux, host.memory.limit: {exists: false}}, require: {at_least: 9GB}}"
    )
    told = explain(ruleset, facts(), CATALOGUE, ruleset.rules[1])
    assert (told.rule.id, told.rule.title, told.text.fact) == ("a", "Memory", "host.memory.total")
    assert (told.rule.why, told.rule.section, told.source) == ("It is shared.", "Size", "The plan")
    assert told.rule.needs == ("b",)
    assert told.text.applies_if == ("host.os is linux", "host.memory.limit is not set")
    assert (told.text.requires, told.text.recommends) == ("at least 9 GB (8.4 GiB)", None)


# items that `when` chooses, collections that are measured in part, places


def test_when_on_the_items_own_facts_chooses_the_items() -> None:
    given = services(api=2, web=8)
    found = judged(one(f"{EACH}, when: {{limits.cpus: {{more_than: 4}}}}"), given).results
    assert [(r.item, r.verdict) for r in found] == [("web", "fail")]
    (none,) = judged(one(f"{EACH}, when: {{limits.cpus: {{more_than: 40}}}}"), given).results
    assert (none.item, none.verdict) == (None, "skip")
    assert (
        none.reason_or_source == "applies only if limits.cpus is more than 40, but nothing matches"
    )
    # what is unknown of the machine doesn't matter where no item is concerned
    for more_than, verdict in ((4, "unknown"), (40, "skip")):
        when = f"{{docker.local: true, limits.cpus: {{more_than: {more_than}}}}}"
        (result,) = judged(one(f"{EACH}, when: {when}"), given).results
        assert (result.item, result.verdict) == (None, verdict)
    # the lines of `when` up to the one that leaves no item say why
    many, few = "{more_than: {fact: docker.cpus, times: 10}}", "{more_than: 4}"
    web = {"limits": {"cpus": 8}, "image": "y"}
    for bound, reason in (
        (many, "limits.cpus is more than 40"),
        (few, "limits.cpus is more than 4 and image is x"),
    ):
        two = f"{{limits.cpus: {bound}, image: {{equals: x}}}}"
        given = facts(docker={"cpus": 4}, compose={"services": {"web": web}})
        (none,) = judged(one(f"{EACH}, when: {two}"), given).results
        assert none.reason_or_source == f"applies only if {reason}, but nothing matches"


@pytest.mark.parametrize(
    "bound",
    [
        "{more_than: {fact: limits.cpus}}",
        "{any_of: [{more_than: {fact: limits.cpus}}]}",
        "{more_than: {sum: [{fact: limits.cpus}, 0]}}",
    ],
)
def test_a_when_that_asks_the_item_is_judged_for_each(bound: str) -> None:
    found = judged(one(f"{EACH}, when: {{docker.cpus: {bound}}}"), services(api=2, web=8)).results
    assert [(r.item, r.verdict) for r in found] == [("api", "pass"), ("web", "skip")]


@pytest.mark.parametrize(
    "bound",
    [
        "{at_least: {fact: docker.cpus, plus: 1}}",
        "{any_of: [{more_than: {fact: docker.cpus}}]}",
        "{not: {at_most: {fact: docker.cpus}}}",
        "{one_of: [7, 9]}",
        "{more_than: {sum: [{fact: docker.cpus}, 0]}}",
    ],
)
def test_a_when_that_asks_no_item_is_judged_once(bound: str) -> None:
    ruleset = one(f"{EACH}, when: {{docker.cpus: {bound}}}")
    cut = facts({"compose.services": CLOSED}, docker={"cpus": 4})
    for measured in (services(api=2, web=8), cut):
        found = judged(ruleset, measured).results
        assert [(r.item, r.verdict) for r in found] == [(None, "skip")]


@pytest.mark.parametrize("when", list(itertools.permutations(("docker.local", "host.os", "image"))))
def test_of_a_when_what_is_false_decides_in_any_order(when: tuple[str, ...]) -> None:
    lines = {"docker.local": "true", "host.os": "plan9", "image": "{matches: x}"}
    ruleset = one(f"{EACH}, when: {{{', '.join(f'{fact}: {lines[fact]}' for fact in when)}}}")
    for measured in (services(api=2), facts({"compose.services": CLOSED})):
        (found,) = judged(ruleset, measured).results
        assert (found.item, found.verdict) == (None, "skip")
        assert found.reason_or_source == "applies only if host.os is plan9, but it is linux"


def test_an_item_of_which_nobody_knows_is_undecided() -> None:
    given = services(api=2, web=8)
    unknown = {"compose.services.web.image": Unknown("hidden")}
    given = given._replace(unknown=unknown)
    found = judged(one(f"{EACH}, when: {{image: {{matches: x}}}}"), given).results
    assert ("web", "unknown") in [(r.item, r.verdict) for r in found]


def test_a_collection_measured_in_part_is_judged_in_part() -> None:
    given = services(api=2)._replace(unknown={"compose.services": Unknown("cut off", "timeout")})
    found = judged(one(EACH), given).results
    assert [(r.item, r.verdict) for r in found] == [("api", "pass"), (None, "unknown")]
    assert found[1].reason_or_source == "cut off"
    (skipped,) = judged(one(f"{EACH}, when: {{host.os: windows}}"), given).results
    assert (skipped.item, skipped.verdict) == (None, "skip")  # whatever is missing
    nothing = services()._replace(unknown={"compose.services": Unknown("cut off", "timeout")})
    (found,) = judged(one(EACH), nothing).results  # and not that there is nothing in it
    assert (found.item, found.verdict, found.reason_or_source) == (None, "unknown", "cut off")


def test_what_is_not_in_a_map_that_was_measured_whole_is_absent() -> None:
    given = services(api=2)
    path = ("compose", "services", "api", "image")
    assert isinstance(given.get(path), Unknown)
    whole = given._replace(sources={"compose.services": "docker compose config"})
    assert whole.get(path) is None
    assert isinstance(whole.get(("compose", "project")), Unknown)


def test_a_result_points_at_the_line_of_its_fact_or_of_its_item() -> None:
    places = {
        "compose.services.api": FileLine("compose.yaml", 3),
        "compose.services.web": FileLine("/srv/a: b/c.yaml", 30),
        "compose.services.web.limits.cpus": FileLine("o.yaml", 7),
    }
    sources = dict.fromkeys(places, "compose")
    facts = services(api=2, web=8, x=1)._replace(sources=sources, places=places)
    found = judged(one(EACH), facts).results
    assert [(r.file, r.line) for r in found] == [("compose.yaml", 3), ("o.yaml", 7), (None, None)]
    del sources["compose.services.web.limits.cpus"]
    facts = services(web=8)._replace(sources=sources, places=places)
    found = judged(one(EACH), facts).results
    assert [(r.file, r.line) for r in found] == [("/srv/a: b/c.yaml", 30)]


EACH_IMAGE = "for_each: compose.services, fact: image, require: {equals: x}"


@pytest.mark.parametrize(
    ("bound", "value", "keys"),
    [
        ("MAX_RESULTS", 9, EACH_IMAGE),
        ("MAX_JUDGING_STEPS", 10_000, f"{EACH_IMAGE}, why: {'x' * 1000}"),
        (
            "MAX_JUDGING_STEPS",
            10_000,
            f"{EACH_IMAGE}, recommend: {{one_of: [{', '.join(f'w{n}' for n in range(200))}]}}",
        ),
    ],
)
def test_what_would_take_too_long_is_refused_in_a_line(
    monkeypatch: pytest.MonkeyPatch, bound: str, value: int, keys: str
) -> None:
    given = facts(compose={"services": {f"s{number}": {"image": "y"} for number in range(10)}})
    assert len(judged(one(keys), given).results) == 10
    monkeypatch.setattr(judge, bound, value)
    with pytest.raises(
        InputError, match=r"^rule a has too much to evaluate \(10 items\): the limit is"
    ):
        judged(one(keys), given)


def test_long_conditions_for_many_items_are_refused_before_the_first_is_judged(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(judge, "MAX_JUDGING_STEPS", 100)
    monkeypatch.setattr(
        judge.RuleEvaluator, "_judge_without_result_limits", None
    )  # a call would fail
    given = facts(compose={"services": {f"s{number}": {"image": "y"} for number in range(10)}})
    with pytest.raises(InputError, match=r"^rule a has too much to evaluate \(10 items\)"):
        judged(one(EACH_IMAGE), given)


def test_all_rules_together_have_the_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge, "MAX_RESULTS", 19)
    given = facts(compose={"services": {f"s{number}": {"image": "y"} for number in range(10)}})
    ruleset = rules(
        f"rules: [{{id: a, title: A, {EACH_IMAGE}}}, {{id: b, title: B, {EACH_IMAGE}}}]"
    )
    with pytest.raises(InputError, match=r"rule b .* \(10 items\)"):
        judged(ruleset, given)
    assert len(judged(ruleset, given, only=["b"]).results) == 10


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "none"),
        (9, "w0, w1, w2, w3, w4, w5, w6, w7, w8"),
        (10, "w0, w1, w2, w3, w4, w5, w6, w7 and 2 more"),
        (2000, "w0, w1, w2, w3, w4, w5, w6, w7 and 1,992 more"),
    ],
)
def test_a_long_list_is_cut_in_sentences_alone(count: int, text: str) -> None:
    words = [f"w{number}" for number in range(count)]
    got = result(
        "fact: docker.warnings, recommend: {exists: false}, fixes: [{text: 'Look at {actual}.'}]",
        facts(docker={"warnings": words}),
    )
    assert got.actual == words
    assert got.actual_text == text
    assert [fix.text for fix in got.fixes] == ([f"Look at {text}."] if got.fixes else [])


def test_what_a_when_leaves_out_is_no_work() -> None:
    """A long rule of known images is judged for many services of which it selects few."""
    services = {f"s{n}": {"image": "db" if n < 5 else "app"} for n in range(10_000)}
    given = facts(compose={"services": services})
    each = "for_each: compose.services, fact: image, require: {exists: true}"
    ruleset = one(f"{each}, why: {'x' * 40_000}, when: {{image: db}}")
    assert len(judged(ruleset, given).results) == 5
    with pytest.raises(InputError, match="rule a has too much to evaluate"):
        judged(one(f"{each}, why: {'x' * 80_000}"), given)
    with pytest.raises(InputError, match="rule a has too much to evaluate"):
        judged(one(f"{each}, when: {{image: {'x' * 80_000}}}"), given)


@pytest.mark.parametrize("name", ["a; touch x", "$(touch x)", "it's", "a\nb"])
def test_a_name_in_a_command_can_be_pasted(name: str) -> None:
    """It may be a stranger's: of a network, of a service in a snapshot, or from a log."""
    text = """
version: 1
rules:
  - id: each
    title: T
    for_each: compose.services
    fact: image
    require: {equals: x}
    fixes: [{text: "Of {item}:", command: "docker logs p_{item} {image}"}]
"""
    rules = load_ruleset("r.yaml", lambda _: text.encode(), build_catalogue())
    facts = Facts({"compose": {"services": {name: {"image": name}}}})
    ((fix,),) = (result.fixes for result in judge_rules(rules, facts, build_catalogue()).results)
    assert shlex.split(fix.command or "") == ["docker", "logs", f"p_{name}", name]
    assert fix.text == f"Of {name}:"


def test_plain_names_in_a_command_stay_as_they_are() -> None:
    text = (
        "version: 1\nrules: [{id: a, title: T, for_each: compose.services, fact: image,"
        " require: {equals: x}, fixes: [{text: T, command: 'docker logs {item} {image}'}]}]"
    )
    rules = load_ruleset("r.yaml", lambda _: text.encode(), build_catalogue())
    facts = Facts({"compose": {"services": {"web-1": {"image": "ghcr.io/a/b:1.2"}}}})
    (result,) = judge_rules(rules, facts, build_catalogue()).results
    assert result.fixes[0].command == "docker logs web-1 ghcr.io/a/b:1.2"
