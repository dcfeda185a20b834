"""Cases of a rule file: what is expected of a snapshot, and what came of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from preflight.model.report import ExitCode, Verdict

FACTS_FILE, EXPECTED_FILE, RULES_FILE = (
    "facts.json",
    "expected.json",
    "rules.yaml",
)  # the files of a case
MAX_EXPECTED_BYTES = 2**20  # bytes of an expected.json


class CaseExpectation(NamedTuple):
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


class VerdictMismatch(NamedTuple):
    """One verdict that is another than expected; None where there is none, or none was named."""

    name: str
    expected: str | None
    actual: str | None
    reason: str = ""


class CaseOutcome(NamedTuple):
    """What came of one case; `problems` are why it could not be judged."""

    name: str
    folder: str
    rules: str = ""  # the rule file
    compared: int = 0
    differences: tuple[VerdictMismatch, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """pass, fail where it differs, or unknown where it could not be judged."""
        if self.problems:
            return "unknown"
        return "fail" if self.differences else "pass"


def exit_code(outcomes: Iterable[CaseOutcome]) -> int:
    """Return 2 where a case could not be judged, else 1 where one differs, else 0."""
    found = {outcome.verdict for outcome in outcomes}
    if "unknown" in found:
        return ExitCode.USAGE
    return ExitCode.FAILED if "fail" in found else ExitCode.OK
