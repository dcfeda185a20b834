"""Conditions and their operands, decoded in the unit of the rule's fact."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflight.model.conditions import OPERATORS, Condition, Operator, Reference, Sum
from preflight.model.facts import Unit
from preflight.model.quantities import parse_version_range
from preflight.model.rules import FactCondition
from preflight.rules.context import Context, Invalid, read_mapping, read_scalar
from preflight.rules.schema import (
    BOOLEAN,
    FactName,
    JsonSchema,
    ListOf,
    OneOf,
    Pattern,
    ScalarOf,
    ValueType,
    read_quantity,
)
from preflight.yaml_marks import Node, Scalar, is_null

TYPES: Mapping[str, Unit] = {
    "bytes": "bytes",
    "duration": "seconds",
    "number": "number",
    "version": "version",
    "string": "text",
    "boolean": "boolean",
}
NUMERIC_UNITS = frozenset({"bytes", "seconds", "cores", "number"})

_SCALAR_SCHEMA: JsonSchema = {"type": ["string", "number", "boolean"]}
_COMPARABLE_AS: Mapping[Unit, Unit] = {"cores": "number", "version": "text"}


class Bound:
    """A scalar in the fact's unit, another fact with `times` and `plus`, or a sum of bounds."""

    def decode(self, node: Node, context: Context) -> Any:
        if node.__class__ is Scalar:
            text = read_scalar(node, context, "a value")
            if is_null(node):
                raise context.error(node, "expected a value, found null; use exists: false")
            return read_quantity(node, context, context.unit, text)
        nodes = read_mapping(node, context, {"fact", "times", "plus", "sum"}, "a value")
        for key in ("sum", "times", "plus"):
            if key in nodes and context.unit not in NUMERIC_UNITS:
                message = f"{key} works only with numbers, and the fact is {context.unit}"
                raise context.error(node, message)
        if "sum" in nodes and len(nodes) == 1:
            return Sum(ListOf(self, "values", 1).decode(nodes["sum"], context))
        if "fact" not in nodes or "sum" in nodes:
            raise context.error(node, "expected a value, {fact: …} or {sum: […]}")
        return self._decode_reference(node, nodes, context)

    def _decode_reference(self, node: Node, nodes: dict[str, Node], context: Context) -> Reference:
        name = read_scalar(nodes["fact"], context, "a fact")
        path, fact = context.find_fact(nodes["fact"], name)
        units = {_COMPARABLE_AS.get(unit, unit) for unit in (fact.unit, context.unit)}
        if len(units) > 1 and fact.unit != "text":
            message = f"{fact.path} is {fact.unit} and can't be compared with {context.unit}"
            raise context.error(node, message)
        times, plus = 1.0, 0.0
        if (factor := nodes.get("times")) is not None:
            text = read_scalar(factor, context, "a number")
            times = read_quantity(factor, context, "number", text)
        if (addend := nodes.get("plus")) is not None:
            text = read_scalar(addend, context, "a value")
            plus = read_quantity(addend, context, context.unit, text)
        return Reference(path, times, plus)

    def schema(self) -> JsonSchema:
        return {"$ref": "#/$defs/value"}

    @staticmethod
    def definition() -> JsonSchema:
        """Return the schema that `schema` refers to."""
        number = {"type": ["number", "string"]}
        reference = {
            "type": "object",
            "required": ["fact"],
            "properties": {"fact": FactName().schema(), "times": number, "plus": number},
            "additionalProperties": False,
        }
        total = {
            "type": "object",
            "required": ["sum"],
            "properties": {
                "sum": {"type": "array", "items": {"$ref": "#/$defs/value"}, "minItems": 1}
            },
            "additionalProperties": False,
        }
        return {"anyOf": [_SCALAR_SCHEMA, reference, total]}


def read_operands(node: Node, context: Context) -> dict[str, Node]:
    """Return a condition's operands by operator, and its `type`, not decoded yet."""
    return read_mapping(node, context, {*OPERATORS, "type"}, "a condition", "condition")


class ConditionType:
    """Operators and their operands, all of which must hold; `type` reads a text fact as another."""

    def decode(self, node: Node, context: Context) -> Condition:
        operands = read_operands(node, context)
        outer = context.unit
        try:
            if "type" in operands:
                context.unit = read_type(operands.pop("type"), context)
            if not operands and all(key.value == "type" for key, _ in node.value):
                raise context.error(node, "expected a condition such as at_least: 8GB, found none")
            return Condition(decode_tests(operands, context), context.unit)
        finally:
            context.unit = outer

    def schema(self) -> JsonSchema:
        return {"$ref": "#/$defs/condition"}

    @staticmethod
    def definition() -> JsonSchema:
        """Return the schema that `schema` refers to."""
        properties = {
            name: {**OPERAND_TYPES[row.shape].schema(), "description": row.summary}
            for name, row in OPERATORS.items()
        }
        return {
            "type": "object",
            "minProperties": 1,
            "properties": {**properties, "type": {"enum": list(TYPES)}},
            "dependentSchemas": {"type": {"minProperties": 2}},
            "additionalProperties": False,
        }


def decode_tests(operands: dict[str, Node], context: Context) -> tuple[tuple[Operator, Any], ...]:
    """Decode the operators of one condition; raises Invalid after the last problem."""
    tests, valid = [], True
    for name, node in operands.items():
        row = OPERATORS[name]
        try:
            _check_unit(row, node, context)
            tests.append((row, OPERAND_TYPES[row.shape].decode(node, context)))
        except Invalid:
            valid = False
    if not valid:
        raise Invalid
    return tuple(tests)


_SCALAR_UNITS = NUMERIC_UNITS | {"text", "version", "boolean"}
_UNITS_BY_SHAPE: Mapping[str, frozenset[str]] = {
    "quantity": NUMERIC_UNITS,
    "value": _SCALAR_UNITS,
    "values": _SCALAR_UNITS,
    "pattern": frozenset({"text", "version"}),
    "element": frozenset({"text", "version", "list"}),
    "range": frozenset({"text", "version"}),
}


def _check_unit(row: Operator, node: Node, context: Context) -> None:
    units = _UNITS_BY_SHAPE.get(row.shape)
    if units is not None and context.unit not in units:
        hint = "; set type to how it is to be read" if context.unit == "text" else ""
        message = f"{row.name} doesn't work with a fact that is {context.unit}{hint}"
        raise context.error(node, message)


def read_type(node: Node, context: Context) -> Unit:
    """Return the unit that a `type` names; only text can be read as something else."""
    unit = TYPES[str(OneOf(tuple(TYPES)).decode(node, context))]
    if context.unit not in ("text", unit):
        raise context.error(node, f"type works only with text, and the fact is {context.unit}")
    return unit


OPERAND_TYPES: dict[str, ValueType] = {
    "quantity": Bound(),
    "value": Bound(),
    "values": ListOf(Bound(), "values", 1),
    "pattern": Pattern(),
    "element": Bound(),
    "range": ScalarOf("a version range such as >=20.10", parse_version_range, {"type": "string"}),
    "flag": BOOLEAN,
    "condition": ConditionType(),
    "conditions": ListOf(ConditionType(), "conditions", 1),
}


class WhenType:
    """`fact: value` or `fact: condition`; all must hold."""

    def decode(self, node: Node, context: Context) -> tuple[FactCondition, ...]:
        outer, conditions, valid = context.unit, [], True
        for name, value in read_mapping(node, context, None, "when").items():
            try:
                path, fact = context.find_fact(value, name)
                context.unit = fact.unit
                if value.__class__ is Scalar:
                    tests = decode_tests({"equals": value}, context)
                    condition = Condition(tests, context.unit)
                else:
                    condition = ConditionType().decode(value, context)
                conditions.append(FactCondition(path, condition))
            except Invalid:
                valid = False
            finally:
                context.unit = outer
        if not valid:
            raise Invalid
        return tuple(conditions)

    def schema(self) -> JsonSchema:
        condition = {"anyOf": [_SCALAR_SCHEMA, ConditionType().schema()]}
        return {"type": "object", "additionalProperties": condition}
