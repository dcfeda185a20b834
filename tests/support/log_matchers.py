"""Matchers of log patterns, made once a process: to compile all known errors takes a second."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import lru_cache

import pytest

from preflight.logs import log_searcher
from preflight.logs.candidate_matcher import CandidateMatchFinder, build_matcher

ENGINES = ("hyperscan", "re")


@lru_cache(maxsize=8)
def _build(engine: str, sources: tuple[str, ...]) -> CandidateMatchFinder:
    return build_matcher(sources)


def share_matchers(monkeypatch: pytest.MonkeyPatch, engine: str = "hyperscan") -> None:
    """Let log readers share matchers; `re` is the engine of machines without Hyperscan.

    No file keeps what is compiled: it would hide a change of the flags from the tests.
    """
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nonexistent")
    if engine == "re":
        monkeypatch.setitem(sys.modules, "hyperscan", None)

    def build(sources: Sequence[str]) -> CandidateMatchFinder:
        return _build(engine, tuple(sources))

    monkeypatch.setattr(log_searcher, "build_matcher", build)
