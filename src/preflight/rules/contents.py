"""What one rule file holds, before it is merged with those that it extends."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from preflight.model.facts import Path

if TYPE_CHECKING:
    from preflight.yaml_marks import Node

KIND_AND_KEY_BY_LIST = {
    "rules": ("rule", "id"),
    "models": ("model", "name"),
    "diagnoses": ("diagnosis", "id"),
    "waivers": ("waiver", "rule"),
}
"""The lists of a file: what their items are, and the key by which those of several files merge."""


FileLines: TypeAlias = tuple[str, int, int | None, str]
"""Lines of a bundled file: its name, the first, counted from 0, and the one after the last.

They hold an item of a list, or all of the file with the profile of the last text.
"""


class Entry(NamedTuple):
    """A rule, model, diagnosis, waiver or profile: its keys, of all files, not decoded yet.

    That of a bundled set may be ready: it has a `value`, which holds while the vars that it uses
    have the same values, and the `facts` that this names. It has no nodes then, but the lines to
    read them from in case another file overrides some of its keys.
    """

    node: Any  # of YAML, None where it is ready
    nodes: Mapping[str, Node]
    has_section: bool = False  # whether it moves what it overrides to another place
    lines: tuple[FileLines, ...] = ()  # of all bundled files that define it
    value: Any = None
    facts: tuple[Path, ...] = ()
    vars: Mapping[str, str] = MappingProxyType({})

    def is_ready(self, values: Mapping[str, str]) -> bool:
        """Return whether it has a value that holds with these values of vars."""
        if self.node is not None:
            return False
        return not self.vars or all(values.get(name) == self.vars[name] for name in self.vars)

    def position(self) -> dict[str, Any]:
        """Return the fields of a rule or waiver that say where it is defined."""
        mark = self.node.start_mark
        return {"file": mark.name, "line": mark.line + 1, "column": mark.column + 1}


EntryKey = object  # an id, or the node of an entry without one


class FileContents(NamedTuple):
    """The keys of a file that are decoded at once, those of `applies`, and its lists.

    `sha256` is that of the file and all that it extends, if it is ready.
    """

    head: Mapping[str, Any]
    applies: Entry  # with `otherwise`
    lists: Mapping[str, tuple[tuple[EntryKey, Entry], ...]]  # `profiles` too
    sha256: str = ""
