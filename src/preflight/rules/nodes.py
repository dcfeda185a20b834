"""The nodes of a rule file: mappings by key, and texts with their vars replaced."""

from __future__ import annotations

import re
from collections.abc import Set

from preflight import yaml_marks
from preflight.model.problems import did_you_mean
from preflight.rules.context import DecodingContext, check_entry_count
from preflight.yaml_marks import IMPLICIT_TAGS, Node, Scalar, kind_of

MAX_LOG_PATTERNS = 5_000

_VARIABLE_PATTERN = re.compile(r"(\$?)\$\{([a-z][a-z0-9_]*)\}")


def read_mapping(
    node: Node,
    context: DecodingContext,
    known: Set[str] | None,
    expected: str,
    key_name: str = "key",
) -> dict[str, Node]:
    """Return a mapping's values by key; unknown and repeated keys are problems.

    `known` are the keys that `expected` may have, None where any name is one.
    """
    if node.__class__ is not yaml_marks.Mapping or node.tag != yaml_marks.PLAIN_TAG:
        raise context.error(node, f"expected {expected} as a mapping, found {kind_of(node)}")
    check_entry_count(node, len(node.value))
    values: dict[str, Node] = {}
    for key, value in node.value:
        name = key.value
        if key.__class__ is not Scalar:
            context.error(key, f"expected a name, found {kind_of(key)}")
        elif name in values:
            context.error(key, f"duplicate key {name!r}")
        elif known is not None and name not in known:
            hint = " (merge keys aren't supported; use extends)" if name == "<<" else ""
            where = f" in {expected}" if key_name == "key" else ""
            suggestion = did_you_mean(name, known)
            context.error(key, f"unknown {key_name} {name!r}{where}{suggestion}{hint}")
        else:
            values[name] = value
    return values


def read_scalar(
    node: Node, context: DecodingContext, expected: str, *, text_only: bool = False
) -> str:
    """Return the text of a scalar, `${name}` replaced by the rule file's vars.

    With `text_only` an unquoted number or boolean is a problem, as for editors with the schema.
    """
    is_scalar = node.__class__ is Scalar and node.tag in IMPLICIT_TAGS
    if not is_scalar or (text_only and kind_of(node) != "text"):
        kind = kind_of(node)
        is_unquoted = kind in ("a number", "a boolean")
        hint = ": quote it if it is text" if is_unquoted else ""
        raise context.error(node, f"expected {expected}, found {kind}{hint}")

    def expand(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if name not in context.vars:
            suggestion = did_you_mean(name, context.vars)
            context.missing_error(node, f"unknown var {name!r}{suggestion}")
        context.used_vars.add(name)
        return context.vars.get(name, "0")

    text: str = node.value
    return _VARIABLE_PATTERN.sub(expand, text) if "${" in text else text
