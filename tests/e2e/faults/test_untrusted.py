"""What comes from anybody runs nothing, reads nothing outside, and sends nothing from the machine.

Each row is a whole command, with the system calls of all its processes, the real Compose's among
them, as strace tells them. The addresses that files name are of TEST-NET-1 (RFC 5737), where
nobody is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from engines import skip_or_fail
from rows import nightly_except

AWAY = "192.0.2.1"
SECRET = "sekret-1234abcd"
OUTSIDE = "outside.yaml"
NO_ENGINE = ("--docker-host", "unix:///nonexistent/docker.sock")
LOCAL_SOCKETS = ("/nonexistent/docker.sock", "/var/run/nscd/socket", "/run/systemd/")
CALLS = "connect,execve,execveat,open,openat,openat2,sendto"


class Seen(NamedTuple):
    """What the processes of a command asked of the system."""

    code: int
    out: str
    programs: set[str]
    addresses: set[str]
    files: set[str]


def watched(folder: Path, *command: str) -> Seen:
    """Run preflight, with the real Compose on its path."""
    if not shutil.which("strace"):
        skip_or_fail("strace is not installed")
    log = folder.parent / "calls"
    tools = os.path.dirname(sys.executable)
    env = {"PATH": f"{tools}:/usr/bin:/bin", "HOME": str(folder.parent / "home"), "LANG": "C.UTF-8"}
    done = subprocess.run(
        ["strace", "-f", "-qq", "-s", "4096", "-e", f"trace={CALLS}", "-o", str(log),
         sys.executable, "-m", "preflight", *command],
        cwd=folder, env=env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    calls = log.read_text(errors="replace")
    sockets = set(re.findall(r'connect\(.*sun_path="([^"]*)"', calls))
    net = set(re.findall(r'inet_addr\("([^"]*)"\)|inet_pton\(AF_INET6, "([^"]*)"', calls))
    return Seen(
        done.returncode,
        done.stdout + done.stderr,
        set(re.findall(r'execve\("([^"]*)".*= 0$', calls, re.MULTILINE)),
        {path for path in sockets if not path.startswith(LOCAL_SOCKETS)}
        | {one or other for one, other in net},
        {os.path.basename(path) for path in re.findall(r'open\w*\(.*?"([^"]*)"', calls)},
    )


COMPOSE = {
    "include of a repository": "include: ['https://192.0.2.1/x.git#main:compose.yaml']\n"
    "services: {a: {image: x}}\n",
    "include of an artifact": "include: ['oci://192.0.2.1/x/y:1']\nservices: {a: {image: x}}\n",
    "extends of a repository": "services: {a: {extends: {file: 'git@192.0.2.1:x/y.git', "
    "service: b}}}\n",
    "a build from elsewhere": "services: {a: {build: {context: 'https://192.0.2.1/x.git', "
    "additional_contexts: {b: 'https://192.0.2.1/y.tar'}}}}\n",
    "an image of a registry": "services: {a: {image: '192.0.2.1:5000/x/y:1', "
    "pull_policy: always}}\n",
    "a model and a provider": "services: {a: {image: x, models: [m]}, "
    "b: {provider: {type: ./run-me, options: {a: b}}}}\nmodels: {m: {model: 192.0.2.1/ai/x}}\n",
    "an Ollama elsewhere": "services:\n  ollama:\n    image: ollama/ollama\n"
    "    ports: ['192.0.2.1:11434:11434']\n"
    "    environment: {OLLAMA_HOST: 'http://192.0.2.1:11434', OLLAMA_MODEL: phi}\n",
    "files beside it": f"services: {{a: {{image: x, secrets: [s], configs: [c]}}}}\n"
    f"secrets: {{s: {{file: ../{OUTSIDE}}}}}\nconfigs: {{c: {{file: ../{OUTSIDE}}}}}\n",
    "env_file outside": f"services: {{a: {{image: x, env_file: ../{OUTSIDE}}}}}\n",
    "extends outside": f"services: {{a: {{extends: {{file: ../{OUTSIDE}, service: b}}}}}}\n",
    "include outside": f"include: [../{OUTSIDE}]\nservices: {{a: {{image: x}}}}\n",
    "a mount of all there is": "services: {a: {image: x, volumes: ['/:/host', '~/.ssh:/k:ro']}}\n",
    "a python object": "services: {a: !!python/object/apply:os.system ['./run-me']}\n",
    "commands for names": "services: {a: {image: '$(./run-me)', command: './run-me', "
    "environment: {A: '`./run-me`'}}}\n",
}
RULE = "rules: [{id: a, title: A, fact: host.memory.total, require: {at_least: 1B}, %s}]\n"
RULES = {
    "extends of an address": "version: 1\nextends: ['https://192.0.2.1/rules.yaml']\n",
    "extends outside": f"version: 1\nextends: ['../{OUTSIDE}']\n",
    "extends of the system's": "version: 1\nextends: ['/etc/passwd', '/proc/self/environ']\n",
    "a python object": "version: !!python/object/apply:os.system ['./run-me']\n",
    "a command that fixes": "version: 1\n"
    + RULE.replace("1}", "1000TB}")
    % "fixes: [{text: t, command: ./run-me, url: 'https://192.0.2.1'}]",
    "names and addresses": "version: 1\n"
    + RULE % "when: {net.resolve.preflight.test: true, net.connect.192.0.2.1.443: true}",
    "a template": "version: 1\nvars: {a: '{{ self.__init__.__globals__ }}'}\n"
    + RULE % "why: '${a}'",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A project that everything hostile lies in; beside it what it may not have."""
    (tmp_path / OUTSIDE).write_text(f"services: {{b: {{image: x}}}}\n# {SECRET}\n")
    (tmp_path / "home").mkdir()
    made = tmp_path / "project"
    made.mkdir()
    (made / "run-me").write_text("#!/bin/sh\ntouch ran\n")
    (made / "run-me").chmod(0o755)
    (made / "sitecustomize.py").write_text("open('ran', 'w')\n")
    (made / "yaml.py").write_text("open('ran', 'w')\n")
    return made


def held(folder: Path, seen: Seen) -> None:
    """Nothing of it ran, was read from outside, or left the machine."""
    assert not (folder / "ran").exists()
    names = {re.sub(r"[\d.]+$", "", os.path.basename(path)) for path in seen.programs}
    assert names <= {"python", "docker-compose", "docker"}
    assert {one for one in seen.addresses if not one.startswith("127.") and one != "::1"} == set()
    assert OUTSIDE not in seen.files
    assert SECRET not in seen.out
    assert "Traceback" not in seen.out


@pytest.mark.parametrize(
    "name",
    nightly_except(
        COMPOSE,
        (
            "include of a repository",
            "an Ollama elsewhere",
            "env_file outside",
            "commands for names",
        ),
    ),
)
def test_a_compose_file_reaches_nothing(name: str, folder: Path) -> None:
    (folder / "compose.yaml").write_text(COMPOSE[name])
    seen = watched(folder, "check", *NO_ENGINE)
    held(folder, seen)
    assert seen.code in (1, 2)
    if seen.code == 1:  # else our own reading may refuse it before Compose is asked
        assert any(path.endswith("docker-compose") for path in seen.programs)


@pytest.mark.parametrize(
    "name",
    nightly_except(RULES, ("extends of an address", "a command that fixes", "names and addresses")),
)
def test_a_rule_file_reaches_nothing(name: str, folder: Path) -> None:
    (folder / "preflight.yaml").write_text(RULES[name])
    for command in (("check", *NO_ENGINE), ("rules", "validate", "preflight.yaml")):
        seen = watched(folder, *command)
        held(folder, seen)
        assert seen.code in (0, 1, 2)


FACTS = {
    "schema": "preflight.facts/1",
    "preflight": "1.0.0",
    "measured_at": "2026-11-23T11:00:00Z",
    "facts": {
        "host": {"memory": {"total": 25276518400}, "os": "$(./run-me)"},
        "docker": {"reachable": True, "endpoint": f"tcp://{AWAY}:2375", "local": False},
        "ollama": {"endpoint": f"http://{AWAY}:11434", "reachable": True},
        "compose": {"files": [f"../{OUTSIDE}"], "source": "cli"},
    },
    "sources": {},
    "unknown": {},
}
LOG = f"Error: model requires more system memory (5.7 GiB) than is available (2.8 GiB)\nhttp://{AWAY}/\n"


def snapshot(folder: Path) -> str:
    (folder / "facts.json").write_text(json.dumps(FACTS))
    return "facts.json"


def bundle(folder: Path) -> str:
    with zipfile.ZipFile(folder / "ticket.zip", "w") as made:
        made.writestr("facts.json", json.dumps(FACTS))
        made.writestr(f"../{OUTSIDE}", "over it\n")
        made.writestr("../../ran", "unpacked\n")
        made.writestr("logs/api.log", LOG)
    return "ticket.zip"


def log(folder: Path) -> str:
    (folder / "api.log").write_text(LOG)
    (folder / "api.log.1").symlink_to(f"../{OUTSIDE}")
    return "api.log"


SAVED: dict[str, tuple[Callable[[Path], str], list[str]]] = {
    "a snapshot judged": (snapshot, ["check", "--facts"]),
    "a snapshot as a page": (snapshot, ["check", "-f", "html", "--facts"]),
    "a bundle judged": (bundle, ["check", "--facts"]),
    "a bundle searched": (bundle, ["diagnose"]),
    "a bundle compared": (bundle, ["diff", "ticket.zip"]),
    "a log searched": (log, ["diagnose"]),
}


@pytest.mark.parametrize("name", nightly_except(SAVED, ("a bundle judged", "a log searched")))
def test_what_was_saved_reaches_nothing(name: str, folder: Path) -> None:
    make, command = SAVED[name]
    seen = watched(folder, *command, make(folder))
    held(folder, seen)
    assert not any(one.startswith("127.") for one in seen.addresses)  # nothing is measured either
    assert not (folder.parent / "ran").exists()
