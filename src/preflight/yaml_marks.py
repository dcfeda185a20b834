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
from typing import Any, TypeAlias

import yaml

from preflight.model.problems import InputError, Problem

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 100  # levels of nesting, through aliases too
MAX_NODES = 500_000  # values of a file, aliases expanded: room for 10,000 rules
MAX_MESSAGE = 300  # characters

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
_NOT_ALWAYS_TEXT = frozenset("0123456789+-.~nNtTfF")  # how other plain scalars begin


class _Stream(io.BytesIO):
    """Bytes with a name, which every mark then carries."""

    def __init__(self, data: bytes, name: str) -> None:
        super().__init__(data)
        self.name = name


class PythonParser(yaml.reader.Reader, yaml.scanner.Scanner, yaml.parser.Parser):
    """The parser of a PyYAML that was built without libyaml; slower."""

    def __init__(self, stream: _Stream) -> None:
        yaml.reader.Reader.__init__(self, stream)
        yaml.scanner.Scanner.__init__(self)
        yaml.parser.Parser.__init__(self)


_Parser: Any = PythonParser
if yaml.__with_libyaml__:
    _Parser = yaml.cyaml.CParser  # type: ignore[attr-defined]


class _Composer:
    """Builds nodes from the events of a parser, and stops where a file grows too large.

    Resolves no tags, and lets the name of an anchor be used again, unlike those of PyYAML.
    """

    def __init__(self, stream: _Stream) -> None:
        self._next_event = _Parser(stream).get_event
        # by name: the node, how many values and levels it has; None until it is complete
        self._anchors: dict[str, tuple[Node, int, int] | None] = {}
        self._count = 0

    def compose_documents(self) -> list[Node]:
        roots = []
        self._next_event()  # the start of the stream
        while not isinstance(self._next_event(), yaml.StreamEndEvent):
            self._anchors = {}
            roots.append(self._compose(self._next_event(), 1)[0])
            self._next_event()  # the end of the document
        return roots

    def _compose(self, event: Any, depth: int) -> tuple[Node, int]:
        """Return the node that begins with an event, and how many levels it has."""
        self._count = before = self._count + 1
        if before > MAX_NODES:
            raise _error_at(event, _TOO_LARGE)
        kind = event.__class__
        if kind is yaml.AliasEvent:
            node, size, levels = self._find_anchor(event)
            self._count += size
            if depth + levels > MAX_DEPTH:
                raise _error_at(event, _TOO_DEEP)
            return node, levels
        tag, anchor = event.tag if event.tag != "!" else None, event.anchor
        if anchor:
            self._anchors[anchor] = None
        if kind is yaml.ScalarEvent:
            tag = tag or (PLAIN if event.implicit[0] else QUOTED)
            node, levels = Scalar(tag, event.value, event.start_mark, event.end_mark), 1
        else:
            node, levels = self._compose_children(event, tag or PLAIN, depth)
        if anchor:
            self._anchors[anchor] = node, self._count - before, levels
        return node, levels

    def _compose_children(self, event: Any, tag: str, depth: int) -> tuple[Node, int]:
        if depth > MAX_DEPTH:
            raise _error_at(event, _TOO_DEEP)
        is_list = isinstance(event, yaml.SequenceStartEvent)
        end = yaml.SequenceEndEvent if is_list else yaml.MappingEndEvent
        children, height = [], 0
        while (child := self._next_event()).__class__ is not end:
            node, levels = self._compose(child, depth + 1)
            children.append(node)
            height = max(height, levels)
        if is_list:
            return Sequence(tag, children, event.start_mark), height + 1
        entries = list(zip(children[::2], children[1::2], strict=True))
        return Mapping(tag, entries, event.start_mark), height + 1

    def _find_anchor(self, event: Any) -> tuple[Node, int, int]:
        if event.anchor not in self._anchors:
            raise _error_at(event, "found undefined alias")
        anchor = self._anchors[event.anchor]
        if anchor is None:
            raise _error_at(event, "an alias that contains itself")
        return anchor


def _error_at(event: Any, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


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
        return _Composer(_Stream(data, name)).compose_documents()
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        message = ", ".join(part.strip() for part in (fault.context, fault.problem) if part)
        message = _TOO_DEEP if fault.problem == _LIBYAML_TOO_DEEP else message or "not YAML"
        raise InputError(Problem(name, line, column, message)) from None
    except yaml.reader.ReaderError as fault:
        line = data.count(b"\n", 0, fault.position) + 1
        raise InputError(Problem(name, line, 1, f"not text: {fault.reason}")) from None


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
