"""The snapshot file: `preflight.facts/1`, a JSON object that any platform can judge again."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from preflight.model.facts import MAX_SNAPSHOT_BYTES, UNKNOWN_KINDS, Facts, FileLine, Unknown
from preflight.snapshot.json_input import (
    find_shape_mismatches,
    make_invalid_file_error,
    parse_json_with_schema,
)

SNAPSHOT_SCHEMA_NAME = "preflight.facts/1"
_HOW_TO_MAKE_SNAPSHOT = "make one with: preflight facts -o FILE"
_POSITION_IN_SOURCE_PATTERN = re.compile(r"in (.+?):([1-9][0-9]{0,8})(?:; |\Z)", re.DOTALL)


def _is_file_line_pair(value: Any) -> bool:
    """[file, line]"""
    match value:
        case [str(), int() as line]:
            return line > 0 and not isinstance(line, bool)
    return False


_SNAPSHOT_FILE_SHAPE = {
    "facts": {},
    "preflight?": str,
    "measured_at?": str,
    "sources?": {"*": str},
    "places?": {"*": _is_file_line_pair},
    "unknown?": {"*": {"reason": str, "kind": UNKNOWN_KINDS}},
}


def format_snapshot(facts: Facts) -> str:
    """Return the text of a snapshot file."""
    root = {
        "schema": SNAPSHOT_SCHEMA_NAME,
        "preflight": facts.version,
        "measured_at": facts.measured_at,
        "facts": facts.values,
        "sources": dict(facts.sources),
        "places": dict(facts.places),
        "unknown": {path: unknown._asdict() for path, unknown in facts.unknown.items()},
    }
    return json.dumps(root, indent=2) + "\n"


def read_snapshot(data: bytes, file: str) -> Facts:
    """Return the facts of a snapshot file or of a bundle; raises InputError."""
    if data.startswith(b"PK"):
        from preflight.snapshot.bundle import FACTS_FILE, read_bundle

        members = read_bundle(data, file)
        if FACTS_FILE not in members:
            raise make_invalid_file_error(file, f"the bundle has no {FACTS_FILE}")
        data, file = members[FACTS_FILE], f"{file}:{FACTS_FILE}"
    root = parse_json_with_schema(
        data, file, SNAPSHOT_SCHEMA_NAME, MAX_SNAPSHOT_BYTES, _HOW_TO_MAKE_SNAPSHOT
    )
    for problem in find_shape_mismatches(root, _SNAPSHOT_FILE_SHAPE):
        raise make_invalid_file_error(file, f"not a snapshot: {problem}", _HOW_TO_MAKE_SNAPSHOT)
    root = {"sources": {}, "unknown": {}, "measured_at": "", "preflight": "", **root}
    return Facts(
        root["facts"],
        root["sources"],
        {path: Unknown(u["reason"], u["kind"]) for path, u in root["unknown"].items()},
        root["measured_at"],
        root["preflight"],
        _read_fact_lines(root),
    )


def _read_fact_lines(root: Mapping[str, Any]) -> dict[str, FileLine]:
    """Return the lines of files by path; 1.0.0 had no `places` and wrote them into `sources`."""
    if "places" in root:
        return {path: FileLine(*place) for path, place in root["places"].items()}
    matches = {
        path: _POSITION_IN_SOURCE_PATTERN.match(source) for path, source in root["sources"].items()
    }
    return {path: FileLine(match[1], int(match[2])) for path, match in matches.items() if match}
