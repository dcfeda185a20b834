"""A JSON report that was saved: its verdicts, and the figures that its rules judged."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from preflight.model.facts import MAX_SNAPSHOT_BYTES, Value
from preflight.model.problems import InputError, Problem
from preflight.model.report import VERDICTS, Verdict
from preflight.snapshot.json_input import bad_values, parse, refuse_newer

SCHEMA = "preflight.report/1"
_TEXTS = ("id", "title", "message", "fact")


class Judged(NamedTuple):
    """One result of a report; `actual` is the figure that was judged, where there was one."""

    id: str
    item: str | None
    title: str
    verdict: Verdict
    fact: str
    actual: Value
    message: str = ""


def is_report(data: bytes) -> bool:
    """Whether a file says, near its beginning, that it is a report of any version."""
    return b'"preflight.report/' in data[:200]


def load(data: bytes, name: str) -> dict[str, Any]:
    """Read a report; raises InputError where the file is none, or from a newer program."""

    def wrong(message: str) -> InputError:
        hint = "make one with: preflight check -f json:FILE"
        return InputError(Problem(name, 0, 0, f"{message}; {hint}"))

    if len(data) > MAX_SNAPSHOT_BYTES:
        raise wrong(f"larger than {MAX_SNAPSHOT_BYTES // 2**20} MiB, no report")
    root = parse(data, wrong)
    if not isinstance(root, dict) or not isinstance(root.get("schema"), str):
        raise wrong("no report: it has no schema")
    refuse_newer(root["schema"], SCHEMA, name)
    if root["schema"] != SCHEMA:
        raise wrong(f"no report but {root['schema'][:60]!r}")
    problem = next(_problems(root), None)
    if problem is not None:
        raise wrong(f"no report: {problem}")
    return root


def _problems(root: dict[str, Any]) -> Iterator[str]:
    results = root.get("results")
    if not isinstance(results, list):
        yield "expected 'results' as a list"
        return
    if not isinstance(root.get("measured_at", ""), str):
        yield "expected 'measured_at' as text"
    for number, one in enumerate(results):
        if not isinstance(one, dict) or not all(isinstance(one.get(key), str) for key in _TEXTS):
            yield f"result {number}: expected {', '.join(_TEXTS)} as texts"
        elif one.get("verdict") not in VERDICTS:
            yield f"result {number}: expected a verdict, one of {', '.join(VERDICTS)}"
        elif not isinstance(one.get("item"), str | None):
            yield f"result {number}: expected 'item' as text or null"
        else:
            yield from bad_values(one.get("actual"), f"result {number}: actual")


def judged(report: dict[str, Any]) -> tuple[Judged, ...]:
    """Return the results of a report that was loaded."""
    return tuple(
        Judged(
            one["id"],
            one.get("item"),
            one["title"],
            one["verdict"],
            one["fact"],
            one.get("actual"),
            one["message"],
        )
        for one in report["results"]
    )
