"""Parses JSON that came from elsewhere, and refuses what other parsers would read differently.

Duplicate keys, numbers that aren't finite and deep nesting are refused with their path. It doesn't
know what the keys mean.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from typing import Any, NamedTuple

from preflight.model.problems import InputError, Problem

MAX_DEPTH = 50
MAX_VALUES = 1_000_000
MAX_PATH_CHARS = 4096  # a key as long as the file would be repeated for each key below it
_MAX_SHOWN_CHARS = 60
_MAX_NUMBER = sys.float_info.max


class _Invalid(NamedTuple):
    """Stands in the tree where the parser met something invalid, until its path is known."""

    reason: str


def parse_json(data: bytes, file: str, max_bytes: int, hint: str = "") -> Any:
    """Return what a JSON file holds; `hint` ends the message of the InputError."""
    if len(data) > max_bytes:
        raise invalid_file(file, f"larger than {max_bytes // 2**20} MiB", hint)
    if data.count(b",") >= MAX_VALUES:  # or a text of that many commas
        raise invalid_file(file, f"more than {MAX_VALUES:,} values", hint)
    try:
        root = json.loads(
            data,
            object_pairs_hook=_build_object,
            parse_constant=lambda constant: _Invalid(f"is {constant}"),
        )
    except json.JSONDecodeError as error:
        place = error.lineno, error.colno
        raise invalid_file(file, f"not valid JSON: {error.msg}", hint, *place) from None
    except RecursionError:
        raise invalid_file(file, "not valid JSON: nested too deeply", hint) from None
    except ValueError as error:
        raise invalid_file(file, f"not valid JSON: {error}", hint) from None
    if (problem := _find_problem(root, "", 0)) is not None:
        raise invalid_file(file, problem, hint)
    return root


def parse_document(data: bytes, file: str, schema: str, max_bytes: int, hint: str = "") -> Any:
    """Return a JSON object whose key `schema` has this value, such as `preflight.facts/1`.

    Raises InputError for any other JSON; of a later version it says to update preflight.
    """
    root = parse_json(data, file, max_bytes, hint)
    found = root.get("schema") if isinstance(root, dict) else None
    kind, _, version = schema.rpartition("/")
    if not isinstance(found, str):
        raise invalid_file(file, f"not a {kind} file: it has no schema", hint)
    newer = re.fullmatch(rf"{re.escape(kind)}/([1-9][0-9]{{0,8}})", found)
    if newer and int(newer[1]) > int(version):
        raise invalid_file(file, f"schema {found} is newer than {schema}: update preflight")
    if found != schema:
        raise invalid_file(file, f"not a {kind} file: its schema is {found[:60]!r}", hint)
    return root


def invalid_file(
    file: str, message: str, hint: str = "", line: int = 0, column: int = 0
) -> InputError:
    """Return the error that says in one line what is wrong with a file."""
    return InputError(Problem(file, line, column, f"{message}; {hint}" if hint else message))


def is_object_of(value: Any, *types: type) -> bool:
    """Whether a value is a JSON object whose values have one of these types."""
    return isinstance(value, dict) and all(isinstance(inner, types) for inner in value.values())


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node: dict[str, Any] = {}
    for key, value in pairs:
        node[key] = _Invalid("is defined twice") if key in node else value
    return node


def _find_problem(node: Any, path: str, depth: int) -> str | None:
    reason = None
    if isinstance(node, _Invalid):
        reason = node.reason
    elif depth > MAX_DEPTH:
        reason = f"is nested deeper than {MAX_DEPTH} levels"
    elif len(path) > MAX_PATH_CHARS:
        reason = f"is a path of more than {MAX_PATH_CHARS} characters"
    elif isinstance(node, int | float) and not -_MAX_NUMBER <= node <= _MAX_NUMBER:
        reason = "isn't a finite number"
    if reason is not None:
        return f"{path[:_MAX_SHOWN_CHARS]!r}{'…' * (len(path) > _MAX_SHOWN_CHARS)} {reason}"
    is_list = isinstance(node, list)
    children: Iterable[tuple[Any, Any]] = ()
    if is_list or isinstance(node, dict):
        children = enumerate(node) if is_list else node.items()
    for key, value in children:
        name = f"{path}[{key}]" if is_list else f"{path}.{key}" if path else key
        if (problem := _find_problem(value, name, depth + 1)) is not None:
            return problem
    return None
