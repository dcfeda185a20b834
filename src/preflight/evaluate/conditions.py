"""Applies conditions to facts, in three values: True, False, or an Unknown with its reason.

An absent value meets `exists: false` and no other condition.
"""

from collections.abc import Iterable, Iterator, Mapping
from math import inf, nextafter
from typing import Any, NamedTuple, TypeAlias

from preflight.model.conditions import (
    ANY_ITEM_SEGMENT,
    Condition,
    FactBound,
    Operand,
    Operator,
    SumOfBounds,
)
from preflight.model.facts import Facts, Path, Unit, Unknown, Value
from preflight.model.quantities import PARSER_BY_UNIT, is_finite_and_within_limit
from preflight.model.rules import FactCondition

TruthOrUnknown: TypeAlias = bool | Unknown

_NUMBER_TYPES: tuple[type, ...] = (int, float)
_TYPES_BY_UNIT: Mapping[Unit, tuple[type, ...]] = {
    "list": (list, tuple),
    "text": (str,),
    "version": (str,),
    "boolean": (bool,),
    "map": (dict,),
}


class FactLookup(NamedTuple):
    """Where names are looked up: the facts, and the item of `collection` that `*` stands for."""

    facts: Facts
    item: str | None = None
    collection: Path = ()

    def get(self, path: Path) -> Value | Unknown:
        """Return the value at `path` for this item."""
        return self.facts.get(self.replace_item_segment(path))

    def prepend_item_to_path(self, path: Path) -> Path | None:
        """Return the path below the item, or None outside of `for_each`."""
        return None if self.item is None else (*self.collection, self.item, *path)

    def replace_item_segment(self, path: Path) -> Path:
        """Return the path with the item in place of `*`."""
        if self.item is None or ANY_ITEM_SEGMENT not in path:
            return path
        return tuple([self.item if segment == ANY_ITEM_SEGMENT else segment for segment in path])


def meets_condition(
    condition: Condition, actual: Value | Unknown, scope: FactLookup
) -> TruthOrUnknown:
    """Return whether `actual` meets every test of the condition."""
    tests, unit = condition
    value = convert_value(actual, unit)
    if len(tests) == 1:  # as of most
        return _evaluate_test(*tests[0], value, unit, scope)
    return kleene_and(_evaluate_test(*test, value, unit, scope) for test in tests)


def all_conditions_hold(when: Iterable[FactCondition], scope: FactLookup) -> TruthOrUnknown:
    """Return whether every line of a `when` holds."""
    return kleene_and(meets_condition(line.condition, scope.get(line.path), scope) for line in when)


def kleene_and(truths: Iterable[TruthOrUnknown]) -> TruthOrUnknown:
    """Return Kleene's and: false if one is false, else unknown if one is unknown."""
    result: TruthOrUnknown = True
    for truth in truths:
        if truth is False:
            return False
        if result is True:
            result = truth
    return result


def kleene_or(truths: Iterable[TruthOrUnknown]) -> TruthOrUnknown:
    """Return Kleene's or: true if one is true, else unknown if one is unknown."""
    return kleene_not(kleene_and(map(kleene_not, truths)))


def kleene_not(truth: TruthOrUnknown) -> TruthOrUnknown:
    """Return Kleene's not: what is unknown stays so."""
    return truth if isinstance(truth, Unknown) else not truth


def _evaluate_test(
    operator: Operator, operand: Operand, actual: Any, unit: Unit, scope: FactLookup
) -> TruthOrUnknown:
    if operator.shape == "condition":
        return kleene_not(meets_condition(operand, actual, scope))
    if operator.shape == "conditions":
        join = kleene_and if operator.name == "all_of" else kleene_or
        return join(meets_condition(inner, actual, scope) for inner in operand)
    if isinstance(actual, Unknown):
        return actual
    if operator.holds is None:  # exists
        return (actual is not None) is operand
    if actual is None:
        return False
    expected = operand
    if isinstance(operand, tuple):  # most are scalars
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
    classes = _TYPES_BY_UNIT.get(unit, _NUMBER_TYPES)
    if kind in classes and (classes is not _NUMBER_TYPES or is_finite_and_within_limit(value)):
        return value
    if kind is str and unit in PARSER_BY_UNIT:
        try:
            return PARSER_BY_UNIT[unit](value)
        except ValueError as fault:
            return Unknown(str(fault), "invalid")
    return Unknown(f"expected {unit}, found {value!r:.60}", "invalid")


def resolve_operand(operand: Operand, unit: Unit, scope: FactLookup) -> Any:
    """Return an operand's value, or None if the fact that it names is absent, or an Unknown."""
    if not isinstance(operand, tuple):  # most are scalars
        return operand
    if isinstance(operand, FactBound):
        element_unit = "text" if unit == "list" else unit
        value = convert_value(scope.get(operand.path), element_unit)
        if value is None or isinstance(value, Unknown) or (operand.times, operand.plus) == (1, 0):
            return value
        return convert_value(value * operand.times + operand.plus, unit)
    is_sum = isinstance(operand, SumOfBounds)
    operands = operand.parts if isinstance(operand, SumOfBounds) else operand
    parts = [resolve_operand(part, unit, scope) for part in operands]
    missing = [part for part in parts if part is None or isinstance(part, Unknown)]
    if missing and (is_sum or missing != [None] * len(missing)):
        return next((part for part in missing if part is not None), None)
    return convert_value(sum(parts), unit) if is_sum else tuple(parts)


def find_passing_values(condition: Condition, actual: Value, scope: FactLookup) -> Iterator[Value]:
    """Yield values that meet a condition: of numbers the nearest first, else as the rule has them.

    Each was judged. They are the bounds of the condition, and what is just beside them.
    """
    candidates = list(_list_values_near_bounds(condition, scope))
    if actual.__class__ in _NUMBER_TYPES:
        candidates = [value for value in candidates if isinstance(value, _NUMBER_TYPES)]
        candidates.sort(key=lambda value: abs(value - actual))
    return (value for value in candidates if meets_condition(condition, value, scope) is True)


def _list_values_near_bounds(condition: Condition, scope: FactLookup) -> Iterator[Value]:
    for operator, operand, unit in condition.list_comparisons():
        if operator.shape == "flag" and not operand:
            yield None
        elif operator.shape in ("quantity", "value", "values"):
            bound = resolve_operand(operand, unit, scope)
            for value in bound if isinstance(bound, tuple) else (bound,):
                if isinstance(value, bool):
                    yield from (value, not value)
                elif isinstance(value, int):
                    yield from (value, value + 1, value - 1)
                elif isinstance(value, float):
                    yield from (value, nextafter(value, inf), nextafter(value, -inf))
                elif isinstance(value, str):
                    yield value
