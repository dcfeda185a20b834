"""The JSON Schema of rule files, made from the shapes that decode them."""

from __future__ import annotations

from typing import Any

from preflight.rules.conditions import Bound, ConditionShape
from preflight.rules.fields import FILE, FIX, RULE

ID = "preflight.rules/1"


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a rule file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{ID.replace('/', ':')}",
        "title": ID,
        **FILE.schema(),
        "$defs": {
            "rule": RULE.schema(["id"]),
            "fix": FIX.schema(),
            "condition": ConditionShape.definition(),
            "value": Bound.definition(),
        },
    }
