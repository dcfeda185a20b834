"""The rule language: conditions and their operands, and the objects of a rule file, key by key.

The decoder, the JSON Schema and the docs use these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

from preflight.model.conditions import OPERATORS, Condition, Operator, Reference, Sum
from preflight.model.facts import Unit
from preflight.model.patterns import compile_log_pattern, compile_pattern
from preflight.model.problems import did_you_mean
from preflight.model.quantities import parse_version_range
from preflight.model.rules import CONFIDENCES, VALUE_TYPES, FactCondition, Fix, LanguageModel
from preflight.rules.context import DecodingContext, read_mapping, read_scalar
from preflight.rules.value_types import (
    BOOLEAN,
    COLLECTION_NAME,
    COUNT,
    DAY,
    DURATION,
    FACT_NAME,
    SIZE,
    TEMPLATE,
    TEXT,
    Field,
    JsonSchema,
    ObjectType,
    ValueType,
    decode_all,
    list_of,
    map_of,
    object_schema,
    one_of,
    read_quantity,
    regular_expression,
    scalar_type,
    text_type,
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
# the units with which an operand makes sense; with an unknown fact (None) any may be right
_NUMERIC_UNITS = frozenset({"bytes", "seconds", "cores", "number", None})
_SCALAR_UNITS = _NUMERIC_UNITS | {"text", "version", "boolean"}
_TEXT_UNITS = frozenset({"text", "version", None})

_SCALAR_SCHEMA: JsonSchema = {"type": ["string", "number", "boolean"]}
_COMPARABLE_AS: Mapping[Unit | None, Unit] = {"cores": "number", "version": "text"}


def _decode_bound(node: Node, context: DecodingContext) -> Any:
    """Return a scalar in the fact's unit, a Reference, or a Sum of bounds."""
    unit = context.unit
    if node.__class__ is Scalar:
        if is_null(node):
            raise context.error(node, "expected a value, found null; use exists: false")
        return read_quantity(node, context, unit)
    nodes = read_mapping(node, context, {"fact", "times", "plus", "sum"}, "a value")
    for key in ("sum", "times", "plus"):
        if key in nodes and unit not in _NUMERIC_UNITS:
            message = f"{key} works only with numbers, and the fact is {unit}"
            raise context.error(node, message)
    if "sum" in nodes and len(nodes) == 1:
        return Sum(list_of(BOUND, "values", 1).decode(nodes["sum"], context))
    if "fact" not in nodes or "sum" in nodes:
        raise context.error(node, "expected a value, {fact: …} or {sum: […]}")
    path, fact = context.find_fact(nodes["fact"], read_scalar(nodes["fact"], context, "a fact"))
    units = {_COMPARABLE_AS.get(unit, unit) for unit in (fact.unit, unit) if unit}
    if len(units) > 1 and fact.unit != "text":
        message = f"{fact.path} is {fact.unit} and can't be compared with {unit}"
        raise context.error(node, message)
    reference = Reference(path)
    if "times" in nodes:
        times = read_quantity(nodes["times"], context, "number", "a number")
        reference = reference._replace(times=times)
    if "plus" in nodes:
        reference = reference._replace(plus=read_quantity(nodes["plus"], context, unit))
    return reference


BOUND = ValueType(_decode_bound, {"$ref": "#/$defs/value"})


def _decode_condition(node: Node, context: DecodingContext) -> Condition:
    """Return operators and their operands; `type` reads a text fact as another."""
    nodes = read_mapping(node, context, {*OPERATORS, "type"}, "a condition", "condition")
    if len(nodes) == len(node.value) and not nodes.keys() - {"type"}:
        raise context.error(node, "expected a condition such as at_least: 8GB, found none")
    outer = context.unit
    try:
        if "type" in nodes:
            context.unit = TYPE.decode(nodes.pop("type"), context)
        return _decode_tests(nodes, context)
    finally:
        context.unit = outer


def _decode_type(node: Node, context: DecodingContext) -> Unit:
    """Return the unit that a `type` names; only text can be read as something else."""
    unit = TYPES[one_of(TYPES).decode(node, context)]
    if context.unit not in (None, "text", unit):
        raise context.error(node, f"type works only with text, and the fact is {context.unit}")
    return unit


def _decode_tests(operands: Mapping[str, Node], context: DecodingContext) -> Condition:
    def decode_test(test: tuple[str, Node]) -> tuple[Operator, Any]:
        operator, node = OPERATORS[test[0]], test[1]
        type_, units = _OPERANDS[operator.shape]
        if units and context.unit not in units:
            hint = "; set type to how it is to be read" if context.unit == "text" else ""
            message = f"{operator.name} doesn't work with a fact that is {context.unit}{hint}"
            raise context.error(node, message)
        return operator, type_.decode(node, context)

    return Condition(decode_all(operands.items(), decode_test), context.unit or "text")


CONDITION = ValueType(_decode_condition, {"$ref": "#/$defs/condition"})
TYPE = ValueType(_decode_type, one_of(TYPES).schema)
_VERSION_RANGE = scalar_type(
    "a version range such as >=20.10", parse_version_range, {"type": "string"}
)
_OPERANDS: Mapping[str, tuple[ValueType, frozenset[str | None] | None]] = {
    "quantity": (BOUND, _NUMERIC_UNITS),
    "value": (BOUND, _SCALAR_UNITS),
    "values": (list_of(BOUND, "values", 1), _SCALAR_UNITS),
    "pattern": (regular_expression(compile_pattern), _TEXT_UNITS),
    "element": (BOUND, _TEXT_UNITS | {"list"}),
    "range": (_VERSION_RANGE, _TEXT_UNITS),
    "flag": (BOOLEAN, None),
    "condition": (CONDITION, None),
    "conditions": (list_of(CONDITION, "conditions", 1), None),
}
"""By the shape of an operator: what its operand may be, and the units of facts it works with."""


def _decode_when(node: Node, context: DecodingContext) -> tuple[FactCondition, ...]:
    """Return `fact: value` and `fact: condition` as conditions; all must hold."""
    outer = context.unit

    def decode_line(line: tuple[str, Node]) -> FactCondition:
        name, value = line
        path, fact = context.find_fact(value, name)
        context.unit = fact.unit
        if value.__class__ is Scalar:
            return FactCondition(path, _decode_tests({"equals": value}, context))
        return FactCondition(path, CONDITION.decode(value, context))

    try:
        lines = read_mapping(node, context, None, "when")
        return decode_all(lines.items(), decode_line)
    finally:
        context.unit = outer


WHEN = ValueType(
    _decode_when,
    {
        "type": "object",
        "additionalProperties": {"anyOf": [_SCALAR_SCHEMA, CONDITION.schema]},
    },
)


def _decode_var(node: Node, context: DecodingContext) -> str:
    if "${" in str(node.value):
        raise context.error(node, "a var can't use other vars")
    if is_null(node):
        raise context.error(node, "expected a value, found null")
    return read_scalar(node, context, "a value")


def id_of(kind: Literal["rule", "diagnosis"]) -> ValueType:
    """Return the type of the id of a rule or a diagnosis that exists."""

    def decode(node: Node, context: DecodingContext) -> str:
        name: str = ID.decode(node, context)
        if name not in context.ids[kind]:
            suggestion = did_you_mean(name, context.ids[kind])
            raise context.missing_error(node, f"unknown {kind} {name!r}{suggestion}")
        return name

    return ValueType(decode, ID.schema)


ID = text_type("an id in kebab-case such as host-memory", "^[a-z0-9]+(-[a-z0-9]+)*$")
_WEB_ADDRESS = text_type("a web address", r"^https?://\S+$", placeholders=True)

FIX = ObjectType(
    "fix",
    {
        "when": Field(WHEN, "facts that must hold; else the fix is not shown"),
        "text": Field(TEMPLATE, "what to do, in a sentence", required=True),
        "command": Field(TEMPLATE, "a command to copy; never run"),
        "url": Field(_WEB_ADDRESS, "where it is documented"),
    },
    build=Fix,
)
_FIXES = Field(list_of(FIX, "fixes"), "the first whose `when` holds, and those without `when`")
RULE = ObjectType(
    "rule",
    {
        "id": Field(
            ID, "stable, never reused; the same id in an extending file overrides", required=True
        ),
        "title": Field(TEXT, "what holds when the rule passes, in a few words", required=True),
        "why": Field(TEXT, "why it matters, in a sentence"),
        "section": Field(TEXT, "the section of the document"),
        "document": Field(
            BOOLEAN, "false: the document doesn't state it; it is only grouped there"
        ),
        "tags": Field(list_of(TEXT, "words"), "tags for --only and --skip"),
        "needs": Field(
            list_of(id_of("rule"), "rule ids"),
            "rules that must pass or warn; else this one is skipped",
        ),
        "when": Field(WHEN, "facts that must hold; else the rule is skipped"),
        "enabled": Field(BOOLEAN, "false: runs only when --only names it or one of its tags"),
        "for_each": Field(COLLECTION_NAME, "a collection: one result for each item"),
        "fact": Field(FACT_NAME, "the fact to judge", required=True),
        "type": Field(TYPE, "how to read a text fact"),
        "require": Field(CONDITION, "the rule fails if this is not met"),
        "recommend": Field(CONDITION, "the rule warns if this is not met"),
        "error": Field(TEMPLATE, "the engine's own error message"),
        "fixes": _FIXES,
    },
)
MODEL = ObjectType(
    "model",
    {
        "name": Field(TEXT, "the name to pull it by", required=True),
        "memory": Field(SIZE, "what it needs", required=True),
        "note": Field(TEXT, "what it is good for"),
    },
    build=LanguageModel,
)
DIAGNOSIS = ObjectType(
    "diagnosis",
    {
        "id": Field(ID, "stable, never reused", required=True),
        "title": Field(TEXT, "the error in a few words", required=True),
        "patterns": Field(
            list_of(regular_expression(compile_log_pattern), "patterns", 1),
            "regular expressions, case-insensitive, searched line by line; named groups are values",
            required=True,
        ),
        "cause": Field(TEXT, "what it means"),
        "confidence": Field(one_of(CONFIDENCES), "how sure the cause is; the default is likely"),
        "values": Field(
            map_of(one_of(VALUE_TYPES), "group names"),
            "how named groups are read; the default is text",
        ),
        "figures": Field(
            list_of(TEMPLATE, "texts"),
            "a short text of the values: the first whose values are all known",
        ),
        "times": Field(COUNT, "how many lines must match; the default is 1"),
        "within": Field(DURATION, "the time within which they must match"),
        "unless": Field(
            list_of(id_of("diagnosis"), "ids of diagnoses"), "not reported if one of these is found"
        ),
        "service": Field(FACT_NAME, "the fact that names its service if the log's name doesn't"),
        "fixes": _FIXES,
    },
)
WAIVER = ObjectType(
    "waiver",
    {
        "rule": Field(id_of("rule"), "the rule that is waived", required=True),
        "reason": Field(TEXT, "why", required=True),
        "owner": Field(TEXT, "who is responsible for it", required=True),
        "until": Field(DAY, "the last day, UTC", required=True),
        "accept": Field(CONDITION, "a bound below which it still fails"),
    },
)


class EntryList(NamedTuple):
    """A list of objects that the loader decodes, after adding those of extended files.

    Of two with the same `key` the later one replaces the first, or only its keys with `merge`.
    """

    type_: ObjectType
    key: str
    summary: str
    merge: bool = True


def _keep_node(node: Node, _: DecodingContext) -> Node:
    return node


ENTRY_LISTS = {
    "rules": EntryList(RULE, "id", "the rules"),
    "models": EntryList(MODEL, "name", "models by memory"),
    "diagnoses": EntryList(DIAGNOSIS, "id", "known errors in logs"),
    "waivers": EntryList(WAIVER, "rule", "known, dated exceptions", merge=False),
}
FILE = ObjectType(
    "rule file",
    {
        "version": Field(
            scalar_type("1", {"1": 1}.get, {"enum": [1]}, "a number"),
            "of the rule language",
            required=True,
        ),
        "name": Field(TEXT, "of the rule set"),
        "source": Field(TEXT, "the requirements document"),
        "next": Field(TEXT, "the command to run when everything passes"),
        "extends": Field(list_of(TEXT, "rule files"), "`default`, or paths beside this file"),
        "vars": Field(
            map_of(ValueType(_decode_var, _SCALAR_SCHEMA), "vars", "^[a-z][a-z0-9_]*$"),
            "values used as ${name}; --set overrides them",
        ),
        **{
            name: Field(list_of(ValueType(_keep_node, type_.schema), name), summary)
            for name, (type_, _, summary, _) in ENTRY_LISTS.items()
        },
    },
)


def json_schema() -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of a rule file."""
    number = {"type": ["number", "string"]}
    operands = {
        name: {**_OPERANDS[operator.shape][0].schema, "description": operator.summary}
        for name, operator in OPERATORS.items()
    }
    fact_value = {"fact": FACT_NAME.schema, "times": number, "plus": number}
    sum_value = {"sum": {"type": "array", "items": BOUND.schema, "minItems": 1}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA_ID.replace('/', ':')}",
        "title": SCHEMA_ID,
        **FILE.definition(),
        "$defs": {
            **{
                type_.name: type_.definition([key] if merge else None)
                for type_, key, _, merge in ENTRY_LISTS.values()
            },
            "fix": FIX.definition(),
            "condition": {
                "type": "object",
                "minProperties": 1,
                "properties": {**operands, "type": TYPE.schema},
                "dependentSchemas": {"type": {"minProperties": 2}},
                "additionalProperties": False,
            },
            "value": {
                "anyOf": [
                    _SCALAR_SCHEMA,
                    object_schema(fact_value, ["fact"]),
                    object_schema(sum_value, ["sum"]),
                ]
            },
        },
    }
