"""The objects of a rule file, key by key; the decoder, the schema and the docs use these."""

from __future__ import annotations

import re
from typing import Literal, NamedTuple

from preflight.model.diagnosis import CONFIDENCES
from preflight.model.patterns import compile_log_pattern
from preflight.model.rules import VALUE_TYPES, Fix
from preflight.rules.conditions import TYPES, Bound, ConditionType, WhenType
from preflight.rules.context import Context
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
    OneOf,
    Pattern,
    RawField,
    Text,
)
from preflight.yaml_marks import Node

SCHEMA_ID = "preflight.rules/1"

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
)


class FixType:
    """A fix of a rule or a diagnosis."""

    def decode(self, node: Node, context: Context) -> Fix:
        return Fix(**FIX.decode(node, context))

    def schema(self) -> JsonSchema:
        return {"$ref": "#/$defs/fix"}


class IdOf(NamedTuple):
    """The id of a rule or a diagnosis that exists."""

    kind: Literal["rule", "diagnosis"]

    def decode(self, node: Node, context: Context) -> str:
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
            ListOf(FixType(), "fixes"), "the first whose `when` holds, and those without `when`"
        ),
    },
)
MODEL = ObjectField(
    "a model",
    {
        "name": Field(Text(), "the name to pull it by", True),
        "memory": Field(SIZE, "what it needs", True),
        "note": Field(Text(), "what it is good for"),
    },
)
DIAGNOSIS = ObjectField(
    "a diagnosis",
    {
        "id": Field(_ID, "stable, never reused", True),
        "title": Field(Text(), "the error in a few words", True),
        "patterns": Field(
            ListOf(Pattern(compile_log_pattern), "patterns", 1),
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
            ListOf(FixType(), "fixes"), "the first whose `when` holds, and those without `when`"
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
        "rules": Field(RawField({"type": "array", "items": {"$ref": "#/$defs/rule"}}), "the rules"),
        "models": Field(
            RawField({"type": "array", "items": MODEL.schema(["name"])}), "models by memory"
        ),
        "diagnoses": Field(
            RawField({"type": "array", "items": DIAGNOSIS.schema(["id"])}), "known errors in logs"
        ),
        "waivers": Field(
            RawField({"type": "array", "items": WAIVER.schema()}), "known, dated exceptions"
        ),
    },
)


def json_schema() -> JsonSchema:
    """Return the JSON Schema (draft 2020-12) of a rule file."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA_ID.replace('/', ':')}",
        "title": SCHEMA_ID,
        **FILE.schema(),
        "$defs": {
            "rule": RULE.schema(["id"]),
            "fix": FIX.schema(),
            "condition": ConditionType.definition(),
            "value": Bound.definition(),
        },
    }
