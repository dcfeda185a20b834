"""Decodes the entries of rule files: rules, models, diagnoses and waivers, all files merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from preflight.model.facts import FactDeclaration
from preflight.model.patterns import compile_log_pattern
from preflight.model.problems import did_you_mean
from preflight.model.rules import (
    LOG_FACT_NAMESPACE,
    TEXT_PLACEHOLDER_PATTERN,
    UNIT_BY_COMPUTED_PLACEHOLDER,
    UNIT_BY_VALUE_TYPE,
    DiagnosisRule,
    FactCondition,
    LanguageModel,
    Rule,
    Waiver,
)
from preflight.rules.decoding_context import DecodingContext, RuleFileEntry
from preflight.rules.schema_decoding import (
    RULE_FILE_DEFINITION,
    decode_rule_file_key,
    decode_yaml_object,
)


def _decode_rule(entry: RuleFileEntry, context: DecodingContext) -> Rule:
    """Decode a rule: first its collection, fact and type, on which its other keys depend."""
    context.collection = context.unit = None
    context.collection = decode_rule_file_key("rule", "for_each", entry.nodes, context)
    path = decode_rule_file_key("rule", "fact", entry.nodes, context)
    fact = path and context.catalogue.find(path)
    context.unit = fact and fact.unit
    context.unit = decode_rule_file_key("rule", "type", entry.nodes, context) or context.unit
    try:
        decoded = {"for_each": context.collection, "fact": path}
        values = decode_yaml_object("rule", entry.node, context, entry.nodes, decoded)
    finally:
        context.collection = None
    values.pop("type", None)
    if "require" not in values and "recommend" not in values:
        raise context.add_error_if_all_files_read(
            entry.node, "a rule needs 'require' or 'recommend'"
        )
    return Rule(**values, **entry.position())


def _decode_model(entry: RuleFileEntry, context: DecodingContext) -> LanguageModel:
    return LanguageModel(**decode_yaml_object("model", entry.node, context, entry.nodes))


def _decode_waiver(entry: RuleFileEntry, context: DecodingContext) -> Waiver:
    rule = context.rules.get(decode_rule_file_key("waiver", "rule", entry.nodes, context))
    condition = rule and (rule.require or rule.recommend)
    context.unit = condition and condition.unit
    return Waiver(
        **decode_yaml_object("waiver", entry.node, context, entry.nodes), **entry.position()
    )


def _decode_diagnosis(entry: RuleFileEntry, context: DecodingContext) -> DiagnosisRule:
    """Decode a diagnosis: first what its patterns capture, which its texts may use."""
    types = decode_rule_file_key("diagnosis", "values", entry.nodes, context) or {}
    patterns = decode_rule_file_key("diagnosis", "patterns", entry.nodes, context) or ()
    groups = [name for pattern in patterns for name in compile_log_pattern(pattern).groupindex]
    units = {
        **UNIT_BY_COMPUTED_PLACEHOLDER,
        **{name: UNIT_BY_VALUE_TYPE[types.get(name, "string")] for name in groups},
    }
    context.log_values = {
        name: FactDeclaration(f"{LOG_FACT_NAMESPACE}.{name}", unit, "")
        for name, unit in units.items()
    }
    try:
        diagnosis = DiagnosisRule(
            **decode_yaml_object("diagnosis", entry.node, context, entry.nodes)
        )
    finally:
        context.log_values = None
    nodes = entry.nodes
    for name in diagnosis.values.keys() - {*groups}:
        message = f"no pattern has a group {name!r}{did_you_mean(name, groups)}"
        context.add_error(nodes["values"], message)
    for name in UNIT_BY_COMPUTED_PLACEHOLDER.keys() & {*groups}:
        message = f"a group can't be named {name!r}, which is a calculated value"
        context.add_error(nodes["patterns"], message)
    runnable = " ".join(f"{fix.command or ''} {fix.url or ''}" for fix in diagnosis.fixes)
    for name in {*groups} & {*TEXT_PLACEHOLDER_PATTERN.findall(runnable)}:
        message = (
            f"{name!r} can't be used in a command or url: whoever writes the log could abuse it"
        )
        context.add_error(nodes["fixes"], message)
    for unless in diagnosis.unless:
        if unless.same is not None and unless.same not in groups:
            message = f"no pattern has a group {unless.same!r}{did_you_mean(unless.same, groups)}"
            context.add_error(nodes["unless"], message)
    if diagnosis.within is not None and (diagnosis.times < 2 or diagnosis.within <= 0):
        context.add_error(nodes["within"], "within needs 'times' of 2 or more")
    return diagnosis


def _decode_applies_and_otherwise(
    entry: RuleFileEntry, context: DecodingContext
) -> tuple[tuple[tuple[FactCondition, ...], ...], str]:
    """Return what a file is about, as alternatives, and the words where it isn't about this."""
    applies, otherwise = (
        decode_rule_file_key(RULE_FILE_DEFINITION, key, entry.nodes, context)
        for key in ("applies", "otherwise")
    )
    return applies or (), otherwise or ""


def _decode_profile_when(
    entry: RuleFileEntry, context: DecodingContext
) -> tuple[FactCondition, ...] | None:
    """Return where a profile is chosen; its vars were read with the file."""
    when: tuple[FactCondition, ...] | None = decode_rule_file_key(
        "profile", "when", entry.nodes, context
    )
    return when


DECODER_BY_RULE_FILE_KEY: Mapping[str, Callable[[RuleFileEntry, DecodingContext], Any]] = {
    "rules": _decode_rule,
    "models": _decode_model,
    "diagnoses": _decode_diagnosis,
    "waivers": _decode_waiver,
    "profiles": _decode_profile_when,
    "applies": _decode_applies_and_otherwise,
}
