"""The nodes of a rule file: mappings by key, and scalars with their vars replaced."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Set
from contextlib import suppress
from datetime import date
from typing import Any, Literal, TypeAlias

from preflight.model.facts import Unit
from preflight.model.patterns import compile_log_pattern
from preflight.model.problems import did_you_mean
from preflight.model.quantities import PARSER_BY_UNIT, parse_size_with_unit
from preflight.model.rules import TEXT_PLACEHOLDER_PATTERN
from preflight.rules.decoding_context import DecodingContext, check_entry_count
from preflight.yaml_reader import (
    QUOTED_NODE_TAG,
    TAGS_OF_UNTAGGED_NODES,
    UNQUOTED_NODE_TAG,
    Mapping,
    Node,
    Scalar,
    describe_node_kind,
    is_null_node,
    is_text_node,
)

Decoder: TypeAlias = Callable[[Node, DecodingContext], Any]

MAX_LOG_PATTERNS = 5_000
RESULT_PLACEHOLDERS = frozenset({"actual", "expected", "missing", "severity", "item"})

_RULE_VARIABLE_PATTERN = re.compile(r"(\$?)\$\{([a-z][a-z0-9_]*)\}")


def read_mapping_node(
    node: Node,
    context: DecodingContext,
    known: Set[str] | None,
    expected: str,
    key_name: str = "key",
) -> dict[str, Node]:
    """Return a mapping's values by key; unknown and repeated keys are problems.

    `known` are the keys that `expected` may have, or None if any name is one.
    """
    if node.__class__ is not Mapping or node.tag != UNQUOTED_NODE_TAG:
        raise context.add_error(
            node, f"expected {expected} as a mapping, found {describe_node_kind(node)}"
        )
    check_entry_count(node, len(node.value))
    values: dict[str, Node] = {k.value: v for k, v in node.value if k.__class__ is Scalar}
    if len(values) == len(node.value) and (known is None or values.keys() <= known):
        return values
    values = {}
    for key, value in node.value:
        name = key.value
        if key.__class__ is not Scalar:
            context.add_error(key, f"expected a name, found {describe_node_kind(key)}")
        elif name in values:
            context.add_error(key, f"duplicate key {name!r}")
        elif known is not None and name not in known:
            hint = " (merge keys aren't supported; use extends)" if name == "<<" else ""
            where = f" in {expected}" if key_name == "key" else ""
            suggestion = did_you_mean(name, known)
            context.add_error(key, f"unknown {key_name} {name!r}{where}{suggestion}{hint}")
        else:
            values[name] = value
    return values


def read_scalar_with_vars(
    node: Node, context: DecodingContext, expected: str, *, text_only: bool = False
) -> str:
    """Return the text of a scalar, `${name}` replaced by the rule file's vars.

    With `text_only` an unquoted number or boolean is a problem, as for editors with the schema.
    """
    is_scalar = node.__class__ is Scalar and node.tag in TAGS_OF_UNTAGGED_NODES
    if not is_scalar or (text_only and not is_text_node(node)):
        kind = describe_node_kind(node)
        is_unquoted = kind in ("a number", "a boolean")
        hint = ": quote it if it is text" if is_unquoted else ""
        raise context.add_error(node, f"expected {expected}, found {kind}{hint}")
    text: str = node.value
    return _expand_rule_vars(text, node, context) if "${" in text else text


def _expand_rule_vars(text: str, node: Node, context: DecodingContext) -> str:
    def expand(match: re.Match[str]) -> str:
        escaped, name = match.groups()
        if escaped:
            return match[0][1:]
        if name not in context.vars:
            suggestion = did_you_mean(name, context.vars)
            context.add_error_if_all_files_read(node, f"unknown var {name!r}{suggestion}")
        context.used_vars.add(name)
        return context.vars.get(name, "0")

    return _RULE_VARIABLE_PATTERN.sub(expand, text)


def make_text_decoder(
    expected: str, pattern: str | None = None, *, placeholders: bool = False
) -> Decoder:
    """Return the decoder of text that isn't empty; with a pattern it is a single line."""

    is_valid: Callable[[str], object] = re.compile(pattern).fullmatch if pattern else str.strip

    def decode_text(node: Node, context: DecodingContext) -> str:
        value: str = node.value
        if "${" in value or not is_text_node(node):
            value = read_scalar_with_vars(node, context, expected, text_only=True)
        if not is_valid(value):
            raise context.add_error(node, f"expected {expected}, found {value!r}")
        for name in (
            TEXT_PLACEHOLDER_PATTERN.findall(value) if placeholders and "{" in value else ()
        ):
            _check_placeholder(name, node, context)
        return value

    return decode_text


def _check_placeholder(name: str, node: Node, context: DecodingContext) -> None:
    values = context.log_values
    known: Collection[str] = RESULT_PLACEHOLDERS if values is None else values
    if name in known:
        return
    if "." in name or (values is None and context.collection is not None):
        context.find_fact(node, name)
        return
    names = ", ".join(sorted(known))
    suggestion = did_you_mean(name, known) or f": use {names} or the name of a fact"
    raise context.add_error(node, f"unknown placeholder {{{name}}}{suggestion}")


def make_known_id_decoder(decode_any_id: Decoder, kind: Literal["rule", "diagnosis"]) -> Decoder:
    """Return the decoder of the id of a rule or a diagnosis that exists."""

    def decode_id(node: Node, context: DecodingContext) -> str:
        name: str = decode_any_id(node, context)
        if name not in context.ids[kind]:
            suggestion = did_you_mean(name, context.ids[kind]) or context.suggest_set(name)
            raise context.add_error_if_all_files_read(node, f"unknown {kind} {name!r}{suggestion}")
        return name

    return decode_id


def make_scalar_decoder(expected: str, parse: Callable[[str], Any], kind: str = "") -> Decoder:
    """Return the decoder of a scalar.

    `parse` raises ValueError with a message, or returns None if the text isn't what is expected.
    `kind` is what YAML must take it for: "text", "a number" or "a boolean"; "" is any of them.
    """

    def decode_scalar(node: Node, context: DecodingContext) -> Any:
        text = read_scalar_with_vars(node, context, expected, text_only=kind == "text")
        try:
            value = parse(text) if kind in ("", "text", describe_node_kind(node)) else None
        except ValueError as fault:
            raise context.add_error(node, str(fault)) from None
        if value is None:
            quotes = " in quotes" if node.tag == QUOTED_NODE_TAG else ""
            raise context.add_error(node, f"expected {expected}, found {text!r}{quotes}")
        return value

    return decode_scalar


def make_regex_decoder(compile_: Callable[[str], re.Pattern[Any]]) -> Decoder:
    """Return the decoder of a regular expression that stays text; `compile_` refuses others."""

    def check(text: str) -> str:
        compile_(text)
        return text

    return make_scalar_decoder("a regular expression", check, "text")


def decode_log_pattern(node: Node, context: DecodingContext) -> str:
    """Return a regular expression for logs; all files together have a limited number."""
    pattern: str = make_regex_decoder(compile_log_pattern)(node, context)
    context.log_patterns.add(pattern)
    check_entry_count(node, len(context.log_patterns), MAX_LOG_PATTERNS, "patterns")
    return pattern


def parse_day(text: str) -> date | None:
    """Read a date such as 2027-01-31; None for anything else."""
    with suppress(ValueError):  # such as 2027-02-30
        day = date.fromisoformat(text)
        return day if str(day) == text else None
    return None


def parse_positive_integer_or_none(text: str) -> int | None:
    """Read a whole number of at least 1; None for anything else."""
    return int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else None


def decode_rule_variable(node: Node, context: DecodingContext) -> str:
    """Return the value of a var, which can't use others."""
    if "${" in str(node.value):
        raise context.add_error(node, "a variable can't use other variables")
    if is_null_node(node):
        raise context.add_error(node, "expected a value, found null")
    return read_scalar_with_vars(node, context, "a value")


def parse_bound_by_unit(
    node: Node, context: DecodingContext, unit: Unit | None, expected: str = "a value"
) -> Any:
    """Read a bound in the grammar of its fact's unit; as text where that isn't known."""
    text = read_scalar_with_vars(node, context, expected)
    try:
        parse = parse_size_with_unit if unit == "bytes" else PARSER_BY_UNIT.get(unit or "text", str)
        return parse(text)
    except ValueError as fault:
        raise context.add_error(node, str(fault)) from None
