"""The published schemas, open for keys that may come later, and sealed: with no key but theirs."""

from __future__ import annotations

from functools import cache
from typing import Any

import jsonschema

from preflight.cli.listings import load_json_schema


@cache  # whether a schema is valid itself takes longer than most of what it judges
def published(name: str) -> jsonschema.Draft202012Validator:
    """Return the schema as it is printed."""
    return _validator(load_json_schema(name))


@cache
def sealed(name: str) -> jsonschema.Draft202012Validator:
    """Return the schema with every object closed: what is written here must all be in it."""
    return _validator(_seal(load_json_schema(name)))


def _validator(schema: dict[str, Any]) -> jsonschema.Draft202012Validator:
    kind = jsonschema.Draft202012Validator
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def _seal(node: Any) -> Any:
    if isinstance(node, list):
        return [_seal(one) for one in node]
    if not isinstance(node, dict):
        return node
    made = {key: _seal(value) for key, value in node.items()}
    if isinstance(made.get("properties"), dict) and made.get("type") == "object":
        made.setdefault("additionalProperties", False)
    return made
