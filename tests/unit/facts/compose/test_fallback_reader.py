"""Our own reading of compose files agrees with the real Compose, project by project."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from compose_projects import (
    CASES,
    ask_compose,
    environment,
    read_case,
    read_project_without_compose,
)
from paths import SHARED
from preflight.facts.compose.compose_facts import measure_compose_facts as measure_project
from preflight.facts.compose.compose_facts import parse_service_ulimits
from preflight.facts.compose.fallback_reader import normalize_compose_size, parse_integer
from preflight.facts.compose.project import ComposeError, Project
from preflight.facts.ports import list_published_ports
from preflight.facts.start_blockers import find_port_clashes_within_project, list_mounted_paths

BEYOND = {
    "env-file", "environment-types", "extends-in-override", "extends-nothing",
    "extends-other-file", "extends-reset", "extends-same-file", "include",
    "include-no-dotenv", "include-nothing",
    "include-overridden", "include-same-twice", "number-forms", "override-nothing",
    "override-reset", "override-several-times", "port-ranges", "reset-deep-inside",
}  # fmt: skip
"""The cases that the stand-in doesn't do in full; it lists a caveat then."""
NAMES = sorted(case.name for case in CASES.iterdir() if case.is_dir())


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Return the facts that follow from a configuration, in one form whoever wrote it."""
    project = Project(config["name"], "", (), "", config)
    facts: dict[str, Any] = {}
    for measured in measure_project(None, project):
        value = measured.value
        value = round(value, 6) if isinstance(value, float) else value  # Compose has 32 bits
        facts[" ".join(measured.path)] = sorted(value) if isinstance(value, list) else value
    for name, service in project.services.items():
        facts[f"paths of {name}"] = sorted(list_mounted_paths(project, service))
        keys = ("network_mode", "runtime", "cpu_quota")
        facts[f"settings of {name}"] = [service.get(key) for key in keys]
        facts[f"arguments of {name}"] = (service.get("build") or {}).get("args") or {}
        facts[f"networks of {name}"] = {*(service.get("networks") or {"default": None})}
        binds = {v["target"]: v.get("bind") or {} for v in service.get("volumes") or ()}
        labeled = [(target, bind) for target, bind in binds.items() if bind.get("selinux")]
        facts[f"labels of {name}"] = labeled
    facts["ports"] = sorted(list_published_ports(project))
    return facts


@pytest.mark.parametrize("name", NAMES)
def test_the_stand_in_agrees_with_compose_or_says_what_it_leaves_out(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (_, reading), case = read_case(name, monkeypatch)
    config, output = ask_compose(CASES / name, case["files"], case["environment"])
    assert config is not None, output
    assert bool(reading.caveats) is (name in BEYOND), reading.caveats
    if reading.caveats:
        return
    assert comparable(reading.config) == comparable(config)
    assert config["services"], "a case without services compares nothing"
    assert not reading.missing_variables
    assert not reading.missing_env_files
    assert not reading.conflicts
    warned = {line.split('\\"')[1] for line in output.splitlines() if "variable is not set" in line}
    assert set(reading.unset_variables) == warned


def test_a_file_as_powershell_writes_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_bytes("services: {a: {image: größe}}\r\n".encode("utf-16"))
    config, output = ask_compose(tmp_path, ["compose.yaml"])
    assert config is not None, output
    reading = read_project_without_compose([str(tmp_path / "compose.yaml")]).reading
    assert reading.config["services"]["a"]["image"] == config["services"]["a"]["image"] == "größe"


PARITY = SHARED / "cases/parity"


@pytest.mark.skipif(not PARITY.is_dir(), reason="the shared cases aren't here")
@pytest.mark.parametrize("name", sorted(os.listdir(PARITY)) if PARITY.is_dir() else [])
def test_what_was_read_wrongly_is_read_as_compose_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = (PARITY / name).resolve()
    monkeypatch.chdir(folder)
    text = (folder / "expected.json").read_text("utf-8").replace("$PROJECT", str(folder))
    expected = json.loads(text)["config"]
    reading = read_project_without_compose(["compose.yaml"], environment({})).reading
    expected |= {"name": name, "secrets": reading.config.get("secrets")}
    assert reading.caveats == reading.conflicts == ()
    assert comparable(reading.config) == comparable(expected)
    for secret in (reading.config.get("secrets") or {}).values():
        assert secret["file"] == str(folder / "nokey")


FORMS = """
services:
  a:
    image: x
    command: sh -c 'sleep 9'
    entrypoint: ""
    extra_hosts: {b: [1.2.3.4, "::1"], c: host-gateway, d: "[::1]"}
    privileged: ${NO:-false}
    init: "${YES:-true}"
    read_only: "no"
    healthcheck: {test: [CMD, "true"], disable: "${NO:-false}"}
    environment: {init: "yes", tty: "${YES:-true}"}
  b:
    image: x
    volumes: [work:/w]
    ports: [":443:443", "::80", "[]:81:81", ":82", "127.0.0.1::83", "[::1]:84:84", "85:85/udp"]
    entrypoint: >
      sh -c
      "sleep 9"
    extra_hosts: ["b=1.2.3.4,5.6.7.8", "c:10.0.0.1", "v6:::1", "w6=[::1]"]
networks: {n: {external: "${NO:-false}", internal: "${YES:-true}", enable_ipv6: "${NO:-false}"}}
volumes:
  v: {external: "${NO:-false}"}
  work: {external: "no", driver: local, driver_opts: {type: none, o: bind, device: ./w}}
secrets: {s: {external: "${NO:-false}", file: ./s}}
"""


def test_each_form_of_a_value_becomes_that_of_compose(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text(FORMS)
    Path("override.yaml").write_text("services: {a: {extra_hosts: [e=::2], command: [sleep, '5']}}")
    for files in (["compose.yaml"], ["compose.yaml", "override.yaml"]):
        config, output = ask_compose(tmp_path, files)
        assert config is not None, output
        reading = read_project_without_compose(files).reading
        for name, expected in config["services"].items():
            service = reading.config["services"][name]
            keys = ("command", "entrypoint", "privileged", "init", "read_only", "environment")
            for key in keys:
                assert (service.get(key) or None) == (expected.get(key) or None), key
            assert (service.get("entrypoint") is None) is (expected.get("entrypoint") is None)
            assert sorted(service["extra_hosts"]) == sorted(expected["extra_hosts"])
            check, expected_check = (row.get("healthcheck", {}) for row in (service, expected))
            assert bool(check.get("disable")) is bool(expected_check.get("disable"))
        ports = [
            sorted(list_published_ports(Project("x", "", (), "", given)))
            for given in (reading.config, config)
        ]
        assert ports[0] == ports[1] != []
        for kind in ("networks", "volumes", "secrets"):
            assert not any(row["external"] for row in reading.config[kind].values())
        assert reading.config["networks"]["n"]["internal"] is True
        device = reading.config["volumes"]["work"]["driver_opts"]["device"]
        assert device == str(tmp_path / "w")
        assert device == config["volumes"]["work"]["driver_opts"]["device"]


def test_pools_of_several_files_are_merged_by_subnet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    files = ["a.yaml", "b.yaml"]
    pools = (
        "{subnet: 10.9.0.0/24, ip_range: 10.9.0.0/25}",
        "{subnet: 10.9.0.0/24, gateway: 10.9.0.9}",
    )
    for file, pool in zip(files, pools, strict=True):
        Path(file).write_text(
            "services: {a: {image: x, networks: [n]}}\n"
            f"networks: {{n: {{ipam: {{config: [{pool}]}}}}}}\n"
        )
    config, output = ask_compose(tmp_path, files)
    assert config is not None, output
    expected = config["networks"]["n"]["ipam"]["config"]
    reading = read_project_without_compose(files).reading
    merged = reading.config["networks"]["n"]["ipam"]["config"]
    assert merged == expected


@pytest.mark.parametrize("key", ["cap_add", "security_opt", "devices", "group_add"])
def test_a_list_that_is_a_text_is_refused(
    key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text(f"services: {{a: {{image: x, {key}: NET_ADMIN}}}}")
    with pytest.raises(ComposeError, match=f"services.a.{key}: expected a list"):
        read_project_without_compose(["compose.yaml"])
    assert ask_compose(tmp_path, ["compose.yaml"])[0] is None


CONFLICTS = {
    "memory-twice": "mem_limit: 1g\n    deploy: {resources: {limits: {memory: 2g}}}",
    "memory-beside-cpus": "mem_limit: 1g\n    deploy: {resources: {limits: {cpus: 2}}}",
    "cpus-twice": "cpus: 1\n    deploy: {resources: {limits: {cpus: 2}}}",
    "reservation-twice": (
        "mem_reservation: 1g\n    deploy: {resources: {reservations: {memory: 2g}}}"
    ),
}


@pytest.mark.parametrize("name", CONFLICTS)
def test_a_conflict_is_listed_in_the_words_of_compose(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compose.yaml").write_text(
        f"services:\n  a:\n    image: x\n    {CONFLICTS[name]}\n"
    )
    monkeypatch.chdir(tmp_path)
    ((service, words),) = read_project_without_compose(["compose.yaml"]).reading.conflicts
    config, output = ask_compose(tmp_path, ["compose.yaml"])
    assert service == "a"
    assert config is None
    assert words in output


def test_variables_and_env_files_that_are_missing_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text(
        "services:\n  a:\n    image: ${IMAGE:?say which}$A${B}${C:-c}\n    mem_limit: ${LIMIT?}\n"
        "    build: .\n    env_file: [gone.env, {path: optional.env, required: false}]\n"
        "    environment: {A: b}\n"
    )
    reading = read_project_without_compose(["compose.yaml"]).reading
    assert reading.missing_variables == {"IMAGE": "say which", "LIMIT": ""}
    assert reading.unset_variables == ("A", "B")
    assert reading.missing_env_files == (("a", str(tmp_path / "gone.env")),)
    service = reading.config["services"]["a"]
    assert "mem_limit" not in service
    assert service["environment"] == {"A": "b"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("mem_limit: 8Gi", "compose.yaml:4: services.a.mem_limit: '8Gi' isn't a valid size: write"),
        ("mem_limit: lots", "'lots' isn't a valid size: expected a value such as 512m"),
        ("cpus: 50%", "compose.yaml:4: services.a.cpus: '50%'"),
        ("deploy: {replicas: 1.5}", "services.a.deploy.replicas: '1.5' isn't a whole number"),
        ("depends_on: b", "compose.yaml:4: services.a.depends_on: expected a mapping"),
        ("depends_on: {b: started}", "services.a.depends_on: expected a mapping"),
        ("healthcheck: curl", "services.a.healthcheck: expected a mapping"),
        ("links: b", "services.a.links: expected a list"),
        ("deploy: x", "services.a.deploy: expected a mapping"),
        ("ports: ['http:80']", "services.a.ports: 'http:80': expected [ADDRESS:][PORT:]PORT"),
        ("volumes: [':/data']", "':/data': expected [SOURCE:]TARGET[:OPTIONS]"),
        ("user: '${'", "compose.yaml:4:11: '${': expected ${NAME}"),
        ("user: 'hunter2${A!}'", "compose.yaml:4:11: '${A': expected ${NAME}"),
    ],
)
def test_a_value_that_cannot_be_read_is_refused_in_one_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "compose.yaml").write_text(f"services:\n  a:\n    image: x\n    {text}\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ComposeError) as error:
        read_project_without_compose(["compose.yaml"])
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert "hunter2" not in str(error.value)


def test_values_that_multiply_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = "".join(f"      k{n}: $V$V$V$V\n" for n in range(500))
    monkeypatch.chdir(tmp_path)
    Path("compose.yaml").write_text(f"services:\n  a:\n    image: x\n    labels:\n{texts}")
    with pytest.raises(ComposeError, match="the value is too long after substitution"):
        read_project_without_compose(["compose.yaml"], {"V": "x" * 20_000})


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("8G", 8 * 2**30), ("8g", 8 * 2**30), ("8gb", 8 * 2**30), ("8GiB", 8 * 2**30),
        ("8 GiB", 8 * 2**30), ("8 g", 8 * 2**30), ("512m", 2**29), ("1T", 2**40), ("1p", 2**50),
        ("0.5g", 2**29), (".5g", 2**29), ("5.g", 5 * 2**30), ("1024", 1024), ("100b", 100),
        ("1e9", 10**9), ("1.1k", 1126), ("8.9", 8),
    ],
)  # fmt: skip
def test_sizes_are_binary(text: str, size: int) -> None:
    assert normalize_compose_size(text) == str(size)


@pytest.mark.parametrize(
    "text",
    ["", " ", "lots", "8Gi", "8 Gi", "-1", "8 g ", " 8g", "8  g", "1.1.1g", "8ib", "8bb", "g", "8x",
     "0x10", "inf", "nan", "100000000000000000p", "８g"],
)  # fmt: skip
def test_other_texts_are_not_sizes(text: str) -> None:
    with pytest.raises(ValueError, match="isn't a valid size"):
        normalize_compose_size(text)


VALUES = st.recursive(
    st.sampled_from(
        [None, True, 0, -1, 1.5, 2**70, "", "a", "1g", "all", "80:80", "./a:/b", "A=1", "${X:?}",
         "$X", "${X:?}:80", "service:a", "b", "\0", "-", "~/x"]
    ),
    lambda below: st.one_of(
        st.lists(below, max_size=3),
        st.dictionaries(
            st.sampled_from(
                ["a", "b", "resources", "limits", "reservations", "memory", "cpus", "devices",
                 "count", "options", "driver", "path", "required", "target", "source", "type",
                 "published", "replicas", "file", "service", "context", "x-a", "condition"]
            ),
            below,
            max_size=3,
        ),
    ),
    max_leaves=6,
)  # fmt: skip
TOP = st.sampled_from(["name", "include", "volumes", "networks", "secrets", "configs", "models"])
KEYS = st.sampled_from(["image", "environment", "env_file", "extends", "label_file", "labels",
                        "ports", "platform", "tmpfs", "network_mode", "mem_limit", "cpus",
                        "mem_reservation", "scale", "gpus", "logging", "volumes", "configs",
                        "profiles", "secrets", "deploy", "depends_on", "healthcheck", "links",
                        "volumes_from", "ulimits", "networks", "build", "restart", "devices",
                        "command", "extra_hosts", "sysctls"])  # fmt: skip
SERVICES = st.dictionaries(
    st.sampled_from(["a", "b"]), st.dictionaries(KEYS, VALUES, min_size=1, max_size=4), min_size=1
)


@settings(max_examples=2 * settings.default.max_examples)
@given(first=SERVICES, second=SERVICES, top=st.dictionaries(TOP, VALUES))
def test_any_values_end_in_facts_or_in_one_line(
    first: object, second: object, top: dict[str, object], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("any")
    for name, value in (("a.yaml", {**top, "services": first}), ("b.yaml", {"services": second})):
        (folder / name).write_text(json.dumps(value), "utf-8")
    with suppress(ComposeError):
        project = read_project_without_compose(
            [str(folder / "a.yaml"), str(folder / "b.yaml")]
        ).reading
        assert json.dumps(project.config)
        assert list(measure_project(None, project))
        assert find_port_clashes_within_project(project) is not None


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (normalize_compose_size, "1e309g"),
        (parse_integer, float("inf")),
        (parse_integer, "1e309"),
    ],
)
def test_a_figure_beyond_all_numbers_is_refused(read: Callable[[Any], object], value: Any) -> None:
    with pytest.raises(ValueError, match=r"isn't a|too large"):
        read(value)


def test_a_limit_that_is_a_single_number_is_both_bounds() -> None:
    limits = {"nofile": {"soft": 1024, "hard": 65535}, "nproc": 4096, "memlock": -1}
    assert parse_service_ulimits({"ulimits": limits}) == {
        ("nofile", "soft"): 1024, ("nofile", "hard"): 65535, ("nproc", "soft"): 4096,
        ("nproc", "hard"): 4096, ("memlock", "soft"): -1, ("memlock", "hard"): -1,
    }  # fmt: skip
    assert parse_service_ulimits({"ulimits": {"nofile": "many", "nproc": {"soft": 5}}}) == {
        ("nproc", "soft"): 5
    }
    assert parse_service_ulimits({"ulimits": ["nofile"]}) == {}
