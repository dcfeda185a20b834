"""The snapshot file: `preflight.facts/1`, a JSON object that any platform can judge again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from preflight.model.facts import MAX_SNAPSHOT_BYTES, UNKNOWN_KINDS, Facts, FileLine, Unknown
from preflight.snapshot.json_input import invalid_file, is_object_of, parse_document

SCHEMA = "preflight.facts/1"
_PLACE_1_0 = re.compile(r"in (.+?):([1-9][0-9]{0,8})(?:; |\Z)", re.DOTALL)
_HINT = "make one with: preflight facts -o FILE"


def write_snapshot(facts: Facts) -> str:
    """Return the text of a snapshot file."""
    root = {
        "schema": SCHEMA,
        "preflight": facts.version,
        "measured_at": facts.measured_at,
        "facts": facts.values,
        "sources": facts.sources,
        "places": dict(facts.places),
        "unknown": {path: why._asdict() for path, why in facts.unknown.items()},
    }
    return json.dumps(root, indent=2) + "\n"


def read_snapshot(data: bytes, file: str) -> Facts:
    """Return the facts of a snapshot file or of a bundle; raises InputError."""
    if data.startswith(b"PK"):
        from preflight.snapshot.bundle import FACTS, read_bundle

        members = read_bundle(data, file)
        if FACTS not in members:
            raise invalid_file(file, f"the bundle has no {FACTS}")
        data, file = members[FACTS], f"{file}:{FACTS}"
    root = parse_document(data, file, SCHEMA, MAX_SNAPSHOT_BYTES, _HINT)
    if (problem := _find_problem(root)) is not None:
        raise invalid_file(file, f"not a snapshot: {problem}", _HINT)
    return Facts(
        root["facts"],
        root.get("sources", {}),
        {path: Unknown(w["reason"], w["kind"]) for path, w in root.get("unknown", {}).items()},
        root.get("measured_at", ""),
        root.get("preflight", ""),
        _read_places(root),
    )


def _read_places(root: dict[str, Any]) -> dict[str, FileLine]:
    """Return the lines of files by path; 1.0.0 had no `places` and wrote them into `sources`."""
    if "places" in root:
        return {path: FileLine(*place) for path, place in root["places"].items()}
    matches = {path: _PLACE_1_0.match(source) for path, source in root.get("sources", {}).items()}
    return {path: FileLine(match[1], int(match[2])) for path, match in matches.items() if match}


def _find_problem(root: dict[str, Any]) -> str | None:
    for key, (is_valid, expected) in _CHECKS.items():
        if (key in root or key == "facts") and not is_valid(root.get(key)):
            return f"{key!r} must be {expected}"
    for path, why in root.get("unknown", {}).items():
        is_reason = isinstance(why, dict) and isinstance(why.get("reason"), str)
        if not is_reason or why.get("kind") not in UNKNOWN_KINDS:
            kinds = ", ".join(UNKNOWN_KINDS)
            return f"unknown {path[:60]!r} must have a reason and a kind ({kinds})"
    return None


def _is_place(place: Any) -> bool:
    match place:
        case [str(), int() as line]:
            return not isinstance(line, bool) and line > 0
    return False


_CHECKS: Mapping[str, tuple[Callable[[Any], bool], str]] = {
    "facts": (lambda value: isinstance(value, dict), "an object"),
    "preflight": (lambda value: isinstance(value, str), "a string"),
    "measured_at": (lambda value: isinstance(value, str), "a string"),
    "sources": (lambda value: is_object_of(value, str), "an object of strings"),
    "places": (
        lambda value: isinstance(value, dict) and all(map(_is_place, value.values())),
        "an object of [file, line]",
    ),
    "unknown": (lambda value: isinstance(value, dict), "an object"),
}
"""By key: whether a value is valid, and what is."""


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a snapshot.

    Within `/1` no key goes and none changes its meaning; new ones may come, so it allows others.
    """
    text = Path(__file__).with_name("facts.schema.json").read_text("utf-8")
    loaded: dict[str, Any] = json.loads(text)
    return loaded
