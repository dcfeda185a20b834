"""Files on a filesystem that never answers: every command that reads one ends, and says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from paths import TESTS

SCRIPT = TESTS / "support/hung_filesystem.py"
MAX_SECONDS = 20  # all commands run side by side; one that waits for the filesystem never ends

pytestmark = [
    pytest.mark.xdist_group("hung files"),
    pytest.mark.skipif(
        not os.path.exists("/dev/fuse") or os.geteuid() != 0, reason="it takes root and FUSE"
    ),
]

FILES = {
    "check -r hung/r.yaml --timeout 3": "hung/r.yaml",
    "check -r extends.yaml --timeout 3": "link.yaml",
    "check --facts hung/f.json": "hung/f.json",
    "check --compose-file hung/c.yaml --timeout 3": "hung/c.yaml",
    "check -f json:hung/out.json --timeout 3": "hung/out.json",
    "facts -o hung/out.json --timeout 3": "hung/out.json",
    "check -r hung/r.yaml --timeout 0.7": "hung/r.yaml",
    "bundle -y -o hung/b.zip --timeout 0.7": "hung/b.zip",
    "rules validate hung/r.yaml": "hung/r.yaml",
    "rules test hung/cases": "hung/cases",
    "rules document --check hung/doc.md": "hung/doc.md",
    "diff hung/a.json hung/b.json": "hung/a.json",
    "diagnose hung/a.log": "hung/a.log",
    "diagnose folder": "folder",
    "check --facts folder": "folder",
    "fleet -i hung/hosts.ini": "hung/hosts.ini",
}
WITH_A_HUNG_HOME = {  # the docker CLI's configuration and the cache of log patterns lie in it
    "diagnose --container x --timeout 3": (2, "no answer in time"),
    "diagnose --compose --timeout 3": (2, "no answer in time"),
    "bundle -y -o b.zip --timeout 3": (0, "no answer in time"),
    "check -q --only docker-reachable --timeout 3": (3, "Docker did not answer within 3 s"),
    "diagnose local.log --timeout 3": (0, ""),
}
IN_A_HUNG_FOLDER = {
    "check -q": "preflight.yaml",
    "bundle -y -o b.zip": "b.zip",
    "diagnose --compose": "preflight.yaml",
    "rules list": "preflight.yaml",
}


class Ended(NamedTuple):
    """How a command ended; its exit code is None if it had to be killed."""

    code: int | None
    seconds: float
    output: str


@pytest.fixture(scope="module")
def ended(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """How each command ended, by the table's name and the command."""
    folder = tmp_path_factory.mktemp("files")
    for name in ("hung", "folder", "home", "project"):
        (folder / name).mkdir()
    (folder / "link.yaml").symlink_to("hung/r.yaml")
    (folder / "extends.yaml").write_text("version: 1\nextends: [link.yaml]\nrules: []\n")
    (folder / "folder/a.log").symlink_to("../hung/a.log")
    project = folder / "project"
    (project / "local.log").write_text("all is well\n")
    service = f"{{image: x, env_file: [{folder}/hung/x.env]}}"
    (project / "compose.yaml").write_text(f"services: {{api: {service}}}\n")
    names = ("DOCKER_", "PREFLIGHT_", "COMPOSE_", "XDG_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(names)}
    env["HOME"] = str(folder / "home")
    hung_home = {**env, "HOME": str(folder / "hung")}
    program = str(Path(sys.executable).with_name("preflight"))  # -m imports from the folder
    commands: dict[str, dict[str, Any]] = {}
    for line in FILES:
        commands[line] = {"args": [program, *line.split()], "cwd": str(folder), "env": env}
    for line in WITH_A_HUNG_HOME:
        args = [program, *line.split()]
        commands[f"home: {line}"] = {"args": args, "cwd": str(project), "env": hung_home}
    for line in IN_A_HUNG_FOLDER:
        args = ["sh", "-c", f"cd hung && exec {program} {line}"]
        commands[f"folder: {line}"] = {"args": args, "cwd": str(folder), "env": env}
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "hung")], input=json.dumps([*commands.values()]),
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {
        name: Ended(*outcome)
        for name, outcome in zip(commands, json.loads(done.stdout), strict=True)
    }


@pytest.mark.parametrize(("command", "file"), FILES.items())
def test_a_file_that_never_answers(command: str, file: str, ended: dict[str, Ended]) -> None:
    done = ended[command]
    assert (done.code, done.seconds < MAX_SECONDS) == (2, True), done
    seconds = "0.7" if command.endswith("--timeout 0.7") else "3"
    assert f"{file}: its filesystem did not answer within {seconds} s" in done.output


@pytest.mark.parametrize(("command", "expected"), WITH_A_HUNG_HOME.items())
def test_a_home_and_a_project_that_never_answer(
    command: str, expected: tuple[int, str], ended: dict[str, Ended]
) -> None:
    code, words = expected
    done = ended[f"home: {command}"]
    assert (done.code, done.seconds < MAX_SECONDS) == (code, True), done
    assert words in " ".join(done.output.split())


@pytest.mark.parametrize(("command", "file"), IN_A_HUNG_FOLDER.items())
def test_a_current_folder_that_never_answers(
    command: str, file: str, ended: dict[str, Ended]
) -> None:
    done = ended[f"folder: {command}"]
    assert (done.code, done.seconds < MAX_SECONDS) == (2, True), done
    assert f"{file}: its filesystem did not answer within 3 s" in done.output
