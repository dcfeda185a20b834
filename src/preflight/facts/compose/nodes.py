"""YAML with its places: values that know their file and line, read with the rules of Compose.

PyYAML tells the events; what a plain word means (`yes` is text, `010` is eight) is go-yaml's.
Owns the bounds that keep any file from taking the memory or the time of the machine.
"""

from __future__ import annotations

import codecs
import os
import re
from collections.abc import Iterator, ValuesView
from typing import Any, NamedTuple

import yaml

from preflight.facts.compose.project import LARGEST, ComposeError, Place

MOST_NODES = 200_000
DEEPEST = 100
HOLLOW = "!hollow"  # the tag of a text that lacks a required variable
RESET, OVERRIDE = "!reset", "!override"

_TOO_DEEP = f"it is nested more than {DEEPEST} levels deep"
_PARSERS_OWN = "exceeded maximum nesting depth"  # libyaml reads ahead, and stops at 1000 by itself
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: dict[str, Any] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z")
_INFINITE = re.compile(r"[-+]?\.(inf|Inf|INF)\Z")
_DATE = re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}([Tt ].*)?\Z")
_TAG = "tag:yaml.org,2002:"


class Date(str):
    """A plain word that YAML takes for a date; Compose refuses it where text is expected."""

    __slots__ = ()


class Node:
    """A value and the line that decides it; containers hold nodes."""

    __slots__ = ("column", "file", "line", "tag", "value")

    def __init__(self, value: Any, file: str, line: int, column: int, tag: str = "") -> None:
        self.value, self.file, self.line, self.column, self.tag = value, file, line, column, tag

    def of(self, value: Any) -> Node:
        """Return another value at the same place."""
        return Node(value, self.file, self.line, self.column, self.tag)

    def fault(self, message: str) -> ComposeError:
        """Return the error that names this place, in one line whatever the file holds."""
        message = message.replace("\n", "\\n").replace("\r", "\\r")
        return ComposeError(message, self.file, self.line, self.column)

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.file, self.line)

    @property
    def kind(self) -> str:
        """Name its type as a person would."""
        if self.value is None:
            return "nothing"
        kinds = {dict: "a mapping", list: "a list", bool: "a boolean", str: "text", Date: "a date"}
        return kinds.get(type(self.value), "a number")

    def get(self, *keys: str) -> Node | None:
        """Return the node below it, None where there is none."""
        node: Node | None = self
        for key in keys:
            node = node.value.get(key) if node and isinstance(node.value, dict) else None
        return node

    def size(self) -> int:
        """Count the values that it has, itself included."""
        below = self.value.values() if isinstance(self.value, dict) else self.value
        return 1 + (sum(one.size() for one in below) if isinstance(below, list | ValuesView) else 0)

    def plain(self) -> Any:
        """Return it as plain data."""
        if isinstance(self.value, dict):
            return {key: node.plain() for key, node in self.value.items()}
        if isinstance(self.value, list):
            return [node.plain() for node in self.value]
        return self.value


class Document(NamedTuple):
    """A YAML document; `templates` are its texts with a dollar sign, which are to be replaced."""

    root: Node
    templates: list[Node]
    size: int  # how many values it has


def read_documents(path: str) -> list[Document]:
    """Return the documents of a file; raises ComposeError for one that is no YAML."""
    shown = display(path)
    text = _text(path, shown)
    try:
        return list(_Composer(text, shown).documents())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (0, 0)
        wrong = _TOO_DEEP if error.problem == _PARSERS_OWN else f"it is no YAML: {error.problem}"
        raise ComposeError(wrong, shown, line, column) from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:
        reason = str(error).partition("\n")[0][:120]
        raise ComposeError(f"it is no YAML: {reason}", shown) from None


def display(path: str) -> str:
    """Return a path relative to the current folder where it is inside of it, else absolute."""
    path, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here.rstrip(os.sep) + os.sep) else path


def _text(path: str, shown: str) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(LARGEST + 1)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ComposeError(f"it can't be read: {reason}", shown) from None
    if len(content) > LARGEST:
        raise ComposeError(f"it is larger than {LARGEST >> 20} MiB, no compose file is", shown)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # as PowerShell writes
    try:
        return content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        column = error.start - content.rfind(b"\n", 0, error.start)
        raise ComposeError("it is not UTF-8 text", shown, line, column) from None


class _Composer:
    """Makes nodes of events, under bounds."""

    def __init__(self, text: str, file: str) -> None:
        self.file = file
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self.anchors: dict[str, tuple[Node, int] | None] = {}
        self.count = 0
        self.templates: list[Node] = []

    def documents(self) -> Iterator[Document]:
        for event in self.events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version not in (None, (1, 1)):
                    mark: Any = event.start_mark
                    wrong = "Compose reads %YAML 1.1 alone: leave the line out"
                    raise ComposeError(wrong, self.file, mark.line + 1, 1)
                self.anchors, self.templates = {}, []
                before, root = self.count, self.node(next(self.events), 0)
                yield Document(root, self.templates, self.count - before)

    def node(self, event: Any, depth: int) -> Node:
        mark = event.start_mark
        node = Node(None, self.file, mark.line + 1, mark.column + 1)
        before = self.count
        self.grow(1, node)
        if depth > DEEPEST:
            raise node.fault(_TOO_DEEP)
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, node)
        if event.anchor:
            self.anchors[event.anchor] = None  # until it is complete
        if event.tag in (RESET, OVERRIDE):
            node.tag = event.tag
        if isinstance(event, yaml.ScalarEvent):
            self.scalar(event, node)
        elif isinstance(event, yaml.SequenceStartEvent):
            node.value = self.sequence(depth)
        else:
            node.value = self.mapping(depth)
        if event.anchor:
            self.anchors[event.anchor] = (node, self.count - before)
        return node

    def grow(self, by: int, node: Node) -> None:
        self.count += by
        if self.count > MOST_NODES:
            raise node.fault(f"its aliases make it grow beyond {MOST_NODES} values")

    def alias(self, event: Any, node: Node) -> Node:
        if event.anchor not in self.anchors:
            raise node.fault(f"the alias *{event.anchor} has no anchor &{event.anchor} before it")
        known = self.anchors[event.anchor]
        if known is None:
            raise node.fault(f"the anchor &{event.anchor} contains itself")
        node.value, node.tag = known[0].value, known[0].tag
        self.grow(known[1], node)
        if isinstance(node.value, str) and "$" in node.value:
            self.templates.append(node)
        return node

    def scalar(self, event: Any, node: Node) -> None:
        text, tag = event.value, event.tag
        plain = event.implicit[0] and event.style in (None, "")
        node.value = resolve(text) if plain or node.tag else text
        if tag and tag.startswith(_TAG):
            node.value = text if tag == f"{_TAG}str" else resolve(text)
        if isinstance(node.value, str) and "$" in text:
            self.templates.append(node)

    def sequence(self, depth: int) -> list[Node]:
        items = []
        for event in self.events:
            if isinstance(event, yaml.SequenceEndEvent):
                break
            items.append(self.node(event, depth + 1))
        return items

    def mapping(self, depth: int) -> dict[str, Node]:
        entries: dict[str, Node] = {}
        merged: list[Node] = []
        for event in self.events:
            if isinstance(event, yaml.MappingEndEvent):
                break
            key = self.node(event, depth + 1)
            value = self.node(next(self.events), depth + 1)
            name = key.value
            if name == "<<" and event.implicit[0] and not merged:
                merged = self.merged(value)
                continue
            if not isinstance(name, str):
                raise key.fault(f"the key {name!r:.60} is {key.kind}: write it in quotation marks")
            if name in entries:
                at = entries[name].line
                raise key.fault(f"the key {name!r:.60} is there already, at line {at}")
            if isinstance(value.value, dict | list):
                value.line, value.column = key.line, key.column
            entries[name] = value
        for mapping in merged:
            for name, value in mapping.value.items():
                entries.setdefault(name, value)
        return entries

    def merged(self, value: Node) -> list[Node]:
        """Return the mappings that a merge key names; the first one with a key decides."""
        many = value.value if isinstance(value.value, list) else [value]
        for one in many:
            if not isinstance(one.value, dict):
                raise one.fault(f"a merge with << takes a mapping, not {one.kind}")
        return list(many)


def resolve(text: str) -> Any:
    """Return what a plain word means: nothing, a boolean, a number, else text."""
    if text in _WORDS:
        return _WORDS[text]
    if text[0] not in "+-.0123456789":
        return text
    figure = text.replace("_", "")
    number = _integer(figure)
    if number is not None:
        return number
    if _FLOAT.match(figure) or _INFINITE.match(figure):
        return float(figure.lower().replace(".inf", "inf"))
    return Date(text) if _DATE.match(text) else text


def _integer(figure: str) -> int | None:
    """Read an integer as Go does: 010 is octal, 08 is none; None beyond 64 bits."""
    digits = figure.lstrip("+-")
    if len(figure) - len(digits) > 1 or len(digits) > 66:
        return None
    try:
        octal = digits[:1] == "0" and digits.isdigit()
        value = int(digits, 8 if octal else 0)
    except ValueError:
        return None
    value = -value if figure[:1] == "-" else value
    return value if -(2**63) <= value < 2**64 else None
