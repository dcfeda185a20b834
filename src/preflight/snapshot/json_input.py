"""Parses JSON that came from elsewhere, and refuses what other parsers would read differently.

Duplicate keys, numbers that can't be, too many values and deep nesting are refused with their path.
It knows no other meaning of keys.
"""

import json
import re
import sys
from collections.abc import Iterator
from types import FunctionType
from typing import Any, NamedTuple

from preflight.model.problems import InputError, Problem, did_you_mean

MAX_NESTING_LEVELS = 50
MAX_KEY_PATH_CHARS = 4096  # a key as long as the file would be repeated for each key below it
MAX_JSON_VALUES = 1_000_000
_MAX_SHOWN_PATH_CHARS = 60
_MAX_JSON_FLOAT = sys.float_info.max
_NAME_BY_TYPE = {
    str: "a string", int: "a whole number", bool: "true or false", dict: "an object",
    list: "a list", str | None: "a string or null",
    str | int | float: "a string, number or boolean",
}  # fmt: skip
_SIZE_FACT_NAMES = frozenset({"total", "free", "available", "limit", "usable", "usage"})


class _InvalidValuePlaceholder(NamedTuple):
    """Stands in the tree where the parser met something invalid, until its path is known."""

    reason: str


def parse_json(data: bytes, file: str, max_bytes: int, hint: str = "") -> Any:
    """Return what a JSON file holds; `hint` ends the message of the InputError."""
    if len(data) > max_bytes:
        raise make_invalid_file_error(
            file, f"the file is larger than {max_bytes // 2**20} MiB", hint
        )
    if data.count(b",") >= MAX_JSON_VALUES:  # or a text of that many commas
        raise make_invalid_file_error(
            file, f"the file contains more than {MAX_JSON_VALUES:,} values", hint
        )
    try:
        root = json.loads(
            data,
            object_pairs_hook=_build_object_from_pairs,
            parse_constant=lambda constant: _InvalidValuePlaceholder(f"is {constant}"),
        )
    except (ValueError, RecursionError) as error:
        is_deep = isinstance(error, RecursionError)
        reason = "nested too deeply" if is_deep else getattr(error, "msg", error)
        place = getattr(error, "lineno", 0), getattr(error, "colno", 0)
        raise make_invalid_file_error(file, f"not valid JSON: {reason}", hint, *place) from None
    if (problem := _find_first_refused_value(root)) is not None:
        path, reason = problem
        shown = repr(path.lstrip(".")[:_MAX_SHOWN_PATH_CHARS]) + "…" * (
            len(path) > _MAX_SHOWN_PATH_CHARS
        )
        raise make_invalid_file_error(file, f"{shown} {reason}", hint)
    return root


def parse_json_with_schema(
    data: bytes, file: str, schema: str, max_bytes: int, hint: str = ""
) -> Any:
    """Return a JSON object whose key `schema` has this value, such as `preflight.facts/1`.

    Raises InputError for any other JSON; of a later version it says to update preflight.
    """
    root = parse_json(data, file, max_bytes, hint)
    actual = root.get("schema") if isinstance(root, dict) else None
    kind, _, version = schema.rpartition("/")
    if not isinstance(actual, str):
        raise make_invalid_file_error(file, f"not a {kind} file: it has no schema", hint)
    newer = re.fullmatch(rf"{re.escape(kind)}/([1-9][0-9]{{0,8}})", actual)
    if newer and int(newer[1]) > int(version):
        raise make_invalid_file_error(
            file, f"schema {actual} is newer than {schema}: update preflight"
        )
    if actual != schema:
        raise make_invalid_file_error(
            file, f"not a {kind} file: its schema is {actual[:60]!r}", hint
        )
    return root


def make_invalid_file_error(
    file: str, message: str, hint: str = "", line: int = 0, column: int = 0
) -> InputError:
    """Return the error that says in one line what is wrong with a file."""
    return InputError(Problem(file, line, column, f"{message}; {hint}" if hint else message))


def find_shape_mismatches(node: Any, shape: Any, path: str = "") -> Iterator[str]:
    """Yield what is wrong with the parts of a JSON value that don't have a shape.

    A shape is a type, a tuple of allowed values, `[shape]` for lists or `{key: shape}` for objects,
    where `key?` is optional and `*` stands for every other key; or a function that says whether a
    value is valid, and whose docstring is what is expected.
    """
    expected = ""
    if isinstance(shape, dict) and isinstance(node, dict):
        for key in shape:
            if key[-1] not in "?*" and key not in node:
                yield f"{path}{key} is missing"
        for key, value in node.items():
            inner = shape.get(key, shape.get(f"{key}?", shape.get("*")))
            if inner is not None and inner is not value.__class__:
                name = key if key.isprintable() else repr(key)
                yield from find_shape_mismatches(value, inner, f"{path}{name:.60}.")
    elif isinstance(shape, list) and isinstance(node, list):
        for index, value in enumerate(node):
            yield from find_shape_mismatches(value, shape[0], f"{path.removesuffix('.')}[{index}].")
    elif isinstance(shape, tuple):
        if (node, type(node)) not in [(value, type(value)) for value in shape]:
            expected = f"one of {', '.join(map(str, shape))}"
    elif isinstance(shape, FunctionType):
        expected = "" if shape(node) else str(shape.__doc__)
    elif isinstance(shape, dict | list) or not isinstance(node, shape):
        expected = _NAME_BY_TYPE[type(shape) if isinstance(shape, dict | list) else shape]
    if expected:
        is_word = isinstance(node, str) and isinstance(shape, tuple) and isinstance(shape[0], str)
        near = did_you_mean(node, shape) if is_word else ""
        yield f"{path[:-1]}: must be {expected}, not {node!r:.60}{near}"


def _build_object_from_pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    node: dict[str, Any] = {}
    for key, value in pairs:
        is_negative = key in _SIZE_FACT_NAMES and isinstance(value, int | float) and value < 0
        reason = "is defined twice" if key in node else "must not be negative" * is_negative
        node[key] = _InvalidValuePlaceholder(reason) if reason else value
    return node


def _find_first_refused_value(
    node: Any, depth: int = 0, path_chars: int = 0
) -> tuple[str, str] | None:
    """Return path and reason of the first value that is refused."""
    if isinstance(node, _InvalidValuePlaceholder):
        return "", node.reason
    if depth > MAX_NESTING_LEVELS:
        return "", f"is nested deeper than {MAX_NESTING_LEVELS} levels"
    if path_chars > MAX_KEY_PATH_CHARS:
        return "", f"is a path of more than {MAX_KEY_PATH_CHARS} characters"
    if isinstance(node, int | float) and not -_MAX_JSON_FLOAT <= node <= _MAX_JSON_FLOAT:
        return "", "isn't a finite number"
    steps: Any = ()
    if isinstance(node, dict):
        steps = ((f".{key}", value) for key, value in node.items())
    elif isinstance(node, list):
        steps = ((f"[{index}]", value) for index, value in enumerate(node))
    longest = MAX_KEY_PATH_CHARS - path_chars
    for step, value in steps:
        if value.__class__ is str and depth < MAX_NESTING_LEVELS and len(step) <= longest:
            continue  # most values are
        if (
            problem := _find_first_refused_value(value, depth + 1, path_chars + len(step))
        ) is not None:
            return step + problem[0], problem[1]
    return None
