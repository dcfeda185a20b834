"""The rule language: values are decoded as rules.schema.json describes them.

The schema says which keys an object has and what each may be. What it leaves open (sizes, names of
facts, conditions) has a decoder here under the name of its definition. A key that can't be null
must be there, once the objects of the same id were merged.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Set
from functools import cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias, TypeVar

from preflight.model.conditions import OPERATORS, Condition, FactBound, Operator, SumOfBounds
from preflight.model.facts import Path as FactPath
from preflight.model.facts import Unit
from preflight.model.patterns import compile_pattern
from preflight.model.problems import did_you_mean
from preflight.model.quantities import (
    parse_duration,
    parse_size_with_unit,
    parse_version_range,
)
from preflight.model.rules import DocumentEdition, FactCondition, Fix, UnlessDiagnosis
from preflight.rules.decoding_context import DecodingContext, InvalidValueError, check_entry_count
from preflight.rules.node_decoders import (
    Decoder,
    decode_log_pattern,
    decode_rule_variable,
    make_known_id_decoder,
    make_regex_decoder,
    make_scalar_decoder,
    make_text_decoder,
    parse_bound_by_unit,
    parse_day,
    parse_positive_integer_or_none,
    read_mapping_node,
    read_scalar_with_vars,
)
from preflight.yaml_reader import (
    TAGS_OF_UNTAGGED_NODES,
    UNQUOTED_NODE_TAG,
    YAML_NULL_WORDS,
    Node,
    Scalar,
    Sequence,
    describe_node_kind,
    is_null_node,
)
from preflight.yaml_reader import Mapping as MappingNode

JsonSchema: TypeAlias = Mapping[str, Any]
T = TypeVar("T")
V = TypeVar("V")

RULE_FILE_DEFINITION = "rule file"  # the name of the schema itself among its definitions
UNIT_BY_TYPE: Mapping[str, Unit] = {
    "bytes": "bytes",
    "duration": "seconds",
    "number": "number",
    "version": "version",
    "string": "text",
    "boolean": "boolean",
}
# the units with which an operand makes sense; with an unknown fact (None) any may be right
_NUMERIC_UNITS = frozenset({"bytes", "seconds", "cores", "number", None})
_UNITS_OF_SINGLE_VALUES = _NUMERIC_UNITS | {"text", "version", "boolean"}
_UNITS_HELD_AS_TEXT = frozenset({"text", "version", None})
_UNITS_BY_SHAPE: Mapping[str, frozenset[str | None]] = {
    "quantity": _NUMERIC_UNITS,
    "value": _UNITS_OF_SINGLE_VALUES,
    "values": _UNITS_OF_SINGLE_VALUES,
    "pattern": _UNITS_HELD_AS_TEXT,
    "element": _UNITS_HELD_AS_TEXT | {"list"},
    "range": _UNITS_HELD_AS_TEXT,
}
"""By the shape of an operator, which is a definition of the schema too; others take any unit."""
_CONDITION_KEYS = frozenset((*OPERATORS, "type"))
_FACT_OPERAND_KEYS = frozenset(("fact", "times", "plus", "sum"))
_COMPARED_UNIT_BY_UNIT: Mapping[Unit | None, Unit] = {"cores": "number", "version": "text"}

_RULE_FILE_SCHEMA: dict[str, Any] = json.loads(
    Path(__file__).with_name("rules.schema.json").read_bytes()
)
SCHEMA_BY_DEFINITION: Mapping[str, dict[str, Any]] = {
    **_RULE_FILE_SCHEMA["$defs"],
    RULE_FILE_DEFINITION: _RULE_FILE_SCHEMA,
}


def build_json_schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a rule file, with all operators."""
    operands = {
        name: {**_make_schema_reference(operator.shape), "description": operator.summary}
        for name, operator in OPERATORS.items()
    }
    properties = {**operands, "type": _make_schema_reference("type")}
    condition = {**SCHEMA_BY_DEFINITION["condition"], "properties": properties}
    return {**_RULE_FILE_SCHEMA, "$defs": {**_RULE_FILE_SCHEMA["$defs"], "condition": condition}}


def _make_schema_reference(name: str) -> JsonSchema:
    return {"$ref": f"#/$defs/{name}"}


# what the schema describes


@cache
def _find_decoder_by_definition(definition: str) -> Decoder:
    decoder = DECODER_BY_DEFINITION.get(definition)
    return decoder or _make_decoder_from_schema(SCHEMA_BY_DEFINITION[definition])


@cache
def _find_key_decoders(definition: str) -> Mapping[str, Decoder]:
    properties = SCHEMA_BY_DEFINITION[definition]["properties"]
    return {key: _make_decoder_from_schema(schema, key) for key, schema in properties.items()}


@cache
def _list_required_keys(definition: str) -> Set[str]:
    properties = SCHEMA_BY_DEFINITION[definition]["properties"]
    return dict.fromkeys(key for key, schema in properties.items() if "anyOf" not in schema).keys()


def _make_decoder_from_schema(schema: JsonSchema, name: str = "value") -> Decoder:
    """Return what decodes a node; it adds problems to the context and raises Invalid."""
    schema = schema.get("anyOf", [schema])[0]  # the other one is null
    if "$ref" in schema:
        return _find_decoder_by_definition(schema["$ref"].rpartition("/")[2])
    if "enum" in schema:
        return partial(_decode_keyword, words=schema["enum"])
    if schema["type"] == "boolean":
        return _decode_boolean
    decode_item = _make_decoder_from_schema(schema.get("items") or schema["additionalProperties"])

    def decode_list(node: Node, context: DecodingContext) -> tuple[Any, ...]:
        if node.__class__ is not Sequence or node.tag != UNQUOTED_NODE_TAG:
            raise context.add_error(node, f"expected a list, found {describe_node_kind(node)}")
        if not node.value and "minItems" in schema:
            raise context.add_error(
                node, "expected a list with at least one entry, found an empty list"
            )
        check_entry_count(node, len(node.value))
        return decode_all(node.value, decode_item, context)

    def decode_mapping(node: Node, context: DecodingContext) -> dict[str, Any]:
        names = schema.get("propertyNames", {})

        def decode_entry(entry: tuple[str, Node], context: DecodingContext) -> tuple[str, Any]:
            if not re.match(names.get("pattern", ""), entry[0]):
                message = f"expected a name such as {names['examples'][0]}, found {entry[0]!r}"
                raise context.add_error(entry[1], message)
            return entry[0], decode_item(entry[1], context)

        entries = read_mapping_node(node, context, None, name).items()
        return dict(decode_all(entries, decode_entry, context))

    return decode_list if schema["type"] == "array" else decode_mapping


def decode_all(
    items: Iterable[T], decode_item: Callable[[T, DecodingContext], V], context: DecodingContext
) -> tuple[V, ...]:
    """Decode every item, so that every problem is found; then raise Invalid if one isn't valid."""
    values, all_valid = [], True
    for item in items:
        try:
            values.append(decode_item(item, context))
        except InvalidValueError:
            all_valid = False
    if not all_valid:
        raise InvalidValueError
    return tuple(values)


def read_definition_fields(name: str, node: Node, context: DecodingContext) -> dict[str, Node]:
    """Return an object's values by key, not decoded yet: those of the same id are merged first."""
    return read_mapping_node(
        node, context, SCHEMA_BY_DEFINITION[name]["properties"].keys(), f"a {name}"
    )


def decode_rule_file_key(
    name: str, key: str, nodes: Mapping[str, Node], context: DecodingContext
) -> Any:
    """Return the value of one key, or None if it is null, isn't there or can't be decoded."""
    if key not in nodes or is_null_node(nodes[key]):
        return None
    try:
        return _find_key_decoders(name)[key](nodes[key], context)
    except InvalidValueError:
        return None


def decode_yaml_object(
    name: str,
    node: Node,
    context: DecodingContext,
    nodes: Mapping[str, Node] | None = None,
    decoded: Mapping[str, Any] = MappingProxyType({}),
) -> dict[str, Any]:
    """Return an object's values by key.

    `nodes` are its keys, if they were merged; `decoded` are values that are known, or None if they
    aren't valid.
    """
    nodes = read_definition_fields(name, node, context) if nodes is None else nodes
    decoders, values, all_valid = _find_key_decoders(name), {}, True
    for key, value in nodes.items():
        if value.__class__ is Scalar and value.value in YAML_NULL_WORDS and is_null_node(value):
            continue
        try:
            values[key] = decoded[key] if key in decoded else decoders[key](value, context)
        except InvalidValueError:
            all_valid = False
    if not values.keys() >= _list_required_keys(name):
        check_required_keys(name, nodes, node, context)
        raise InvalidValueError
    if not all_valid or None in [values[key] for key in decoded if key in values]:
        raise InvalidValueError
    return values


def check_required_keys(
    name: str, nodes: Mapping[str, Node], node: Node, context: DecodingContext
) -> None:
    """Add a problem for each key that is missing or null and can't be."""
    for key in _list_required_keys(name):
        if key not in nodes or is_null_node(nodes[key]):
            context.add_error_if_all_files_read(nodes.get(key, node), f"a {name} needs {key!r}")


def _decode_keyword(node: Node, context: DecodingContext, words: list[str]) -> str:
    word = read_scalar_with_vars(node, context, "a word")
    if word not in words:
        message = f"expected {' or '.join(words)}, found {word!r}{did_you_mean(word, words)}"
        raise context.add_error(node, message)
    return word


# facts and conditions


def _resolve_fact_name(node: Node, context: DecodingContext) -> FactPath:
    return context.find_fact(node, read_scalar_with_vars(node, context, "the name of a fact"))[0]


def _resolve_collection_name(node: Node, context: DecodingContext) -> FactPath:
    path, fact = context.find_fact(
        node, read_scalar_with_vars(node, context, "the name of a collection")
    )
    if not context.catalogue.is_collection(path):
        raise context.add_error(node, f"for_each needs a collection, but {fact.path} isn't one")
    return path


def _decode_operand(node: Node, context: DecodingContext) -> Any:
    """Return a scalar in the fact's unit, a Reference, or a Sum of bounds."""
    unit = context.unit
    if node.__class__ is Scalar:
        if is_null_node(node):
            raise context.add_error(
                node, "expected a value, found null; to check that it isn't set, use exists: false"
            )
        return parse_bound_by_unit(node, context, unit)
    nodes = read_mapping_node(node, context, _FACT_OPERAND_KEYS, "a value")
    for key in ("sum", "times", "plus"):
        if key in nodes and unit not in _NUMERIC_UNITS:
            message = f"{key} works only with numbers, but this fact's type is {unit}"
            raise context.add_error(node, message)
    if "sum" in nodes and len(nodes) == 1:
        return SumOfBounds(_find_decoder_by_definition("values")(nodes["sum"], context))
    if "fact" not in nodes or "sum" in nodes:
        raise context.add_error(node, "expected a value, {fact: …}, or {sum: […]}")
    path, fact = context.find_fact(
        nodes["fact"], read_scalar_with_vars(nodes["fact"], context, "a fact")
    )
    units = {_COMPARED_UNIT_BY_UNIT.get(unit, unit) for unit in (fact.unit, unit) if unit}
    if len(units) > 1 and fact.unit != "text":
        message = f"{fact.path} ({fact.unit}) can't be compared with {unit}"
        raise context.add_error(node, message)
    reference = FactBound(path)
    if "times" in nodes:
        times = parse_bound_by_unit(nodes["times"], context, "number", "a number")
        reference = reference._replace(times=times)
    if "plus" in nodes:
        reference = reference._replace(plus=parse_bound_by_unit(nodes["plus"], context, unit))
    return reference


def _decode_condition(node: Node, context: DecodingContext) -> Condition:
    """Return operators and their operands; `type` reads a text fact as another."""
    nodes = read_mapping_node(node, context, _CONDITION_KEYS, "a condition", "condition")
    if len(nodes) == len(node.value) and nodes.keys() <= {"type"}:
        raise context.add_error(node, "expected a condition such as at_least: 8GB, found none")
    outer = context.unit
    try:
        if "type" in nodes:
            context.unit = _decode_type_as_unit(nodes.pop("type"), context)
        return _decode_tests(nodes, context)
    finally:
        context.unit = outer


def _decode_type_as_unit(node: Node, context: DecodingContext) -> Unit:
    """Return the unit that a `type` names; only text can be read as something else."""
    unit = UNIT_BY_TYPE[_decode_keyword(node, context, list(UNIT_BY_TYPE))]
    if context.unit not in (None, "text", unit):
        raise context.add_error(
            node, f"type applies only to text facts, but this fact's type is {context.unit}"
        )
    return unit


def _decode_tests(operands: Mapping[str, Node], context: DecodingContext) -> Condition:
    """Return operators and their operands; many rules have the same single scalar."""
    key = None
    if len(operands) == 1:
        [(name, node)] = operands.items()
        if node.__class__ is Scalar and node.tag in TAGS_OF_UNTAGGED_NODES:
            text = read_scalar_with_vars(node, context, "a value")
            key = context.unit, name, node.tag, text, "${" in node.value
            if key in context.conditions:
                return context.conditions[key]
    tests = decode_all(operands.items(), _decode_operator_and_operand, context)
    condition = Condition(tests, context.unit or "text")
    if key is not None:
        context.conditions[key] = condition
    return condition


def _decode_operator_and_operand(
    test: tuple[str, Node], context: DecodingContext
) -> tuple[Operator, Any]:
    operator, node = OPERATORS[test[0]], test[1]
    units = _UNITS_BY_SHAPE.get(operator.shape)
    if units is not None and context.unit not in units:
        hint = "; to read it as another type, set type" if context.unit == "text" else ""
        message = f"{operator.name} doesn't work with a fact of type {context.unit}{hint}"
        raise context.add_error(node, message)
    return operator, _find_decoder_by_definition(operator.shape)(node, context)


def _decode_when(node: Node, context: DecodingContext) -> tuple[FactCondition, ...]:
    """Return `fact: value` and `fact: condition` as conditions; all must hold."""
    outer = context.unit
    try:
        return decode_all(
            read_mapping_node(node, context, None, "when").items(), _decode_fact_condition, context
        )
    finally:
        context.unit = outer


def _decode_fact_condition(line: tuple[str, Node], context: DecodingContext) -> FactCondition:
    name, value = line
    path, fact = context.find_fact(value, name)
    context.unit = fact.unit
    if value.__class__ is Scalar:
        return FactCondition(path, _decode_tests({"equals": value}, context))
    return FactCondition(path, _decode_condition(value, context))


def _decode_applies(node: Node, context: DecodingContext) -> tuple[tuple[FactCondition, ...], ...]:
    """Return the alternatives of `applies`: a `when`, or those under `any_of`."""
    if node.__class__ is MappingNode and [key.value for key, _ in node.value] == ["any_of"]:
        alternatives = SCHEMA_BY_DEFINITION["applies"]["anyOf"][0]["properties"]["any_of"]
        return tuple(_make_decoder_from_schema(alternatives)(node.value[0][1], context))
    return (_decode_when(node, context),)


def _defer_entry_decoding(node: Node, _: DecodingContext) -> Node:
    """Leave an object to the loader, which merges those of the same id first."""
    return node


def _decode_explaining_diagnosis(node: Node, context: DecodingContext) -> UnlessDiagnosis:
    """Return the diagnosis that explains another, with the group that both must capture alike."""
    if node.__class__ is Scalar:
        return UnlessDiagnosis(DECODER_BY_DEFINITION["diagnosis_id"](node, context))
    nodes = read_mapping_node(node, context, {"id", "same"}, "an id")
    if len(nodes) < 2:
        raise context.add_error(node, "expected an id or {id: …, same: GROUP}")
    return UnlessDiagnosis(
        *(
            DECODER_BY_DEFINITION[type_](nodes[key], context)
            for key, type_ in (("id", "diagnosis_id"), ("same", "text"))
        )
    )


_decode_boolean = make_scalar_decoder(
    "true or false", lambda text: text.lower() == "true", "a boolean"
)
_decode_id = make_text_decoder(
    "an id in kebab-case such as host-memory", SCHEMA_BY_DEFINITION["id"]["pattern"]
)
_WEB_ADDRESS_PATTERN = SCHEMA_BY_DEFINITION["web_address"]["pattern"]
DECODER_BY_DEFINITION: Mapping[str, Decoder] = {
    "text": make_text_decoder("text"),
    "template": make_text_decoder("text", placeholders=True),
    "web_address": make_text_decoder("a web address", _WEB_ADDRESS_PATTERN, placeholders=True),
    "id": _decode_id,
    "rule_id": make_known_id_decoder(_decode_id, "rule"),
    "diagnosis_id": make_known_id_decoder(_decode_id, "diagnosis"),
    "language_version": make_scalar_decoder("1", {"1": 1}.get, "a number"),
    "size": make_scalar_decoder("a size", parse_size_with_unit),
    "duration": make_scalar_decoder("a duration", parse_duration),
    "count": make_scalar_decoder(
        "a whole number of at least 1", parse_positive_integer_or_none, "a number"
    ),
    "day": make_scalar_decoder("a date such as 2027-01-31", parse_day),
    "range": make_scalar_decoder("a version range such as >=20.10", parse_version_range),
    "pattern": make_regex_decoder(compile_pattern),
    "log_pattern": decode_log_pattern,
    "var": decode_rule_variable,
    "fact": _resolve_fact_name,
    "collection": _resolve_collection_name,
    "type": _decode_type_as_unit,
    "value": _decode_operand,
    "condition": _decode_condition,
    "when": _decode_when,
    "applies": _decode_applies,
    **dict.fromkeys(("rule", "model", "diagnosis", "waiver", "profile"), _defer_entry_decoding),
    "unless": _decode_explaining_diagnosis,
    "fix": lambda node, context: Fix(**decode_yaml_object("fix", node, context)),
    "edition": lambda node, context: DocumentEdition(
        **decode_yaml_object("edition", node, context)
    ),
}
"""By the name of a definition in the schema: how its values are read."""
