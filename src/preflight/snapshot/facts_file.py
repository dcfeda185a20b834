"""The snapshot file: `preflight.facts/1`, a JSON object that any platform can judge again.

Older schemas are turned into today's, one step at a time; a newer one is refused.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from preflight.model.facts import MAX_SNAPSHOT_BYTES, UNKNOWN_KINDS, Facts, FileLine, Unknown
from preflight.model.problems import InputError, Problem
from preflight.snapshot.json_input import bad_values, parse, refuse_newer

SCHEMA = "preflight.facts/1"

_PLACE_1_0 = re.compile(r"in (.+?):([1-9][0-9]{0,8})(?:; |\Z)", re.DOTALL)

Snapshot: TypeAlias = dict[str, Any]


def _from_0(old: Snapshot) -> Snapshot:
    """`/0`, of the first development: no sources, `version` for preflight, reasons as texts."""
    unknown = old.get("unknown", {})
    if isinstance(unknown, dict):
        unknown = {
            path: {"reason": why, "kind": "unavailable"} if isinstance(why, str) else why
            for path, why in unknown.items()
        }
    return {
        **{key: value for key, value in old.items() if key != "version"},
        "schema": "preflight.facts/1",
        "preflight": old.get("version", ""),
        "sources": {},
        "unknown": unknown,
    }


UPGRADES: Mapping[str, Callable[[Snapshot], Snapshot]] = {"preflight.facts/0": _from_0}
"""By an older schema: what makes the next one of it."""


def dump(facts: Facts) -> dict[str, Any]:
    """Return a snapshot as the JSON object that `load` reads."""
    return {
        "schema": SCHEMA,
        "preflight": facts.version,
        "measured_at": facts.measured_at,
        "facts": facts.values,
        "sources": facts.sources,
        "places": dict(facts.places),
        "unknown": {
            path: {"reason": why.reason, "kind": why.kind} for path, why in facts.unknown.items()
        },
    }


def write_snapshot(facts: Facts) -> str:
    """Return the text of a snapshot file."""
    return json.dumps(dump(facts), indent=2) + "\n"


def read_snapshot(data: bytes, name: str) -> Facts:
    """Read the facts of a snapshot file or a bundle; raises InputError."""
    if data.startswith(b"PK"):
        from preflight.snapshot.bundle import open_bundle

        return open_bundle(data, name).facts()
    return load(data, name)


def load(data: bytes, name: str) -> Facts:
    """Read a snapshot; raises InputError where the file is none, or from a newer program."""

    def wrong(message: str) -> InputError:
        return InputError(Problem(name, 0, 0, f"{message}; make one with: preflight facts -o FILE"))

    if len(data) > MAX_SNAPSHOT_BYTES:
        raise wrong(f"larger than {MAX_SNAPSHOT_BYTES // 2**20} MiB, no snapshot")
    root = parse(data, wrong)
    if not isinstance(root, dict) or not isinstance(root.get("schema"), str):
        raise wrong("no snapshot: it has no schema")
    refuse_newer(root["schema"], SCHEMA, name)
    while root["schema"] in UPGRADES:
        root = UPGRADES[root["schema"]](root)
    if root["schema"] != SCHEMA:
        raise wrong(f"no snapshot but {root['schema'][:60]!r}")
    problem = next(_problems(root), None)
    if problem is not None:
        raise wrong(f"no snapshot: {problem}")
    return Facts(
        root["facts"],
        root.get("sources", {}),
        {
            path: Unknown(why["reason"], why["kind"])
            for path, why in root.get("unknown", {}).items()
        },
        root.get("measured_at", ""),
        root.get("preflight", ""),
        _read_places(root),
    )


def _read_places(root: Mapping[str, Any]) -> dict[str, FileLine]:
    """Return the lines of files by path; 1.0.0 had no `places` and wrote them into `sources`."""
    if "places" in root:
        return {path: FileLine(*place) for path, place in root["places"].items()}
    matches = {path: _PLACE_1_0.match(source) for path, source in root.get("sources", {}).items()}
    return {path: FileLine(match[1], int(match[2])) for path, match in matches.items() if match}


def _problems(root: Mapping[str, Any]) -> Iterator[str]:
    if not isinstance(root.get("facts"), dict):
        yield "expected 'facts' as an object"
    else:
        yield from bad_values(root["facts"], "facts")
    for name in ("preflight", "measured_at"):
        if not isinstance(root.get(name, ""), str):
            yield f"expected {name!r} as text"
    sources = root.get("sources", {})
    if not isinstance(sources, dict) or not all(isinstance(s, str) for s in sources.values()):
        yield "expected 'sources' as an object of texts"
    places = root.get("places", {})
    if not isinstance(places, dict) or not all(map(_is_place, places.values())):
        yield "expected 'places' as an object of [file, line]"
    unknown = root.get("unknown", {})
    if not isinstance(unknown, dict):
        yield "expected 'unknown' as an object"
        return
    for path, why in unknown.items():
        fits = isinstance(why, dict) and isinstance(why.get("reason"), str)
        if not fits or why.get("kind") not in UNKNOWN_KINDS:
            kinds = ", ".join(UNKNOWN_KINDS)
            yield f"expected a reason and a kind ({kinds}) under unknown {path!r}"


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
