"""Reads JSON that came from elsewhere: what is no JSON, or is none for us, is told in one line."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from preflight.model.problems import InputError, Problem

MAX_DEPTH = 50
MAX_PATH = 4096  # characters; a name as long as the file may have as many others below it

_MOST = sys.float_info.max
_SHOWN = 60  # characters of a path in a problem


def parse(data: bytes, wrong: Callable[[str], InputError]) -> Any:
    """Return what a JSON file holds; `wrong` makes the exception for what is none."""
    try:
        return json.loads(data, parse_constant=_refuse)
    except (ValueError, RecursionError) as fault:
        said = "nested too deeply" if isinstance(fault, RecursionError) else str(fault)
        raise wrong(f"no JSON ({said})") from None


def _refuse(constant: str) -> float:
    raise ValueError(f"{constant} is no figure")


def bad_values(node: Any, path: str, depth: int = 0) -> Iterator[str]:
    """Yield figures that are none, and nesting and names that no probe makes."""
    if depth > MAX_DEPTH:
        yield f"{path[:_SHOWN]!r}… is nested deeper than {MAX_DEPTH} levels"
    elif len(path) > MAX_PATH:
        yield f"{path[:_SHOWN]!r}… is a name of more than {MAX_PATH} characters"
    elif isinstance(node, (int, float)) and not -_MOST <= node <= _MOST:
        yield f"{path[:_SHOWN]!r} is no finite figure"
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from bad_values(value, f"{path}.{key}", depth + 1)
    elif isinstance(node, list):
        for number, value in enumerate(node):
            yield from bad_values(value, f"{path}[{number}]", depth + 1)


def refuse_newer(made: str, ours: str, name: str) -> None:
    """Refuse a file whose schema is a later version of ours, such as `preflight.facts/2`."""
    stem, _, number = ours.rpartition("/")
    found = re.fullmatch(rf"{re.escape(stem)}/([1-9][0-9]{{0,8}})", made)
    if found and int(found[1]) > int(number):
        raise InputError(
            Problem(name, 0, 0, f"schema {made} is newer than {ours}: update preflight")
        )
