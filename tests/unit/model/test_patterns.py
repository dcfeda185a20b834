"""Which regular expressions of rule files are allowed, and that none is searched for too long."""

from __future__ import annotations

import threading
import time

import pytest

from preflight.model import patterns
from preflight.model.patterns import compile_log_pattern, compile_pattern, search_with_time_limit


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        (r"(a)\1", "a backreference"),
        ("a(?=b)", "a lookaround"),
        ("(?:x(a(?!b)))*", "a lookaround"),
        ("(?<=a)b", "a lookaround"),
        ("(?<!a)b", "a lookaround"),
        ("(a)?(?(1)b|c)", "a conditional group"),
        ("[", "invalid regular expression"),
        ("(", "invalid regular expression"),
    ],
)
def test_what_hyperscan_lacks_is_refused(source: str, reason: str) -> None:
    for compile_ in (compile_pattern, compile_log_pattern):
        with pytest.raises(ValueError, match=reason):
            compile_(source)


@pytest.mark.parametrize(
    "source",
    [
        "(?:(?:a{60}){60}){60}",
        "(?:(?:a{0,60}){0,60}){0,60}",
        "(?:a{60}){60}",
        "a" * 5001,
        "a{1666,}",
    ],
)
def test_too_large_is_refused(source: str) -> None:
    with pytest.raises(ValueError, match="too large"):
        compile_pattern(source)


@pytest.mark.parametrize("source", ["a" * 5000, "a{1665,}", "(?:a{30}){50}"])
def test_large_is_not(source: str) -> None:
    assert compile_pattern(source).search("a" * 5000)


def test_logs_are_searched_as_bytes_in_any_case() -> None:
    match = compile_log_pattern(r"Gr\w+ (?P<size>\d+)").search("grÖ\xdf gr12 7".encode())
    assert match is not None
    assert match["size"] == b"7"
    assert compile_log_pattern("größe").search("GRößE".encode())


@pytest.mark.parametrize("source", ["(a+)+b", "(a|a)*b", "(x+x+)+y", "a*a*a*a*a*a*a*a*b"])
def test_a_search_that_takes_too_long_names_its_pattern(
    source: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "_MAX_SEARCH_SECONDS", 0.05)
    before = time.process_time()
    with pytest.raises(ValueError, match="takes too long") as caught:
        search_with_time_limit(compile_pattern(source), "a" * 200 + "x" * 200)
    assert source in str(caught.value)
    assert time.process_time() - before < 5
    assert search_with_time_limit(compile_pattern("a+b"), "xaab"), "the timer is off again"


def test_without_a_timer_only_the_beginning_is_searched() -> None:
    matches: list[object] = []

    def run() -> None:
        matches.append(search_with_time_limit(compile_pattern("end"), "x" * 5000 + "end"))
        matches.append(search_with_time_limit(compile_pattern("end"), "x" * 50 + "end"))

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert matches[0] is None
    assert matches[1] is not None
