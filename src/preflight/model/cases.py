"""Cases that test a rule file: the expected verdicts for a snapshot, and the outcome."""

from collections.abc import Iterable, Mapping
from datetime import date
from types import MappingProxyType
from typing import NamedTuple

from preflight.model.report import ExitCode, Verdict


class CaseExpectations(NamedTuple):
    """The verdicts that a case expects, by `rule-id` or `rule-id/item`, and how to judge it.

    `today` (UTC) is the day for waivers; None is the day of the measurement.
    """

    verdicts: Mapping[str, Verdict]
    exit_code: int | None = None
    today: date | None = None
    vars: Mapping[str, str] = MappingProxyType({})
    profile: str | None = None
    only: tuple[str, ...] = ()
    strict: bool = False
    file: str = ""


class VerdictMismatch(NamedTuple):
    """A verdict that differs from the expected one; None for a missing result or expectation."""

    name: str
    expected: str | None
    found: str | None
    message: str = ""

    @property
    def sentence(self) -> str:
        """What was expected and what was found."""
        return (
            f"{self.name}: expected {self.expected or 'nothing'}, found {self.found or 'nothing'}"
        )


class CaseOutcome(NamedTuple):
    """The outcome of one case; `problems` are why it could not be judged."""

    name: str
    folder: str
    rules: str = ""  # the rule file
    compared: int = 0
    differences: tuple[VerdictMismatch, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def verdict(self) -> Verdict:
        """pass, fail if verdicts differ, or unknown if the case could not be judged."""
        if self.problems:
            return "unknown"
        return "fail" if self.differences else "pass"


def compute_cases_exit_code(outcomes: Iterable[CaseOutcome]) -> int:
    """Return 2 if a case could not be judged, else 1 if verdicts differ, else 0."""
    verdicts = {outcome.verdict for outcome in outcomes}
    if "unknown" in verdicts:
        return ExitCode.USAGE
    return ExitCode.FAILED if "fail" in verdicts else ExitCode.OK
