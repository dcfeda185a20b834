"""Compiled patterns are kept, and only trusted where they are whole and the user's own."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from preflight.logs.candidate_matcher import UNKNOWN_PATTERN_NUMBER, build_matcher

hyperscan: Any = pytest.importorskip("hyperscan")
SOURCES = ["error (?P<code>[0-9]+)", "failure$"]
BLOCK = b"an ERROR 12\nfailure\n"
MATCHES = [(10, 0), (11, 0), (19, 1)]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file that compiled patterns are kept in."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    build_matcher(SOURCES)
    (file,) = tmp_path.joinpath("preflight").iterdir()
    file.unlink()
    file.parent.rmdir()
    return file


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each compilation."""
    compiled: list[int] = []

    class Database(hyperscan.Database):  # type: ignore[misc]
        def compile(self, *arguments: Any, **options: Any) -> None:
            compiled.append(1)
            super().compile(*arguments, **options)

    monkeypatch.setattr(hyperscan, "Database", Database)
    return compiled


def test_patterns_are_compiled_once(cache: Path, compilations: list[int]) -> None:
    for _ in range(3):
        assert build_matcher(SOURCES).find(BLOCK) == MATCHES
    assert len(compilations) == 1
    assert cache.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in cache.parent.iterdir()] == [cache.name]
    assert build_matcher(SOURCES[:1]).find(BLOCK) == MATCHES[:2], "other patterns, another database"
    assert len(compilations) == 2


def test_the_patterns_of_several_rule_files_are_kept(cache: Path, compilations: list[int]) -> None:
    """Their number is bounded: more rule files than that share a file."""
    sets_by_file: dict[str, list[str]] = {}
    for number in range(40):
        before = set(cache.parent.glob("*"))
        build_matcher([f"error {number}"])
        for file in set(cache.parent.glob("*")) - before:
            sets_by_file[file.name] = [f"error {number}"]
    assert len(sets_by_file) == 4
    for sources in sets_by_file.values():
        build_matcher(sources)
    compilations.clear()
    for sources in [*sets_by_file.values()] * 2:
        assert build_matcher(sources).find(sources[0].encode())
    assert compilations == []


def test_what_is_broken_is_not_loaded(cache: Path, compilations: list[int]) -> None:
    build_matcher(SOURCES)
    whole = cache.read_bytes()
    for broken in (b"", whole[:40], whole[:-1], whole[:-1] + b"x", b"x" * len(whole)):
        cache.write_bytes(broken)
        assert build_matcher(SOURCES).find(BLOCK) == MATCHES
    assert len(compilations) == 6


@pytest.mark.skipif(os.name == "nt", reason="no owners and modes")
def test_what_others_may_have_written_is_not_loaded(cache: Path, compilations: list[int]) -> None:
    build_matcher(SOURCES)
    cache.chmod(0o666)
    build_matcher(SOURCES)
    assert len(compilations) == 2
    cache.parent.chmod(0o777)
    build_matcher(SOURCES)
    assert len(compilations) == 3
    cache.parent.chmod(0o700)
    cache.unlink()
    os.mkfifo(cache)
    build_matcher(SOURCES)
    assert len(compilations) == 4
    cache.unlink()
    (cache.parent / "elsewhere").write_bytes(b"")
    cache.symlink_to("elsewhere")
    build_matcher(SOURCES)
    assert not cache.is_symlink(), "it is replaced, not followed"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_what_is_anothers_is_not_loaded(cache: Path, compilations: list[int]) -> None:
    build_matcher(SOURCES)
    os.chown(cache, 12345, 12345)
    build_matcher(SOURCES)
    assert len(compilations) == 2


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_nothing_is_written_into_a_folder_of_somebody_else(cache: Path) -> None:
    os.chown(cache.parent.parent, 12345, 12345)
    assert build_matcher(SOURCES).find(BLOCK) == MATCHES
    assert not cache.parent.exists()


def test_without_a_folder_to_keep_it_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nowhere")
    assert build_matcher(SOURCES).find(BLOCK) == MATCHES


def test_without_hyperscan_it_says_why_it_is_slow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "hyperscan", None)
    matcher = build_matcher(SOURCES)
    assert matcher.slow_reason is not None
    assert "Hyperscan can't be loaded" in matcher.slow_reason
    assert matcher.find(BLOCK) == [(11, UNKNOWN_PATTERN_NUMBER), (19, UNKNOWN_PATTERN_NUMBER)]


def test_a_pattern_that_hyperscan_cannot_compile_is_searched_for_slowly(cache: Path) -> None:
    matcher = build_matcher(["(?a)failure", "a*"])
    assert matcher.slow_reason is not None
    assert matcher.find(b"failure\n") == [(7, UNKNOWN_PATTERN_NUMBER)]


def test_without_patterns_nothing_is_found_or_slow() -> None:
    matcher = build_matcher([])
    assert (matcher.find(BLOCK), matcher.slow_reason) == ([], None)


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("error .{0,4}end", 'error """"end'),
        ("error .{4}end", "error <<<<end"),
        ("error .{,4}end", "error end"),
        ("error [^x]{1,4}end", "error &&&&end"),
        (r"error \S+ (?:a.b){,2}end", 'error "<"<" a"bend'),
        (r"error \w{2,4}?end", "error 1234end"),
    ],
)
def test_a_counted_repeat_matches_text_that_json_makes_longer(source: str, text: str) -> None:
    """The count isn't translated: it would take seconds to compile, and `re` counts again."""
    find = build_matcher([source]).find
    assert re.search(source, text)
    for line in (text, json.dumps(text), json.dumps(text).replace("<", "\\u003c")):
        assert {number for _, number in find(line.encode())} == {0}, line
