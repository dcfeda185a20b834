"""The one YAML reader: text to nodes that know their file, line and column.

Owns the limits that keep a file from exhausting the machine: size, nesting, growth by aliases.
Plain scalars keep their text. What a value means is up to whoever reads the field: rule files
follow YAML 1.2, as the editors that check against the JSON Schema do; compose files follow Go's
YAML. This module must not know either kind of file.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Iterator
from typing import Any, TypeAlias

import yaml

from preflight.model.problems import InputError, Problem

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 100  # levels of nesting, through aliases too
MAX_NODES = 200_000  # values of a file, aliases expanded
MAX_MESSAGE = 300  # characters

PLAIN, QUOTED = TAGS = "plain", "quoted"
"""The tags of values without a tag in the file; an explicit tag stays as it is written."""

Node: TypeAlias = yaml.Node
Mapping: TypeAlias = yaml.MappingNode
Sequence: TypeAlias = yaml.SequenceNode
Scalar: TypeAlias = yaml.ScalarNode

_TOO_DEEP = f"nested deeper than {MAX_DEPTH} levels"
_TOO_LARGE = f"more than {MAX_NODES} values (aliases expanded)"
_LIBYAML_TOO_DEEP = "exceeded maximum nesting depth"  # libyaml has a limit too, of 1000

_ALIAS = re.compile(rb"\*\x00?[0-9A-Za-z_-]")
_NULLS = frozenset({"", "~", "null", "Null", "NULL"})
_BOOLEANS = frozenset({"true", "True", "TRUE", "false", "False", "FALSE"})
_NUMBER = re.compile(
    r"(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?"
    r"|0o[0-7]+|0x[0-9a-fA-F]+|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))\Z"
)
_NOT_ALWAYS_TEXT = frozenset("0123456789+-.~nNtTfF")  # how other plain scalars begin

try:
    from yaml.cyaml import CParser  # type: ignore[attr-defined]

    _PARSER: tuple[type, ...] = (CParser,)
except ImportError:  # PyYAML built without libyaml: the same, slower
    _PARSER = (yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser)


class _Stream(io.BytesIO):
    """Bytes with a name, which every mark then carries."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class _NodeComposer:
    """Composes nodes without resolving tags, and stops where nesting is too deep."""

    @staticmethod
    def resolve(kind: type[Node], _value: Any, implicit: Any) -> str:
        return QUOTED if kind is Scalar and not implicit[0] else PLAIN

    def start(self, stream: _Stream, *parts: type) -> None:
        first, *others = parts
        first.__init__(self, stream)  # type: ignore[misc]
        for part in others:
            part.__init__(self)  # type: ignore[misc]
        depth = count = 0

        # what is called before and after each node; closures count faster than attributes
        def descend(parent: Node | None, _index: Any) -> None:
            nonlocal depth, count
            depth += 1
            count += 1
            if depth > MAX_DEPTH or count > MAX_NODES:
                mark = parent.start_mark if parent is not None else None
                problem = _TOO_DEEP if depth > MAX_DEPTH else _TOO_LARGE
                raise yaml.MarkedYAMLError(problem=problem, problem_mark=mark)

        def ascend() -> None:
            nonlocal depth
            depth -= 1

        self.descend_resolver, self.ascend_resolver = descend, ascend


class _Loader(_NodeComposer, yaml.composer.Composer, *_PARSER):  # type: ignore[misc]
    """Lets an anchor's name be used again, which PyYAML's own composers refuse."""

    def __init__(self, stream: _Stream) -> None:
        self.start(stream, *_PARSER, yaml.composer.Composer)

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        event = self.peek_event()
        if not isinstance(event, yaml.AliasEvent):
            self.anchors.pop(event.anchor, None)
        node: Node | None = super().compose_node(parent, index)
        return node


class _FastLoader(_NodeComposer, *_PARSER):  # type: ignore[misc]
    """The composer of libyaml, twice as fast."""

    def __init__(self, stream: _Stream) -> None:
        self.start(stream, *_PARSER)


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
    utf16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell writes
    try:
        data.decode("utf-16" if utf16 else "utf-8")
    except UnicodeDecodeError as fault:
        before = data[: fault.start].decode(errors="replace").removeprefix("\ufeff")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n")
        raise InputError(Problem(name, line, column, "not UTF-8 text")) from None
    try:
        roots = _compose(_Stream(data, name))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(part.strip() for part in (fault.context, fault.problem) if part)
        message = _TOO_DEEP if fault.problem == _LIBYAML_TOO_DEEP else message or "not YAML"
        raise InputError(Problem(name, line, column, message)) from None
    except yaml.reader.ReaderError as fault:
        line = data.count(b"\n", 0, fault.position) + 1
        raise InputError(Problem(name, line, 1, f"not text: {fault.reason}")) from None
    if _ALIAS.search(data):
        for root in roots:
            _limit_aliases(root)
    return roots


def _compose(stream: _Stream) -> list[Node]:
    try:
        return _read_documents(_FastLoader(stream) if len(_PARSER) == 1 else _Loader(stream))
    except yaml.composer.ComposerError as fault:
        if "duplicate anchor" not in str(fault.context):
            raise
    stream.seek(0)
    return _read_documents(_Loader(stream))


def _read_documents(loader: Any) -> list[Node]:
    roots = []
    while loader.check_node():
        roots.append(loader.get_node())
    return roots


def _limit_aliases(root: Node) -> None:
    """Raise InputError where aliases nest without end, too deep, or make the file too large.

    An alias names what stands before it, so this recurses no deeper than the file is nested.
    """
    measured: dict[int, tuple[int, int] | None] = {}  # by node: how many values, how many levels

    def measure(node: Node) -> tuple[int, int]:
        key = id(node)
        if key not in measured:
            measured[key] = None  # until it is complete
            parts = [measure(child) for child in _children(node)]
            size, depth = 1 + sum(p[0] for p in parts), 1 + max((p[1] for p in parts), default=0)
            if depth > MAX_DEPTH:
                raise InputError(problem_at(node, f"aliases nest deeper than {MAX_DEPTH} levels"))
            if size > MAX_NODES:
                raise InputError(problem_at(node, _TOO_LARGE))
            measured[key] = size, depth
        result = measured[key]
        if result is None:
            raise InputError(problem_at(node, "an alias that contains itself"))
        return result

    measure(root)


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, Mapping):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, Sequence):
        yield from node.value


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


def is_text(node: Node) -> bool:
    """Return whether a plain scalar is text; the first character usually tells."""
    value = node.value
    plain = node.tag == PLAIN and value and value[0] not in _NOT_ALWAYS_TEXT
    return bool(plain) or kind_of(node) == "text"


def is_null(node: Node) -> bool:
    """Return whether a value is null or left empty."""
    return node.__class__ is Scalar and node.tag == PLAIN and node.value in _NULLS
