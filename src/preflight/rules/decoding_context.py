"""What decoding works on: the entries of a rule file, and the state with vars and problems."""

from collections.abc import Callable, Collection, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from preflight.model.conditions import ANY_ITEM_SEGMENT, Condition
from preflight.model.facts import (
    FactCatalogue,
    FactDeclaration,
    Path,
    Unit,
    join_path,
    split_fact_path,
)
from preflight.model.problems import InputError, Problem, did_you_mean
from preflight.model.quantities import (
    MAX_PORT,
    parse_port_range_and_protocol,
    split_host_dot_port,
)
from preflight.model.rules import LOG_FACT_NAMESPACE, Rule

if TYPE_CHECKING:
    from preflight.yaml_reader import Node

MAX_PROBLEMS = 100
MAX_LIST_ENTRIES = 10_000  # of a list or mapping, and of a list of all files


KIND_AND_KEY_BY_LIST = {
    "rules": ("rule", "id"),
    "models": ("model", "name"),
    "diagnoses": ("diagnosis", "id"),
    "waivers": ("waiver", "rule"),
}
"""The lists of a file: what their items are, and the key by which those of several files merge."""


RuleFileLines: TypeAlias = tuple[str, int, int | None, str]
"""Lines of a bundled file: its name, the first, counted from 0, and the one after the last.

They hold an item of a list, or all of the file with the profile of the last text.
"""


class RuleFileEntry(NamedTuple):
    """A rule, model, diagnosis, waiver or profile: its keys, of all files, not decoded yet.

    One of a bundled set may be precompiled: it has a `value`, which holds while the vars that it
    uses have the same values, and the `facts` that this names. It has no nodes then, but the lines
    to read them from in case another file overrides some of its keys.
    """

    node: Any  # of YAML, or None if it is precompiled
    nodes: Mapping[str, "Node"]
    has_section: bool = False  # whether it moves what it overrides to another place
    lines: tuple[RuleFileLines, ...] = ()  # of all bundled files that define it
    value: Any = None
    facts: tuple[Path, ...] = ()
    vars: Mapping[str, str] = MappingProxyType({})

    def has_value_for_vars(self, values: Mapping[str, str]) -> bool:
        """Return whether it has a value that holds with these values of vars."""
        if self.node is not None:
            return False
        return not self.vars or all(values.get(name) == self.vars[name] for name in self.vars)

    def position(self) -> dict[str, Any]:
        """Return the fields of a rule or waiver that say where it is defined."""
        mark = self.node.start_mark
        return {"file": mark.name, "line": mark.line + 1, "column": mark.column + 1}


RuleFileEntryKey = object  # an id, or the node of an entry without one


class RuleFileContents(NamedTuple):
    """The keys of a file that are decoded at once, those of `applies`, and its lists.

    `sha256` is that of the file and all that it extends, if it is precompiled.
    """

    head: Mapping[str, Any]
    applies: RuleFileEntry  # with `otherwise`
    lists: Mapping[str, tuple[tuple[RuleFileEntryKey, RuleFileEntry], ...]]  # `profiles` too
    sha256: str = ""


class InvalidValueError(Exception):
    """A value that could not be decoded; its problem is in the context."""


class TooManyProblemsError(Exception):
    """More problems than anybody reads: decoding stops."""


class DecodingContext:
    """What decoding needs to know beside the node, and the problems found so far."""

    def __init__(self, catalogue: FactCatalogue) -> None:
        self.catalogue = catalogue
        self.problems: set[Problem] = set()  # each once: a key may be decoded twice
        self.vars: Mapping[str, str] = {}
        self.profile = ""  # whose vars these are
        self.required_facts: set[Path] = set()
        self.used_vars: set[str] = set()
        self.rules: Mapping[str, Rule] = {}  # once they are decoded, for waivers
        self.ids: dict[str, Collection[str]] = {}  # by kind, with those that can't be decoded
        self.suggest_set: Callable[[str], str] = lambda _: ""
        self.complete = True  # whether all of the files could be read
        self.collection: Path | None = None  # of the rule's `for_each`
        self.unit: Unit | None = None  # of the rule's fact, or None if that isn't known
        self._facts: dict[
            tuple[Path | None, str], tuple[Path, FactDeclaration]
        ] = {}  # by collection and name
        # of a single scalar, by unit, operator, tag, text, and whether that has vars
        self.conditions: dict[tuple[Unit | None, str, str, str, bool], Condition] = {}
        self.log_patterns: set[str] = set()
        self.log_values: Mapping[str, FactDeclaration] | None = (
            None  # what a diagnosis' patterns capture
        )

    def add_error(self, node: "Node", message: str) -> InvalidValueError:
        """Add a problem; raise what is returned where decoding can't continue."""
        from preflight.yaml_reader import make_problem_at_node  # precompiled sets need no YAML

        where = f" (with profile {self.profile})" if self.profile else ""
        self.problems.add(make_problem_at_node(node, message + where))
        if len(self.problems) > MAX_PROBLEMS:
            raise TooManyProblemsError
        return InvalidValueError(message)

    def add_error_if_all_files_read(self, node: "Node", message: str) -> InvalidValueError:
        """Add a problem about something missing, unless what couldn't be read might have it."""
        return self.add_error(node, message) if self.complete else InvalidValueError(message)

    def find_fact(self, node: "Node", name: str) -> tuple[Path, FactDeclaration]:
        """Return the path that a name stands for and its declaration; an item's own facts first."""
        if self.log_values is not None and name in self.log_values:
            return (LOG_FACT_NAMESPACE, name), self.log_values[name]
        known = self._facts.get((self.collection, name))
        if known is None:
            known = self._facts[self.collection, name] = self._find_declared_fact(node, name)
        self.required_facts.add(known[0])
        return known

    def _find_declared_fact(self, node: "Node", name: str) -> tuple[Path, FactDeclaration]:
        try:
            path = split_fact_path(name)
        except ValueError as fault:
            raise self.add_error(node, str(fault)) from None
        if ANY_ITEM_SEGMENT in path:
            message = f"{name!r} isn't a single fact: use for_each, or a name in place of *"
            raise self.add_error(node, message)
        item = () if self.collection is None else (*self.collection, ANY_ITEM_SEGMENT)
        for candidate in ((*item, *path), path):
            if (fact := self.catalogue.find(candidate)) is not None:
                is_address = candidate[:2] == ("net", "connect")
                if is_address and split_host_dot_port(candidate[-1]) is None:
                    example = "such as net.connect.smtp.example.com.587"
                    raise self.add_error(
                        node, f"{name!r} has no port: expected a name and a port, {example}"
                    )
                is_port = len(path) > 2 and path[:2] == ("host", "ports")
                if is_port and parse_port_range_and_protocol(path[2]) is None:
                    expected = f"expected one to {MAX_PORT}, such as 5432, 8000-8002, or 53/udp"
                    raise self.add_error(node, f"{name!r} has no valid port: {expected}")
                return candidate, fact
        prefix = "".join(f"{segment}." for segment in item)
        names = [known.removeprefix(prefix) for known in self.catalogue.names()]
        groups = dict.fromkeys(known.partition(".")[0] for known in self.catalogue.names())
        names = [  # such as compose.services.api.image for services.api.image
            join_path((group, *path))
            for group in groups
            if group != "env" and self.catalogue.find((group, *path))
        ] or names
        raise self.add_error(node, f"unknown fact {name!r}{did_you_mean(name, names)}")


def check_entry_count(
    node: "Node", count: int, limit: int = MAX_LIST_ENTRIES, noun: str = "entries"
) -> None:
    """Refuse a file that would take too much time and memory; raises InputError."""
    if count > limit:
        from preflight.yaml_reader import make_problem_at_node

        raise InputError(make_problem_at_node(node, f"more than {limit:,} {noun}"))
