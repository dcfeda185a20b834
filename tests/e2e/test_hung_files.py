"""Files on a filesystem that never answers: every command that reads one ends, and says which."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paths import TESTS

SCRIPT = TESTS / "support/hung_filesystem.py"
MAX_SECONDS = 6

pytestmark = [
    pytest.mark.alone,
    pytest.mark.skipif(
        not os.path.exists("/dev/fuse") or os.geteuid() != 0, reason="it takes root and FUSE"
    ),
]


def run_with_hung_files(folder: Path, *arguments: str) -> tuple[int | None, float, str]:
    """Run the program where hung/ never answers; return its exit code, seconds and output."""
    (folder / "hung").mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "hung"),
         sys.executable, "-m", "preflight", *arguments],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    code, seconds, output = json.loads(done.stdout)
    return code, seconds, output


@pytest.mark.parametrize(
    ("arguments", "file"),
    [
        ("check -r hung/r.yaml --timeout 3", "hung/r.yaml"),
        ("check -r extends.yaml --timeout 3", "link.yaml"),
        ("check --facts hung/f.json", "hung/f.json"),
        ("check --compose-file hung/c.yaml --timeout 3", "hung/c.yaml"),
        ("check -f json:hung/out.json --timeout 3", "hung/out.json"),
        ("facts -o hung/out.json --timeout 3", "hung/out.json"),
        ("rules validate hung/r.yaml", "hung/r.yaml"),
        ("rules test hung/cases", "hung/cases"),
        ("rules document --check hung/doc.md", "hung/doc.md"),
        ("diff hung/a.json hung/b.json", "hung/a.json"),
        ("diagnose hung/a.log", "hung/a.log"),
        ("diagnose folder", "folder"),
        ("check --facts folder", "folder"),
        ("fleet -i hung/hosts.ini", "hung/hosts.ini"),
    ],
)
def test_a_file_that_never_answers(arguments: str, file: str, clean_environment: Path) -> None:
    folder = clean_environment
    (folder / "link.yaml").symlink_to("hung/r.yaml")
    (folder / "extends.yaml").write_text("version: 1\nextends: [link.yaml]\nrules: []\n")
    (folder / "folder").mkdir()
    (folder / "folder/a.log").symlink_to("../hung/a.log")
    code, seconds, output = run_with_hung_files(folder, *arguments.split())
    assert (code, seconds < MAX_SECONDS) == (2, True), (seconds, output)
    assert f"{file}: its filesystem did not answer within 3 s" in output


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ("diagnose --container x", 2, "no answer in time"),
        ("diagnose --compose", 2, "no answer in time"),
        ("bundle -y -o b.zip", 0, "no answer in time"),
        ("check -q --only docker-reachable", 3, "Docker did not answer within 3 s"),
        ("diagnose local.log", 0, ""),
    ],
)
def test_a_home_and_a_project_that_never_answer(
    arguments: str, code: int, words: str, clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The docker CLI's configuration and the cache of log patterns lie in the home folder."""
    folder = clean_environment
    monkeypatch.setenv("HOME", str(folder / "hung"))
    (folder / "local.log").write_text("all is well\n")
    service = f"{{image: x, env_file: [{folder}/hung/x.env]}}"
    (folder / "compose.yaml").write_text(f"services: {{api: {service}}}\n")
    exit_code, seconds, output = run_with_hung_files(folder, *arguments.split(), "--timeout", "3")
    assert (exit_code, seconds < 12) == (code, True), (seconds, output)
    assert words in " ".join(output.split())


@pytest.mark.parametrize(
    ("command", "file"),
    [
        ("check -q", "preflight.yaml"),
        ("bundle -y -o b.zip", "b.zip"),
        ("diagnose --compose", "preflight.yaml"),
        ("rules list", "preflight.yaml"),
    ],
)
def test_a_current_folder_that_never_answers(
    command: str, file: str, clean_environment: Path
) -> None:
    folder = clean_environment
    program = Path(sys.executable).with_name("preflight")  # -m would import from the folder
    script = f"cd hung && exec {program} {command}"
    (folder / "hung").mkdir()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder / "hung"), "sh", "-c", script],
        cwd=folder, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    code, seconds, output = json.loads(done.stdout)
    assert (code, seconds < 12) == (2, True), (seconds, output)
    assert f"{file}: its filesystem did not answer within 3 s" in output
