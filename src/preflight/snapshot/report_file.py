"""Reads saved JSON reports: their verdicts, and the values that were judged."""

from __future__ import annotations

from typing import Any

from preflight.model.facts import MAX_SNAPSHOT_BYTES
from preflight.model.report import VERDICTS, Result
from preflight.snapshot.json_input import invalid_file, parse_document

SCHEMA = "preflight.report/1"
_HINT = "make one with: preflight check -f json:FILE"
_TEXTS = ("id", "title", "message", "fact")


def is_report(data: bytes) -> bool:
    """Whether a file says, near its beginning, that it is a report of any version."""
    return b'"preflight.report/' in data[:200]


def read_results(data: bytes, file: str) -> tuple[Result, ...]:
    """Return the results of a report, with the fields that a comparison needs."""
    root = parse_document(data, file, SCHEMA, MAX_SNAPSHOT_BYTES, _HINT)
    results = root.get("results")
    if not isinstance(results, list):
        raise invalid_file(file, "not a report: 'results' must be a list", _HINT)
    for index, result in enumerate(results):
        if (problem := _find_problem(result)) is not None:
            raise invalid_file(file, f"not a report: results[{index}] {problem}", _HINT)
    unused: dict[str, Any] = {"expected": {}, "actual_text": "", "expected_text": ""}
    return tuple(
        Result(
            **{key: result[key] for key in (*_TEXTS, "verdict")},
            **{key: result.get(key) for key in ("item", "actual")},
            severity="required",
            **unused,
        )
        for result in results
    )


def _find_problem(result: Any) -> str | None:
    if not isinstance(result, dict) or not all(isinstance(result.get(key), str) for key in _TEXTS):
        return f"must have the strings {', '.join(_TEXTS)}"
    if result.get("verdict") not in VERDICTS:
        return f"must have a verdict, one of {', '.join(VERDICTS)}"
    if not isinstance(result.get("item"), str | None):
        return "must have a string or null as item"
    return None
