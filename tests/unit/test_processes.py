"""A program is bounded in time and output, and whatever it does is a result."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from preflight.processes import ProgramResult, StartedProgram, find_program

LIMIT = 2**20


def run(*arguments: str, timeout: float = 10) -> ProgramResult:
    return StartedProgram(arguments, os.environ, LIMIT).wait(timeout)


def test_the_output_and_the_exit_code() -> None:
    assert run("sh", "-c", "echo out; echo err >&2; exit 3") == ProgramResult(3, "out\n", "err\n")


def test_output_that_is_not_text() -> None:
    assert run("printf", r"\377") == ProgramResult(0, "\N{REPLACEMENT CHARACTER}", "")


@pytest.mark.parametrize(
    ("script", "error"),
    [
        ("sleep 30", "didn't finish within 0.3 s"),
        ("trap '' TERM; sleep 30", "didn't finish within 0.3 s"),
        ("kill -TERM $$", "was ended by signal 15"),
    ],
)
def test_a_program_that_gives_no_exit_code(script: str, error: str) -> None:
    start = time.monotonic()
    assert run("sh", "-c", script, timeout=0.3) == ProgramResult(None, "", error)
    assert time.monotonic() - start < 5


@pytest.mark.parametrize("stream", ["", " >&2"])
def test_a_program_that_prints_too_much(stream: str) -> None:
    assert run("sh", "-c", f"yes{stream}") == ProgramResult(
        None, "", "printed more than 1,048,576 bytes"
    )


def test_what_a_program_leaves_behind_holds_neither_its_output_nor_the_caller() -> None:
    start = time.monotonic()
    result = run("sh", "-c", "sleep 10 & echo 1.2.3; echo err >&2", timeout=0.3)
    assert result == ProgramResult(0, "1.2.3\n", "err\n")
    assert time.monotonic() - start < 8


def test_a_program_of_the_current_folder_is_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a project has under the name of a program isn't that program."""
    for folder in (tmp_path, tmp_path / "bin"):
        folder.mkdir(exist_ok=True)
        (folder / "docker-compose").write_text("#!/bin/sh\n")
        (folder / "docker-compose").chmod(0o755)
    monkeypatch.chdir(tmp_path)
    for path in (".", "", ":", "bin", "/nowhere::", "./bin:."):
        assert find_program("docker-compose", {"PATH": path}) is None
    program = str(tmp_path / "bin/docker-compose")
    assert find_program("docker-compose", {"PATH": f".:{tmp_path}/bin"}) == program
    assert find_program("sh", {}) in ("/bin/sh", "/usr/bin/sh")


def test_a_program_that_cannot_be_run(tmp_path: Path) -> None:
    missing, folder = tmp_path / "missing", tmp_path
    assert run(str(missing)) == ProgramResult(
        None, "", "failed to start: No such file or directory"
    )
    assert run(str(folder)) == ProgramResult(None, "", "failed to start: Permission denied")


def test_only_open_files_are_closed_however_high_the_limit_is() -> None:
    script = """
import os
from preflight.processes import close_file_descriptors_from
os.closerange = None  # on old kernels it tries each number up to the limit
os.dup2(1, 500)
close_file_descriptors_from(3)
print(os.listdir("/proc/self/fd"))
"""
    ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert set(ast.literal_eval(ended.stdout)) <= {"0", "1", "2", "3"}, ended.stderr  # 3: listdir's
