"""Every known error of the bundled rules, on real-looking lines and on lines that are near."""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import pytest

from bundled_rules import bundled_rules
from known_error_variants import VARIANTS
from known_errors import CLEAN, FURTHER_HITS, HITS, OFTEN, lines_by_error
from log_matchers import ENGINES, share_matchers
from preflight.logs.candidate_matcher import build_matcher
from preflight.logs.log_searcher import LogSearcher
from preflight.model.diagnosis import KnownErrorFinding, LogSearchResult
from preflight.model.patterns import compile_log_pattern
from preflight.model.rules import RuleSet

RULES = bundled_rules(known_errors=True)
GINS = '[GIN] 2024/11/02 - {} | 200 |         1m32s |      172.18.0.3 | POST     "/api/chat"'
LINES = lines_by_error(RULES.diagnoses)


@pytest.fixture(params=ENGINES, autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """With Hyperscan, and as on a machine that has none."""
    share_matchers(monkeypatch, request.param)
    return str(request.param)


def scanned(lines: Iterable[str], rules: RuleSet = RULES) -> LogSearchResult:
    reader = LogSearcher(rules.diagnoses)
    reader.add_log("a.log", io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    return reader.build_search_result()


def found(*lines: str) -> dict[str, KnownErrorFinding]:
    return {hit.id: hit for hit in scanned(lines).errors}


EXTRA = ["INFO:     Started server process [1]", "httpcore.ReadTimeout: x", "httpx.ReadTimeout"]
EXTRA += ["requests.exceptions.ReadTimeout: x"]


def test_every_diagnosis_has_an_example() -> None:
    ids = {diagnosis.id for diagnosis in RULES.diagnoses}
    assert {*HITS, *OFTEN, *CLEAN, *VARIANTS, *FURTHER_HITS} <= ids
    assert [diagnosis.id for diagnosis in RULES.diagnoses if not diagnosis.examples] == []
    patterns = [p for diagnosis in RULES.diagnoses for p in diagnosis.patterns]
    assert len(patterns) == len(set(patterns))


def test_every_pattern_has_a_line() -> None:
    often = [line for lines in OFTEN.values() for line in lines]
    lines = [*(line for _, line in LINES), *often, *EXTRA]
    patterns = [p for diagnosis in RULES.diagnoses for p in diagnosis.patterns]
    compiled = [re.compile(pattern, re.I | re.A) for pattern in patterns]
    assert [p.pattern for p in compiled if not any(p.search(line) for line in lines)] == []


def list_wrong_hits(
    lines: Sequence[tuple[str, str]], *others: str
) -> dict[str, dict[str, KnownErrorFinding]]:
    """Return what is found for each line, between others, if that isn't its own error alone."""
    before, after = others[:1], others[1:]
    return {line: hits for id_, line in lines if [*(hits := found(*before, line, *after))] != [id_]}


def test_a_line_is_found_and_as_nothing_else(engine: str) -> None:
    if engine == "hyperscan":
        assert list_wrong_hits(LINES, "before", "after") == {}
    else:
        assert list_wrong_hits(LINES[::4]) == {}


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ["re"], indirect=True)
def test_every_line_is_found_without_hyperscan() -> None:
    assert list_wrong_hits(LINES) == {}


@pytest.mark.parametrize("engine", ["hyperscan"], indirect=True)
def test_a_pattern_matches_wherever_a_line_begins() -> None:
    """Vectorscan 5.4 misses some matches at some offsets; such patterns must be split."""
    patterns = [p for diagnosis in RULES.diagnoses for p in diagnosis.patterns]
    find = build_matcher(patterns).find
    missed = set()
    for _, line in LINES:
        block = line.encode()
        matching = [n for n, p in enumerate(patterns) if compile_log_pattern(p).search(block)]
        for offset in range(0, 130, 3):
            found_numbers = {n for _, n in find(b"x" * offset + b"\n" + block + b"\nafter\n")}
            missed |= {patterns[n] for n in matching} - {patterns[n] for n in found_numbers}
    assert missed == set()


@pytest.mark.parametrize("engine", ["hyperscan"], indirect=True)  # it confirms with re
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_a_line_is_found_in_any_case(step: int) -> None:
    assert list_wrong_hits([(id_, line.upper()) for id_, line in LINES[::step]]) == {}


@pytest.mark.parametrize("lines", CLEAN.values(), ids=list(CLEAN))
def test_what_is_near_is_none(lines: list[str], engine: str) -> None:
    assert not scanned(lines).errors
    if engine == "hyperscan":  # the other is slow
        stamped = [f"2024-11-02T10:0{i}:00Z {line}" for i in range(5) for line in lines]
        assert not scanned(stamped).errors


def test_all_that_is_clean_together_is_clean() -> None:
    assert not scanned(line for lines in CLEAN.values() for line in lines).errors


@pytest.mark.parametrize(("id_", "lines"), OFTEN.items())
def test_three_within_a_while(id_: str, lines: list[str]) -> None:
    assert found(*lines)[id_].occurrences == 3
    assert id_ not in found(*lines[:2])


def test_three_slow_answers_in_three_hours_are_none() -> None:
    assert not found(*(GINS.format(f"1{hour}:00:00") for hour in range(3)))
    assert "slow-answers" in found(*(GINS.format(f"10:{minute}0:00") for minute in range(3)))


def test_three_without_a_time_are_none() -> None:
    assert not found(*["httpx.ReadTimeout"] * 9)


def test_what_is_captured() -> None:
    values = found(*HITS["model-needs-more-memory"][:1])["model-needs-more-memory"].values
    assert values == {"required": "5.7 GiB", "available": "2.8 GiB"}
    values = found(*HITS["model-needs-more-memory"][1:2])["model-needs-more-memory"].values
    assert values == {"required": "5.7 GiB", "available": "3006477107"}
    kills = found(*HITS["killed-at-container-limit"][:2])["killed-at-container-limit"]
    assert kills.occurrences == 1, "two lines of one kill"
    assert kills.values == {
        "id": "3f4e01234567", "process": "ollama", "pid": "4242", "used": "8388608"
    }  # fmt: skip


def test_one_pid_far_later_is_another_event() -> None:
    kill = HITS["killed-at-container-limit"][1]
    assert found(kill, *["x"] * 100, kill)["killed-at-container-limit"].occurrences == 2
    other = kill.replace("4242", "4243")
    assert found(kill, other)["killed-at-container-limit"].occurrences == 2


def test_the_kernel_says_whether_it_was_a_limit_or_the_host() -> None:
    for id_, other in (
        ("killed-at-container-limit", "host-out-of-memory"),
        ("host-out-of-memory", "killed-at-container-limit"),
    ):
        assert other not in found(*HITS[id_])


def test_nothing_is_found_in_calm_logs() -> None:
    calm = (Path(__file__).parents[2] / "support/calm.log").read_text(encoding="utf-8")
    assert len(calm.splitlines()) > 450
    assert [
        error.excerpt for error in scanned(calm.splitlines()).errors if is_reported(error)
    ] == []


def is_reported(error: KnownErrorFinding) -> bool:
    return next(one.report for one in RULES.diagnoses if one.id == error.id)
