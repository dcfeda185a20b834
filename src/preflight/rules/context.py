"""The state of decoding one rule file: known names, vars, the unit of the fact, the problems."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Set

from preflight import yaml_marks
from preflight.model.conditions import ITEM
from preflight.model.facts import Catalogue, Fact, Path, Unit, split_path
from preflight.model.problems import Problem, did_you_mean
from preflight.model.rules import LOG_NAMESPACE
from preflight.yaml_marks import Node, Scalar, is_text, kind_of, problem_at

MAX_SHOWN_PROBLEMS = 100

_VARIABLE = re.compile(r"(\$?)\$\{([a-z][a-z0-9_]*)\}")


class Invalid(Exception):
    """A value that could not be decoded; its problem is in the context."""


class DecodingContext:
    """What decoding needs to know beside the node, and the problems found so far."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.catalogue = catalogue
        self.vars: Mapping[str, str] = {}
        self.problems: list[Problem] = []
        self.required_facts: set[Path] = set()
        self.rule_ids: Collection[str] = ()  # of all files, with those that can't be decoded
        self.diagnosis_ids: Collection[str] = ()
        self.complete = True  # whether every file of `extends` could be read
        self.collection: Path | None = None  # of the rule's `for_each`
        self.unit: Unit = "text"  # of the rule's fact
        self.log_values: Mapping[str, Fact] | None = None  # what a diagnosis' patterns capture
        self._paths: dict[tuple[Path | None, str], tuple[Path, Fact]] = {}
        self._looked_up: set[tuple[object, ...]] = set()  # a node's problem is added once

    def error(self, node: Node, message: str) -> Invalid:
        """Add a problem; raise what is returned where decoding can't continue."""
        self.problems.append(problem_at(node, message))
        return Invalid(message)

    def missing_error(self, node: Node, message: str) -> Invalid:
        """Add a problem about something missing, unless an unreadable file might have it."""
        return self.error(node, message) if self.complete else Invalid(message)

    def suggest(self, name: str, known: Iterable[str]) -> str:
        """Return `, did you mean X?`, or nothing once more problems were found than are shown."""
        return did_you_mean(name, known) if len(self.problems) < MAX_SHOWN_PROBLEMS else ""

    def expand_vars(self, node: Node) -> str:
        """Return the text of a scalar with `${name}` replaced by the rule file's vars."""

        def expand(match: re.Match[str]) -> str:
            escaped, name = match.groups()
            if escaped:
                return match[0][1:]
            if name not in self.vars:
                self.missing_error(node, f"unknown var {name!r}{self.suggest(name, self.vars)}")
            return self.vars.get(name, "0")

        return _VARIABLE.sub(expand, node.value)

    def find_fact(self, node: Node, name: str) -> tuple[Path, Fact]:
        """Return the path that a name stands for and its declaration; an item's own facts first."""
        if self.log_values is not None and name in self.log_values:
            return (LOG_NAMESPACE, name), self.log_values[name]
        key = (self.collection, name)
        if key not in self._paths:
            if (id(node), *key) in self._looked_up:
                raise Invalid(name)
            self._looked_up.add((id(node), *key))
            self._paths[key] = self._find_declared(node, name)
        path, fact = self._paths[key]
        self.required_facts.add(path)
        return path, fact

    def _find_declared(self, node: Node, name: str) -> tuple[Path, Fact]:
        try:
            path = split_path(name)
        except ValueError as fault:
            raise self.error(node, str(fault)) from None
        if ITEM in path:
            message = f"{name!r} isn't a single fact: use for_each, or a name in place of *"
            raise self.error(node, message)
        of_item = () if self.collection is None else (*self.collection, ITEM)
        for candidate in ((*of_item, *path), path):
            if (fact := self.catalogue.find(candidate)) is not None:
                return candidate, fact
        prefix = ".".join((*of_item, "")) if of_item else ""
        names = [known.removeprefix(prefix) for known in self.catalogue.names()]
        raise self.error(node, f"unknown fact {name!r}{self.suggest(name, names)}")


def read_mapping(
    node: Node, context: DecodingContext, known: Set[str] | None, what: str, key_name: str = "key"
) -> dict[str, Node]:
    """Return a mapping's values by key; unknown and repeated keys are problems.

    `known` are the keys that `what` may have, None where any name is one.
    """
    if node.__class__ is not yaml_marks.Mapping or node.tag != yaml_marks.PLAIN:
        raise context.error(node, f"expected {what} as a mapping, found {kind_of(node)}")
    values: dict[str, Node] = {}
    for key, value in node.value:
        name = key.value
        if key.__class__ is not Scalar:
            context.error(key, f"expected a name, found {kind_of(key)}")
        elif name in values:
            context.error(key, f"duplicate key {name!r}")
        elif known is not None and name not in known:
            hint = " (merge keys aren't supported; use extends)" if name == "<<" else ""
            where = f" in {what}" if key_name == "key" else ""
            suggestion = context.suggest(name, known)
            context.error(key, f"unknown {key_name} {name!r}{where}{suggestion}{hint}")
        else:
            values[name] = value
    return values


def read_scalar(node: Node, context: DecodingContext, expected: str) -> str:
    """Return the text of a scalar with its vars replaced; anything else is a problem."""
    if node.__class__ is not Scalar or node.tag not in yaml_marks.TAGS:
        raise context.error(node, f"expected {expected}, found {kind_of(node)}")
    text: str = node.value
    return context.expand_vars(node) if "${" in text else text


def read_text(node: Node, context: DecodingContext, expected: str) -> str:
    """Return text; an unquoted number or boolean is a problem, as for editors with the schema."""
    if node.__class__ is not Scalar or (node.tag != yaml_marks.QUOTED and not is_text(node)):
        kind = kind_of(node)
        hint = ": quote it if it is text" if kind in ("a number", "a boolean") else ""
        raise context.error(node, f"expected {expected}, found {kind}{hint}")
    text: str = node.value
    return context.expand_vars(node) if "${" in text else text
