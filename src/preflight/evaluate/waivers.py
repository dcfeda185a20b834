"""Known, dated exceptions: what they cover, until when, and which of them cover nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import date

from preflight.evaluate.conditions import judge
from preflight.evaluate.sentences import Figures
from preflight.model.report import Result, WaiverStatus
from preflight.model.rules import Waiver


def waive(result: Result, waiver: Waiver, figures: Figures, today: date) -> Result:
    """Return the result of a rule that is not met as its waiver has it, and says so.

    A waiver holds through the day `until` (UTC) and, where it has `accept`, as long as the figure
    meets that. What could not be measured is not waived: nobody knows what would be accepted.
    """
    left = (waiver.until - today).days
    if left < 0:
        told, holds = f"its waiver by {waiver.owner} ended on {waiver.until}", False
    elif waiver.accept is not None and judge(waiver.accept, figures.raw, figures.scope) is not True:
        wanted = Figures(figures.raw, waiver.accept, figures.scope).wanted()
        told, holds = f"its waiver by {waiver.owner} accepts {wanted}", False
    else:
        told, holds = f"waived until {waiver.until} by {waiver.owner}: {waiver.reason}", True
    state = WaiverStatus(waiver.reason, waiver.owner, waiver.until, left, holds)
    if state.ends_soon:
        told += f" ({_days(left)})"
    return result._replace(
        verdict="waived" if holds else result.verdict,
        message=f"{result.message}; {told}",
        waiver=state,
    )


def _days(left: int) -> str:
    return {0: "its last day", 1: "1 day left"}.get(left, f"{left} days left")


def notes(waivers: Iterable[Waiver], results: Iterable[Result]) -> Iterator[str]:
    """Say which waivers waive what passes."""
    for waiver in idle(waivers, results):
        yield f"waiver of {waiver.rule}: it waives what passes; remove it"


def idle(waivers: Iterable[Waiver], results: Iterable[Result]) -> Iterator[Waiver]:
    """Yield the waivers of rules that were judged, and met by every item."""
    passed: dict[str, bool] = {}
    for result in results:
        passed[result.id] = passed.get(result.id, True) and result.verdict == "pass"
    return (waiver for waiver in waivers if passed.get(waiver.rule))
