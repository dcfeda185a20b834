"""What is kept between runs is read and written only where nobody else could have changed it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from preflight.cache_files import prepare_cache_file_path, read_cache_file, write_cache_file

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="owners, modes and ~/.cache")


@pytest.fixture
def kept(clean_environment: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that was written to the cache."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    file = prepare_cache_file_path("sets")
    assert file == tmp_path / "cache/preflight/sets"
    assert write_cache_file(file, b"data")
    return file


def test_a_kept_file_is_read_again_and_only_its_owner_may_open_it(kept: Path) -> None:
    assert read_cache_file(kept) == b"data"
    assert kept.stat().st_mode & 0o777 == 0o600
    assert kept.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_a_file_that_others_can_write_is_not_read(kept: Path, mode: int) -> None:
    kept.chmod(mode)
    assert read_cache_file(kept) == b""


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() != 0, reason="only root may chown")
def test_a_file_of_another_user_is_not_read(kept: Path) -> None:
    os.chown(kept, 61234, 61234)
    assert read_cache_file(kept) == b""


def test_a_link_is_not_followed(kept: Path) -> None:
    target = kept.rename(kept.with_name("target"))
    kept.symlink_to(target)
    assert read_cache_file(kept) == b""


def test_a_folder_that_others_can_write_is_not_used(kept: Path) -> None:
    kept.parent.chmod(0o777)
    assert prepare_cache_file_path("sets") is None


def test_a_relative_cache_folder_is_ignored(
    clean_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would be in the project, whose files may be anybody's."""
    monkeypatch.setenv("XDG_CACHE_HOME", "cache")
    assert prepare_cache_file_path("sets") == clean_environment / ".cache/preflight/sets"


@pytest.mark.parametrize("home", ["gone", "gone/deeper"])
def test_a_home_folder_that_does_not_exist_is_not_made(
    home: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / home))
    assert prepare_cache_file_path("sets") is None
    assert not (tmp_path / "gone").exists()


def test_what_cannot_be_written_leaves_nothing_behind(kept: Path) -> None:
    blocked = kept.parent / "folder"
    blocked.mkdir()
    assert not write_cache_file(blocked, b"data")  # a file can't replace a folder
    assert not write_cache_file(kept / "below-a-file", b"data")
    assert sorted(kept.parent.iterdir()) == [blocked, kept]
