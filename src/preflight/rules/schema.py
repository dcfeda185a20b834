"""The types of values in a rule file: each decodes a node and states its JSON Schema.

One class does both, so that the schema and the decoder can't disagree.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple, Protocol, TypeVar

from preflight.model.facts import Path, Unit
from preflight.model.quantities import PARSERS, parse_bytes, parse_duration
from preflight.model.rules import PLACEHOLDER
from preflight.rules.context import DecodingContext, Invalid, read_mapping, read_scalar, read_text
from preflight.yaml_marks import PLAIN, Node, Sequence, is_null, kind_of

JsonSchema = dict[str, Any]
T = TypeVar("T")
V = TypeVar("V")

RESULT_PLACEHOLDERS = frozenset({"actual", "expected", "missing", "item"})


class ValueType(Protocol):
    """What a value may be."""

    def decode(self, node: Node, context: DecodingContext) -> Any:
        """Return the value; adds its problems to the context and raises Invalid."""

    def schema(self) -> JsonSchema:
        """Return the JSON Schema that accepts the same values."""


def decode_valid(items: Iterable[T], decode: Callable[[T], V]) -> tuple[list[V], bool]:
    """Decode every item, so that every problem is found; return whether all are valid, too."""
    values, all_valid = [], True
    for item in items:
        try:
            values.append(decode(item))
        except Invalid:
            all_valid = False
    return values, all_valid


def decode_all(items: Iterable[T], decode: Callable[[T], V]) -> tuple[V, ...]:
    """Decode every item; raises Invalid after the last where one isn't valid."""
    values, all_valid = decode_valid(items, decode)
    if not all_valid:
        raise Invalid
    return tuple(values)


class Text(NamedTuple):
    """Text that isn't empty; with a pattern it is a single line."""

    pattern: re.Pattern[str] | None = None
    expected: str = "text"
    placeholders: bool = False

    def decode(self, node: Node, context: DecodingContext) -> str:
        value = read_text(node, context, self.expected)
        if not value or value.isspace():
            raise context.error(node, f"expected {self.expected}, found nothing")
        if self.pattern and (not self.pattern.search(value) or "\n" in value):
            raise context.error(node, f"expected {self.expected}, found {value!r}")
        if self.placeholders and "{" in value:
            for name in PLACEHOLDER.findall(value):
                _check_placeholder(name, node, context)
        return value

    def schema(self) -> JsonSchema:
        return {"type": "string", "pattern": self.pattern.pattern if self.pattern else r"\S"}


def _check_placeholder(name: str, node: Node, context: DecodingContext) -> None:
    values = context.log_values
    known: Collection[str] = RESULT_PLACEHOLDERS if values is None else values
    if name in known:
        return
    if "." in name or (values is None and context.collection is not None):
        context.find_fact(node, name)
        return
    names = ", ".join(sorted(known))
    suggestion = context.suggest(name, known) or f": use {names} or the name of a fact"
    raise context.error(node, f"unknown placeholder {{{name}}}{suggestion}")


class OneOf(NamedTuple):
    """One of a few words or numbers."""

    choices: tuple[str | int, ...]

    def decode(self, node: Node, context: DecodingContext) -> str | int:
        text = read_scalar(node, context, "a word")
        for choice in self.choices:
            if str(choice) == text and (isinstance(choice, str) or kind_of(node) == "a number"):
                return choice
        known = [str(choice) for choice in self.choices]
        hint = " in quotes" if text in known else context.suggest(text, known)
        raise context.error(node, f"expected {' or '.join(known)}, found {text!r}{hint}")

    def schema(self) -> JsonSchema:
        return {"enum": list(self.choices)}


class ListOf(NamedTuple):
    """A list of values of one type."""

    type_: ValueType
    what: str
    min_items: int = 0

    def decode(self, node: Node, context: DecodingContext) -> tuple[Any, ...]:
        if node.__class__ is not Sequence or node.tag != PLAIN:
            raise context.error(node, f"expected a list of {self.what}, found {kind_of(node)}")
        if len(node.value) < self.min_items:
            raise context.error(node, f"expected a list of {self.what}, found an empty one")
        return decode_all(node.value, lambda item: self.type_.decode(item, context))

    def schema(self) -> JsonSchema:
        schema: JsonSchema = {"type": "array", "items": self.type_.schema()}
        return {**schema, "minItems": self.min_items} if self.min_items else schema


class MapOf(NamedTuple):
    """Values of one type by any name."""

    type_: ValueType
    what: str

    def decode(self, node: Node, context: DecodingContext) -> Mapping[str, Any]:
        nodes = read_mapping(node, context, None, self.what)
        values = decode_all(nodes.values(), lambda value: self.type_.decode(value, context))
        return dict(zip(nodes, values, strict=True))

    def schema(self) -> JsonSchema:
        return {"type": "object", "additionalProperties": self.type_.schema()}


class ScalarOf(NamedTuple):
    """A scalar: what is expected, the function that reads it (or raises ValueError), its schema.

    `kind` is what YAML must take it for: "text", "a number" or "a boolean".
    """

    expected: str
    parse: Callable[[str], Any]
    json_schema: JsonSchema
    kind: str | None = None

    def decode(self, node: Node, context: DecodingContext) -> Any:
        read = read_text if self.kind == "text" else read_scalar
        text = read(node, context, self.expected)
        try:
            if self.kind not in (None, "text", kind_of(node)):
                raise ValueError
            return self.parse(text)
        except ValueError as fault:
            message = str(fault) or f"expected {self.expected}, found {text!r}"
            raise context.error(node, message) from None

    def schema(self) -> JsonSchema:
        return self.json_schema


def _parse_day(text: str) -> date:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
        raise ValueError
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise ValueError from None  # such as 2027-02-30


def _parse_count(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]{0,5}", text):
        raise ValueError
    return int(text)


_STRING_OR_NUMBER: JsonSchema = {"type": ["string", "number"]}
BOOLEAN = ScalarOf(
    "true or false", lambda text: text.lower() == "true", {"type": "boolean"}, "a boolean"
)
COUNT = ScalarOf(
    "a whole number of at least 1",
    _parse_count,
    {"type": "integer", "minimum": 1, "maximum": 999999},
    "a number",
)
DAY = ScalarOf(
    "a date such as 2027-01-31",
    _parse_day,
    {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"},
)
SIZE = ScalarOf("a size", parse_bytes, _STRING_OR_NUMBER)
DURATION = ScalarOf("a duration", parse_duration, _STRING_OR_NUMBER)


def regular_expression(compile_: Callable[[str], re.Pattern[Any]]) -> ScalarOf:
    """Return the type of a regular expression that stays text; `compile_` refuses others."""

    def check(text: str) -> str:
        compile_(text)
        return text

    return ScalarOf("a regular expression", check, {"type": "string"}, "text")


class FactName(NamedTuple):
    """The name of a declared fact; of a collection, for `for_each`."""

    collection: bool = False

    def decode(self, node: Node, context: DecodingContext) -> Path:
        expected = "the name of a collection" if self.collection else "the name of a fact"
        path, fact = context.find_fact(node, read_scalar(node, context, expected))
        if self.collection and not context.catalogue.is_collection(path):
            raise context.error(node, f"{fact.path} isn't a collection, and for_each needs one")
        return path

    def schema(self) -> JsonSchema:
        return {"type": "string", "pattern": r"\S"}


def read_quantity(
    node: Node, context: DecodingContext, unit: Unit, expected: str = "a value"
) -> Any:
    """Read a bound in the grammar of its fact's unit."""
    text = read_scalar(node, context, expected)
    try:
        return PARSERS[unit](text) if unit in PARSERS else text
    except ValueError as fault:
        raise context.error(node, str(fault)) from None


class Field(NamedTuple):
    """One key of an object: the type of its value, what it is for, whether it must be there."""

    type_: ValueType
    summary: str
    required: bool = False


class ObjectField:
    """A mapping with known keys, which `build` makes a value of; null means that a key is left out.

    In the schema it stands under its `name`, if it has one, among the definitions.
    """

    def __init__(
        self,
        what: str,
        fields: Mapping[str, Field],
        build: Callable[..., Any] = dict,
        name: str | None = None,
    ) -> None:
        self.what = what
        self.fields = fields
        self.build = build
        self.name = name
        self.required = [name for name, field in fields.items() if field.required]

    def read_nodes(self, node: Node, context: DecodingContext) -> dict[str, Node]:
        """Return the values by key, not decoded yet: objects of the same id are merged first."""
        return read_mapping(node, context, self.fields.keys(), self.what)

    def decode_keys(
        self, nodes: Mapping[str, Node], context: DecodingContext
    ) -> tuple[dict[str, Any], bool]:
        """Decode the keys that are there; return the valid ones, and whether all are."""

        def decode_key(item: tuple[str, Node]) -> tuple[str, Any]:
            return item[0], self.fields[item[0]].type_.decode(item[1], context)

        given = ((name, value) for name, value in nodes.items() if not is_null(value))
        values, all_valid = decode_valid(given, decode_key)
        return dict(values), all_valid

    def has_required(self, nodes: Mapping[str, Node], node: Node, context: DecodingContext) -> bool:
        """Return whether every required key is there; each that isn't is a problem."""
        missing = [name for name in self.required if name not in nodes or is_null(nodes[name])]
        for name in missing:
            context.missing_error(nodes.get(name, node), f"{self.what} needs {name!r}")
        return not missing

    def decode_nodes(self, nodes: Mapping[str, Node], node: Node, context: DecodingContext) -> Any:
        """Decode every key; raises Invalid where one is missing or can't be decoded."""
        values, all_valid = self.decode_keys(nodes, context)
        if not self.has_required(nodes, node, context) or not all_valid:
            raise Invalid
        return self.build(**values)

    def decode(self, node: Node, context: DecodingContext) -> Any:
        return self.decode_nodes(self.read_nodes(node, context), node, context)

    def schema(self) -> JsonSchema:
        return {"$ref": f"#/$defs/{self.name}"} if self.name else self.definition()

    def definition(self, required: list[str] | None = None) -> JsonSchema:
        """Return the schema itself; `required` replaces the keys that must be there.

        An object that overrides another of the same id gives only what changes, so the loader
        asks for the other keys after merging.
        """
        properties: dict[str, JsonSchema] = {}
        for name, field in self.fields.items():
            schema = field.type_.schema()
            if not field.required:
                schema = {"anyOf": [schema, {"type": "null"}]}
            properties[name] = {**schema, "description": field.summary}
        return object_schema(properties, self.required if required is None else required)


def object_schema(properties: JsonSchema, required: list[str]) -> JsonSchema:
    """Return the schema of an object without other keys than these."""
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


class RawField(NamedTuple):
    """A part of the file that the loader decodes itself; only its schema is stated here."""

    json_schema: JsonSchema

    def decode(self, node: Node, _context: DecodingContext) -> Node:
        return node

    def schema(self) -> JsonSchema:
        return self.json_schema


class ObjectList(NamedTuple):
    """A list of objects that the loader decodes, after adding those of extended files.

    Of two with the same `key` the later one replaces the first, or only its keys with `merge`.
    """

    type_: ObjectField
    key: str
    merge: bool = True

    def decode(self, node: Node, _context: DecodingContext) -> Node:
        return node

    def schema(self) -> JsonSchema:
        required = [self.key] if self.merge else None
        items = self.type_.schema() if self.type_.name else self.type_.definition(required)
        return {"type": "array", "items": items}
