"""What decoding a rule file goes by: names, vars, the fact's unit, the problems so far."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Set

from preflight.model.conditions import ITEM
from preflight.model.facts import Catalogue, Fact, Path, Unit, split_path
from preflight.model.problems import Problem, did_you_mean
from preflight.model.rules import LOG_NAMESPACE
from preflight.rules import yaml_nodes as document
from preflight.rules.yaml_nodes import Node, Scalar, is_text, kind_of, problem_at

MAX_PROBLEMS = 100  # that are shown

_VARIABLE = re.compile(r"(\$?)\$\{([a-z][a-z0-9_]*)\}")


class Invalid(Exception):
    """A value that could not be decoded; its problem is noted already."""


class Context:
    """What decoding needs to know beside the node, and the problems found so far."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.vars: Mapping[str, str] = {}
        self.problems: list[Problem] = []
        self.required_facts: set[Path] = set()
        self.rules: Collection[str] = ()  # the ids of all files, good or bad
        self.whole = True  # whether every file of `extends` could be read
        self.collection: Path | None = None  # of the rule's `for_each`
        self.unit: Unit = "text"  # of the rule's fact
        self.diagnoses: Collection[str] = ()  # the ids of all files, good or bad
        self.captured: Mapping[str, Fact] | None = None  # what the lines of a diagnosis hold
        self._paths: dict[tuple[Path | None, str], tuple[Path, Fact]] = {}
        self._told: set[tuple[int, tuple[Path | None, str]]] = set()

    def wrong(self, node: Node, message: str) -> Invalid:
        """Note a problem; raise what is returned where decoding can't go on."""
        self.problems.append(problem_at(node, message))
        return Invalid(message)

    def missing(self, node: Node, message: str) -> Invalid:
        """Note that something isn't there, unless a file that may have it could not be read."""
        return self.wrong(node, message) if self.whole else Invalid(message)

    def near(self, name: str, known: Iterable[str]) -> str:
        """Return `, did you mean X?`, or nothing once there are more problems than are shown."""
        return did_you_mean(name, known) if len(self.problems) < MAX_PROBLEMS else ""

    def expand(self, node: Node) -> str:
        """Return the text of a scalar with `${name}` replaced by the rule file's vars."""

        def value(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            if match[2] not in self.vars:
                self.missing(node, f"no var {match[2]!r}{self.near(match[2], self.vars)}")
                return "0"
            return self.vars[match[2]]

        return _VARIABLE.sub(value, node.value)

    def fact(self, node: Node, text: str) -> tuple[Path, Fact]:
        """Return the path a name stands for (relative to the item first) and its declaration."""
        if self.captured is not None and text in self.captured:
            return (LOG_NAMESPACE, text), self.captured[text]
        key = (self.collection, text)
        if key not in self._paths:
            place = (id(node), key)
            if place in self._told:
                raise Invalid(text)  # noted when it was looked up first
            self._told.add(place)
            self._paths[key] = self._find(node, text)
        path, fact = self._paths[key]
        self.required_facts.add(path)
        return path, fact

    def _find(self, node: Node, text: str) -> tuple[Path, Fact]:
        try:
            path = split_path(text)
        except ValueError as fault:
            raise self.wrong(node, str(fault)) from None
        if ITEM in path:
            raise self.wrong(node, f"{text!r} names no single fact: use for_each, or a name for *")
        tried = [path] if self.collection is None else [(*self.collection, ITEM, *path), path]
        for candidate in tried:
            if (fact := self.catalogue.find(candidate)) is not None:
                return candidate, fact
        prefix = "" if self.collection is None else ".".join((*self.collection, ITEM, ""))
        names = [name.removeprefix(prefix) for name in self.catalogue.names()]
        raise self.wrong(node, f"no probe measures {text!r}{self.near(text, names)}")


def pairs(node: Node, context: Context, known: Set[str] | None, what: str) -> dict[str, Node]:
    """Return a mapping's values by key; wrong, unknown and repeated keys are problems."""
    if node.__class__ is not document.Mapping or node.tag != document.PLAIN:
        raise context.wrong(node, f"expected {what} as a mapping, found {kind_of(node)}")
    try:
        found: dict[str, Node] = {key.value: value for key, value in node.value}
    except TypeError:  # a key that is a list or a mapping
        found = {}
    if len(found) == len(node.value) and (known is None or found.keys() <= known):
        return found
    return _good_pairs(node, context, known, what)


def _good_pairs(node: Node, context: Context, known: Set[str] | None, what: str) -> dict[str, Node]:
    """Note what is wrong with the keys, and return the values of the others."""
    found: dict[str, Node] = {}
    for key, value in node.value:
        name = key.value
        if key.__class__ is not Scalar:
            context.wrong(key, f"expected a name, found {kind_of(key)}")
        elif name in found:
            context.wrong(key, f"{name!r} stands here twice")
        elif known is not None and name not in known:
            hint = " (merge keys aren't read; use extends)" if name == "<<" else ""
            context.wrong(key, f"{what} has no {name!r}{context.near(name, known)}{hint}")
        else:
            found[name] = value
    return found


def scalar(node: Node, context: Context, expected: str) -> str:
    """Return the text of a scalar with vars replaced; anything else is a problem."""
    if node.__class__ is not Scalar or node.tag not in document.TAGS:
        raise context.wrong(node, f"expected {expected}, found {kind_of(node)}")
    text: str = node.value
    return context.expand(node) if "${" in text else text


def quoted(node: Node, context: Context, expected: str) -> str:
    """Return text; a plain number or boolean is a problem, as in editors that know the schema."""
    if node.__class__ is not Scalar or (node.tag != document.QUOTED and not is_text(node)):
        hint = ": quote it if it is text" if kind_of(node) in ("a number", "a boolean") else ""
        raise context.wrong(node, f"expected {expected}, found {kind_of(node)}{hint}")
    text: str = node.value
    return context.expand(node) if "${" in text else text
