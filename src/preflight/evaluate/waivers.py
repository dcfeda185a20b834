"""Known, dated exceptions: what they cover, until when, and which are no longer needed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import date

from preflight.evaluate.conditions import meets_condition
from preflight.evaluate.sentences import ComparisonText
from preflight.model.problems import Problem
from preflight.model.quantities import format_count
from preflight.model.report import WAIVER_NOTICE_DAYS, AppliedWaiver, Result
from preflight.model.rules import Waiver


def apply_waiver(result: Result, waiver: Waiver, comparison: ComparisonText, today: date) -> Result:
    """Return the result of a rule that is not met, waived if the waiver holds.

    A waiver holds through the day `until` (UTC) and, if it has `accept`, while the value meets
    that. An unknown result is not waived: nobody can say whether the value would be accepted.
    """
    days_left = (waiver.until - today).days
    raw, scope = comparison.raw, comparison.scope
    status = AppliedWaiver(waiver.reason, waiver.owner, waiver.until, days_left, holds=False)
    if days_left < 0:
        text = f"its waiver by {waiver.owner} ended on {waiver.until}"
    elif waiver.accept is not None and meets_condition(waiver.accept, raw, scope) is not True:
        accepted = ComparisonText(raw, waiver.accept, scope, comparison.fact).condition_text
        text = f"its waiver by {waiver.owner} accepts {accepted.phrase}"
    else:
        status = status._replace(holds=True)
        text = status.sentence
    if status.ends_soon:
        left = f"{format_count(days_left, 'day')} left" if days_left else "its last day"
        text += f" ({left})"
    return result._replace(
        verdict="waived" if status.holds else result.verdict,
        message=f"{result.message}; {text}",
        templates=None,
        waiver=status,
    )


def find_unneeded_waivers(waivers: Iterable[Waiver], results: Sequence[Result]) -> list[Waiver]:
    """Return the waivers of rules that were judged and passed for every item."""
    judged = {result.id for result in results}
    not_passed = {result.id for result in results if result.verdict != "pass"}
    return [waiver for waiver in waivers if waiver.rule in judged - not_passed]


def find_waiver_expiry_problems(waivers: Iterable[Waiver], today: date) -> Iterator[Problem]:
    """Yield a remark on each waiver that has ended or soon will; `today` is in UTC."""
    for waiver in waivers:
        days_left = (waiver.until - today).days
        if days_left <= WAIVER_NOTICE_DAYS:
            verb = "ended" if days_left < 0 else "ends"
            message = f"the waiver of {waiver.rule} by {waiver.owner} {verb} on {waiver.until}"
            yield make_waiver_problem(waiver, message)


def make_waiver_problem(waiver: Waiver, message: str) -> Problem:
    """Return a problem at the position of a waiver."""
    return Problem(waiver.file, waiver.line, waiver.column, message)
