"""A short run of the guard against the real Compose under strace; the long one is nightly."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from compose_guard import World, fuzz

from engines import require_programs
from preflight.facts.compose import cli
from preflight.facts.compose.load import ReadableFolders


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
    require_programs("strace")
    monkeypatch.chdir(os.getcwd())
    monkeypatch.setattr(cli, "ask_compose", cli.ask_compose)
    return World(tmp_path / "world")


def test_what_compose_opens_was_allowed(world: World) -> None:
    count, asked, leaks = fuzz(world, inputs=60, seed=1, seconds=60)
    assert (count, leaks) == (60, [])
    assert asked > 5


@pytest.mark.nightly
def test_without_the_guard_compose_opens_what_lies_outside(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ReadableFolders, "require_inside", lambda *_: None)
    _, _, leaks = fuzz(world, inputs=150, seed=2, seconds=60)
    assert leaks
