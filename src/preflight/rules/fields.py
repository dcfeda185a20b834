"""The records of a rule file, key by key: the decoder, the schema and the README read these."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from preflight.model.diagnosis import CONFIDENCES
from preflight.model.patterns import compile_log_pattern
from preflight.model.rules import VALUE_TYPES, Fix
from preflight.rules.conditions import TYPES, ConditionShape, WhenShape
from preflight.rules.context import Context
from preflight.rules.schema_types import (
    CollectionPath,
    Count,
    Day,
    Duration,
    FactPath,
    Field,
    Flag,
    ListOf,
    MapOf,
    One,
    Pattern,
    Record,
    Schema,
    Size,
    Text,
)
from preflight.rules.yaml_nodes import Node

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


class RuleName:
    """The id of a rule that is there."""

    def decode(self, node: Node, context: Context) -> str:
        name = _ID.decode(node, context)
        if name not in context.rules:
            raise context.missing(node, f"no rule {name!r}{context.near(name, context.rules)}")
        return name

    def schema(self) -> Schema:
        return _ID.schema()


class DiagnosisName:
    """The id of a diagnosis that is there."""

    def decode(self, node: Node, context: Context) -> str:
        name = _ID.decode(node, context)
        if name not in context.diagnoses:
            near = context.near(name, context.diagnoses)
            raise context.missing(node, f"no diagnosis {name!r}{near}")
        return name

    def schema(self) -> Schema:
        return _ID.schema()


_ID = Text(re.compile(r"^[a-z0-9]+(-[a-z0-9]+)*$"), "an id in kebab-case such as host-memory")
NAME = r"^[a-z][a-z0-9_]*$"
_TEXTS = ListOf(Text(), "words")

RULE = Record(
    "a rule",
    {
        "id": Field(_ID, "stable, never reused; the same id in an extending file overrides", True),
        "title": Field(Text(), "what people read, in a few words", True),
        "why": Field(Text(), "why it is asked, in a sentence"),
        "section": Field(Text(), "where the document says it"),
        "document": Field(Flag(), "false: ours, the document doesn't say it; only grouped there"),
        "tags": Field(_TEXTS, "words that --only and --skip select by"),
        "needs": Field(
            ListOf(RuleName(), "rule ids"), "rules that must pass or warn, else this is skipped"
        ),
        "when": Field(WhenShape(), "facts that must hold, else this is skipped"),
        "enabled": Field(Flag(), "false: runs only when --only names it or one of its tags"),
        "for_each": Field(CollectionPath(), "a collection: one result an item"),
        "fact": Field(FactPath(), "what is judged", True),
        "type": Field(One(tuple(TYPES)), "how to read a text fact"),
        "require": Field(ConditionShape(), "fails where not met"),
        "recommend": Field(ConditionShape(), "warns where not met"),
        "error": Field(Text(placeholders=True), "what the engine itself would say"),
        "fixes": Field(
            ListOf(FixShape(), "fixes"), "the first whose when holds, and those without"
        ),
    },
)
MODEL = Record(
    "a model",
    {
        "name": Field(Text(), "the name it is pulled by", True),
        "memory": Field(Size(), "what it needs", True),
        "note": Field(Text(), "what it is good for"),
    },
)
DIAGNOSIS = Record(
    "a diagnosis",
    {
        "id": Field(_ID, "stable, never reused", True),
        "title": Field(Text(), "the error in a few words", True),
        "patterns": Field(
            ListOf(Pattern(compile_log_pattern), "patterns", 1),
            "what finds it in a line; upper and lower case are the same, named groups are values",
            True,
        ),
        "cause": Field(Text(), "what it means"),
        "confidence": Field(One(CONFIDENCES), "how sure the cause is; likely where not given"),
        "values": Field(
            MapOf(One(tuple(VALUE_TYPES)), "group names"), "how named groups are read, else as text"
        ),
        "figures": Field(
            ListOf(Text(placeholders=True), "texts"),
            "the values in a few words: the first text whose values are known",
        ),
        "times": Field(Count(), "how many lines it takes, 1 where not given"),
        "within": Field(Duration(), "the time within which it takes them"),
        "unless": Field(
            ListOf(DiagnosisName(), "ids of diagnoses"), "it is not told where one of these is"
        ),
        "service": Field(
            FactPath(), "the fact that names its service, where the log's name doesn't"
        ),
        "fixes": Field(
            ListOf(FixShape(), "fixes"), "the first whose when holds, and those without"
        ),
    },
)
WAIVER = Record(
    "a waiver",
    {
        "rule": Field(RuleName(), "the rule that is waived", True),
        "reason": Field(Text(), "why", True),
        "owner": Field(Text(), "who answers for it", True),
        "until": Field(Day(), "the last day, UTC", True),
        "accept": Field(ConditionShape(), "a bound below which it still fails"),
    },
)


class Kept(NamedTuple):
    """A part of the file that is decoded later, by its own code; only its schema stands here."""

    kept: dict[str, Any]

    def decode(self, node: Node, _context: Context) -> Node:
        return node

    def schema(self) -> dict[str, Any]:
        return self.kept


FILE = Record(
    "a rule file",
    {
        "version": Field(One((1,)), "of the rule language", True),
        "name": Field(Text(), "of the rule set"),
        "source": Field(Text(), "the document that the rules state"),
        "next": Field(Text(), "what to type once all is well"),
        "extends": Field(ListOf(Text(), "rule files"), "`default`, or paths beside this file"),
        "vars": Field(
            Kept(
                {
                    "type": "object",
                    "propertyNames": {"pattern": NAME},
                    "additionalProperties": {"type": ["string", "number", "boolean"]},
                }
            ),
            "values used as ${name}; --set overrides them",
        ),
        "rules": Field(Kept({"type": "array", "items": {"$ref": "#/$defs/rule"}}), "the rules"),
        "models": Field(
            Kept({"type": "array", "items": MODEL.schema(["name"])}), "models by memory"
        ),
        "diagnoses": Field(
            Kept({"type": "array", "items": DIAGNOSIS.schema(["id"])}), "known errors in logs"
        ),
        "waivers": Field(
            Kept({"type": "array", "items": WAIVER.schema()}), "known, dated exceptions"
        ),
    },
)
