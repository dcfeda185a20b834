"""The shapes of conditions and of what they compare with, read in the unit of the rule's fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflight.model.conditions import OPERATORS, Condition, Operator, Reference, Sum
from preflight.model.facts import Unit
from preflight.model.quantities import parse_version_range
from preflight.model.rules import FactCondition
from preflight.rules.context import Context, Invalid, pairs, scalar
from preflight.rules.schema_types import FactPath, Flag, ListOf, One, Pattern, Schema, Shape, read
from preflight.rules.yaml_nodes import Node, Scalar, is_null

TYPES: Mapping[str, Unit] = {
    "bytes": "bytes",
    "duration": "seconds",
    "number": "number",
    "version": "version",
    "string": "text",
    "boolean": "boolean",
}
NUMERIC = frozenset({"bytes", "seconds", "cores", "number"})

_BOUND_KEYS = frozenset({"fact", "times", "plus", "sum"})


class Bound:
    """A scalar in the fact's unit, another fact with `times` and `plus`, or a sum of bounds."""

    def decode(self, node: Node, context: Context) -> Any:
        if node.__class__ is Scalar:
            text = scalar(node, context, "a value")
            if is_null(node):
                raise context.wrong(node, "expected a value, found null; use exists: false")
            return read(node, context, context.unit, text)
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
            times = read(
                found["times"], context, "number", scalar(found["times"], context, "a number")
            )
        if "plus" in found:
            self._needs_numbers(node, context, "plus")
            text = scalar(found["plus"], context, "a value")
            plus = read(found["plus"], context, context.unit, text)
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


def operators(node: Node, context: Context) -> dict[str, Node]:
    """Return a condition's operands by operator, and its `type`, still undecoded."""
    return pairs(node, context, _CONDITION_KEYS, "a condition")


class ConditionShape:
    """Operators and their operands, all of which must hold; `type` reads a text fact as another."""

    def decode(self, node: Node, context: Context) -> Condition:
        found = operators(node, context)
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

    def decode(self, node: Node, context: Context) -> tuple[FactCondition, ...]:
        found = pairs(node, context, None, "when")
        outer, lines, good = context.unit, [], True
        for name, value in found.items():
            try:
                path, fact = context.fact(value, name)
                context.unit = fact.unit
                lines.append(FactCondition(path, self._condition(value, context)))
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
