"""The snapshot file: `preflight.facts/1`, a JSON object that any platform can judge again."""

from __future__ import annotations

import json
import re
from typing import Any

from preflight.model.bundle import FACTS
from preflight.model.facts import MAX_SNAPSHOT_BYTES, UNKNOWN_KINDS, Facts, FileLine, Unknown
from preflight.snapshot.json_input import invalid_file, parse_document

SCHEMA = "preflight.facts/1"
_PLACE_1_0 = re.compile(r"in (.+?):([1-9][0-9]{0,8})(?:; |\Z)", re.DOTALL)
_HINT = "make one with: preflight facts -o FILE"


def write_snapshot(facts: Facts) -> str:
    """Return the text of a snapshot file."""
    unknown = {
        path: {"reason": why.reason, "kind": why.kind} for path, why in facts.unknown.items()
    }
    root = {
        "schema": SCHEMA,
        "preflight": facts.version,
        "measured_at": facts.measured_at,
        "facts": facts.values,
        "sources": facts.sources,
        "places": dict(facts.places),
        "unknown": unknown,
    }
    return json.dumps(root, indent=2) + "\n"


def read_snapshot(data: bytes, file: str) -> Facts:
    """Return the facts of a snapshot file or of a bundle; raises InputError."""
    if data.startswith(b"PK"):
        from preflight.snapshot.bundle import read_bundle

        members = read_bundle(data, file)
        if FACTS not in members:
            raise invalid_file(file, f"the bundle has no {FACTS}")
        data, file = members[FACTS], f"{file}:{FACTS}"
    root = parse_document(data, file, SCHEMA, MAX_SNAPSHOT_BYTES, _HINT)
    if (problem := _find_problem(root)) is not None:
        raise invalid_file(file, f"not a snapshot: {problem}", _HINT)
    unknown = {
        path: Unknown(why["reason"], why["kind"]) for path, why in root.get("unknown", {}).items()
    }
    return Facts(
        root["facts"],
        root.get("sources", {}),
        unknown,
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
    if not isinstance(root.get("facts"), dict):
        return "'facts' must be an object"
    for name in ("preflight", "measured_at"):
        if not isinstance(root.get(name, ""), str):
            return f"{name!r} must be a string"
    sources, unknown = root.get("sources", {}), root.get("unknown", {})
    if not isinstance(sources, dict) or not all(isinstance(s, str) for s in sources.values()):
        return "'sources' must be an object of strings"
    places = root.get("places", {})
    if not isinstance(places, dict) or not all(map(_is_place, places.values())):
        return "'places' must be an object of [file, line]"
    if not isinstance(unknown, dict):
        return "'unknown' must be an object"
    for path, why in unknown.items():
        is_reason = isinstance(why, dict) and isinstance(why.get("reason"), str)
        if not is_reason or why.get("kind") not in UNKNOWN_KINDS:
            return (
                f"unknown {path[:60]!r} must have a reason and a kind ({', '.join(UNKNOWN_KINDS)})"
            )
    return None


def _is_place(place: Any) -> bool:
    match place:
        case [str(), int() as line]:
            return not isinstance(line, bool) and line > 0
    return False


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a snapshot.

    Within `/1` no key goes and none changes its meaning; new ones may come, so it allows others.
    """
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": SCHEMA,
        "type": "object",
        "required": ["schema", "preflight", "measured_at", "facts", "sources", "unknown"],
        "properties": {
            "schema": {"const": SCHEMA},
            "preflight": {"type": "string", "description": "the version that measured"},
            "measured_at": {"type": "string", "format": "date-time"},
            "facts": {
                "type": "object",
                "description": "nested by path; bytes, seconds, cores as numbers; null: absent",
            },
            "sources": {
                "type": "object",
                "description": "by path: where the figure came from",
                "additionalProperties": {"type": "string"},
            },
            "places": {
                "type": "object",
                "description": "by path: the file and line that decide the value",
                "additionalProperties": {
                    "type": "array",
                    "prefixItems": [{"type": "string"}, {"type": "integer", "minimum": 1}],
                    "minItems": 2,
                    "maxItems": 2,
                },
            },
            "unknown": {
                "type": "object",
                "description": "by path: what could not be measured, and why",
                "additionalProperties": {
                    "type": "object",
                    "required": ["reason", "kind"],
                    "properties": {
                        "reason": {"type": "string"},
                        "kind": {"enum": list(UNKNOWN_KINDS)},
                    },
                },
            },
        },
    }
