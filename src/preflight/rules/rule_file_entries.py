"""Reads the YAML of one rule file into its entries, not decoded yet."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from typing import Any

from preflight.model.problems import InputError
from preflight.model.rules import BUNDLED_DISPLAY_NAMES, BUNDLED_FILE_BY_SET, MAX_RULE_FILE_BYTES
from preflight.rules.decoding_context import (
    KIND_AND_KEY_BY_LIST,
    DecodingContext,
    InvalidValueError,
    RuleFileContents,
    RuleFileEntry,
    RuleFileEntryKey,
    RuleFileLines,
)
from preflight.rules.schema_decoding import (
    RULE_FILE_DEFINITION,
    check_required_keys,
    decode_rule_file_key,
    read_definition_fields,
)
from preflight.yaml_reader import Node, Scalar, Sequence, is_null_node, parse_yaml_document

_KEYS_DEFINING_RULE_FILE_NAMES = {"extends", "vars", *KIND_AND_KEY_BY_LIST}
_KEYS_DECODED_LAST = ("applies", "otherwise")  # once all vars are known


def parse_rule_file(name: str, data: bytes, context: DecodingContext) -> RuleFileContents | None:
    """Return what a file holds; None if it can't be read, which is then among the problems."""
    display_name = BUNDLED_DISPLAY_NAMES.get(name, name)
    try:
        root = parse_yaml_document(data, display_name, MAX_RULE_FILE_BYTES)
        nodes = read_definition_fields(RULE_FILE_DEFINITION, root, context)
    except (InputError, InvalidValueError) as fault:
        context.problems.update(getattr(fault, "problems", ()))
        context.complete = False
        return None
    check_required_keys(RULE_FILE_DEFINITION, nodes, root, context)
    head: dict[str, Any] = {
        key: decode_rule_file_key(RULE_FILE_DEFINITION, key, nodes, context)
        for key, node in nodes.items()
        if not is_null_node(node) and key not in _KEYS_DECODED_LAST
    }
    # what others refer to may be there
    context.complete &= all(
        head[key] is not None for key in _KEYS_DEFINING_RULE_FILE_NAMES & head.keys()
    )
    bundled_name = name if name in BUNDLED_FILE_BY_SET else None
    lists = {
        kind: tuple(_read_list_entries(kind, head.pop(kind, None) or (), bundled_name, context))
        for kind in KIND_AND_KEY_BY_LIST
    }
    profiles = head.pop("profiles", None) or {}
    lists["profiles"] = tuple(_read_rule_profile_entries(profiles, bundled_name, context))
    head["vars_by_profile"] = {
        key: decode_rule_file_key("profile", "vars", entry.nodes, context) or {}
        for key, entry in lists["profiles"]
    }
    lines = ((bundled_name, 0, None, ""),) if bundled_name else ()
    return RuleFileContents(head, RuleFileEntry(root, nodes, lines=lines), lists)


def _read_rule_profile_entries(
    profiles: Mapping[str, Node], bundled_name: str | None, context: DecodingContext
) -> Iterator[tuple[RuleFileEntryKey, RuleFileEntry]]:
    for name, node in profiles.items():
        with suppress(InvalidValueError):
            lines = ((bundled_name, 0, None, name),) if bundled_name else ()
            yield (
                name,
                RuleFileEntry(node, read_definition_fields("profile", node, context), lines=lines),
            )


def _read_list_entries(
    kind: str, items: Iterable[Any], bundled_name: str | None, context: DecodingContext
) -> Iterator[tuple[RuleFileEntryKey, RuleFileEntry]]:
    name, key = KIND_AND_KEY_BY_LIST[kind]
    line_by_id: dict[object, int] = {}
    for node in items:
        try:
            nodes = read_definition_fields(name, node, context)
        except InvalidValueError:
            continue
        key_node = nodes.get(key)
        is_named = key_node.__class__ is Scalar and not is_null_node(key_node)
        id_ = key_node.value if key_node and is_named else node
        if id_ in line_by_id:
            message = f"duplicate {key} {id_!r}, first used on line {line_by_id[id_]}"
            context.add_error(nodes[key], message)
            continue
        first = node.start_mark.line
        line_by_id[id_] = first + 1
        end = node.end_mark.line + bool(node.flow_style)  # a block ends where the next one begins
        lines = ((bundled_name, first, end, ""),) if bundled_name else ()
        yield id_, RuleFileEntry(node, nodes, "section" in nodes, lines)


def read_nodes_of_precompiled_entry(
    entry: RuleFileEntry, read: Callable[[str], bytes]
) -> RuleFileEntry:
    """Return an entry with its nodes, which a precompiled one lacks."""
    if entry.node is not None:
        return entry
    node, nodes = None, {}
    for lines in entry.lines:
        node = _parse_bundled_entry(lines, read(lines[0]))
        nodes.update({key.value: value for key, value in node.value})
    return RuleFileEntry(node, nodes, entry.has_section, entry.lines)


def _parse_bundled_entry(lines: RuleFileLines, data: bytes) -> Any:
    """Return the node of an entry; of all else only the end of each line is read.

    The file is read whole where the entry has an alias of something in other lines.
    """
    name, first, end, profile = lines
    kept = b"\n" * first + b"".join(data.splitlines(keepends=True)[first:end])
    try:
        root = parse_yaml_document(kept, BUNDLED_DISPLAY_NAMES[name], MAX_RULE_FILE_BYTES)
    except InputError:
        root = parse_yaml_document(data, BUNDLED_DISPLAY_NAMES[name], MAX_RULE_FILE_BYTES)
    if root.__class__ is Sequence:
        return root.value[0]
    values = {key.value: value for key, value in root.value}
    if end is None:
        return _find_chosen_profile_node(values, profile) if profile else root
    items = (item for kind in KIND_AND_KEY_BY_LIST if kind in values for item in values[kind].value)
    return next(item for item in items if item.start_mark.line == first)


def _find_chosen_profile_node(values: Mapping[str, Node], name: str) -> Any:
    return next(value for key, value in values["profiles"].value if key.value == name)
