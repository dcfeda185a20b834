"""Every known error of the bundled rules, on real-looking lines and on lines that are near."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable
from pathlib import Path

import pytest

from known_errors import CLEAN, HITS, OFTEN
from paths import ROOT
from preflight import check as pipeline
from preflight.logs.log_reader import LogReader
from preflight.model.diagnosis import KnownError, LogContents
from preflight.model.rules import RuleSet

RULES = pipeline.load(str(ROOT / "rules.yaml"), lambda name: Path(name).read_bytes())
GINS = '[GIN] 2024/11/02 - {} | 200 |         1m32s |      172.18.0.3 | POST     "/api/chat"'


@pytest.fixture(params=["hyperscan", "re"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With Hyperscan, and as on a machine that has none."""
    monkeypatch.setenv("XDG_CACHE_HOME", "/nonexistent")
    if request.param == "re":
        monkeypatch.setitem(sys.modules, "hyperscan", None)


def scanned(lines: Iterable[str], rules: RuleSet = RULES) -> LogContents:
    reader = LogReader(rules.diagnoses)
    reader.add("a.log", io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    return reader.result()


def found(*lines: str) -> dict[str, KnownError]:
    return {hit.id: hit for hit in scanned(lines).errors}


def test_every_diagnosis_has_its_lines_and_its_near_misses() -> None:
    ids = {one.id for one in RULES.diagnoses}
    assert ids == {*HITS, *OFTEN} == set(CLEAN)
    patterns = [p for one in RULES.diagnoses for p in one.patterns]
    assert len(patterns) == len(set(patterns))


@pytest.mark.parametrize("pattern", [p for one in RULES.diagnoses for p in one.patterns])
def test_every_pattern_has_a_line(pattern: str) -> None:
    lines = [line for many in (*HITS.values(), *OFTEN.values()) for line in many]
    extra = [
        "httpx.ReadTimeout", "httpcore.ReadTimeout: x",
        "requests.exceptions.ReadTimeout: x",
        "INFO:     Started server process [1]", "ollama restarted 5 times by the engine",
        "ollama probably killed for memory",
        "oom-kill:constraint=CONSTRAINT_MEMCG", "oom-kill:constraint=CONSTRAINT_NONE",
        ",oom_memcg=/a,task_memcg=/a,task=x,pid=1", ",global_oom,task_memcg=/a,task=x,pid=1",
    ]  # fmt: skip
    assert any(re.search(pattern, line, re.I | re.A) for line in (*lines, *extra))


@pytest.mark.parametrize(("id_", "line"), [(i, one) for i, many in HITS.items() for one in many])
def test_a_line_is_found(id_: str, line: str) -> None:
    hit = found("INFO: before", line, "INFO: after")[id_]
    assert (hit.occurrences, hit.first.line, hit.last.line) == (1, 2, 2)


@pytest.mark.parametrize(("id_", "line"), [(i, one) for i, many in HITS.items() for one in many])
def test_a_line_is_found_in_any_case(id_: str, line: str) -> None:
    assert found(line.upper())[id_].occurrences == 1


@pytest.mark.parametrize("lines", CLEAN.values(), ids=list(CLEAN))
def test_what_is_near_is_none(lines: list[str]) -> None:
    assert not scanned(lines).errors
    assert not scanned([f"2024-11-02T10:0{i}:00Z {one}" for i in range(5) for one in lines]).errors


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
