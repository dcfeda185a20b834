"""Bundled sets are kept ready after their first use, and what is kept is never trusted blindly."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from preflight.cache_files import prepare_cache_file_path
from preflight.cli import precompiled_sets
from preflight.cli.precompiled_sets import find_or_precompile_set
from preflight.cli.streams import read_rule_file
from preflight.rules.decoding_context import RuleFileContents


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's cache folder; as in a checkout, and nothing is written beside the bytecode."""
    monkeypatch.setattr(precompiled_sets, "_SHIPPED_SETS_DIR", tmp_path / "checkout")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.setattr(sys, "platform", "linux")
    return tmp_path / "cache/preflight"


def images() -> RuleFileContents | None:
    return find_or_precompile_set("images", read_rule_file)


def test_kept_on_first_use_and_read_after_that(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = images()
    (kept,) = folder.iterdir()
    assert kept.stat().st_mode & 0o777 == 0o600
    monkeypatch.setattr(precompiled_sets, "precompile_set", None)  # not made again
    assert images() == first


def test_the_wheel_has_them(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = images()
    shipped = tmp_path / "wheel"
    shipped.mkdir()
    for name, data in precompiled_sets.precompile_shipped_sets().items():
        (shipped / name).write_bytes(data)
    monkeypatch.setattr(precompiled_sets, "_SHIPPED_SETS_DIR", shipped)
    monkeypatch.setattr(precompiled_sets, "_load_or_precompile_set", None)  # not asked
    assert images() == first


@pytest.mark.parametrize("content", [b"", b"not ours", b"\0" * 200_000])
def test_a_foreign_file_is_replaced(folder: Path, content: bytes) -> None:
    first = images()
    (kept,) = folder.iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(content)
    assert images() == first
    assert kept.read_bytes() == whole
    kept.write_bytes(whole[:-20])
    assert images() == first
    assert [file.read_bytes() for file in folder.iterdir()] == [whole]


def test_a_change_of_the_program_makes_them_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images()
    (kept,) = folder.iterdir()
    before = kept.read_bytes()
    monkeypatch.setattr(precompiled_sets, "_sum_decoder_change_times", lambda: 1)
    images()
    assert kept.read_bytes() != before


def test_beside_the_bytecode_where_that_is_written(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", str(tmp_path / "prefix"))
    (tmp_path / "prefix").mkdir()
    images()
    (kept,) = (tmp_path / "prefix").rglob("*.precompiled")
    assert kept.name.startswith("images.")
    assert not [*folder.iterdir()]


def test_nowhere_to_keep_them(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder.parent.write_text("a file in place of the folder")
    assert prepare_cache_file_path("x") is None
    assert images() is not None


def test_a_cache_folder_with_a_relative_path_is_not_made_in_the_project(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project, home = tmp_path / "project", tmp_path / "home"
    project.mkdir()
    home.mkdir()
    monkeypatch.chdir(project)
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    monkeypatch.setenv("HOME", str(home))
    assert prepare_cache_file_path("x") == home / ".cache/preflight/x"
    monkeypatch.setenv("HOME", "home")
    assert prepare_cache_file_path("x") is None
    assert not [*project.iterdir()]


def test_a_home_folder_that_does_not_exist_is_not_made(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as /nonexistent, where root could make it."""
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "nonexistent"))
    assert prepare_cache_file_path("x") is None
    assert not (tmp_path / "nonexistent").exists()


@pytest.mark.skipif(os.name == "nt", reason="Windows has other permissions")
def test_what_others_can_write_is_not_used(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    images()
    (kept,) = folder.iterdir()
    kept.chmod(0o666)
    monkeypatch.setattr(precompiled_sets, "precompile_set", lambda *_: b"made again")
    assert images() is None
    kept.unlink()
    kept.symlink_to("/dev/zero")
    assert images() is None


def test_yaml_with_problems_is_left_to_the_loader(folder: Path) -> None:
    def read(name: str) -> bytes:
        return read_rule_file(name).replace(b"at_least", b"atleast")

    assert find_or_precompile_set("images", read) is None
