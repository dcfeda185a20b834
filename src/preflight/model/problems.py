"""Problems of an input, with their place, so that the reader can fix them."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import NamedTuple


class Problem(NamedTuple):
    """One problem of a file; line and column count from 1, 0 if there is no place."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}:{self.column}" if self.line else self.file
        return f"{place}: {self.message}"


class InputError(Exception):
    """Input that cannot be used: its problems are printed, the exit code is 2."""

    def __init__(self, *problems: Problem | str) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean X?` where a known name is near, else nothing."""
    near = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f", did you mean {near[0]!r}?" if near else ""
