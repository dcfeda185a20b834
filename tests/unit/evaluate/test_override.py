"""The values that an override sets: nearest, in the file's own style, and judged before shown."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.check import build_catalogue
from preflight.evaluate.judge import RuleSelection, judge_rules
from preflight.evaluate.override import compute_compose_override, list_replacement_port_facts
from preflight.model.compose_override import ComposeOverride
from preflight.model.facts import Facts
from preflight.rules.load import load_ruleset

LIMITS = "for_each: compose.services, fact: limits"
GIB = 2**30


def service(
    memory: float | None = None,
    cpus: float | None = None,
    reserved: float | None = None,
    **others: Any,
) -> dict[str, Any]:
    return {
        "limits": {"memory": memory, "cpus": cpus, "memory_swap": 1},
        "reservations": {"memory": reserved, "cpus": None},
        "replicas": 1,
        "resource_keys": None,
        "environment": {},
        **others,
    }


def override(
    services: dict[str, Any], *rules: str, strict: bool = False, **others: Any
) -> ComposeOverride:
    text = "version: 1\nrules:\n" + "".join(
        f"  - {{id: r{n}, title: R{n}, {rule}}}\n" for n, rule in enumerate(rules)
    )
    catalogue = build_catalogue()
    ruleset = load_ruleset("r.yaml", lambda _: text.encode(), catalogue)
    total = {
        kind: {
            "memory": sum((s[kind]["memory"] or 0) * s["replicas"] for s in services.values()),
            "cpus": 0,
        }
        for kind in ("limits", "reservations")
    }
    facts = Facts(
        {"compose": {"services": services, "total": total}, "docker": {"cpus": 2}, **others},
        sources={"docker": "", "ollama": ""},
    )
    selection = RuleSelection(strict=strict)
    return compute_compose_override(facts, lambda f: judge_rules(ruleset, f, catalogue, selection))


def edits(found: ComposeOverride) -> dict[str, Any]:
    return {f"{edit.service}.{'.'.join(edit.key)}": edit.text for edit in found.edits}


DEPLOY = "deploy.resources"


@pytest.mark.parametrize(
    ("given", "rule", "text"),
    [
        ({"memory": 4 * GIB}, "fact: limits.memory, require: {at_least: 6GiB}", "6G"),
        ({"memory": 4 * GIB}, "fact: limits.memory, require: {at_least: 5GB}", "4769M"),
        ({"memory": 9 * GIB}, "fact: limits.memory, require: {at_most: 5GB}", "4768M"),
        ({"memory": 9 * GIB}, "fact: limits.memory, require: {equals: 5GB}", "5000000000b"),
        ({}, "fact: limits.memory, require: {at_least: 512MB}", "489M"),
        ({"reserved": GIB}, "fact: reservations.memory, require: {at_most: 512MiB}", "512M"),
        ({"cpus": 4.0}, "fact: limits.cpus, require: {at_most: {fact: docker.cpus}}", "2"),
        ({"cpus": 4.0}, "fact: limits.cpus, require: {at_most: 0.5}", "0.5"),
    ],
)
def test_the_nearest_limit_that_passes(given: dict[str, Any], rule: str, text: str) -> None:
    found = override({"db": service(**given)}, f"for_each: compose.services, {rule}")
    key = rule.partition(",")[0].removeprefix("fact: ")
    assert edits(found) == {f"db.{DEPLOY}.{key}": text}
    assert [result.id for result in found.passing] == ["r0"]
    assert not found.failing


@pytest.mark.parametrize(
    ("unit", "value", "require", "text"),
    [
        ("boolean", "0", "{equals: true}", "1"),
        ("duration", "1h", "{at_most: 5m}", "5m"),
        ("number", "9", "{at_most: 4}", "4"),
        ("string", "debug", "{one_of: [info, warning]}", "info"),
    ],
)
def test_the_nearest_value_of_a_variable(unit: str, value: str, require: str, text: str) -> None:
    rule = f"for_each: compose.services, fact: environment.A, type: {unit}, require: {require}"
    found = override({"db": service(environment={"A": value})}, rule)
    assert edits(found) == {"db.environment.A": text}
    assert not found.failing


def test_the_notation_of_a_size_in_a_variable_is_not_guessed() -> None:
    rule = "for_each: compose.services, fact: environment.A, type: bytes, require: {at_least: 1GB}"
    found = override({"db": service(environment={"A": "1MB"})}, rule)
    assert not found.edits
    assert len(found.failing) == 1


def test_a_setting_of_ollama_is_its_variable() -> None:
    rule = "for_each: ollama.settings, fact: keep_alive, require: {at_most: 5m}"
    settings = {"llm": {"keep_alive": 3600.0}}
    found = override({"llm": service()}, rule, ollama={"settings": settings})
    assert edits(found) == {"llm.environment.OLLAMA_KEEP_ALIVE": "5m"}


@pytest.mark.parametrize(
    ("own", "keys"),
    [
        (["mem_limit"], ["mem_limit"]),
        ([f"{DEPLOY}.limits.memory"], [f"{DEPLOY}.limits.memory"]),
        ([f"{DEPLOY}.limits.memory", "mem_limit"], [f"{DEPLOY}.limits.memory", "mem_limit"]),
        ([f"{DEPLOY}.limits.cpus"], [f"{DEPLOY}.limits.memory"]),
        (["cpus"], ["mem_limit"]),
        (None, ["mem_limit"]),  # as the other service
    ],
)
def test_a_limit_is_written_where_the_service_has_it(
    own: list[str] | None, keys: list[str]
) -> None:
    services = {
        "db": service(4 * GIB, resource_keys=own),
        "web": service(8 * GIB, resource_keys=["mem_limit"]),
    }
    rule = "for_each: compose.services, fact: limits.memory, require: {at_least: 6GiB}"
    assert edits(override(services, rule)) == {f"db.{key}": "6G" for key in keys}


def test_a_new_limit_is_written_as_the_file_writes_others() -> None:
    rule = "for_each: compose.services, fact: limits.memory, require: {at_least: 1GiB}"
    services = {"db": service(), "web": service(2 * GIB, resource_keys=["mem_limit"])}
    assert edits(override(services, rule)) == {"db.mem_limit": "1G"}


def test_in_a_swarm_there_is_no_mem_limit() -> None:
    rule = "for_each: compose.services, fact: limits.memory, require: {at_least: 6GiB}"
    swarm = {"docker": {"swarm": {"stack": "stack"}}}
    found = override({"db": service(4 * GIB, resource_keys=["mem_limit"])}, rule, **swarm)
    assert not found.edits
    found = override({"db": service(4 * GIB)}, rule, **swarm)
    assert edits(found) == {f"db.{DEPLOY}.limits.memory": "6G"}


def test_too_much_in_total_is_taken_from_every_service_in_proportion() -> None:
    services = {"a": service(6 * GIB), "b": service(2 * GIB, replicas=2), "c": service()}
    found = override(services, "fact: compose.total.limits.memory, require: {at_most: 5GiB}")
    assert edits(found) == {f"a.{DEPLOY}.limits.memory": "3G", f"b.{DEPLOY}.limits.memory": "1G"}


def test_a_limit_takes_its_reservation_along() -> None:
    found = override(
        {"db": service(9 * GIB, reserved=8 * GIB)},
        "for_each: compose.services, fact: limits.memory, require: {at_most: 4GiB}",
        "for_each: compose.services, fact: reservations.memory,"
        " require: {at_most: {fact: limits.memory}}",
    )
    assert set(edits(found).values()) == {"4G"}
    assert len(found.edits) == 2
    assert not found.failing


def test_what_would_break_another_rule_is_not_proposed() -> None:
    found = override(
        {"db": service(9 * GIB), "web": service(9 * GIB)},
        "fact: compose.total.limits.memory, require: {at_most: 8GiB}",
        "for_each: compose.services, fact: limits.memory, recommend: {at_least: 9GiB}",
    )
    assert not found.edits
    ((failing, blocker),) = found.failing
    assert failing.id == "r0"
    assert blocker is not None
    assert (blocker.id, blocker.item) == ("r1", "db")


def test_one_that_can_be_mended_is_mended_beside_one_that_cannot() -> None:
    limit = "for_each: compose.services, fact: limits.memory, require: {at_least: 6GiB}"
    found = override(
        {name: service((8 if name == "c" else 4) * GIB) for name in "abcde"},
        limit,
        "fact: compose.total.limits.memory, require: {at_most: 30GiB}",
    )
    # 8 + 4 × 4 GiB are 24: three more services may have 2 GiB more
    assert list(edits(found).values()) == ["6G"] * 3
    assert len(found.passing) == 3
    ((failing, blocker),) = found.failing
    assert blocker is not None
    assert (failing.item, blocker.id) == ("e", "r1")


def test_a_recommendation_that_contradicts_the_requirement_is_named() -> None:
    rules = (
        "for_each: compose.services, fact: limits.cpus, require: {at_most: {fact: docker.cpus}}",
        "for_each: compose.services, fact: limits.cpus, recommend: {equals: 4}",
    )
    found = override({"db": service(cpus=4.0)}, *rules)
    assert edits(found) == {f"db.{DEPLOY}.limits.cpus": "2"}
    assert [result.id for result in found.warnings] == ["r1"]
    assert not override({"db": service(cpus=4.0)}, *rules, strict=True).edits


def test_a_recommendation_that_applies_only_to_the_new_value_is_named() -> None:
    limit = "for_each: compose.services, fact: limits.memory"
    when = "when: {limits.memory: {exists: true}}"
    rules = (
        f"{limit}, require: {{at_least: 6GiB}}",
        f"{limit}, {when}, recommend: {{at_most: 1GiB}}",
    )
    found = override({"db": service()}, *rules)
    assert edits(found) == {f"db.{DEPLOY}.limits.memory": "6G"}
    assert [result.id for result in found.warnings] == ["r1"]
    assert not override({"db": service()}, *rules, strict=True).edits


def test_warnings_are_mended_where_they_count() -> None:
    rule = "for_each: compose.services, fact: limits.memory, recommend: {at_least: 6GiB}"
    services = {"db": service(4 * GIB)}
    assert override(services, rule) == ((), (), (), ())
    assert edits(override(services, rule, strict=True)) == {f"db.{DEPLOY}.limits.memory": "6G"}


@pytest.mark.parametrize(
    "rule",
    [
        "fact: docker.cpus, require: {at_least: 4}",  # no setting of the file
        "for_each: compose.services, fact: limits.memory, require: {exists: true}",
        "for_each: compose.services, fact: limits.memory_swap, require: {at_least: 1GB}",
        "for_each: compose.services, fact: limits.memory, require: {at_least: 1kB, at_most: 2kB}",
        "for_each: compose.services, fact: limits.cpus, require: {at_most: 0.001}",
    ],
)
def test_where_no_value_is_known_nothing_is_proposed(rule: str) -> None:
    found = override({"db": service(None if "exists" in rule else GIB, 1.0)}, rule)
    assert not found.edits
    assert [(result.id, blocker) for result, blocker in found.failing] == [("r0", None)]


PORT_FREE = (
    "for_each: host.ports, when: {service: {exists: true}}, fact: free, require: {equals: true}"
)


def port(service: str | None, *, free: bool) -> dict[str, Any]:
    return {"free": free, "service": service}


def ports(version: str = "2.40.3", rule: str = PORT_FREE, **others: Any) -> ComposeOverride:
    """Ports 80 and 82 are taken, 81 is the project's own, 83 and 85 are free."""
    published = ["80:80/tcp", "::1:82:8080/tcp", "82:53/udp", "443"]
    host = {
        "80": port("web", free=False),
        "81": port("db", free=True),
        "82": port("web", free=False),
        "83": port(None, free=True),
        "84": port(None, free=False),
        "85": port(None, free=True),
    }
    services = {"web": service(ports=published), "db": service(ports=["81:81/tcp"])}
    docker = {"docker": {"compose": {"version": version}, **others}}
    return override(services, rule, host={"ports": host}, **docker)


def test_a_port_that_is_taken_is_replaced_by_the_next_free_one() -> None:
    found = ports()
    assert edits(found) == {"web.ports": ("83:80", "[::1]:85:8080", "82:53/udp", "443")}
    assert [edit.before for edit in found.edits] == ["80:80/tcp, ::1:82:8080/tcp, 82:53/udp, 443"]
    assert len(found.passing) == 2
    assert not found.failing


def test_a_port_that_the_rules_ask_for_by_number_stays() -> None:
    found = ports(rule="fact: host.ports.80.free, require: {equals: true}")
    assert not found.edits
    assert len(found.failing) == 1


def test_ports_stay_where_an_override_cannot_replace_a_list() -> None:
    assert not ports("2.24.3").edits
    assert not ports(swarm={"stack": "stack"}).edits


def test_the_ports_to_measure_are_the_next_ones() -> None:
    text = f"version: 1\nrules: [{{id: r, title: R, {PORT_FREE}}}]"
    ruleset = load_ruleset("r.yaml", lambda _: text.encode(), build_catalogue())
    taken = {name: port("a", free=False) for name in ("53/udp", "65530", "80-90")}
    report = judge_rules(ruleset, Facts({"host": {"ports": taken}}), build_catalogue())
    found = [path[2] for path in list_replacement_port_facts(report)]
    assert found == [f"{n}/udp" for n in range(54, 74)] + [str(n) for n in range(65531, 65536)]


@pytest.mark.parametrize(
    "rule",
    [
        "for_each: compose.services, fact: limits.memory, require: {at_least: 1GiB}",
        "fact: compose.total.limits.memory, require: {at_most: 1GiB}",
        "fact: compose.total.limits.memory, require: {exists: false}",
        "for_each: compose.services, fact: environment.A, require: {equals: x}",
        PORT_FREE,
    ],
)
@pytest.mark.parametrize("odd", [None, "x", 7, [], [{}], {}, {"a": None}, True, -1.5])
def test_a_snapshot_may_have_anything_in_it(rule: str, odd: Any) -> None:
    hostile = dict.fromkeys(("resource_keys", "ports", "replicas", "limits", "environment"), odd)
    others = {
        "host": {"ports": {"80": port("b", free=False), "81": port(None, free=True), "x": odd}},
        "docker": {"compose": {"version": odd}, "swarm": odd, "cpus": odd},
    }
    services = {"a": service(9 * GIB), "b": {**service(), **hostile}}
    catalogue = build_catalogue()
    text = f"version: 1\nrules: [{{id: r, title: R, {rule}}}]"
    ruleset = load_ruleset("r.yaml", lambda _: text.encode(), catalogue)
    for given in (services, odd, {"b": odd}):
        total = {"limits": {"memory": 9 * GIB}}
        facts = Facts({"compose": {"services": given, "total": total}, **others})
        found = compute_compose_override(facts, lambda f: judge_rules(ruleset, f, catalogue))
        assert len(found.passing) + len(found.failing) <= 3


def test_many_services_are_judged_together() -> None:
    calls = 0

    def count(facts: Facts) -> Any:
        nonlocal calls
        calls += 1
        return judge_rules(ruleset, facts, catalogue)

    catalogue = build_catalogue()
    rule = (
        b"version: 1\nrules: [{id: r, title: R, for_each: compose.services, fact: limits.memory,"
        b" require: {at_least: 6GiB}}]"
    )
    ruleset = load_ruleset("r.yaml", lambda _: rule, catalogue)
    services = {f"s{number}": service(GIB) for number in range(500)}
    found = compute_compose_override(Facts({"compose": {"services": services}}), count)
    assert len(found.edits) == 500
    assert calls == 2
