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

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 100  # levels of nesting, through aliases too
MAX_NODES = 250_000  # values of a file, aliases expanded: room for 10,000 rules
MAX_MESSAGE = 300  # characters
_MAX_SLOW_BYTES = 2**18  # of a file with an anchor whose name is used again

PLAIN, QUOTED = TAGS = "plain", "quoted"
"""The tags of values without a tag in the file; an explicit tag stays as it is written."""

Node: TypeAlias = yaml.Node
Mapping: TypeAlias = yaml.MappingNode
Sequence: TypeAlias = yaml.SequenceNode
Scalar: TypeAlias = yaml.ScalarNode

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_TOO_LARGE = f"more than {MAX_NODES} values (aliases expanded)"
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"  # it reads ahead; its limit is 1000

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_NUMBER = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)


class _Stream(io.BytesIO):
    """Bytes with a name, which every mark then carries."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _TagsAndLimits:
    """What PyYAML calls a resolver: it gives nodes their tags, and here it counts them too."""

    _count = _depth = 0

    def descend_resolver(self, parent: Node | None, _: object) -> None:
        self._count += 1
        self._depth += 1
        if parent is not None and (self._depth > MAX_DEPTH or self._count > MAX_NODES):
            problem = _TOO_DEEP if self._depth > MAX_DEPTH else _TOO_LARGE
            raise InputError(problem_at(parent, problem))

    def ascend_resolver(self) -> None:
        self._depth -= 1

    def resolve(self, kind: type[Node], _: object, implicit: tuple[bool, bool]) -> str:
        return QUOTED if kind is Scalar and not implicit[0] else PLAIN


class _Loader(_TagsAndLimits, yaml.BaseLoader):
    """Reads and composes in Python, and lets the name of an anchor be used again."""

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        if not self.check_event(yaml.AliasEvent):
            event: Any = self.peek_event()  # type: ignore[no-untyped-call]
            self.anchors.pop(event.anchor, None)
        return super().compose_node(parent, index)


class _FastLoader(_TagsAndLimits, getattr(yaml, "CBaseLoader", yaml.BaseLoader)):  # type: ignore[misc]
    """Reads and composes in C, where PyYAML was built with libyaml."""


def _load(loader: Any) -> list[Node]:
    roots = []
    while loader.check_node():
        roots.append(loader.get_node())
    return roots


def _expand(node: Node, sizes: dict[int, tuple[int, int]]) -> tuple[int, int]:
    """Return how many values and levels a node has with aliases expanded; raises InputError."""
    if node.__class__ is Scalar:
        return 1, 1
    if id(node) not in sizes:
        sizes[id(node)] = 0, 0  # until it is complete
        children = node.value if node.__class__ is Sequence else chain.from_iterable(node.value)
        count, levels = 1, 0
        for child in children:
            below, height = _expand(child, sizes)
            count, levels = count + below, max(levels, height)
        sizes[id(node)] = count, levels + 1
    count, levels = sizes[id(node)]
    problem = _TOO_LARGE if count > MAX_NODES else _TOO_DEEP if levels > MAX_DEPTH else None
    if not count or problem:
        raise InputError(problem_at(node, problem or "an alias that contains itself"))
    return count, levels


def compose(data: bytes, name: str, max_bytes: int = MAX_BYTES) -> Node:
    """Return the root node of a file of one document; raises InputError."""
    roots = compose_documents(data, name, max_bytes)
    if not roots:
        raise InputError(Problem(name, 1, 1, "the file is empty"))
    if len(roots) > 1:
        raise InputError(problem_at(roots[1], "expected a single document in the stream"))
    return roots[0]


def compose_documents(data: bytes, name: str, max_bytes: int = MAX_BYTES) -> list[Node]:
    """Return the root node of each document; raises InputError with the first fault of syntax."""
    if len(data) > max_bytes:
        raise InputError(Problem(name, 0, 0, f"larger than {max_bytes // 2**20} MiB"))
    try:
        try:
            roots = _load(_FastLoader(_Stream(data, name)))
        except yaml.composer.ComposerError as fault:
            if "duplicate anchor" not in str(fault.context) or len(data) > _MAX_SLOW_BYTES:
                raise
            roots = _load(_Loader(_Stream(data, name)))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(part.strip() for part in (fault.context, fault.problem) if part)
        message = _TOO_DEEP if fault.problem == _LIBYAML_TOO_DEEP else message or "not YAML"
        raise InputError(Problem(name, line, column, message)) from None
    except yaml.reader.ReaderError as fault:
        lines = data[: fault.position].decode(errors="replace").removeprefix("\ufeff").split("\n")
        message = f"not text: {fault.reason}"
        raise InputError(Problem(name, len(lines), len(lines[-1]) + 1, message)) from None
    if b"*" in data:
        for root in roots:
            _expand(root, {})
    return roots


def problem_at(node: Node, message: str) -> Problem:
    """Return a problem at the position of a node; a long message is cut."""
    mark = node.start_mark
    shown = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
    return Problem(mark.name, mark.line + 1, mark.column + 1, shown)


def kind_of(node: Node) -> str:
    """Name the kind of a node: a mapping, a list, text, a number, a boolean, null or a tag."""
    if node.tag not in TAGS:
        return f"the tag {node.tag!r}"
    if isinstance(node, Mapping):
        return "a mapping"
    if isinstance(node, Sequence):
        return "a list"
    if node.tag != PLAIN:
        return "text"
    value = node.value
    if value in _NULLS:
        return "null"
    if value in _BOOLEANS:
        return "a boolean"
    return "a number" if _NUMBER.match(value) else "text"


def is_null(node: Node) -> bool:
    """Return whether a value is null or left empty."""
    return node.__class__ is Scalar and node.tag == PLAIN and node.value in _NULLS
