"""Problems and remarks about a rule file's waivers: those without effect, those that end soon."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import date
from operator import ge, le
from typing import Any

from preflight.model.conditions import Condition, Operand, Operator, Sum
from preflight.model.problems import Problem
from preflight.model.report import WAIVER_NOTICE_DAYS
from preflight.model.rules import Rule, RuleSet, Waiver

_IMPLIES: Mapping[str, Callable[[Any, Any], bool]] = {
    "at_least": ge,
    "more_than": ge,
    "at_most": le,
    "less_than": le,
}
"""By operator: whether what meets the first bound also meets the second."""


def find_ineffective(ruleset: RuleSet) -> Iterator[Problem]:
    """Yield the waivers whose `accept` is no looser than their rule, so that they waive nothing.

    Only bounds of the same operator are compared, and only figures that the file itself states.
    """
    rules = {rule.id: rule for rule in ruleset.rules}
    for waiver in ruleset.waivers:
        rule = rules[waiver.rule]
        if waiver.accept is not None and _is_as_strict(waiver.accept, rule):
            message = f"accept is no looser than the rule {rule.id}, so nothing is waived"
            yield problem_of(waiver, message)


def problem_of(waiver: Waiver, message: str) -> Problem:
    """Return a problem at the position of a waiver."""
    return Problem(waiver.file, waiver.line or 0, waiver.column or 0, message)


def _is_as_strict(accept: Condition, rule: Rule) -> bool:
    """Return whether every value that `accept` takes meets the rule and its recommendation."""
    return all(
        accept.unit == condition.unit and any(_implies(accepted, test) for accepted in accept.tests)
        for condition in (rule.require, rule.recommend)
        if condition is not None
        for test in condition.tests
    )


def _implies(first: tuple[Operator, Operand], second: tuple[Operator, Operand]) -> bool:
    (operator, operand), (other_operator, other_operand) = first, second
    if operator is not other_operator:
        return False
    bound, other_bound = _stated_number(operand), _stated_number(other_operand)
    if operator.name in _IMPLIES and bound is not None and other_bound is not None:
        return _IMPLIES[operator.name](bound, other_bound)
    return bool(operand == other_operand)


def _stated_number(operand: Operand) -> float | None:
    """Return a bound that the file itself states, as a number or a sum of numbers."""
    if isinstance(operand, Sum):
        parts = [_stated_number(part) for part in operand.parts]
        known = [part for part in parts if part is not None]
        return sum(known) if len(known) == len(parts) else None
    is_number = isinstance(operand, int | float) and not isinstance(operand, bool)
    return operand if is_number else None


def find_ending(ruleset: RuleSet, today: date) -> Iterator[Problem]:
    """Yield remarks on the waivers that have ended or soon will; `today` is in UTC."""
    for waiver in ruleset.waivers:
        days_left = (waiver.until - today).days
        subject = f"the waiver of {waiver.rule} by {waiver.owner}"
        if days_left < 0:
            yield problem_of(waiver, f"{subject} ended on {waiver.until}")
        elif days_left <= WAIVER_NOTICE_DAYS:
            yield problem_of(waiver, f"{subject} ends on {waiver.until}")
