"""The types of values in a rule file: each decodes a node and states its JSON Schema.

One object has both, so that the schema and the decoder can't disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from datetime import date
from typing import Any, NamedTuple, TypeVar

from preflight.model.facts import Path, Unit
from preflight.model.problems import did_you_mean
from preflight.model.quantities import PARSERS, parse_bytes, parse_duration
from preflight.model.rules import PLACEHOLDER
from preflight.rules.context import DecodingContext, Invalid, read_mapping, read_scalar
from preflight.yaml_marks import PLAIN, QUOTED, Node, Sequence, is_null, kind_of

JsonSchema = dict[str, Any]
T = TypeVar("T")
V = TypeVar("V")

RESULT_PLACEHOLDERS = frozenset({"actual", "expected", "missing", "item"})
DAY_PATTERN = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"


class ValueType(NamedTuple):
    """What a value may be: `decode` adds problems to the context, and raises Invalid."""

    decode: Callable[[Node, DecodingContext], Any]
    schema: JsonSchema


def decode_all(items: Iterable[T], decode: Callable[[T], V]) -> tuple[V, ...]:
    """Decode every item, so that every problem is found; then raise Invalid if one isn't valid."""
    values, all_valid = [], True
    for item in items:
        try:
            values.append(decode(item))
        except Invalid:
            all_valid = False
    if not all_valid:
        raise Invalid
    return tuple(values)


def text_type(
    expected: str = "text", pattern: str | None = None, *, placeholders: bool = False
) -> ValueType:
    """Return the type of text that isn't empty; with a pattern it is a single line."""

    def decode(node: Node, context: DecodingContext) -> str:
        value = read_scalar(node, context, expected, text_only=True)
        if not (re.fullmatch(pattern, value) if pattern else value.strip()):
            raise context.error(node, f"expected {expected}, found {value!r}")
        for name in PLACEHOLDER.findall(value) if placeholders and "{" in value else ():
            _check_placeholder(name, node, context)
        return value

    return ValueType(decode, {"type": "string", "pattern": pattern or r"\S"})


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
    raise context.error(node, f"unknown placeholder {{{name}}}{suggestion}")


def one_of(choices: Iterable[str]) -> ValueType:
    """Return the type of one of a few words."""
    words = list(choices)

    def decode(node: Node, context: DecodingContext) -> str:
        word = read_scalar(node, context, "a word")
        if word not in words:
            suggestion = did_you_mean(word, words)
            message = f"expected {' or '.join(words)}, found {word!r}{suggestion}"
            raise context.error(node, message)
        return word

    return ValueType(decode, {"enum": words})


def list_of(items: ValueType | ObjectType, what: str, min_items: int = 0) -> ValueType:
    """Return the type of a list of values of one type."""

    def decode(node: Node, context: DecodingContext) -> tuple[Any, ...]:
        if node.__class__ is not Sequence or node.tag != PLAIN:
            raise context.error(node, f"expected a list of {what}, found {kind_of(node)}")
        if len(node.value) < min_items:
            raise context.error(node, f"expected a list of {what}, found an empty one")
        return decode_all(node.value, lambda item: items.decode(item, context))

    schema = {"type": "array", "items": items.schema}
    return ValueType(decode, {**schema, "minItems": min_items} if min_items else schema)


def map_of(values: ValueType, what: str, key_pattern: str = "") -> ValueType:
    """Return the type of a mapping of values of one type; a pattern restricts its keys."""

    def decode(node: Node, context: DecodingContext) -> Mapping[str, Any]:
        def decode_item(item: tuple[str, Node]) -> tuple[str, Any]:
            if key_pattern and not re.fullmatch(key_pattern, item[0]):
                message = f"expected a name such as system_overhead, found {item[0]!r}"
                raise context.error(item[1], message)
            return item[0], values.decode(item[1], context)

        return dict(decode_all(read_mapping(node, context, None, what).items(), decode_item))

    schema: JsonSchema = {"type": "object", "additionalProperties": values.schema}
    names = {"propertyNames": {"pattern": key_pattern}} if key_pattern else {}
    return ValueType(decode, {**schema, **names})


def scalar_type(
    expected: str, parse: Callable[[str], Any], schema: JsonSchema, kind: str = ""
) -> ValueType:
    """Return the type of a scalar.

    `parse` raises ValueError with a message, or returns None if the text isn't what is expected.
    `kind` is what YAML must take it for: "text", "a number" or "a boolean"; "" is any of them.
    """

    def decode(node: Node, context: DecodingContext) -> Any:
        text = read_scalar(node, context, expected, text_only=kind == "text")
        try:
            value = parse(text) if kind in ("", "text", kind_of(node)) else None
        except ValueError as fault:
            raise context.error(node, str(fault)) from None
        if value is None:
            quotes = " in quotes" if node.tag == QUOTED else ""
            raise context.error(node, f"expected {expected}, found {text!r}{quotes}")
        return value

    return ValueType(decode, schema)


def _parse_day(text: str) -> date | None:
    with suppress(ValueError):  # such as 2027-02-30
        return date.fromisoformat(text) if re.fullmatch(DAY_PATTERN, text) else None
    return None


_STRING_OR_NUMBER: JsonSchema = {"type": ["string", "number"]}
BOOLEAN = scalar_type(
    "true or false", lambda text: text.lower() == "true", {"type": "boolean"}, "a boolean"
)
COUNT = scalar_type(
    "a whole number of at least 1",
    lambda text: int(text) if re.fullmatch("[1-9][0-9]{0,5}", text) else None,
    {"type": "integer", "minimum": 1, "maximum": 999999},
    "a number",
)
DAY = scalar_type(
    "a date such as 2027-01-31", _parse_day, {"type": "string", "pattern": DAY_PATTERN}
)
SIZE = scalar_type("a size", parse_bytes, _STRING_OR_NUMBER)
DURATION = scalar_type("a duration", parse_duration, _STRING_OR_NUMBER)
TEXT = text_type()
TEMPLATE = text_type(placeholders=True)


def regular_expression(compile_: Callable[[str], re.Pattern[Any]]) -> ValueType:
    """Return the type of a regular expression that stays text; `compile_` refuses others."""

    def check(text: str) -> str:
        compile_(text)
        return text

    return scalar_type("a regular expression", check, {"type": "string"}, "text")


def _decode_fact(node: Node, context: DecodingContext) -> Path:
    return context.find_fact(node, read_scalar(node, context, "the name of a fact"))[0]


def _decode_collection(node: Node, context: DecodingContext) -> Path:
    path, fact = context.find_fact(node, read_scalar(node, context, "the name of a collection"))
    if not context.catalogue.is_collection(path):
        raise context.error(node, f"{fact.path} isn't a collection, and for_each needs one")
    return path


FACT_NAME = ValueType(_decode_fact, {"type": "string", "pattern": r"\S"})
COLLECTION_NAME = ValueType(_decode_collection, FACT_NAME.schema)


def read_quantity(
    node: Node, context: DecodingContext, unit: Unit | None, expected: str = "a value"
) -> Any:
    """Read a bound in the grammar of its fact's unit; as text where that isn't known."""
    text = read_scalar(node, context, expected)
    try:
        return PARSERS.get(unit or "text", str)(text)
    except ValueError as fault:
        raise context.error(node, str(fault)) from None


class Field(NamedTuple):
    """One key of an object: the type of its value, what it is for, whether it must be there."""

    type_: ValueType
    summary: str
    required: bool = False


class ObjectType:
    """A mapping with known keys, which `build` makes a value of; null means that a key is left out.

    In the JSON Schema it stands under its name among the definitions.
    """

    def __init__(
        self, name: str, fields: Mapping[str, Field], build: Callable[..., Any] = dict
    ) -> None:
        self.name = name
        self.fields = fields
        self.build = build
        self.required = [key for key, field in fields.items() if field.required]
        self.schema: JsonSchema = {"$ref": f"#/$defs/{name}"}

    def read_nodes(self, node: Node, context: DecodingContext) -> dict[str, Node]:
        """Return the values by key, not decoded yet: objects of the same id are merged first."""
        return read_mapping(node, context, self.fields.keys(), f"a {self.name}")

    def decode_key(self, key: str, nodes: Mapping[str, Node], context: DecodingContext) -> Any:
        """Return the value of one key, None where it isn't there or can't be decoded."""
        if key not in nodes or is_null(nodes[key]):
            return None
        try:
            return self.fields[key].type_.decode(nodes[key], context)
        except Invalid:
            return None

    def decode_keys(
        self, nodes: Mapping[str, Node], node: Node, context: DecodingContext
    ) -> tuple[dict[str, Any], bool]:
        """Return the valid values by key, and whether all that is required is there and valid."""
        given = [key for key, value in nodes.items() if not is_null(value)]
        missing = [key for key in self.required if key not in given]
        for key in missing:
            context.missing_error(nodes.get(key, node), f"a {self.name} needs {key!r}")
        decoded = ((key, self.decode_key(key, nodes, context)) for key in given)
        values = {key: value for key, value in decoded if value is not None}
        return values, len(values) == len(given) and not missing

    def decode(
        self, node: Node, context: DecodingContext, nodes: Mapping[str, Node] | None = None
    ) -> Any:
        """Return the object of a node; `nodes` are its values by key, if they were merged."""
        nodes = self.read_nodes(node, context) if nodes is None else nodes
        values, all_valid = self.decode_keys(nodes, node, context)
        if not all_valid:
            raise Invalid
        return self.build(**values)

    def definition(self, required: list[str] | None = None) -> JsonSchema:
        """Return the JSON Schema; `required` replaces the keys that must be there.

        An object that overrides another of the same id gives only what changes, so the loader
        asks for the other keys after merging.
        """
        properties: dict[str, JsonSchema] = {}
        for key, (type_, summary, is_required) in self.fields.items():
            schema = type_.schema if is_required else {"anyOf": [type_.schema, {"type": "null"}]}
            properties[key] = {**schema, "description": summary}
        return object_schema(properties, self.required if required is None else required)


def object_schema(properties: JsonSchema, required: list[str]) -> JsonSchema:
    """Return the schema of an object without other keys than these."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }
