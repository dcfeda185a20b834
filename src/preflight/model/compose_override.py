"""A compose override: the settings that it changes, and what passes with them."""

from typing import NamedTuple

from preflight.model.facts import Measured, Path
from preflight.model.report import Result


class ComposeEdit(NamedTuple):
    """A setting of a service: its `key` in the file gets the `text`.

    Several texts are a list that replaces that of the other files. `before` is the value until now
    as people read it, `facts` are what will be measured, `rules` the ids of those that ask for it.
    """

    service: str
    key: Path
    text: str | tuple[str, ...]
    before: str
    facts: tuple[Measured, ...]
    rules: tuple[str, ...] = ()


class ComposeOverride(NamedTuple):
    """Edits that were judged: with them `passing` pass, and `failing` fail still.

    Beside a failing result stands the one that a passing value would make worse, if there is one.
    `warnings` didn't apply before, or recommend what a requirement contradicts.
    """

    edits: tuple[ComposeEdit, ...]
    passing: tuple[Result, ...]
    failing: tuple[tuple[Result, Result | None], ...]
    warnings: tuple[Result, ...]
