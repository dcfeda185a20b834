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
    ".ci/build_hook.py", ".pre-commit-hooks.yaml",
)  # fmt: skip


def snippet(name: str) -> str:
    """Return the code block of the documentation that starts with the comment `name`."""
    blocks = _BLOCK.findall(PAGES_TEXT)
    (block,) = [block for block in blocks if block.partition("\n")[0] == f"# {name}"]
    return str(block)


def clean_copy(folder: Path) -> Path:
    """Copy the files that users install into a folder, and return the folder."""
    for name in _PARTS:
        source, target = ROOT / name, folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, target)
    return folder


def skip_or_fail(reason: str) -> NoReturn:
    """Skip the test, or fail it in CI and where PREFLIGHT_REQUIRE_ENGINES is set."""
    if os.environ.get("CI") or os.environ.get("PREFLIGHT_REQUIRE_ENGINES"):
        pytest.fail(reason)
    pytest.skip(reason)


def find_program(program: str) -> str:
    """Return the path of a program of the tests' environment or of PATH."""
    path = shutil.which(program, path=f"{TOOLS}{os.pathsep}{os.environ['PATH']}")
    return path or skip_or_fail(f"{program} is not installed")


def run(
    *command: str, cwd: Path, env: Mapping[str, str] | None = None, timeout: float = 600
) -> subprocess.CompletedProcess[str]:
    """Run a program with additional variables; return its output as text."""
    return subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True,
        timeout=timeout, stdin=subprocess.DEVNULL,
    )  # fmt: skip


def assert_valid(schema: str, file: Path) -> None:
    """Fail unless a file matches a schema that comes with check-jsonschema."""
    more = ("--data-transform", "gitlab-ci") if "gitlab" in schema else ()
    done = run(
        find_program("check-jsonschema"),
        "--builtin-schema",
        schema,
        *more,
        str(file),
        cwd=file.parent,
    )
    assert done.returncode == 0, done.stdout
