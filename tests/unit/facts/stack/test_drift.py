"""What differs from the file is what Compose would recreate the container for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engines import IMAGE, Engine
from preflight.facts.compose.project import Project as ComposeProject
from preflight.facts.stack.drift import (
    COMPOSE_VERSION_LABEL,
    CONFIG_HASH_LABEL,
    find_drifted_settings,
)
from refused_projects import Project

Run = Callable[..., "subprocess.CompletedProcess[str]"]

OTHER = "another setting has changed in the file since it was made"
SERVICE = """\
name: pf-drift
services:
  api:
    image: {image}
    network_mode: none
    command: [sleep, '300']
    volumes: ['./a:/data', 'kept:/kept']
    restart: 'no'
    cap_add: [NET_ADMIN]
    labels: {{team: one}}
    env_file: [{{path: api.env}}, {{path: none.env, required: false}}]
    stop_grace_period: 0s
  labelled:
    {{image: '{image}', network_mode: none, command: [sleep, '400'], label_file: labels.env}}
volumes: {{kept: {{}}}}
"""
CHANGES = {
    "'300'": ("'301'", "the command differs from the file's"),
    "./a:/data": ("./b:/data", "/data is {folder}/a, the file says {folder}/b"),
    "./a:/data'": ("./a:/data:ro'", "/data is writable, the file says read-only"),
    "'no'": ("always", "restart no, the file says always"),
    "[NET_ADMIN]": ("[SYS_TIME]", "cap_add NET_ADMIN, the file says SYS_TIME"),
    "'./a:/data', ": ("", "/data is mounted, the file doesn't mount it"),
    "team: one": ("team: two", OTHER),
    "network_mode: none": ("network_mode: none\n    privileged: true",
                           "privileged is false, the file says true"),
}  # fmt: skip


def test_each_change_is_named_and_is_what_compose_recreates_for(
    docker_engine: Engine, tmp_path: Path, run_preflight: Run
) -> None:
    project = Project(docker_engine, tmp_path, run_preflight)
    file = tmp_path / "compose.yaml"
    text = SERVICE.format(image=IMAGE)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
    for name in ("api.env", "labels.env"):  # `up` and `config --hash` hash these differently
        (tmp_path / name).write_text("KEY=$$1\n")
    file.write_text(text)
    assert project.up().returncode == 0
    try:
        assert drift(project) == ("pass", None)
        for old, (new, words) in CHANGES.items():
            assert old in text
            file.write_text(text.replace(old, new, 1))
            assert drift(project) == ("warn", [words.format(folder=tmp_path)])
        dry = project.compose_run("up", "--dry-run", "-d")
        assert "Recreate" in dry.stderr
    finally:
        file.write_text(text)
        project.down()


def drift(project: Project) -> tuple[str, Any]:
    """Return the verdict on the container, and what differs."""
    done = project.run(
        "check", "-r", "general", "-f", "json", "--only", "container-current",
        "--docker-host", project.engine.url, cwd=project.folder, env=project.environ,
    )  # fmt: skip
    result, labelled = json.loads(done.stdout)["results"]
    assert labelled["verdict"] == "pass", labelled["actual"]
    return result["verdict"], result["actual"]


INSPECTION: dict[str, Any] = {
    "Config": {"Cmd": ["a"], "Labels": {CONFIG_HASH_LABEL: "old", COMPOSE_VERSION_LABEL: "2.40.3"}},
    "HostConfig": {"RestartPolicy": {"Name": "no"}},
    "Mounts": None,
}


@pytest.mark.parametrize(
    ("compose", "config_hash", "service", "differences"),
    [
        ("2.40.3", "old", {"command": ["b"]}, []),
        ("2.40.3", "new", {"command": ["a"]}, [OTHER]),
        ("2.41.0", "new", {"command": ["a"]}, []),
        ("2.40.3", None, {"command": ["a"]}, []),
        (None, None, {"command": ["b"]}, ["the command differs from the file's"]),
        (None, None, {"command": None, "restart": False}, []),
    ],
)  # fmt: skip
def test_a_hash_decides_only_where_the_same_compose_made_it(
    compose: str | None, config_hash: str | None, service: dict[str, Any], differences: list[str]
) -> None:
    project = ComposeProject("shop", "/shop", (), "cli", {}, compose)
    found = find_drifted_settings(project, service, INSPECTION, config_hash, ())
    assert list(found) == differences


@pytest.mark.parametrize(
    ("volume", "name", "differences"),
    [
        ({}, "shop_kept", []),
        ({"name": "own"}, "own", []),
        ({"external": True}, "kept", []),  # it hasn't the name of the project
        ({"external": True}, "shop_kept", ["/data is shop_kept, the file says kept"]),
    ],
)
def test_a_volume_is_compared_by_the_name_that_the_engine_knows(
    volume: dict[str, Any], name: str, differences: list[str]
) -> None:
    service = {"volumes": [{"type": "volume", "source": "kept", "target": "/data"}]}
    config = {"services": {"api": service}, "volumes": {"kept": volume}}
    project = ComposeProject("shop", "/", ("compose.yaml",), "fallback", config)
    inspection = {
        "Config": {"Labels": {CONFIG_HASH_LABEL: "another"}},
        "HostConfig": {},
        "Mounts": [{"Type": "volume", "Name": name, "Destination": "/data", "RW": True}],
    }
    assert list(find_drifted_settings(project, service, inspection, None, [])) == differences
