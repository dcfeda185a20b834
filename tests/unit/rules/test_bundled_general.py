"""The bundled set `general` holds for any stack; the document's rules are only about theirs."""

from __future__ import annotations

import re
from typing import Any

import pytest

from bundled_rules import bundled_rules
from preflight import check as pipeline
from preflight.cli.streams import read_rule_file
from preflight.facts.compose.compose_facts import measure_compose_facts
from preflight.facts.compose.project import Project
from preflight.model.facts import Facts, Measured, Unknown, build_facts
from preflight.model.problems import InputError
from preflight.model.report import Report
from preflight.model.rules import GENERAL_RULE_SET, RuleSet

GENERAL = bundled_rules(GENERAL_RULE_SET)
DEFAULT = bundled_rules()
GENERAL_IDS = {rule.id for rule in GENERAL.rules}
NOTE = (
    "No service runs Ollama, so only the general rules were judged."
    " Write this project's own requirements: preflight init"
)


def project(ollama: object, *, files: Any = ("compose.yaml",), **more: object) -> Facts:
    """Facts of a project, by names with `__` for the dot."""
    facts = {
        "compose__files": list(files) if type(files) is tuple else files,
        "ollama__service": ollama,
        **more,
    }
    measured = [Measured(tuple(k.split("__")), v, "test") for k, v in facts.items()]
    return build_facts(measured, measured_at="2026-11-23T11:00:00Z", version="1.0.0")


def judge(facts: Facts, ruleset: RuleSet = DEFAULT, only: tuple[str, ...] = ()) -> Report:
    return pipeline.check(
        ruleset, facts, pipeline.make_rule_selection(ruleset, only, (), strict=False)
    )


def load_file(text: str, **others: str) -> RuleSet:
    def read(name: str) -> bytes:
        if name in ("mine.yaml", *others):
            return (text if name == "mine.yaml" else others[name]).encode()
        return read_rule_file(name)

    return pipeline.load_ruleset("mine.yaml", read)


def test_general_names_neither_the_document_nor_its_stack() -> None:
    text = read_rule_file(GENERAL_RULE_SET).decode()
    assert not re.findall(r"(?i)ollama|\bapi\b|\bllm\b|\bmodels?\b|\bdocument\b", text)
    assert not GENERAL.vars
    assert {GENERAL.get_document_name_of_rule(rule) for rule in GENERAL.rules} == {""}


def test_the_default_has_every_general_rule_with_its_tags_and_what_it_asks() -> None:
    default = {rule.id: rule for rule in DEFAULT.rules}
    assert len(default) == 135
    for rule in GENERAL.rules:
        for key in ("title", "tags", "needs", "fact", "require", "recommend", "for_each"):
            if (rule.id, key) != ("cpu-reservation-within-limit", "needs"):  # not of Swarm alone
                assert getattr(default[rule.id], key) == getattr(rule, key), (rule.id, key)
        assert default[rule.id].enabled == (rule.enabled or rule.id == "limits-fit-docker")


def test_without_ollama_no_rule_of_the_document_speaks() -> None:
    report = judge(project(None))
    assert {result.id for result in report.results} == {
        rule.id for rule in GENERAL.rules if rule.enabled
    }
    files = {"bundled general", "bundled images"}
    assert {result.rule_file for result in report.results} == files
    assert {result.source for result in report.results} == {""}
    assert report.notes == (NOTE,)
    assert report.rules_name == "general"


def test_what_the_document_adds_to_a_general_rule_is_left_out_too() -> None:
    for ollama, expected in ((None, 0), ("llm", 1)):
        stack = {
            "docker__reachable": True,
            "stack__containers__db__oom_killed": True,
            "stack__containers__db__service": ollama or "db",
            "stack__containers__db__memory__limit": 2**30,
            "model__best": "phi:latest",
            "model__memory": 4 * 10**9,
            "model__budget": 2 * 10**9,
        }
        results = {r.id: r for r in judge(project(ollama, **stack)).results}
        text = results["container-oom"].fixes[0].text
        assert text.count("OLLAMA_MODEL") == expected
        assert results["container-oom"].section.startswith("Troubleshooting") == bool(expected)


def test_another_container_than_ollamas_needs_no_smaller_model() -> None:
    killed = project(
        "llm",
        docker__reachable=True,
        stack__containers__db__oom_killed=True,
        stack__containers__db__service="db",
        stack__containers__db__memory__limit=2**30,
        model__best="phi:latest",
    )
    (result,) = (result for result in judge(killed).results if result.id == "container-oom")
    assert "for db above 1 GiB, reduce its memory use" in result.fixes[0].text


@pytest.mark.parametrize(
    "facts",
    [
        project("llm"),
        project(Unknown("the file can't be read")),
        project(None, files=None),
        project(None, files=Unknown("the file can't be read")),
    ],
)
def test_where_it_holds_or_is_unknown_all_are_judged(facts: Facts) -> None:
    report = judge(facts)
    assert {r.id for r in report.results} == {rule.id for rule in DEFAULT.rules if rule.enabled}
    assert report.notes == ()


@pytest.mark.parametrize("name", ["host-memory", "host"])
def test_only_judges_a_rule_of_the_document_all_the_same(name: str) -> None:
    known = {"docker__reachable": True, "docker__local": True, "host__memory__total": 4e9}
    report = judge(project(None, **known), only=(name,))
    assert "host-memory" in {result.id for result in report.results if result.verdict == "fail"}
    assert report.notes == ()


def test_a_file_that_extends_a_set_does_not_inherit_what_it_is_about() -> None:
    extending = load_file("version: 1\nextends: [default]\n")
    assert {r.id for r in judge(project(None), extending).results} > GENERAL_IDS - {
        rule.id for rule in GENERAL.rules if not rule.enabled
    }


RULE = "{id: mine, title: M, fact: host.os, require: {equals: linux}}"


def test_a_when_alone_and_any_of_several() -> None:
    facts = project("llm", host__os="linux")
    for applies, holds in (
        ("{host.os: linux}", True),
        ("{host.os: darwin}", False),
        ("{host.os: linux, compose.files: {exists: false}}", False),
        ("{any_of: [{host.os: darwin}, {ollama.service: llm}]}", True),
        ("null", True),
        ("{}", True),
    ):
        ruleset = load_file(
            f"version: 1\nextends: [general]\napplies: {applies}\nrules: [{RULE}]\n"
        )
        report = judge(facts, ruleset)
        assert ("mine" in {result.id for result in report.results}) is holds
        assert bool(report.notes) is not holds


def test_where_nothing_else_is_there_to_judge_the_check_does_not_pass() -> None:
    ruleset = load_file(f"version: 1\napplies: {{host.os: darwin}}\nrules: [{RULE}]\n")
    with pytest.raises(InputError, match=r"The rules of mine don't apply \(host.os is linux"):
        judge(project(None, host__os="linux"), ruleset)


def test_what_applies_asks_for_is_measured_for_those_that_extend_it_too() -> None:
    base = f"version: 1\napplies: {{host.ports.5432.free: true}}\nrules: [{RULE}]\n"
    ruleset = load_file("version: 1\nextends: [base.yaml]\n", **{"base.yaml": base})
    assert ("host", "ports", "5432", "free") in ruleset.required_facts


@pytest.mark.parametrize(
    ("applies", "problem"),
    [
        ("{any_of: []}", "expected a list with at least one entry, found an empty list"),
        ("{any_of: 1}", "expected a list, found a number"),
        ("{host.oss: linux}", "unknown fact 'host.oss', did you mean 'host.os'?"),
        ("[1]", "expected when as a mapping, found a list"),
    ],
)
def test_problems_of_applies(applies: str, problem: str) -> None:
    with pytest.raises(InputError) as error:
        load_file(f"version: 1\napplies: {applies}\n")
    assert problem in str(error.value.problems[0])


@pytest.mark.parametrize(
    ("image", "applies"), [("postgres:16", True), ("mysql:8", False), (None, False)]
)
def test_a_service_that_is_not_there_is_known_not_to_hold(image: str | None, applies: bool) -> None:
    service = {"compose__services": {"db" if image else "web": {"image": image or "nginx"}}}
    ruleset = load_file(
        "version: 1\nextends: [general]\notherwise: No database here\n"
        f"applies: {{compose.services.db.image: {{matches: postgres}}}}\nrules: [{RULE}]\n"
    )
    report = judge(project(None, host__os="linux", **service), ruleset)
    assert ("mine" in {result.id for result in report.results}) is applies
    assert report.notes == (
        () if applies else ("No database here, so only the general rules were judged.",)
    )


def test_what_to_say_where_a_file_does_not_apply_is_not_inherited() -> None:
    assert load_file("version: 1\nextends: [default]\n").otherwise == ""
    assert DEFAULT.otherwise == "No service runs Ollama"


def test_general_warns_only_where_something_will_go_wrong() -> None:
    """A project without limits, or with more limits than memory, on an engine without them."""
    engine = {
        "docker__reachable": True, "docker__local": True, "docker__engine": "docker",
        "docker__memory__usable": 2**30, "docker__limits__memory": False,
        "docker__limits__cpus": False, "docker__swarm__state": "inactive",
        "host__memory__total": 2**35,
    }  # fmt: skip

    def warned(**more: object) -> set[str]:
        results = judge(project(None, **engine, **more)).results
        return {result.id for result in results if result.verdict in ("warn", "fail")}

    nothing = {
        f"compose__total__{kind}__{unit}": 0
        for kind in ("limits", "reservations")
        for unit in ("memory", "cpus")
    }
    assert warned(**nothing) == set()
    limits = {"compose__total__limits__memory": 2**31, "compose__total__limits__cpus": 4}
    assert warned(**nothing | limits) == {"docker-memory-limits", "docker-cpu-limits"}
    service = {"reservations": {"cpus": 2}, "limits": {"cpus": 1}}
    assert warned(**nothing, compose__services__db=service, docker__cpus=8) == set()
    report = judge(project("llm", **engine, **nothing | limits))  # the document wants it
    assert "limits-fit-docker" in {r.id for r in report.results if r.verdict == "warn"}


@pytest.mark.parametrize(
    ("fact", "condition", "verdict"),
    [
        ("compose.services.db.limits.memory", "{at_least: 1GB}", "skip"),
        ("compose.total.limits.memory", "{at_most: 1GB}", "skip"),
        ("stack.containers.db.state", "{equals: running}", "skip"),
        ("start.services.db.port_clash", "{exists: false}", "skip"),
        ("compose.files", "{exists: true}", "fail"),
    ],
)
def test_what_is_asked_of_a_project_is_skipped_where_there_is_none(
    fact: str, condition: str, verdict: str
) -> None:
    rule = f"{{id: a, title: A, fact: {fact}, require: {condition}}}"
    source = "no compose file found"
    groups = ("compose", "files"), ("compose", "services"), ("compose", "total"), ("stack",)
    measured = [Measured(path, None, source) for path in (*groups, ("start", "services"))]
    facts = build_facts(measured, measured_at="", version="")
    (result,) = judge(facts, load_file(f"version: 1\nrules: [{rule}]\n")).results
    assert result.verdict == verdict
    assert result.reason_or_source == source


@pytest.mark.parametrize(
    ("soft", "verdict"),
    [(1024, "warn"), (1073741816, "warn"), (65536, "pass"), (1048576, "pass"),
     (Unknown("hidden"), "unknown")],
)  # fmt: skip
def test_1024_open_files_are_too_few_and_no_limit_too_many(soft: Any, verdict: str) -> None:
    facts = project(
        None, compose__services={"api": {}}, docker__reachable=True, docker__native=True,
        docker__engine="docker", docker__ulimits__nofile__soft=soft,
    )  # fmt: skip
    results = judge(facts, GENERAL, ("docker-open-files", "docker-reachable")).results
    assert {result.id: result.verdict for result in results}["docker-open-files"] == verdict


@pytest.mark.parametrize(
    ("api", "verdict"),
    [
        ({"image": "shop/api"}, "warn"),
        ({"image": "shop/api", "command": ["uvicorn", "main:app"]}, "warn"),
        ({"image": "shop/api", "command": ["/usr/bin/node", "server.js"]}, None),
        ({"image": "shop/api", "entrypoint": "java -jar app.jar"}, None),
        ({"image": "shop/api", "environment": {"NODE_ENV": "production"}}, None),
    ],
)
def test_settings_of_python_are_asked_of_what_may_be_python(
    api: dict[str, Any], verdict: str | None
) -> None:
    services = {"api": api, "llm": {"image": "ollama/ollama"}}
    stack = Project("shop", "/shop", ("compose.yaml",), "cli", {"services": services})
    measured = [*measure_compose_facts(None, stack), Measured(("ollama", "service"), "llm", "test")]
    report = judge(build_facts(measured, measured_at="", version="1"))
    verdicts = {r.item: r.verdict for r in report.results if r.id == "python-unbuffered"}
    assert verdicts.get("api") == verdict
