"""Applies conditions to facts, in three values: True, False, or an Unknown with its reason.

An absent value meets `exists: false` and no other condition.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, TypeAlias

from preflight.model.conditions import ITEM_SEGMENT, Condition, Operand, Operator, Reference, Sum
from preflight.model.facts import Facts, Path, Unit, Unknown, Value
from preflight.model.quantities import PARSER_BY_UNIT, is_plausible
from preflight.model.rules import FactCondition

Truth: TypeAlias = bool | Unknown

_NUMBERS: tuple[type, ...] = (int, float)
_CLASSES: Mapping[Unit, tuple[type, ...]] = {
    "list": (list, tuple),
    "text": (str,),
    "version": (str,),
    "boolean": (bool,),
    "map": (dict,),
}


class Scope(NamedTuple):
    """Where names are looked up: the facts, and the item of `collection` that `*` stands for."""

    facts: Facts
    item: str | None = None
    collection: Path = ()

    def get(self, path: Path) -> Value | Unknown:
        """Return the value at `path` for this item."""
        return self.facts.get(self.absolute(path))

    def relative(self, path: Path) -> Path | None:
        """Return the path below the item, or None outside of `for_each`."""
        return None if self.item is None else (*self.collection, self.item, *path)

    def absolute(self, path: Path) -> Path:
        """Return the path with the item in place of `*`."""
        if self.item is None or ITEM_SEGMENT not in path:
            return path
        return tuple(self.item if segment == ITEM_SEGMENT else segment for segment in path)


def meets(condition: Condition, actual: Value | Unknown, scope: Scope) -> Truth:
    """Return whether `actual` meets every test of the condition."""
    value = convert_value(actual, condition.unit)
    return all_true(_holds(*test, value, condition.unit, scope) for test in condition.tests)


def all_hold(when: Iterable[FactCondition], scope: Scope) -> Truth:
    """Return whether every line of a `when` holds."""
    return all_true(meets(line.condition, scope.get(line.path), scope) for line in when)


def all_true(truths: Iterable[Truth]) -> Truth:
    """Return Kleene's and: false if one is false, else unknown if one is unknown."""
    result: Truth = True
    for truth in truths:
        if truth is False:
            return False
        if result is True:
            result = truth
    return result


def any_true(truths: Iterable[Truth]) -> Truth:
    """Return Kleene's or: true if one is true, else unknown if one is unknown."""
    return negate(all_true(map(negate, truths)))


def negate(truth: Truth) -> Truth:
    """Return Kleene's not: what is unknown stays so."""
    return truth if isinstance(truth, Unknown) else not truth


def _holds(operator: Operator, operand: Operand, actual: Any, unit: Unit, scope: Scope) -> Truth:
    if operator.shape == "condition":
        return negate(meets(operand, actual, scope))
    if operator.shape == "conditions":
        join = all_true if operator.name == "all_of" else any_true
        return join(meets(inner, actual, scope) for inner in operand)
    if isinstance(actual, Unknown):
        return actual
    if operator.holds is None:  # exists
        return (actual is not None) is operand
    if actual is None:
        return False
    if operator.shape == "values":
        parts = [resolve_operand(part, unit, scope) for part in operand]
        unknown = next((part for part in parts if isinstance(part, Unknown)), None)
        return operator.holds(actual, parts) if actual in parts or unknown is None else unknown
    expected = resolve_operand(operand, unit, scope)
    if isinstance(expected, Unknown):
        return expected
    if expected is None:
        return False
    try:
        return operator.holds(actual, expected)
    except (TypeError, ValueError) as fault:
        return Unknown(str(fault), "invalid")


def convert_value(value: Value | Unknown, unit: Unit) -> Value | Unknown:
    """Return a value in its unit, parsing text if needed; an Unknown if it is of another type."""
    if value is None or isinstance(value, Unknown):
        return value
    kind = value.__class__
    classes = _CLASSES.get(unit, _NUMBERS)
    if kind in classes and (classes is not _NUMBERS or is_plausible(value)):
        return value
    if kind is str and unit in PARSER_BY_UNIT:
        try:
            return PARSER_BY_UNIT[unit](value)
        except ValueError as fault:
            return Unknown(str(fault), "invalid")
    return Unknown(f"expected {unit}, found {value!r:.60}", "invalid")


def resolve_operand(operand: Operand, unit: Unit, scope: Scope) -> Any:
    """Return an operand's value, None if the fact that it names is absent, or an Unknown."""
    kind = operand.__class__
    if kind is Reference:
        element_unit = "text" if unit == "list" else unit
        value = convert_value(scope.get(operand.path), element_unit)
        if value is None or isinstance(value, Unknown) or (operand.times, operand.plus) == (1, 0):
            return value
        return convert_value(value * operand.times + operand.plus, unit)
    if kind is Sum or kind is tuple:
        operands = operand.parts if kind is Sum else operand
        parts = [resolve_operand(part, unit, scope) for part in operands]
        missing = [part for part in parts if part is None or isinstance(part, Unknown)]
        if missing and not (kind is tuple and missing == [None] * len(missing)):
            return next((part for part in missing if part is not None), None)
        return convert_value(sum(parts), unit) if kind is Sum else tuple(parts)
    return operand
