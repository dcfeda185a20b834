"""The plain shapes of a rule file's values: each decodes a node and states its JSON Schema.

That one class does both keeps the schema and the decoder from parting.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from datetime import date
from typing import Any, NamedTuple, Protocol

from preflight.model.facts import Path, Unit
from preflight.model.patterns import compile_pattern
from preflight.model.quantities import PARSERS
from preflight.model.rules import PLACEHOLDER
from preflight.rules import yaml_nodes as document
from preflight.rules.context import Context, Invalid, pairs, quoted, scalar
from preflight.rules.yaml_nodes import Node, Sequence, is_null, kind_of

Schema = dict[str, Any]

FIGURES = frozenset({"actual", "expected", "missing", "item"})


class Shape(Protocol):
    """One way a value may look."""

    def decode(self, node: Node, context: Context) -> Any:
        """Return the value; notes its problems in the context and raises Invalid."""

    def schema(self) -> Schema:
        """Return the JSON Schema that accepts the same values."""


def each(nodes: Iterable[Node], context: Context, shape: Shape) -> tuple[Any, ...]:
    """Decode every node, so that every problem is noted; raises Invalid after the last."""
    values, good = [], True
    for node in nodes:
        try:
            values.append(shape.decode(node, context))
        except Invalid:
            good = False
    if not good:
        raise Invalid
    return tuple(values)


class Text(NamedTuple):
    """Text with something in it, of one line where a pattern says how it looks."""

    pattern: re.Pattern[str] | None = None
    looks: str = "text"
    placeholders: bool = False

    def decode(self, node: Node, context: Context) -> str:
        value = quoted(node, context, self.looks)
        if not value or value.isspace():
            raise context.wrong(node, f"expected {self.looks}, found nothing")
        if self.pattern and (not self.pattern.search(value) or "\n" in value):
            raise context.wrong(node, f"expected {self.looks}, found {value!r}")
        if self.placeholders and "{" in value:
            self._check_placeholders(value, node, context)
        return value

    def _check_placeholders(self, value: str, node: Node, context: Context) -> None:
        figures: Collection[str] = FIGURES if context.captured is None else context.captured
        for name in PLACEHOLDER.findall(value):
            if name not in figures:
                if "." not in name and context.captured is not None:
                    known = ", ".join(sorted(figures))
                    raise context.wrong(node, f"no placeholder {{{name}}}: use {known} or a fact")
                if "." not in name and context.collection is None:
                    hint = (
                        context.near(name, FIGURES)
                        or ": use actual, expected, missing, item or a fact"
                    )
                    raise context.wrong(node, f"no placeholder {{{name}}}{hint}")
                context.fact(node, name)

    def schema(self) -> Schema:
        schema: Schema = {
            "type": "string",
            "pattern": self.pattern.pattern if self.pattern else r"\S",
        }
        return schema


class Flag:
    """true or false."""

    def decode(self, node: Node, context: Context) -> bool:
        text = scalar(node, context, "true or false")
        if kind_of(node) != "a boolean":
            raise context.wrong(node, f"expected true or false, found {text!r}")
        return text.lower() == "true"

    def schema(self) -> Schema:
        return {"type": "boolean"}


class One(NamedTuple):
    """One of a few words or numbers."""

    words: tuple[str | int, ...]

    def decode(self, node: Node, context: Context) -> str | int:
        text = scalar(node, context, "a word")
        for word in self.words:
            if str(word) == text and (isinstance(word, str) or kind_of(node) == "a number"):
                return word
        known = [str(word) for word in self.words]
        hint = " in quotes" if text in known else context.near(text, known)
        raise context.wrong(node, f"expected {' or '.join(known)}, found {text!r}{hint}")

    def schema(self) -> Schema:
        return {"enum": list(self.words)}


class ListOf(NamedTuple):
    """A list of one shape."""

    shape: Shape
    what: str
    least: int = 0

    def decode(self, node: Node, context: Context) -> tuple[Any, ...]:
        if node.__class__ is not Sequence or node.tag != document.PLAIN:
            raise context.wrong(node, f"expected a list of {self.what}, found {kind_of(node)}")
        if len(node.value) < self.least:
            raise context.wrong(node, f"expected a list of {self.what}, found none in it")
        return each(node.value, context, self.shape)

    def schema(self) -> Schema:
        schema: Schema = {"type": "array", "items": self.shape.schema()}
        return {**schema, "minItems": self.least} if self.least else schema


class Size:
    """A size in bytes, as in `8GB`."""

    def decode(self, node: Node, context: Context) -> Any:
        return read(node, context, "bytes", scalar(node, context, "a size"))

    def schema(self) -> Schema:
        return {"type": ["string", "number"]}


class Day:
    """A date as in 2027-01-31."""

    def decode(self, node: Node, context: Context) -> date:
        text = scalar(node, context, "a date such as 2027-01-31")
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text):
                raise ValueError
            return date.fromisoformat(text)
        except ValueError:
            raise context.wrong(
                node, f"expected a date such as 2027-01-31, found {text!r}"
            ) from None

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"^\d{4}-\d{2}-\d{2}$"}


class Pattern:
    """A regular expression in Python's grammar."""

    def __init__(self, compile_: Callable[[str], object] = compile_pattern) -> None:
        self._compile = compile_

    def decode(self, node: Node, context: Context) -> str:
        text = quoted(node, context, "a regular expression")
        try:
            self._compile(text)
        except ValueError as fault:
            raise context.wrong(node, str(fault)) from None
        return text

    def schema(self) -> Schema:
        return {"type": "string"}


class Count:
    """A whole number from 1 on."""

    def decode(self, node: Node, context: Context) -> int:
        text = scalar(node, context, "a whole number")
        if kind_of(node) != "a number" or not re.fullmatch("[1-9][0-9]{0,5}", text):
            raise context.wrong(node, f"expected a whole number from 1 on, found {text!r}")
        return int(text)

    def schema(self) -> Schema:
        return {"type": "integer", "minimum": 1, "maximum": 999999}


class Duration:
    """A time as in `10m`."""

    def decode(self, node: Node, context: Context) -> Any:
        return read(node, context, "seconds", scalar(node, context, "a duration"))

    def schema(self) -> Schema:
        return {"type": ["string", "number"]}


class MapOf(NamedTuple):
    """Values of one shape by any name."""

    shape: Shape
    what: str

    def decode(self, node: Node, context: Context) -> Mapping[str, Any]:
        found = pairs(node, context, None, self.what)
        return dict(zip(found, each(found.values(), context, self.shape), strict=True))

    def schema(self) -> Schema:
        return {"type": "object", "additionalProperties": self.shape.schema()}


class FactPath:
    """The name of a fact that a probe declares."""

    def decode(self, node: Node, context: Context) -> Path:
        return context.fact(node, scalar(node, context, "the name of a fact"))[0]

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"\S"}


class CollectionPath:
    """A fact that holds others by name, for `for_each`."""

    def decode(self, node: Node, context: Context) -> Path:
        path, fact = context.fact(node, scalar(node, context, "the name of a collection"))
        if not context.catalogue.is_collection(path):
            raise context.wrong(node, f"{fact.path} is no collection: for_each needs one")
        return path

    def schema(self) -> Schema:
        return {"type": "string", "pattern": r"\S"}


def read(node: Node, context: Context, unit: Unit, text: str) -> Any:
    """Read a bound in the grammar of its fact's unit."""
    try:
        return PARSERS[unit](text) if unit in PARSERS else text
    except ValueError as fault:
        raise context.wrong(node, str(fault)) from None


class Field(NamedTuple):
    """One key of a record: its shape, and what it is for."""

    shape: Shape
    summary: str
    required: bool = False


class Record:
    """A mapping with known keys. null stands for leaving a key out."""

    def __init__(self, what: str, fields: Mapping[str, Field]) -> None:
        self.what = what
        self.fields = fields
        self.decoders = {name: field.shape.decode for name, field in fields.items()}
        self.required = [name for name, field in fields.items() if field.required]

    def nodes(self, node: Node, context: Context) -> dict[str, Node]:
        """Return the values by key, still undecoded: records of the same id are merged first."""
        return pairs(node, context, self.fields.keys(), self.what)

    def values(self, found: Mapping[str, Node], node: Node, context: Context) -> dict[str, Any]:
        """Decode every key; raises Invalid where a required key is missing or anything is wrong."""
        values, good = self.good_values(found, node, context)
        if not good:
            raise Invalid
        return values

    def good_values(
        self, found: Mapping[str, Node], node: Node, context: Context
    ) -> tuple[dict[str, Any], bool]:
        """Decode every key; return those that are right, and whether all are."""
        decoders, values, good = self.decoders, {}, True
        for name, value in found.items():
            if is_null(value):
                continue
            try:
                values[name] = decoders[name](value, context)
            except Invalid:
                good = False
        for name in self.required:
            if name not in values and (name not in found or is_null(found[name])):
                good = False
                context.missing(found.get(name, node), f"{self.what} needs {name!r}")
        return values, good

    def decode(self, node: Node, context: Context) -> dict[str, Any]:
        return self.values(self.nodes(node, context), node, context)

    def schema(self, required: list[str] | None = None) -> Schema:
        """Return the schema; one that overrides another of its id gives only what changes.

        So a caller may say that less is `required`: the loader asks for the rest after merging.
        """
        properties: dict[str, Schema] = {}
        for name, field_ in self.fields.items():
            schema = field_.shape.schema()
            if name not in self.required:
                schema = {"anyOf": [schema, {"type": "null"}]}
            properties[name] = {**schema, "description": field_.summary}
        return {
            "type": "object",
            "required": self.required if required is None else required,
            "properties": properties,
            "additionalProperties": False,
        }
