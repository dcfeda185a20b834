"""How a figure travels from the reader to the program: a JSON line each."""

from __future__ import annotations

import json

from preflight.model.facts import Measured, Unknown


def encode(one: Measured) -> list[object]:
    """Return a figure as its line: path, value, source; or path, [reason, kind]."""
    if isinstance(one.value, Unknown):
        return [one.path, list(one.value)]
    return [one.path, one.value, one.source]


def decode(line: bytes) -> Measured:
    """Return the figure of a line."""
    path, value, *source = json.loads(line)
    if not source:
        return Measured(tuple(path), Unknown(*value))
    return Measured(tuple(path), value, source[0])
