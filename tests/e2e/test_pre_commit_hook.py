"""The hook of pre-commit: the program itself clones, installs and runs it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from documentation import ROOT, clean_copy, find_program, run, snippet

HOOKS = ROOT / ".pre-commit-hooks.yaml"
RULES = (
    "version: 1\nname: mine\nrules:\n  - {id: os, title: OS, fact: host.os, %s: {exists: true}}\n"
)
GOOD, BAD = RULES % "require", RULES % "requires"

Hook = Callable[..., subprocess.CompletedProcess[str]]


def _git(folder: Path, *arguments: str) -> str:
    who = ("-c", "user.name=t", "-c", "user.email=t@localhost", "-c", "commit.gpgsign=false")
    done = run(find_program("git"), *who, *arguments, cwd=folder)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _repository(folder: Path) -> Path:
    _git(folder, "init", "--quiet")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "as it is")
    return folder


@pytest.fixture(scope="module")
def hook(tmp_path_factory: pytest.TempPathFactory) -> Hook:
    """Run the README's configuration over files; preflight is installed with the first."""
    source = _repository(clean_copy(tmp_path_factory.mktemp("preflight")))
    home = tmp_path_factory.mktemp("pre-commit")

    def commit(folder: Path, files: dict[str, str]) -> subprocess.CompletedProcess[str]:
        config = yaml.safe_load(snippet(".pre-commit-config.yaml"))
        config["repos"][0] |= {"repo": str(source), "rev": _git(source, "rev-parse", "HEAD")}
        (folder / ".pre-commit-config.yaml").write_text(yaml.safe_dump(config))
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        _git(folder, "init", "--quiet")
        _git(folder, "add", "--all")
        env = {"PRE_COMMIT_HOME": str(home), "PRE_COMMIT_COLOR": "never"}
        return run(find_program("pre-commit"), "run", "--verbose", cwd=folder, env=env)

    return commit


@pytest.mark.nightly
def test_the_manifest_is_valid() -> None:
    done = run(find_program("pre-commit"), "validate-manifest", str(HOOKS), cwd=ROOT)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_readme_names_the_hook() -> None:
    (repo,) = yaml.safe_load(snippet(".pre-commit-config.yaml"))["repos"]
    assert [one["id"] for one in repo["hooks"]] == [
        one["id"] for one in yaml.safe_load(HOOKS.read_text())
    ]


@pytest.mark.nightly
def test_a_good_file_passes(hook: Hook, tmp_path: Path) -> None:
    done = hook(tmp_path, {"preflight.yaml": GOOD, "other.yaml": BAD})
    assert done.returncode == 0, done.stdout
    assert "preflight.yaml: 1 rule, no problems" in done.stdout
    assert "other.yaml" not in done.stdout


@pytest.mark.nightly
def test_a_bad_file_blocks_the_commit_and_its_position_is_shown(hook: Hook, tmp_path: Path) -> None:
    done = hook(tmp_path, {"preflight.yaml": GOOD, "rules/a b.yaml": BAD})
    assert done.returncode == 1, done.stdout
    assert "rules/a b.yaml:4:40: " in done.stdout


@pytest.mark.nightly  # like those above: pre-commit clones and installs
def test_a_commit_without_rule_files_installs_and_runs_nothing(hook: Hook, tmp_path: Path) -> None:
    done = hook(tmp_path, {"compose.yaml": "services: {}\n"})
    assert done.returncode == 0, done.stdout
    assert "no files to check" in done.stdout


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("preflight.yaml", True),
        ("stack/preflight.yml", True),
        ("my-preflight.yaml", False),
        ("preflight.yaml.j2", False),
        ("preflight_yaml", False),
    ],
)
def test_which_files_the_hook_takes_for_rule_files_by_default(name: str, is_one: bool) -> None:
    import re

    (one,) = yaml.safe_load(HOOKS.read_text())
    assert bool(re.search(one["files"], name)) is is_one
