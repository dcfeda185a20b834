"""Known, dated exceptions: what they cover, and until when."""

from __future__ import annotations

from datetime import date

from preflight.evaluate.conditions import meets
from preflight.evaluate.sentences import ComparisonText
from preflight.model.report import Result, WaiverStatus
from preflight.model.rules import Waiver


def waive(result: Result, waiver: Waiver, comparison: ComparisonText, today: date) -> Result:
    """Return the result of a rule that is not met, waived if the waiver holds.

    A waiver holds through the day `until` (UTC) and, if it has `accept`, while the value meets
    that. An unknown result is not waived: nobody can say whether the value would be accepted.
    """
    days_left = (waiver.until - today).days
    raw, scope = comparison.raw, comparison.scope
    holds = False
    if days_left < 0:
        text = f"its waiver by {waiver.owner} ended on {waiver.until}"
    elif waiver.accept is not None and meets(waiver.accept, raw, scope) is not True:
        accepted = ComparisonText(raw, waiver.accept, scope).describe()
        text = f"its waiver by {waiver.owner} accepts {accepted}"
    else:
        text = f"waived until {waiver.until} by {waiver.owner}: {waiver.reason}"
        holds = True
    status = WaiverStatus(waiver.reason, waiver.owner, waiver.until, days_left, holds)
    if status.ends_soon:
        left = {0: "its last day", 1: "1 day left"}.get(days_left, f"{days_left} days left")
        text += f" ({left})"
    return result._replace(
        verdict="waived" if holds else result.verdict,
        message=f"{result.message}; {text}",
        waiver=status,
    )
