"""Whether logs are dropped: one answer for the file, the engine and its containers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from engines import IMAGE, Engine
from preflight.facts.compose.compose_facts import measure_compose_facts as measure_project
from preflight.facts.compose.project import Project
from preflight.facts.engine.engine_facts import is_log_rotated, parse_engine_info
from preflight.model.facts import Unknown

CASES: list[tuple[str, Mapping[str, Any], bool | None]] = [
    ("json-file", {}, False),
    ("json-file", {"max-file": "3"}, False),  # of no effect without a size
    ("json-file", {"max-size": "10m"}, True),
    ("json-file", {"max-size": "10m", "max-file": "1"}, True),
    ("json-file", {"max-size": "0.5g"}, True),
    ("json-file", {"max-size": " 100 kB "}, True),
    ("json-file", {"max-size": 1000}, True),
    ("json-file", {"max-size": "-1"}, False),
    ("json-file", {"max-size": -1}, False),
    ("json-file", {"max-size": "-1", "max-file": "3"}, False),
    ("json-file", {"max-size": "0"}, False),
    ("json-file", {"max-size": "0k"}, False),
    ("json-file", {"max-size": ""}, False),
    ("json-file", {"max-size": None}, False),
    ("json-file", {"max-size": "much"}, False),
    ("k8s-file", {"max-size": "10m"}, True),
    ("k8s-file", {}, False),
    ("local", {}, True),
    ("local", {"max-size": "10m"}, True),
    ("local", {"max-size": "-1"}, False),
    ("journald", {}, True),
    ("none", {}, True),
    ("syslog", {}, None),
    ("fluentd", {"max-size": "10m"}, None),
    ("loki", {}, None),
]


@pytest.mark.parametrize(("driver", "options", "drops"), CASES)
def test_drivers_and_their_options(driver: str, options: Mapping[str, Any], drops: Any) -> None:
    found = is_log_rotated(driver, options)
    assert isinstance(found, Unknown) if drops is None else found is drops


@pytest.mark.parametrize("driver", ["json-file", "k8s-file"])
def test_options_that_nobody_tells_leave_it_open(driver: str) -> None:
    assert isinstance(is_log_rotated(driver, None), Unknown)
    assert is_log_rotated("local", None) is True


@pytest.mark.parametrize(("driver", "options", "drops"), CASES)
def test_the_file_is_read_the_same(driver: str, options: Mapping[str, Any], drops: Any) -> None:
    found = of_file({"driver": driver, "options": options})
    assert isinstance(found, Unknown) if drops is None else found is drops


@pytest.mark.parametrize(
    ("logging", "drops"),
    [
        ({}, None),
        ({"driver": None, "options": {}}, None),
        ({"options": {"max-size": "10m"}}, True),
        ({"options": {"max-size": "-1"}}, False),
        ({"options": {"max-file": "3"}}, False),
    ],
)
def test_a_file_that_names_no_driver(logging: dict[str, Any], drops: bool | None) -> None:
    assert of_file(logging) is drops


def of_file(logging: Mapping[str, Any]) -> Any:
    config = {"services": {"api": {"logging": logging}}}
    project = Project("p", "/p", ("/p/compose.yaml",), "cli", config)
    path = ("compose", "services", "api", "log", "rotated")
    return next(one.value for one in measure_project(None, project) if one.path == path)


@pytest.mark.parametrize("driver", ["json-file", "local", "journald", "none", "syslog"])
def test_the_engines_own_driver_is_read_the_same(driver: str) -> None:
    told = {one.path: one.value for one in parse_engine_info({}, {"LoggingDriver": driver})}
    assert told["docker", "log", "rotated"] == is_log_rotated(driver, None)


@pytest.mark.parametrize("driver", ["json-file", "local"])
@pytest.mark.parametrize("size", ["-1", "much", "10m"])
def test_what_is_no_size_docker_refuses_too(docker_engine: Engine, driver: str, size: str) -> None:
    options = ("--rm", "--network=none", "--log-driver", driver, "--log-opt", f"max-size={size}")
    try:
        docker_engine.docker("run", *options, IMAGE, "true")
        taken = True
    except AssertionError:
        taken = False
    assert taken is is_log_rotated(driver, {"max-size": size})
