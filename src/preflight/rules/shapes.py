"""The shapes that values of a rule file may have: each decodes a node and states its JSON Schema.

That one class does both keeps the schema and the decoder from parting.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Set
from datetime import date
from typing import Any, NamedTuple, Protocol

from preflight.model.conditions import ITEM, OPERATORS, Condition, Operator, Reference, Sum
from preflight.model.facts import Catalogue, Fact, Path, Unit, split_path
from preflight.model.problems import Problem, did_you_mean
from preflight.model.quantities import READERS, parse_version_range
from preflight.model.rules import PLACEHOLDER, Fix, When
from preflight.rules import document
from preflight.rules.document import (
    Node,
    Scalar,
    Sequence,
    is_null,
    is_text,
    kind_of,
    problem_at,
)

MAX_PROBLEMS = 100  # that are shown

Schema = dict[str, Any]

TYPES: Mapping[str, Unit] = {
    "bytes": "bytes",
    "duration": "seconds",
    "number": "number",
    "version": "version",
    "string": "text",
    "boolean": "boolean",
}
NUMERIC = frozenset({"bytes", "seconds", "cores", "number"})

_VARIABLE = re.compile(r"(\$?)\$\{([a-z][a-z0-9_]*)\}")
FIGURES = frozenset({"actual", "expected", "missing", "item"})


class Invalid(Exception):
    """A value that could not be decoded; its problem is noted already."""


class Context:
    """What decoding needs to know beside the node, and the problems found so far."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.vars: Mapping[str, str] = {}
        self.problems: list[Problem] = []
        self.asks: set[Path] = set()
        self.whole = True  # whether every file of `extends` could be read
        self.collection: Path | None = None  # of the rule's `for_each`
        self.unit: Unit = "text"  # of the rule's fact
        self._paths: dict[tuple[Path | None, str], tuple[Path, Fact]] = {}

    def wrong(self, node: Node, message: str) -> Invalid:
        """Note a problem; raise what is returned where decoding can't go on."""
        self.problems.append(problem_at(node, message))
        return Invalid(message)

    def missing(self, node: Node, message: str) -> Invalid:
        """Note that something isn't there, unless a file that may have it could not be read."""
        return self.wrong(node, message) if self.whole else Invalid(message)

    def near(self, name: str, known: Iterable[str]) -> str:
        """Return `, did you mean X?`, or nothing once there are more problems than are shown."""
        return did_you_mean(name, known) if len(self.problems) < MAX_PROBLEMS else ""

    def expand(self, node: Node) -> str:
        """Return the text of a scalar with `${name}` replaced by the rule file's vars."""

        def value(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            if match[2] not in self.vars:
                self.missing(node, f"no var {match[2]!r}{self.near(match[2], self.vars)}")
                return "0"
            return self.vars[match[2]]

        return _VARIABLE.sub(value, node.value)

    def fact(self, node: Node, text: str) -> tuple[Path, Fact]:
        """Return the path a name stands for (relative to the item first) and its declaration."""
        key = (self.collection, text)
        if key not in self._paths:
            self._paths[key] = self._find(node, text)
        path, fact = self._paths[key]
        self.asks.add(path)
        return path, fact

    def _find(self, node: Node, text: str) -> tuple[Path, Fact]:
        try:
            path = split_path(text)
        except ValueError as fault:
            raise self.wrong(node, str(fault)) from None
        if ITEM in path:
            raise self.wrong(node, f"{text!r} names no single fact: use for_each, or a name for *")
        tried = [path] if self.collection is None else [(*self.collection, ITEM, *path), path]
        for candidate in tried:
            if (fact := self.catalogue.find(candidate)) is not None:
                return candidate, fact
        prefix = "" if self.collection is None else ".".join((*self.collection, ITEM, ""))
        names = self.catalogue.names()
        names += [name.removeprefix(prefix) for name in names if prefix and name.startswith(prefix)]
        raise self.wrong(node, f"no probe measures {text!r}{self.near(text, names)}")


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


def pairs(node: Node, context: Context, known: Set[str] | None, what: str) -> dict[str, Node]:
    """Return a mapping's values by key; wrong, unknown and repeated keys are problems."""
    if node.__class__ is not document.Mapping or node.tag != document.PLAIN:
        raise context.wrong(node, f"expected {what} as a mapping, found {kind_of(node)}")
    try:
        found: dict[str, Node] = {key.value: value for key, value in node.value}
    except TypeError:  # a key that is a list or a mapping
        found = {}
    if len(found) == len(node.value) and (known is None or found.keys() <= known):
        return found
    return _good_pairs(node, context, known, what)


def _good_pairs(node: Node, context: Context, known: Set[str] | None, what: str) -> dict[str, Node]:
    """Note what is wrong with the keys, and return the values of the others."""
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = key.value
        if key.__class__ is not Scalar:
            context.wrong(key, f"expected a name, found {kind_of(key)}")
        elif name in found:
            context.wrong(key, f"{name!r} stands here twice")
        elif known is not None and name not in known:
            hint = " (merge keys aren't read; use extends)" if name == "<<" else ""
            context.wrong(key, f"{what} has no {name!r}{context.near(name, known)}{hint}")
        else:
            found[name] = value
    return found


def scalar(node: Node, context: Context, expected: str) -> str:
    """Return the text of a scalar with vars replaced; anything else is a problem."""
    if node.__class__ is not Scalar or node.tag not in document.TAGS:
        raise context.wrong(node, f"expected {expected}, found {kind_of(node)}")
    text: str = node.value
    return context.expand(node) if "${" in text else text


def quoted(node: Node, context: Context, expected: str) -> str:
    """Return text; a plain number or boolean is a problem, as in editors that know the schema."""
    text = scalar(node, context, expected)
    if node.tag == document.PLAIN and not is_text(node):
        hint = "" if is_null(node) else ": quote it if it is text"
        raise context.wrong(node, f"expected {expected}, found {kind_of(node)}{hint}")
    return text


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
        for name in PLACEHOLDER.findall(value):
            if name not in FIGURES:
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
        return _read(node, context, "bytes", scalar(node, context, "a size"))

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

    def decode(self, node: Node, context: Context) -> str:
        text = quoted(node, context, "a regular expression")
        try:
            re.compile(text)
        except (re.error, OverflowError, RecursionError) as fault:
            raise context.wrong(node, f"no regular expression: {fault}") from None
        return text

    def schema(self) -> Schema:
        return {"type": "string"}


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


def _read(node: Node, context: Context, unit: Unit, text: str) -> Any:
    """Read a bound in the grammar of its fact's unit."""
    try:
        return READERS[unit](text) if unit in READERS else text
    except ValueError as fault:
        raise context.wrong(node, str(fault)) from None


_BOUND_KEYS = frozenset({"fact", "times", "plus", "sum"})


class Bound:
    """A scalar in the fact's unit, another fact with `times` and `plus`, or a sum of bounds."""

    def decode(self, node: Node, context: Context) -> Any:
        if node.__class__ is Scalar:
            text = scalar(node, context, "a value")
            if is_null(node):
                raise context.wrong(node, "expected a value, found null; use exists: false")
            return _read(node, context, context.unit, text)
        found = pairs(node, context, _BOUND_KEYS, "a value")
        if "sum" in found and len(found) == 1:
            self._needs_numbers(node, context, "sum")
            return Sum(ListOf(self, "values", 1).decode(found["sum"], context))
        if "fact" not in found or "sum" in found:
            raise context.wrong(node, "expected a value, {fact: …} or {sum: […]}")
        return self._reference(node, found, context)

    def _reference(self, node: Node, found: dict[str, Node], context: Context) -> Reference:
        path, fact = context.fact(found["fact"], scalar(found["fact"], context, "a fact"))
        if _family(fact.unit) != _family(context.unit) and fact.unit != "text":
            raise context.wrong(node, f"{fact.path} is {fact.unit}, compared with {context.unit}")
        times, plus = 1.0, 0.0
        if "times" in found:
            self._needs_numbers(node, context, "times")
            times = _read(
                found["times"], context, "number", scalar(found["times"], context, "a number")
            )
        if "plus" in found:
            self._needs_numbers(node, context, "plus")
            text = scalar(found["plus"], context, "a value")
            plus = _read(found["plus"], context, context.unit, text)
        return Reference(path, times, plus)

    def _needs_numbers(self, node: Node, context: Context, what: str) -> None:
        if context.unit not in NUMERIC:
            raise context.wrong(node, f"{what} needs numbers, and the fact is {context.unit}")

    def schema(self) -> Schema:
        return {"$ref": "#/$defs/value"}

    @staticmethod
    def definition() -> Schema:
        """Return the schema that `schema` points at."""
        value = {"$ref": "#/$defs/value"}
        plain = {"type": ["string", "number", "boolean"]}
        reference = {
            "type": "object",
            "required": ["fact"],
            "properties": {
                "fact": FactPath().schema(),
                "times": {"type": ["number", "string"]},
                "plus": {"type": ["number", "string"]},
            },
            "additionalProperties": False,
        }
        total = {
            "type": "object",
            "required": ["sum"],
            "properties": {"sum": {"type": "array", "items": value, "minItems": 1}},
            "additionalProperties": False,
        }
        return {"anyOf": [plain, reference, total]}


def _family(unit: Unit) -> str:
    return {"cores": "number", "version": "text"}.get(unit, unit)


class VersionRange:
    """A range of versions, as in `>=20.10,<30`."""

    def decode(self, node: Node, context: Context) -> Any:
        try:
            return parse_version_range(scalar(node, context, "a version range such as >=20.10"))
        except ValueError as fault:
            raise context.wrong(node, str(fault)) from None

    def schema(self) -> Schema:
        return {"type": "string"}


_CONDITION_KEYS = frozenset({*OPERATORS, "type"})


class ConditionShape:
    """Operators and their operands, all of which must hold; `type` reads a text fact as another."""

    def decode(self, node: Node, context: Context) -> Condition:
        found = pairs(node, context, _CONDITION_KEYS, "a condition")
        outer = context.unit
        try:
            if "type" in found:
                context.unit = read_type(found.pop("type"), context)
            if not found and all(key.value == "type" for key, _ in node.value):
                raise context.wrong(node, "expected a condition such as at_least: 8GB, found none")
            return Condition(each_test(found, context), context.unit)
        finally:
            context.unit = outer

    def schema(self) -> Schema:
        return {"$ref": "#/$defs/condition"}

    @staticmethod
    def definition() -> Schema:
        """Return the schema that `schema` points at."""
        properties = {
            name: {**OPERANDS[row.shape].schema(), "description": row.summary}
            for name, row in OPERATORS.items()
        }
        return {
            "type": "object",
            "minProperties": 1,
            "properties": {**properties, "type": {"enum": list(TYPES)}},
            "dependentSchemas": {"type": {"minProperties": 2}},
            "additionalProperties": False,
        }


def each_test(found: dict[str, Node], context: Context) -> tuple[tuple[Operator, Any], ...]:
    """Decode the operators of one condition; raises Invalid after the last problem."""
    tests, good = [], True
    for name, operand in found.items():
        row = OPERATORS[name]
        try:
            _check_unit(row, operand, context)
            tests.append((row, OPERANDS[row.shape].decode(operand, context)))
        except Invalid:
            good = False
    if not good:
        raise Invalid
    return tuple(tests)


_FITS: Mapping[str, frozenset[str]] = {
    "quantity": NUMERIC,
    "value": NUMERIC | {"text", "version", "boolean"},
    "values": NUMERIC | {"text", "version", "boolean"},
    "pattern": frozenset({"text", "version"}),
    "element": frozenset({"text", "version", "list"}),
    "range": frozenset({"text", "version"}),
}


def _check_unit(row: Operator, node: Node, context: Context) -> None:
    fits = _FITS.get(row.shape)
    if fits is not None and context.unit not in fits:
        hint = "; say with type: how to read it" if context.unit == "text" else ""
        raise context.wrong(node, f"{row.name} can't judge a fact that is {context.unit}{hint}")


def read_type(node: Node, context: Context) -> Unit:
    """Return the unit that a `type` names; only text can be read as something else."""
    word = One(tuple(TYPES)).decode(node, context)
    if context.unit not in ("text", TYPES[str(word)]):
        raise context.wrong(
            node, f"type reads text as something else, and the fact is {context.unit}"
        )
    return TYPES[str(word)]


OPERANDS: dict[str, Shape] = {
    "quantity": Bound(),
    "value": Bound(),
    "values": ListOf(Bound(), "values", 1),
    "pattern": Pattern(),
    "element": Bound(),
    "range": VersionRange(),
    "flag": Flag(),
    "condition": ConditionShape(),
    "conditions": ListOf(ConditionShape(), "conditions", 1),
}


class WhenShape:
    """`fact: value` or `fact: condition`; all lines must hold."""

    def decode(self, node: Node, context: Context) -> tuple[When, ...]:
        found = pairs(node, context, None, "when")
        outer, lines, good = context.unit, [], True
        for name, value in found.items():
            try:
                path, fact = context.fact(value, name)
                context.unit = fact.unit
                lines.append(When(path, self._condition(value, context)))
            except Invalid:
                good = False
            finally:
                context.unit = outer
        if not good:
            raise Invalid
        return tuple(lines)

    def _condition(self, node: Node, context: Context) -> Condition:
        if node.__class__ is Scalar:
            return Condition(each_test({"equals": node}, context), context.unit)
        return ConditionShape().decode(node, context)

    def schema(self) -> Schema:
        scalars = {"type": ["string", "number", "boolean"]}
        return {
            "type": "object",
            "additionalProperties": {"anyOf": [scalars, ConditionShape().schema()]},
        }


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


FIX = Record(
    "a fix",
    {
        "when": Field(WhenShape(), "facts that must hold for this fix to be shown"),
        "text": Field(Text(placeholders=True), "what to do, in a sentence", required=True),
        "command": Field(Text(placeholders=True), "a command to copy; never run"),
        "url": Field(
            Text(re.compile(r"^https?://\S+$"), "a web address", placeholders=True),
            "where it is documented",
        ),
    },
)


class FixShape:
    """A fix of a rule or a diagnosis."""

    def decode(self, node: Node, context: Context) -> Fix:
        return Fix(**FIX.decode(node, context))

    def schema(self) -> Schema:
        return {"$ref": "#/$defs/fix"}
