"""The rule language: conditions and their operands, and the objects of a rule file, key by key.

The decoder, the JSON Schema and the docs use these.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from preflight.model.conditions import OPERATORS, Condition, Operator, Reference, Sum
from preflight.model.facts import Unit
from preflight.model.patterns import compile_log_pattern, compile_pattern
from preflight.model.quantities import parse_version_range
from preflight.model.rules import CONFIDENCES, VALUE_TYPES, FactCondition, Fix, LanguageModel
from preflight.rules.context import DecodingContext, read_mapping, read_scalar
from preflight.rules.schema import (
    BOOLEAN,
    COUNT,
    DAY,
    DURATION,
    SIZE,
    FactName,
    Field,
    JsonSchema,
    ListOf,
    MapOf,
    ObjectField,
    ObjectList,
    OneOf,
    RawField,
    ScalarOf,
    Text,
    ValueType,
    decode_all,
    object_schema,
    read_quantity,
    regular_expression,
)
from preflight.yaml_marks import Node, Scalar, is_null

SCHEMA_ID = "preflight.rules/1"
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

    def decode(self, node: Node, context: DecodingContext) -> Any:
        if node.__class__ is Scalar:
            if is_null(node):
                raise context.error(node, "expected a value, found null; use exists: false")
            return read_quantity(node, context, context.unit)
        nodes = read_mapping(node, context, {"fact", "times", "plus", "sum"}, "a value")
        for key in ("sum", "times", "plus"):
            if key in nodes and context.unit not in NUMERIC_UNITS:
                message = f"{key} works only with numbers, and the fact is {context.unit}"
                raise context.error(node, message)
        if "sum" in nodes and len(nodes) == 1:
            return Sum(ListOf(self, "values", 1).decode(nodes["sum"], context))
        if "fact" not in nodes or "sum" in nodes:
            raise context.error(node, "expected a value, {fact: …} or {sum: […]}")
        name = read_scalar(nodes["fact"], context, "a fact")
        path, fact = context.find_fact(nodes["fact"], name)
        units = {_COMPARABLE_AS.get(unit, unit) for unit in (fact.unit, context.unit)}
        if len(units) > 1 and fact.unit != "text":
            message = f"{fact.path} is {fact.unit} and can't be compared with {context.unit}"
            raise context.error(node, message)
        reference = Reference(path)
        if "times" in nodes:
            times = read_quantity(nodes["times"], context, "number", "a number")
            reference = reference._replace(times=times)
        if "plus" in nodes:
            reference = reference._replace(plus=read_quantity(nodes["plus"], context, context.unit))
        return reference

    def schema(self) -> JsonSchema:
        return {"$ref": "#/$defs/value"}


class ConditionType:
    """Operators and their operands, all of which must hold; `type` reads a text fact as another."""

    def decode(self, node: Node, context: DecodingContext) -> Condition:
        operands = read_operands(node, context)
        outer = context.unit
        try:
            if "type" in operands:
                context.unit = read_type(operands.pop("type"), context)
            if not operands and all(key.value == "type" for key, _ in node.value):
                raise context.error(node, "expected a condition such as at_least: 8GB, found none")
            return decode_tests(operands, context)
        finally:
            context.unit = outer

    def schema(self) -> JsonSchema:
        return {"$ref": "#/$defs/condition"}


def read_operands(node: Node, context: DecodingContext) -> dict[str, Node]:
    """Return a condition's operands by operator, and its `type`, not decoded yet."""
    return read_mapping(node, context, {*OPERATORS, "type"}, "a condition", "condition")


def read_type(node: Node, context: DecodingContext) -> Unit:
    """Return the unit that a `type` names; only text can be read as something else."""
    unit = TYPES[str(OneOf(tuple(TYPES)).decode(node, context))]
    if context.unit not in ("text", unit):
        raise context.error(node, f"type works only with text, and the fact is {context.unit}")
    return unit


def decode_tests(operands: Mapping[str, Node], context: DecodingContext) -> Condition:
    """Return the condition that these operators and operands make up."""

    def decode_test(test: tuple[str, Node]) -> tuple[Operator, Any]:
        operator, node = OPERATORS[test[0]], test[1]
        units = _UNITS_BY_SHAPE.get(operator.shape)
        if units is not None and context.unit not in units:
            hint = "; set type to how it is to be read" if context.unit == "text" else ""
            message = f"{operator.name} doesn't work with a fact that is {context.unit}{hint}"
            raise context.error(node, message)
        return operator, OPERAND_TYPES[operator.shape].decode(node, context)

    return Condition(decode_all(operands.items(), decode_test), context.unit)


_SCALAR_UNITS = NUMERIC_UNITS | {"text", "version", "boolean"}
_UNITS_BY_SHAPE: Mapping[str, frozenset[str]] = {
    "quantity": NUMERIC_UNITS,
    "value": _SCALAR_UNITS,
    "values": _SCALAR_UNITS,
    "pattern": frozenset({"text", "version"}),
    "element": frozenset({"text", "version", "list"}),
    "range": frozenset({"text", "version"}),
}
OPERAND_TYPES: dict[str, ValueType] = {
    "quantity": Bound(),
    "value": Bound(),
    "values": ListOf(Bound(), "values", 1),
    "pattern": regular_expression(compile_pattern),
    "element": Bound(),
    "range": ScalarOf("a version range such as >=20.10", parse_version_range, {"type": "string"}),
    "flag": BOOLEAN,
    "condition": ConditionType(),
    "conditions": ListOf(ConditionType(), "conditions", 1),
}


class WhenType:
    """`fact: value` or `fact: condition`; all must hold."""

    def decode(self, node: Node, context: DecodingContext) -> tuple[FactCondition, ...]:
        outer = context.unit

        def decode_line(line: tuple[str, Node]) -> FactCondition:
            name, value = line
            path, fact = context.find_fact(value, name)
            context.unit = fact.unit
            if value.__class__ is Scalar:
                return FactCondition(path, decode_tests({"equals": value}, context))
            return FactCondition(path, ConditionType().decode(value, context))

        try:
            lines = read_mapping(node, context, None, "when")
            return decode_all(lines.items(), decode_line)
        finally:
            context.unit = outer

    def schema(self) -> JsonSchema:
        condition = {"anyOf": [_SCALAR_SCHEMA, ConditionType().schema()]}
        return {"type": "object", "additionalProperties": condition}


FIX = ObjectField(
    "a fix",
    {
        "when": Field(WhenType(), "facts that must hold; else the fix is not shown"),
        "text": Field(Text(placeholders=True), "what to do, in a sentence", required=True),
        "command": Field(Text(placeholders=True), "a command to copy; never run"),
        "url": Field(
            Text(re.compile(r"^https?://\S+$"), "a web address", placeholders=True),
            "where it is documented",
        ),
    },
    build=Fix,
    name="fix",
)


class IdOf(NamedTuple):
    """The id of a rule or a diagnosis that exists."""

    kind: Literal["rule", "diagnosis"]

    def decode(self, node: Node, context: DecodingContext) -> str:
        name = _ID.decode(node, context)
        known = context.rule_ids if self.kind == "rule" else context.diagnosis_ids
        if name not in known:
            suggestion = context.suggest(name, known)
            raise context.missing_error(node, f"unknown {self.kind} {name!r}{suggestion}")
        return name

    def schema(self) -> JsonSchema:
        return _ID.schema()


_ID = Text(re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$"), "an id in kebab-case such as host-memory")
NAME = r"^[a-z][a-z0-9_]*$"
_TEXTS = ListOf(Text(), "words")

RULE = ObjectField(
    "a rule",
    {
        "id": Field(_ID, "stable, never reused; the same id in an extending file overrides", True),
        "title": Field(Text(), "what holds when the rule passes, in a few words", True),
        "why": Field(Text(), "why it matters, in a sentence"),
        "section": Field(Text(), "the section of the document"),
        "document": Field(
            BOOLEAN, "false: the document doesn't state it; it is only grouped there"
        ),
        "tags": Field(_TEXTS, "tags for --only and --skip"),
        "needs": Field(
            ListOf(IdOf("rule"), "rule ids"),
            "rules that must pass or warn; else this one is skipped",
        ),
        "when": Field(WhenType(), "facts that must hold; else the rule is skipped"),
        "enabled": Field(BOOLEAN, "false: runs only when --only names it or one of its tags"),
        "for_each": Field(FactName(collection=True), "a collection: one result for each item"),
        "fact": Field(FactName(), "the fact to judge", True),
        "type": Field(OneOf(tuple(TYPES)), "how to read a text fact"),
        "require": Field(ConditionType(), "the rule fails if this is not met"),
        "recommend": Field(ConditionType(), "the rule warns if this is not met"),
        "error": Field(Text(placeholders=True), "the engine's own error message"),
        "fixes": Field(
            ListOf(FIX, "fixes"), "the first whose `when` holds, and those without `when`"
        ),
    },
    name="rule",
)
MODEL = ObjectField(
    "a model",
    {
        "name": Field(Text(), "the name to pull it by", True),
        "memory": Field(SIZE, "what it needs", True),
        "note": Field(Text(), "what it is good for"),
    },
    build=LanguageModel,
)
DIAGNOSIS = ObjectField(
    "a diagnosis",
    {
        "id": Field(_ID, "stable, never reused", True),
        "title": Field(Text(), "the error in a few words", True),
        "patterns": Field(
            ListOf(regular_expression(compile_log_pattern), "patterns", 1),
            "regular expressions, case-insensitive, searched line by line; named groups are values",
            True,
        ),
        "cause": Field(Text(), "what it means"),
        "confidence": Field(OneOf(CONFIDENCES), "how sure the cause is; the default is likely"),
        "values": Field(
            MapOf(OneOf(tuple(VALUE_TYPES)), "group names"),
            "how named groups are read; the default is text",
        ),
        "figures": Field(
            ListOf(Text(placeholders=True), "texts"),
            "a short text of the values: the first whose values are all known",
        ),
        "times": Field(COUNT, "how many lines must match; the default is 1"),
        "within": Field(DURATION, "the time within which they must match"),
        "unless": Field(
            ListOf(IdOf("diagnosis"), "ids of diagnoses"), "not reported if one of these is found"
        ),
        "service": Field(FactName(), "the fact that names its service if the log's name doesn't"),
        "fixes": Field(
            ListOf(FIX, "fixes"), "the first whose `when` holds, and those without `when`"
        ),
    },
)
WAIVER = ObjectField(
    "a waiver",
    {
        "rule": Field(IdOf("rule"), "the rule that is waived", True),
        "reason": Field(Text(), "why", True),
        "owner": Field(Text(), "who is responsible for it", True),
        "until": Field(DAY, "the last day, UTC", True),
        "accept": Field(ConditionType(), "a bound below which it still fails"),
    },
)


FILE = ObjectField(
    "a rule file",
    {
        "version": Field(OneOf((1,)), "of the rule language", True),
        "name": Field(Text(), "of the rule set"),
        "source": Field(Text(), "the requirements document"),
        "next": Field(Text(), "the command to run when everything passes"),
        "extends": Field(ListOf(Text(), "rule files"), "`default`, or paths beside this file"),
        "vars": Field(
            RawField(
                {
                    "type": "object",
                    "propertyNames": {"pattern": NAME},
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                }
            ),
            "values used as ${name}; --set overrides them",
        ),
        "rules": Field(ObjectList(RULE, "id"), "the rules"),
        "models": Field(ObjectList(MODEL, "name"), "models by memory"),
        "diagnoses": Field(ObjectList(DIAGNOSIS, "id"), "known errors in logs"),
        "waivers": Field(ObjectList(WAIVER, "rule", merge=False), "known, dated exceptions"),
    },
)


def json_schema() -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of a rule file."""
    number = {"type": ["number", "string"]}
    values = {"type": "array", "items": Bound().schema(), "minItems": 1}
    operands = {
        name: {**OPERAND_TYPES[operator.shape].schema(), "description": operator.summary}
        for name, operator in OPERATORS.items()
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA_ID.replace('/', ':')}",
        "title": SCHEMA_ID,
        **FILE.schema(),
        "$defs": {
            "rule": RULE.definition(["id"]),
            "fix": FIX.definition(),
            "condition": {
                "type": "object",
                "minProperties": 1,
                "properties": {**operands, "type": {"enum": list(TYPES)}},
                "dependentSchemas": {"type": {"minProperties": 2}},
                "additionalProperties": False,
            },
            "value": {
                "anyOf": [
                    _SCALAR_SCHEMA,
                    object_schema(
                        {"fact": FactName().schema(), "times": number, "plus": number}, ["fact"]
                    ),
                    object_schema({"sum": values}, ["sum"]),
                ]
            },
        },
    }
