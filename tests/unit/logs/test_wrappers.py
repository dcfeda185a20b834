"""Known errors within what surrounds them: a log's prefix, JSON, a Python string, colours."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from functools import lru_cache

import pytest

from bundled_rules import bundled_rules
from preflight.logs import log_reader
from preflight.logs.log_reader import LogReader
from preflight.logs.matcher import build_matcher

RULES = bundled_rules(known_errors=True)


def found(line: str) -> list[str]:
    reader = LogReader(RULES.diagnoses)
    reader.add_log("a.log", io.BytesIO(f"{line}\n".encode()))
    return [error.id for error in reader.build_contents().errors]


WRAPPERS: dict[str, Callable[[str], str]] = {
    "compose": lambda line: f"api-1  | {line}",
    "journald": lambda line: f"2026-01-02T10:00:00.123456+01:00 vm dockerd[812]: {line}",
    "klog": lambda line: f"E0712 10:11:12.123456    1234 remote.go:152] {line}",
    "Windows": lambda line: f"{line}\r",
    "json-file": lambda line: json.dumps({"log": f"{line}\n", "time": "x"}, separators=(",", ":")),
    "JSON": lambda line: json.dumps({"level": "error", "msg": line}),
    "JSON twice": lambda line: json.dumps({"msg": json.dumps({"error": line})}),
    "several lines in JSON": lambda line: json.dumps({"msg": f"Traceback:\n{line}\nend"}),
    "logfmt": lambda line: f"level=error msg={json.dumps(line)}",
    "Python": lambda line: f"ERROR:app:failed: {line!r}",
    "colours": lambda line: f"\x1b[36mapi-1  |\x1b[0m \x1b[31m{line}\x1b[0m",
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_line_is_found_in_a_wrapper(wrapper: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled = lru_cache(build_matcher)
    monkeypatch.setattr(log_reader, "build_matcher", lambda sources: compiled(tuple(sources)))
    wrap = WRAPPERS[wrapper]
    lines = [
        (diagnosis.id, line)
        for diagnosis in RULES.diagnoses
        if diagnosis.times == 1
        for line in diagnosis.examples
    ]
    wrong = {line: hits for id_, line in lines if (hits := found(wrap(line))) != [id_]}
    assert wrong == {}


def test_a_line_within_a_line_has_the_time_of_the_whole() -> None:
    reader = LogReader(RULES.diagnoses)
    entry = {"time": "2026-01-01T10:00:00Z", "msg": "Traceback:\nMemoryError: no more\nend"}
    reader.add_log("a.log", io.BytesIO(json.dumps(entry).encode() + b"\n"))
    (error,) = reader.build_contents().errors
    assert (error.id, error.first.time) == ("process-out-of-memory", "2026-01-01T10:00:00Z")
