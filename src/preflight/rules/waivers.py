"""What is to be said of a rule file's waivers: those that waive nothing, those that end."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping
from datetime import date
from typing import Any

from preflight.model.conditions import Condition, Operand, Operator, Sum
from preflight.model.problems import Problem
from preflight.model.report import WAIVER_NOTICE_DAYS
from preflight.model.rules import Rule, RuleSet, Waiver

_TIGHTER: Mapping[str, Callable[[Any, Any], bool]] = {
    "at_least": operator.ge,
    "more_than": operator.ge,
    "at_most": operator.le,
    "less_than": operator.le,
}
"""By operator: whether what meets the first bound also meets the second."""


def idle(ruleset: RuleSet) -> Iterator[Problem]:
    """Yield the waivers whose `accept` is no looser than their rule: what it accepts passes.

    Bounds are compared under one operator and as far as the file itself tells their figures.
    """
    rules = {rule.id: rule for rule in ruleset.rules}
    for waiver in ruleset.waivers:
        rule = rules[waiver.rule]
        if waiver.accept is not None and _accepts_only(waiver.accept, rule):
            yield at(waiver, f"accept is no looser than {rule.id} itself, so nothing is waived")


def at(waiver: Waiver, message: str) -> Problem:
    """Return a problem in the place of a waiver."""
    return Problem(waiver.file, waiver.line or 0, waiver.column or 0, message)


def _accepts_only(accept: Condition, rule: Rule) -> bool:
    """Whether all that `accept` takes meets the rule, its recommendation included."""
    asked = [one for one in (rule.require, rule.recommend) if one is not None]
    return all(
        accept.unit == condition.unit and any(_implies(mine, test) for mine in accept.tests)
        for condition in asked
        for test in condition.tests
    )


def _implies(mine: tuple[Operator, Operand], asked: tuple[Operator, Operand]) -> bool:
    (row, operand), (other, bound) = mine, asked
    if row is not other:
        return False
    figure, least = literal(operand), literal(bound)
    if row.name in _TIGHTER and figure is not None and least is not None:
        return _TIGHTER[row.name](figure, least)
    return bool(operand == bound)


def literal(operand: Operand) -> float | None:
    """Return a bound that the file itself tells, sums of such included; None for any other."""
    if isinstance(operand, Sum):
        parts = [literal(part) for part in operand.parts]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None
    is_number = isinstance(operand, int | float) and not isinstance(operand, bool)
    return operand if is_number else None


def ending(ruleset: RuleSet, today: date) -> Iterator[Problem]:
    """Yield what to remark of waivers by the day (UTC): those that ended, or soon will."""
    for waiver in ruleset.waivers:
        left = (waiver.until - today).days
        whose = f"the waiver of {waiver.rule} by {waiver.owner}"
        if left < 0:
            yield at(waiver, f"{whose} ended on {waiver.until}")
        elif left <= WAIVER_NOTICE_DAYS:
            yield at(waiver, f"{whose} ends on {waiver.until}")
