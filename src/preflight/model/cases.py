"""Cases of a rule file: what is expected of a snapshot, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from preflight.model.report import Exit, Verdict

FACTS, EXPECTED, RULES = "facts.json", "expected.json", "rules.yaml"  # the files of a case
MAX_EXPECTED = 2**20  # bytes of an expected.json


class Expected(NamedTuple):
    """What a case expects: verdicts by `rule-id` or `rule-id/item`; how it is judged.

    `today` (UTC) is the day for waivers; None is the day of the measuring.
    """

    verdicts: Mapping[str, Verdict]
    exit_code: int | None = None
    today: date | None = None
    vars: Mapping[str, str] = MappingProxyType({})
    only: tuple[str, ...] = ()
    strict: bool = False
    file: str = ""


class Mismatch(NamedTuple):
    """One verdict that is another than expected; None where there is none, or none was named."""

    name: str
    expected: str | None
    found: str | None
    why: str = ""


class Outcome(NamedTuple):
    """What came of one case; `problems` are why it could not be judged."""

    name: str
    folder: str
    rules: str = ""  # the rule file
    compared: int = 0
    differences: tuple[Mismatch, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """pass, fail where it differs, or unknown where it could not be judged."""
        if self.problems:
            return "unknown"
        return "fail" if self.differences else "pass"


def exit_code(outcomes: Iterable[Outcome]) -> int:
    """Return 2 where a case could not be judged, else 1 where one differs, else 0."""
    found = {outcome.verdict for outcome in outcomes}
    if "unknown" in found:
        return Exit.USAGE
    return Exit.FAILED if "fail" in found else Exit.OK
