"""The one YAML reader: text to nodes that know their file, line and column.

Owns the limits that keep a file from exhausting the machine: size, nesting, growth by aliases.
Plain scalars keep their text. What a value means is up to whoever reads the field: rule files
follow YAML 1.2, as the editors that check against the JSON Schema do; compose files follow Go's
YAML. This module must not know either kind of file.
"""

from __future__ import annotations

import io
import re
from itertools import chain
from typing import Any, TypeAlias

import yaml

from preflight.model.problems import InputError, Problem
from preflight.model.quantities import shorten_text

MAX_YAML_BYTES = 4 * 2**20
MAX_NESTING_LEVELS = 100  # levels of nesting, through aliases too
MAX_YAML_NODES = 500_000  # values of a file, aliases expanded: room for 10,000 rules
MAX_MESSAGE_CHARS = 300
_MAX_PURE_PYTHON_BYTES = 2**18  # of a file with an anchor whose name is used again

UNQUOTED_NODE_TAG, QUOTED_NODE_TAG = TAGS_OF_UNTAGGED_NODES = "plain", "quoted"
"""The tags of values without a tag in the file; an explicit tag stays as it is written."""

Node: TypeAlias = yaml.Node
Mapping: TypeAlias = yaml.MappingNode
Sequence: TypeAlias = yaml.SequenceNode
Scalar: TypeAlias = yaml.ScalarNode

_TOO_DEEP_MESSAGE = f"nested deeper than {MAX_NESTING_LEVELS} levels"
_TOO_MANY_NODES_MESSAGE = f"more than {MAX_YAML_NODES} values (aliases expanded)"
_LIBYAML_TOO_DEEP_MESSAGE = "exceeded maximum nesting depth"  # it reads ahead; its limit is 1000

YAML_NULL_WORDS = frozenset({"", "~", "null", "Null", "NULL"})
_KIND_BY_YAML_LITERAL = {
    **dict.fromkeys(YAML_NULL_WORDS, "null"),
    **dict.fromkeys(("true", "True", "TRUE", "false", "False", "FALSE"), "a boolean"),
}
_YAML_NUMBER_START_CHARS = frozenset("+-.0123456789")
_YAML_NUMBER_PATTERN = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)


class _NamedByteStream(io.BytesIO):
    """Bytes with a name, which every mark then carries."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _NodeCountingTagResolver:
    """What PyYAML calls a resolver: it gives nodes their tags, and here it counts them too.

    Each is called for every node: plain functions take half the time of methods and attributes.
    """

    def __init__(self, stream: _NamedByteStream) -> None:
        super().__init__(stream)  # type: ignore[call-arg]
        count = depth = 0

        def descend_resolver(parent: Node | None, _: object) -> None:
            nonlocal count, depth
            count += 1
            depth += 1
            if (depth > MAX_NESTING_LEVELS or count > MAX_YAML_NODES) and parent is not None:
                problem = (
                    _TOO_DEEP_MESSAGE if depth > MAX_NESTING_LEVELS else _TOO_MANY_NODES_MESSAGE
                )
                raise InputError(make_problem_at_node(parent, problem))

        def ascend_resolver() -> None:
            nonlocal depth
            depth -= 1

        self.descend_resolver, self.ascend_resolver = descend_resolver, ascend_resolver

    @staticmethod
    def resolve(kind: type[Node], _: object, implicit: tuple[bool, bool]) -> str:
        return QUOTED_NODE_TAG if kind is Scalar and not implicit[0] else UNQUOTED_NODE_TAG


class _PurePythonLoader(_NodeCountingTagResolver, yaml.BaseLoader):
    """Reads and composes in Python, and lets the name of an anchor be used again."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if not self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)


class _LibyamlLoader(_NodeCountingTagResolver, getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Reads and composes in C, where PyYAML was built with libyaml."""


def _load_root_nodes(loader: Any) -> list[Node]:
    roots = []
    while loader.check_node():
        roots.append(loader.get_node())
    return roots


def _count_expanded_values_and_levels(
    node: Node, sizes: dict[int, tuple[int, int]]
) -> tuple[int, int]:
    """Return how many values and levels a node has with aliases expanded; raises InputError."""
    if node.__class__ is Scalar:
        return 1, 1
    if id(node) not in sizes:
        sizes[id(node)] = 0, 0  # until it is complete
        children = node.value if node.__class__ is Sequence else chain.from_iterable(node.value)
        count, levels = 1, 0
        for child in children:
            below, height = _count_expanded_values_and_levels(child, sizes)
            count, levels = count + below, max(levels, height)
        sizes[id(node)] = count, levels + 1
    count, levels = sizes[id(node)]
    problem = (
        _TOO_MANY_NODES_MESSAGE
        if count > MAX_YAML_NODES
        else _TOO_DEEP_MESSAGE
        if levels > MAX_NESTING_LEVELS
        else None
    )
    if not count or problem:
        raise InputError(make_problem_at_node(node, problem or "an alias that contains itself"))
    return count, levels


def parse_yaml_document(data: bytes, name: str, max_bytes: int = MAX_YAML_BYTES) -> Node:
    """Return the root node of a file of one document; raises InputError."""
    roots = parse_yaml_documents(data, name, max_bytes)
    if not roots:
        raise InputError(Problem(name, 1, 1, "the file is empty"))
    if len(roots) > 1:
        raise InputError(make_problem_at_node(roots[1], "expected a single document in the stream"))
    return roots[0]


def parse_yaml_documents(data: bytes, name: str, max_bytes: int = MAX_YAML_BYTES) -> list[Node]:
    """Return the root node of each document; raises InputError with the first fault of syntax."""
    if len(data) > max_bytes:
        raise InputError(Problem(name, 0, 0, f"the file is larger than {max_bytes // 2**20} MiB"))
    try:
        try:
            roots = _load_root_nodes(_LibyamlLoader(_NamedByteStream(data, name)))
        except yaml.composer.ComposerError as fault:
            if "duplicate anchor" not in str(fault.context) or len(data) > _MAX_PURE_PYTHON_BYTES:
                raise
            roots = _load_root_nodes(_PurePythonLoader(_NamedByteStream(data, name)))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(part.strip() for part in (fault.context, fault.problem) if part)
        message = (
            _TOO_DEEP_MESSAGE
            if fault.problem == _LIBYAML_TOO_DEEP_MESSAGE
            else message or "not YAML"
        )
        text = b"".join(data.split(b"\n")[line - 1 : line])
        if re.match(rb" *\t", text) and re.search("tab|token", message):
            message = "the indentation contains a tab: YAML allows only spaces"
        raise InputError(Problem(name, line, column, message)) from None
    except yaml.reader.ReaderError as fault:
        lines = data[: fault.position].decode(errors="replace").removeprefix("\ufeff").split("\n")
        message = f"the file isn't text: {fault.reason}"
        raise InputError(Problem(name, len(lines), len(lines[-1]) + 1, message)) from None
    if b"*" in data:
        for root in roots:
            _count_expanded_values_and_levels(root, {})
    return roots


def make_problem_at_node(node: Node, message: str) -> Problem:
    """Return a problem at the position of a node; a long message is cut."""
    mark, shown = node.start_mark, shorten_text(message, MAX_MESSAGE_CHARS)
    return Problem(mark.name, mark.line + 1, mark.column + 1, shown)


def describe_node_kind(node: Node) -> str:
    """Name the kind of a node: a mapping, a list, text, a number, a boolean, null or a tag."""
    if node.tag not in TAGS_OF_UNTAGGED_NODES:
        return f"the tag {node.tag!r}"
    if node.__class__ is not Scalar:
        return "a mapping" if node.__class__ is Mapping else "a list"
    return "text" if is_text_node(node) else _KIND_BY_YAML_LITERAL.get(node.value, "a number")


def is_text_node(node: Node) -> bool:
    """Return whether a value is text: quoted, or neither null nor a boolean nor a number."""
    value = node.value
    return node.__class__ is Scalar and (
        node.tag == QUOTED_NODE_TAG
        or (
            node.tag == UNQUOTED_NODE_TAG
            and value not in _KIND_BY_YAML_LITERAL
            and (value[0] not in _YAML_NUMBER_START_CHARS or not _YAML_NUMBER_PATTERN.match(value))
        )
    )


def is_null_node(node: Node) -> bool:
    """Return whether a value is null or left empty."""
    return (
        node.__class__ is Scalar and node.tag == UNQUOTED_NODE_TAG and node.value in YAML_NULL_WORDS
    )
