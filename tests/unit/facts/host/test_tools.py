"""Programs on PATH and their versions: real ones, and such as hang, ask or print anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import MeasurementOptions
from preflight.facts.host.tools import find_version_in_output, measure_tools
from preflight.model.facts import Unknown

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="programs are shell scripts")


def tools(*names: str, seconds: float = 10) -> dict[str, Any]:
    context = MeasurementContext(MeasurementOptions(timeout=seconds))
    paths: list[tuple[str, ...]] = [("host", "tools", *name.rpartition(".")[::2]) for name in names]
    facts = list(measure_tools(context, paths))
    assert all(fact.source for fact in facts)
    return {".".join(fact.path[2:]): fact.value for fact in facts}


def make_program(folder: Path, name: str, script: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n")
    (folder / name).chmod(0o755)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    return tmp_path / "bin"


def test_real_programs_are_what_they_say_themselves() -> None:
    names = [name for name in ("git", "bash", "openssl", "python3") if shutil.which(name)]
    facts = tools(*(f"{name}.{part}" for name in names for part in ("path", "version")))
    for name in names:
        assert facts[f"{name}.path"] == shutil.which(name)
        option = "version" if name == "openssl" else "--version"
        printed = subprocess.run([name, option], capture_output=True, text=True).stdout
        assert facts[f"{name}.version"] in printed
        assert facts[f"{name}.version"].count(".") >= 1


def test_a_version_is_only_asked_if_a_rule_does(folder: Path) -> None:
    mark = folder.parent / "was-run"
    make_program(folder, "mytool", f"touch {mark}; echo mytool 1.2.3")
    assert tools("mytool.path") == {"mytool.path": f"{folder}/mytool"}
    assert not mark.exists()
    assert tools("mytool.version")["mytool.version"] == "1.2.3"
    assert mark.exists()


def test_a_program_that_is_not_there_is_absent() -> None:
    expected = {"no-such-tool.path": None, "no-such-tool.version": None}
    assert tools("no-such-tool.path", "no-such-tool.version") == expected


def test_programs_that_give_no_version_are_unknown(folder: Path) -> None:
    make_program(folder, "hangs", "sleep 600")
    make_program(folder, "asks", 'printf "Password: "; read answer || exit 3; echo "$answer 1.0"')
    make_program(folder, "fails", "echo needs libx.so.1.2 >&2; exit 1")
    make_program(folder, "silent", "exit 0")
    make_program(folder, "floods", "yes 1.2.3")
    names = ("hangs", "asks", "fails", "silent", "floods")
    make_program(folder, "quick", "echo 4.5")
    start = time.monotonic()
    facts = tools("quick.version", *(f"{name}.version" for name in names), seconds=1.5)
    assert time.monotonic() - start < 10
    for name in names:
        assert isinstance(facts[f"{name}.version"], Unknown), name
    assert "didn't finish" in facts["hangs.version"].reason
    assert facts["quick.version"] == "4.5"  # however long the others take


def test_names_are_no_paths_and_no_options(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("../bin/git", "/bin/sh", "-rf", "a b", "$(reboot)"):
        context = MeasurementContext(MeasurementOptions())
        (fact,) = measure_tools(context, [("host", "tools", name, "path")])
        assert isinstance(fact.value, Unknown), name
        assert fact.value.kind == "invalid"
    make_program(folder, "here", "echo 1.0")
    monkeypatch.chdir(folder)
    monkeypatch.setenv("PATH", f".:{os.defpath}")  # the project's folder isn't searched
    assert tools("here.path") == {"here.path": None}


def test_of_many_programs_the_first_100_are_looked_for() -> None:
    facts = tools(*(f"no-such-tool-{number}.version" for number in range(101)))
    unknown = [name for name, value in facts.items() if isinstance(value, Unknown)]
    assert unknown == ["no-such-tool-100.path", "no-such-tool-100.version"]


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("git version 2.39.5", "2.39.5"),
        ("GNU bash, version 5.2.15(1)-release (x86_64-pc-linux-gnu)", "5.2.15"),
        ("OpenSSL 3.0.15 3 Sep 2024 (Library: OpenSSL 3.0.15 3 Sep 2024)", "3.0.15"),
        ("jq-1.7.1", "1.7.1"),
        ('openjdk version "17.0.9" 2023-10-17', "17.0.9"),
        ("v20.11.1", "20.11.1"),
        ("go version go1.24.3 linux/amd64", "1.24.3"),
        ("OpenSSH_9.2p1 Debian-2", "9.2p1"),
        ("less 590 (GNU regular expressions)", "590"),
    ],
)
def test_versions(text: str, version: str) -> None:
    assert find_version_in_output(text) == version


@pytest.mark.parametrize("text", ["", "no version here", "built with libx.so"])
def test_texts_without_a_version(text: str) -> None:
    assert isinstance(find_version_in_output(text), Unknown)
