"""Problems of an input, with their place, so that the reader can fix them."""

import os
import re
from collections.abc import Iterable
from functools import cache
from typing import NamedTuple


class Problem(NamedTuple):
    """One problem of a file; line and column count from 1, 0 if they aren't known."""

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


@cache
def _find_name_of_synonym(synonym: str) -> str | None:
    """Return the name in synonyms.txt that people mean by another one."""
    with open(os.path.join(os.path.dirname(__file__), "synonyms.txt"), encoding="utf-8") as lines:
        for name, _, synonyms in (line.partition(": ") for line in lines):
            if synonym in synonyms.split():
                return name
    return None


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return `, did you mean X?` where a known name is near or has this one in it, else nothing."""
    by_lower = {known_name.lower(): known_name for known_name in known}
    lower = name.lower()
    near = [n for n in (lower, _find_name_of_synonym(lower)) if n in by_lower]
    if not near:
        from difflib import get_close_matches  # hardly any run has a mistake

        near = get_close_matches(lower, by_lower, n=1, cutoff=0.6)
    near = near or [n for n in by_lower if lower in re.split("[-.]", n) and len(lower) > 2]
    return f", did you mean {by_lower[near[0]]!r}?" if near else ""
