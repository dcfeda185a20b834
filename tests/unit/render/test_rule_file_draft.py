"""The drafted rule file: each figure with the line that it comes from."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from preflight.model.facts import Facts, Measured, Source, build_facts
from preflight.render.rule_file_draft import draft_rule_file

GIB = 2**30


def facts_of(services: dict[str, dict[str, Any]], **others: Any) -> Facts:
    """Return facts of services; a value with a line is (value, line) of compose.yaml."""
    measured = []

    def add(path: tuple[str, ...], value: Any) -> None:
        value, line = value if isinstance(value, tuple) else (value, 0)
        source = Source.in_file("compose.yaml", line) if line else Source("test")
        measured.append(Measured(path, value, source))

    for name, fields in services.items():
        for field, value in {"replicas": 1, **fields}.items():
            add(("compose", "services", name, *filter(None, field.split("__"))), value)
    add(("compose", "services"), {})
    for field, value in others.items():
        add(tuple(field.split("__")), value)
    return build_facts(measured, measured_at="", version="")


def draft(facts: Facts, **host_requirements: Any) -> tuple[str, dict[str, Any]]:
    """Return the comments, each in one line, and the rules by id."""
    text = draft_rule_file(facts, "shop", host_requirements, "devcontainer.json")
    rules = yaml.safe_load(text)["rules"] or ()
    assert max(map(len, text.splitlines())) <= 110
    return re.sub(r"\n *# (?! |- )", " ", text), {rule["id"]: rule for rule in rules}


def test_reservations_are_required_and_limits_recommended_replicas_counted() -> None:
    services = {
        "db": {"reservations__memory": (GIB, 1), "limits__memory": (2 * GIB, 2)},
        "web": {"replicas": (3, 3), "limits__memory": (GIB // 2, 4)},
        "off": {"replicas": 0, "limits__memory": (GIB, 5)},
        "open": {},
    }
    comments, rules = draft(facts_of(services))
    assert "db 1GiB (compose.yaml:1) + web 3 × 512MiB (compose.yaml:4)." in comments
    assert "Not counted, because they have neither: open." in comments
    assert rules["docker-ram"]["require"] == {"at_least": "2.5GiB"}
    assert rules["docker-ram"]["recommend"] == {"at_least": "3.5GiB"}
    assert rules["host-ram"]["require"] == {"at_least": {"sum": ["2.5GiB", "${system_overhead}"]}}


def test_every_rule_says_what_to_do() -> None:
    services = {"db": {"limits__memory": GIB, "limits__cpus": 2}}
    _, rules = draft(facts_of(services, host__ports__80__service="db"))
    stated = [rule for rule in rules.values() if "require" in rule]
    assert [rule["id"] for rule in stated] == ["host-ram", "docker-ram"]
    assert all(rule["fixes"] for rule in stated)


@pytest.mark.parametrize(
    ("size", "text"),
    [(GIB, "1GiB"), (GIB // 2 * 3, "1.5GiB"), (2**20, "1MiB"), (1_234_567, "1234567B")],
)
def test_sizes_are_exact(size: int, text: str) -> None:
    _, rules = draft(facts_of({"db": {"limits__memory": (size, 1)}}))
    assert rules["docker-ram"]["require"] == {"at_least": text}
    assert "recommend" not in rules["docker-ram"]


def test_ports_and_cpu_limits_are_judged_by_the_compose_file() -> None:
    ports = {
        f"host__ports__{key}__service": (service, line)
        for line, (key, service) in enumerate({"80": "web", "53/udp": "db, web"}.items(), start=1)
    }
    services = {"web": {"limits__cpus": (1.5, 7)}, "db": {"limits__cpus": (2, 8)}, "open": {}}
    comments, rules = draft(facts_of(services, **ports))
    own = {"section": "This project"}
    assert rules["port-free"] == {"id": "port-free", **own}
    assert rules["cpu-limit-within-docker"] == {"id": "cpu-limit-within-docker", **own}
    assert "Ports: 80 of web (compose.yaml:1), 53/udp of db, web (compose.yaml:2)." in comments
    assert "CPU limits: web 1.5 (compose.yaml:7), db 2 (compose.yaml:8)." in comments


def test_versions_and_gpus() -> None:
    facts = facts_of(
        {"model": {"gpus": (-1, 7), "platform": ("linux/amd64", 3)}},
        compose__needs__version="2.30",
        compose__needs__feature="gpus, used in compose.yaml:7",
    )
    comments, rules = draft(facts)
    assert "GPUs are requested by model (compose.yaml:7)." in comments
    assert "Platforms are set by model (compose.yaml:3)." in comments
    assert "Compose 2.30 or later: the oldest one that supports gpus, used in compose" in comments
    assert {"gpus", "compose-version"} <= rules.keys()


@pytest.mark.parametrize(
    ("requirements", "ids"),
    [
        ({"cpus": 4, "memory": "8gb", "storage": "32tb"}, {"cpus", "memory", "storage"}),
        ({"cpus": "all", "memory": 8, "storage": "much", "gpu": False}, set()),
        ({"cpus": True, "memory": "8GB }", "gpu": {"cores": 1}}, {"gpu"}),
    ],
)
def test_only_usable_host_requirements_are_stated(
    requirements: dict[str, Any], ids: set[str]
) -> None:
    _, rules = draft(facts_of({}), **requirements)
    assert rules.keys() == {f"devcontainer-{name}" for name in ids}
    if "memory" in ids:
        assert rules["devcontainer-memory"]["require"] == {"at_least": "8GB"}


def test_a_hostile_name_stays_text() -> None:
    facts = facts_of({"a\nrules: x": {"mounts": ["b"]}}, compose__files=["c\nd: e"])
    text = draft_rule_file(facts, 'x"\nrules: []')
    assert yaml.safe_load(text).keys() == {"version", "name", "extends", "vars", "rules"}
    assert yaml.safe_load(text)["rules"] is None
