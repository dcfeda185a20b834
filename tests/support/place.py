"""Snippets of the documentation, and a clean copy of the project."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import pytest

from paths import PAGES, ROOT

PAGES_TEXT = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
TOOLS = Path(sys.executable).parent
_BLOCK = re.compile(r"^```[a-z]*\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_PARTS = (
    "src", "rules.yaml", "pyproject.toml", "README.md", "LICENSE", ".github",
    ".pre-commit-hooks.yaml",
)  # fmt: skip


def snippet(name: str) -> str:
    """Return the documentation's block of code whose first line is the comment `name`."""
    (found,) = [one for one in _BLOCK.findall(PAGES_TEXT) if one.partition("\n")[0] == f"# {name}"]
    return str(found)


def clean_copy(folder: Path) -> Path:
    """Copy what users get of the project into a folder, as it is now; returns the folder."""
    for name in _PARTS:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def missing(reason: str) -> NoReturn:
    """On a laptop what is missing skips the test, where tests gate it fails them."""
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail(reason)
    pytest.skip(reason)


def needs(program: str) -> str:
    """Return where a program is: among the tests' packages or the system's."""
    found = shutil.which(program, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    return found or missing(f"{program} is not installed")


def run(
    *command: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """Run a program to its end, with further variables; its output is text."""
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True,
        timeout=timeout, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def obeys(schema: str, file: Path) -> None:
    """Hold a file against a schema that check-jsonschema carries: its makers' own."""
    more = ("--data-transform", "gitlab-ci") if "gitlab" in schema else ()
    done = run(
        needs("check-jsonschema"), "--builtin-schema", schema, *more, str(file), cwd=file.parent
    )
    assert done.returncode == 0, done.stdout
