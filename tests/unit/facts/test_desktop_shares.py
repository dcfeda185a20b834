"""Bind mounts that Docker Desktop doesn't share, by its settings in the shapes of its versions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from contexts import REMOTE, context_with
from preflight.facts.collect.context import Service
from preflight.facts.compose.project import Project
from preflight.facts.desktop_shares import find_unshared_mount_refusals
from preflight.model.facts import NotMeasuredError

# before 4.35 on macOS, then there, then on Linux
SETTINGS = {
    "Library/Group Containers/group.com.docker/settings.json": {
        "cpus": 4, "filesharingDirectories": ["/Users", "/Volumes", "/private", "/tmp", "/opt/app"],
    },
    "Library/Group Containers/group.com.docker/settings-store.json": {
        "AutoStart": False, "FilesharingDirectories": ["/Users", "/opt/app/", "/var/folders"],
    },
    ".docker/desktop/settings-store.json": {"FilesharingDirectories": ["/home/ann", "/opt/app"]},
}  # fmt: skip


def refusals(
    home: Path, source: str, name: str = "docker-desktop", **context: Any
) -> list[tuple[str, str]]:
    mount = {"type": "bind", "source": source, "target": "/data"}
    service = {"image": "x", "volumes": [mount, {"type": "volume", "target": "/v"}]}
    project = Project("shop", "/shop", (), "cli", {"services": {"api": service}})
    measured = context_with(project, name=name, native=False, **context)
    return [*find_unshared_mount_refusals(Service(project, "api", service, measured, home))]


@pytest.fixture
def home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setenv("HOME", "/home/ann")
    return tmp_path


def write(root: Path, name: str, text: str) -> None:
    file = root / "home/ann" / name
    file.parent.mkdir(parents=True)
    file.write_text(text)


@pytest.mark.parametrize("name", SETTINGS)
def test_only_what_is_shared_is_mounted(home: Path, name: str) -> None:
    write(home, name, json.dumps(SETTINGS[name]))
    [(words, key)] = refusals(home, "/srv/data")
    reason = "is not shared from the host and is not known to Docker"
    assert words == f"Mounts denied: The path /srv/data {reason}"
    assert key == "volumes"
    assert len(refusals(home, "/opt/application")) == 1
    assert refusals(home, "/opt/app") == refusals(home, "/OPT/App/data") == []


def test_what_the_virtual_machine_has_itself(home: Path) -> None:
    write(home, ".docker/desktop/settings.json", json.dumps({"filesharingDirectories": []}))
    for source in ("/var/run/docker.sock", "/etc/localtime", "/", "/sys", "C:\\data"):
        assert refusals(home, source) == []
    assert len(refusals(home, "/home/ann/data")) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", '{"cpus": 4}', '{"FilesharingDirectories": "/"}'])
def test_settings_that_do_not_say_it_decide_nothing(home: Path, text: str) -> None:
    write(home, ".docker/desktop/settings-store.json", text)
    assert refusals(home, "/home/ann/data") == refusals(home, "/Users/ann/data") == []
    with pytest.raises(NotMeasuredError, match="whether it shares /srv/data"):
        refusals(home, "/srv/data")


def test_other_engines_share_everything_or_are_elsewhere(home: Path) -> None:
    assert refusals(home, "/srv/data", name="docker") == []
    assert refusals(home, "/srv/data", endpoint=REMOTE) == []
    wsl = {"KernelVersion": "5.15.167.4-microsoft-standard-WSL2"}
    assert refusals(home, "/mnt/c/Users/ann/data", info=wsl) == []
