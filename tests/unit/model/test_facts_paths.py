"""Snapshots and the names in them."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from preflight.model.facts import (
    FactCatalogue,
    FactDeclaration,
    Facts,
    Measured,
    Unknown,
    build_facts,
    join_path,
    replace_facts,
    split_fact_path,
)

CATALOGUE = FactCatalogue(
    [
        FactDeclaration("host.memory.total", "bytes", ""),
        FactDeclaration("env.*", "text", ""),
        FactDeclaration("compose.services.*.limits.cpus", "cores", ""),
    ]
)


@given(st.lists(st.text(min_size=0), min_size=1, max_size=4))
@example(['a"b'])
@example(["a.b"])
def test_a_path_survives_being_written(path: list[str]) -> None:
    assert split_fact_path(join_path(tuple(path))) == tuple(path)


@pytest.mark.parametrize("quoted", ['"a.example.com"', "a.example.com", 'a."example.com"'])
def test_names_of_hosts_need_no_quotes(quoted: str) -> None:
    path = ("net", "resolve", "a.example.com")
    assert split_fact_path(f"net.resolve.{quoted}") == path
    assert join_path(path) == "net.resolve.a.example.com"
    assert split_fact_path(f"net.connect.{quoted}.25") == ("net", "connect", "a.example.com.25")
    assert split_fact_path(f"env.{quoted}")[:1] == ("env",)
    facts = build_facts(
        [Measured(path, True), Measured(("net", "resolve", "a"), Unknown("late"))],
        measured_at="",
        version="",
    )
    assert facts.get(path) is True
    assert facts.get(("net", "resolve", "a")) == Unknown("late"), "not a parent of the other"
    assert isinstance(facts.get(("net", "resolve", "b.example.com")), Unknown)


@example(["a..b"])
@example(['"'])
@given(st.lists(st.text(min_size=1), min_size=1, max_size=3))
def test_any_name_below_a_group_of_hosts_survives_being_written(names: list[str]) -> None:
    path = ("net", "resolve", ".".join(names))
    assert split_fact_path(join_path(path)) == path


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", 'a"b"', '"a"b', '"a', 'a."'])
def test_what_is_no_path(text: str) -> None:
    with pytest.raises(ValueError, match="isn't a valid fact path"):
        split_fact_path(text)


def test_unknown_and_absent_are_two_things() -> None:
    why = Unknown("closed", "permission")
    facts = Facts({"host": {"swap": None, "memory": {"total": 1}}}, unknown={"docker": why})
    assert facts.get(("host", "memory", "total")) == 1
    assert facts.get(("host", "swap")) is None
    assert facts.get(("host", "swap", "total")) is None  # nothing is below what is not there
    assert facts.get(("docker", "cpus")) is why  # what is below is unknown for the same reason
    assert isinstance(facts.get(("host", "cpu")), Unknown)
    assert isinstance(facts.get(("host", "memory", "total", "x")), Unknown)


def test_the_first_of_two_figures_for_one_path_stands() -> None:
    why = Unknown("no")
    facts = build_facts(
        [Measured(("a", "b"), 1, "one"), Measured(("a", "b"), 2, "two"), Measured(("c",), why)],
        measured_at="2026-11-23T11:00:00Z",
        version="1.0.0",
    )
    assert (facts.values, facts.sources, facts.unknown) == (
        {"a": {"b": 1}},
        {"a.b": "one"},
        {"c": why},
    )
    assert (facts.measured_at, facts.version) == ("2026-11-23T11:00:00Z", "1.0.0")


def test_a_fact_at_any_depth_is_replaced_and_its_neighbours_stay() -> None:
    facts = Facts({"a": {"b": {"c": 1, "d": 2}}, "top": 3})
    changed = [Measured(("a", "b", "c"), 9), Measured(("top",), 8), Measured(("x", "y", "z"), 7)]
    values = {"a": {"b": {"c": 9, "d": 2}}, "top": 8, "x": {"y": {"z": 7}}}
    assert replace_facts(facts, changed).values == values
    assert facts.values == {"a": {"b": {"c": 1, "d": 2}}, "top": 3}


def test_the_catalogue_finds_names_patterns_and_collections() -> None:
    def unit(dotted: str) -> str | None:
        fact = CATALOGUE.find(split_fact_path(dotted))
        return fact.unit if fact else None

    assert unit("host.memory.total") == "bytes"
    assert unit("env.HOME") == "text"
    assert unit('compose.services."a.b".limits.cpus') == "cores"
    assert unit("compose.services") == "map"
    assert unit("host.memory") is None
    assert unit("env.A.B") is None
    assert CATALOGUE.is_collection(("compose", "services"))
    assert not CATALOGUE.is_collection(("host", "memory"))


SERVICES = {
    "db": {"image": "postgres:16", "environment": {"A": "1"}},
    "cache": {"image": "redis:7"},
}


@pytest.mark.parametrize(
    ("services", "path", "reason"),
    [
        ("db cache", "compose.services.dbs.image", "no service 'dbs': did you mean 'db'?"),
        ("db cache", "compose.services.postgres", "no service 'postgres': did you mean 'db'?"),
        ("cache", "compose.services.postgres", "no service 'postgres': did you mean 'cache'?"),
        ("db cache", "compose.services.nginx.image", "no service 'nginx'; there are db, cache"),
        ("", "compose.services.nginx.image", "no service 'nginx'"),
        ("db", "host.ports.5432.free", "no published port '5432'"),
    ],
)
def test_a_name_that_a_complete_collection_lacks_is_unknown(
    services: str, path: str, reason: str
) -> None:
    measured = [
        Measured(("compose", "services"), {n: SERVICES[n] for n in services.split()}, "compose"),
        Measured(("host", "ports"), {}, "sockets"),
    ]
    facts = build_facts(measured, measured_at="", version="")
    assert facts.get(split_fact_path(path)) == Unknown(reason)


def test_a_variable_that_a_service_does_not_set_is_absent() -> None:
    measured = [Measured(("compose", "services"), SERVICES, "compose")]
    facts = build_facts(measured, measured_at="", version="")
    assert facts.get(("compose", "services", "db", "environment", "B")) is None


def test_a_value_of_another_type_reads_as_none() -> None:
    compose = {"services": {"api": {}}, "files": ["a.yaml", 2], "project": "shop"}
    facts = Facts({"compose": compose}, unknown={"host.os": Unknown("timeout")})
    assert facts.collection("compose", "services") == {"api": {}}
    assert facts.texts("compose", "files") == ["a.yaml", "2"]
    assert facts.text("compose", "project") == "shop"
    for path in (("compose", "project"), ("compose", "files"), ("host", "os"), ("x",)):
        assert facts.collection(*path) == {}
    for path in (("compose", "project"), ("compose", "services"), ("host", "os")):
        assert facts.texts(*path) == []
    for path in (("compose", "services"), ("compose", "files"), ("host", "os")):
        assert facts.text(*path) is None
