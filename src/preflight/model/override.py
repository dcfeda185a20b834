"""An override of a compose file: the settings that it changes, and what they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from preflight.model.facts import Path

if TYPE_CHECKING:  # what measures needs the keys alone
    from preflight.model.report import Result

LEGACY_KEY_BY_PATH = {
    ("limits", "memory"): "mem_limit",
    ("limits", "cpus"): "cpus",
    ("reservations", "memory"): "mem_reservation",
    ("reservations", "cpus"): None,
}
"""The keys of format 2 of the compose file, by those of `deploy.resources`."""


class ComposeEdit(NamedTuple):
    """A setting of a service: its `fact` gets a `value`, its `key` in the file the `text`.

    `before` is its value until now as people read it, `rules` are the ids of those that ask for it.
    """

    fact: Path
    value: Any
    service: str
    key: Path
    text: str | tuple[str, ...]  # several are a list that replaces the one of the other files
    before: str
    rules: tuple[str, ...]


class Override(NamedTuple):
    """Edits that were judged: with them `passing` pass, and `failing` fail still.

    Beside a failing result stands the one that a passing value would make worse, if there is one.
    `warnings` passed before, and recommend what a requirement contradicts.
    """

    edits: tuple[ComposeEdit, ...]
    passing: tuple[Result, ...]
    failing: tuple[tuple[Result, Result | None], ...]
    warnings: tuple[Result, ...]
