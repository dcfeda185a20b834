"""YAML text to nodes that know their place; refuses what would exhaust the machine.

Plain scalars keep their text: what they mean is decided by the field they stand in. They are
told apart as YAML 1.2 does, like the editors that check against the JSON Schema.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from preflight.model.problems import InputError, Problem
from preflight.model.rules import MAX_RULE_FILE_BYTES

MAX_DEPTH = 50  # of nesting, that of aliases included
MAX_MESSAGE = 300  # characters of a problem
MAX_EXPANSION = 10  # how many times larger a file may get by its aliases

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_PARSERS_OWN = "exceeded maximum nesting depth"  # libyaml reads ahead, and stops at 1000 by itself

PLAIN, QUOTED = TAGS = "plain", "quoted"  # every other tag stands in the file

Node: TypeAlias = yaml.Node
Mapping: TypeAlias = yaml.MappingNode
Sequence: TypeAlias = yaml.SequenceNode
Scalar: TypeAlias = yaml.ScalarNode

_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_NUMBER = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_BEGINS_OTHERS = frozenset("0123456789+-.~nNtTfF")


class _Stream(io.BytesIO):
    """Bytes with a name, which every mark then carries."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


def _tag(kind: type[Node], _value: Any, implicit: Any) -> str:
    return QUOTED if kind is Scalar and not implicit[0] else PLAIN


class _Composer:
    """Composes nodes without resolving tags, and stops where nesting is too deep."""

    resolve = staticmethod(_tag)

    def limit_depth(self) -> None:
        """Set what is called before and after each node: a closure counts faster than `self`."""
        depth = 0

        def descend(parent: Node | None, _index: Any) -> None:
            nonlocal depth
            depth += 1
            if depth > MAX_DEPTH:
                raise yaml.MarkedYAMLError(
                    problem=_TOO_DEEP,
                    problem_mark=parent.start_mark if parent is not None else None,
                )

        def ascend() -> None:
            nonlocal depth
            depth -= 1

        self.descend_resolver, self.ascend_resolver = descend, ascend


if hasattr(yaml, "CSafeLoader"):
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    class _Loader(_Composer, CParser):
        def __init__(self, stream: _Stream) -> None:
            CParser.__init__(self, stream)
            self.limit_depth()
else:  # PyYAML built without libyaml: the same, slower

    class _Loader(  # type: ignore[no-redef]
        _Composer,
        yaml.reader.Reader,
        yaml.scanner.Scanner,
        yaml.parser.Parser,
        yaml.composer.Composer,
    ):
        def __init__(self, stream: _Stream) -> None:
            yaml.reader.Reader.__init__(self, stream)
            yaml.scanner.Scanner.__init__(self)
            yaml.parser.Parser.__init__(self)
            yaml.composer.Composer.__init__(self)
            self.limit_depth()


def compose(data: bytes, name: str) -> Node:
    """Return the root node of a YAML file; raises InputError with the first fault of its syntax."""
    if len(data) > MAX_RULE_FILE_BYTES:
        raise InputError(
            Problem(name, 0, 0, f"larger than {MAX_RULE_FILE_BYTES // 2**20} MiB: no rule file")
        )
    try:
        data.decode()
    except UnicodeDecodeError as fault:
        before = data[: fault.start].decode().removeprefix("\ufeff")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise InputError(Problem(name, line, column, "no UTF-8 text")) from None
    try:
        root: Node | None = _Loader(_Stream(data, name)).get_single_node()
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        said = ", ".join(part.strip() for part in (fault.context, fault.problem) if part)
        said = _TOO_DEEP if fault.problem == _PARSERS_OWN else said
        raise InputError(Problem(name, line, column, said or "no YAML")) from None
    except yaml.reader.ReaderError as fault:
        line = data.count(b"\n", 0, fault.position) + 1
        raise InputError(Problem(name, line, 1, f"no text: {fault.reason}")) from None
    if root is None:
        raise InputError(Problem(name, 1, 1, "empty: expected rules"))
    if b"*" in data and b"&" in data:
        _refuse_bombs(root)
    return root


def _refuse_bombs(root: Node) -> None:
    """Raise where aliases nest without end, too deep, or make the file many times larger.

    An alias names what stands before it, so this recurses no deeper than the file is nested.
    """
    measured: dict[int, tuple[int, int]] = {}  # by node: how many nodes, how deep
    inside: set[int] = set()

    def measure(node: Node) -> tuple[int, int]:
        key = id(node)
        if key in inside:
            raise InputError(problem_at(node, "an alias that contains itself"))
        if key not in measured:
            inside.add(key)
            parts = [measure(child) for child in _children(node)]
            size, depth = 1 + sum(p[0] for p in parts), 1 + max((p[1] for p in parts), default=0)
            if depth > MAX_DEPTH:
                raise InputError(problem_at(node, f"aliases nest deeper than {MAX_DEPTH} levels"))
            measured[key] = size, depth
            inside.discard(key)
        return measured[key]

    if measure(root)[0] > MAX_EXPANSION * len(measured):
        raise InputError(problem_at(root, f"aliases make it over {MAX_EXPANSION} times larger"))


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, Mapping):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, Sequence):
        yield from node.value


def problem_at(node: Node, message: str) -> Problem:
    """Return a problem that names the place of `node`; what it quotes may have been long."""
    mark = node.start_mark
    shown = message if len(message) <= MAX_MESSAGE else message[: MAX_MESSAGE - 1] + "…"
    return Problem(mark.name, mark.line + 1, mark.column + 1, shown)


def kind_of(node: Node) -> str:
    """Say what a node is: a mapping, a list, text, a number, a boolean, null or a tag."""
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


def is_text(node: Node) -> bool:
    """Whether a plain scalar is text; most are told by how they begin."""
    value = node.value
    plain = node.tag == PLAIN and value and value[0] not in _BEGINS_OTHERS
    return bool(plain) or kind_of(node) == "text"


def is_null(node: Node) -> bool:
    """Whether a value is null or left empty."""
    return node.__class__ is Scalar and node.tag == PLAIN and node.value in _NULLS
