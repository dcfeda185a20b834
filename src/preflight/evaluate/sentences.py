"""The words of a report: figures, bounds and the one sentence that every format shows."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from preflight.evaluate.conditions import Scope, bound, typed
from preflight.model.conditions import Condition, Operator
from preflight.model.facts import Catalogue, Unit, Unknown, Value, split_path
from preflight.model.quantities import format_bytes, format_duration, format_number, is_binary

PLACEHOLDER = re.compile(r"(?<!\{)\{([a-z_][A-Za-z0-9_.\"-]*)\}(?!\})")
_LEAST = ("at_least", "more_than")
_MOST_TEXT = 200  # characters of a foreign text in a sentence


def figure(value: Value | Unknown, unit: Unit, beside: float | None = None) -> str:
    """Write a value for people; a size in the family (GB or GiB) of the figure `beside` it.

    Digits are added until a value that differs from the figure beside it also looks different.
    """
    if isinstance(value, Unknown):
        return "unknown"
    if value is None:
        return "not set"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return _number(value, unit, beside)
    if isinstance(value, list | tuple):
        return ", ".join(figure(part, "text") for part in value) or "none"
    text = str(value)
    return text if len(text) <= _MOST_TEXT else text[: _MOST_TEXT - 1] + "…"


def _number(value: float, unit: Unit, beside: float | None) -> str:
    if unit == "seconds":
        return format_duration(value)
    binary = is_binary(value if beside is None else beside)

    def write(number: float, digits: int) -> str:
        if unit == "bytes":
            return format_bytes(number, binary=binary, digits=digits)
        return format_number(number, digits)

    digits = 1 if unit == "bytes" else 2
    if beside is not None and value != beside:
        while digits < 9 and write(value, digits) == write(beside, digits):
            digits += 1
    return write(value, digits)


def first_bound(condition: Condition, scope: Scope) -> tuple[Operator, Any] | None:
    """Return the first test with its bound, looking into `any_of` and the like."""
    for row, operand in condition.tests:
        if row.shape in ("condition", "conditions"):
            for inner in operand if row.shape == "conditions" else (operand,):
                if (found := first_bound(inner, scope)) is not None:
                    return found
        elif row.shape != "flag":
            return row, bound(operand, condition.unit, scope)
    return None


def expected_json(condition: Condition, scope: Scope) -> Mapping[str, Any]:
    """Return the condition with its references resolved, as reports hold it."""
    resolved: dict[str, Any] = {}
    for row, operand in condition.tests:
        value: Any
        if row.shape == "condition":
            value = expected_json(operand, scope)
        elif row.shape == "conditions":
            value = [expected_json(one, scope) for one in operand]
        elif row.shape == "range":
            value = _range(operand)
        else:
            value = bound(operand, condition.unit, scope)
            value = None if isinstance(value, Unknown) else value
        resolved[row.name] = list(value) if isinstance(value, tuple) else value
    return resolved


def phrase(condition: Condition, scope: Scope, style: Callable[[Operator], str]) -> str:
    """Write a condition: `style` picks the operator's sign (tables) or phrase (sentences)."""
    return " and ".join(
        _phrase(row, operand, condition.unit, scope, style) for row, operand in condition.tests
    )


def _phrase(
    row: Operator, operand: Any, unit: Unit, scope: Scope, style: Callable[[Operator], str]
) -> str:
    if row.shape == "condition":
        return style(row) + phrase(operand, scope, style)
    if row.shape == "conditions":
        join = " and " if row.name == "all_of" else " or "
        return join.join(phrase(one, scope, style) for one in operand)
    if row.shape == "flag":
        return "set" if operand else "not set"
    if row.shape == "range":
        return _range(operand)
    value = bound(operand, unit, scope)
    if row.shape == "values" and isinstance(value, tuple):
        return style(row) + " or ".join(figure(one, unit) for one in value)
    return style(row) + figure(value, unit)


def _range(bounds: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    return ",".join(f"{sign}{'.'.join(map(str, version))}" for sign, version in bounds)


def sign(row: Operator) -> str:
    """Pick the operator's sign."""
    return row.sign


def words(row: Operator) -> str:
    """Pick the operator's words."""
    return row.phrase


class Figures:
    """The figures of one judged rule, as its table cell, its sentence and its fixes write them."""

    def __init__(self, actual: Value | Unknown, condition: Condition, scope: Scope) -> None:
        self.unit = condition.unit
        self.actual = typed(actual, self.unit)
        self.raw = actual
        self.condition = condition
        self.scope = scope
        first = first_bound(condition, scope)
        self.row: Operator | None = first[0] if first else None
        self.bound: Any = first[1] if first else None
        number = isinstance(self.bound, int | float) and not isinstance(self.bound, bool)
        self.beside: float | None = self.bound if number else None

    @cached_property
    def found(self) -> str:
        """The value, in the units of what is asked."""
        if isinstance(self.actual, Unknown) and not isinstance(self.raw, Unknown):
            return figure(self.raw, "text")  # there, but not of its kind
        return figure(self.actual, self.unit, self.beside)

    def both(self) -> str:
        """The value; a size also in the other family, since tools disagree which one they print."""
        text = self.found
        if self.unit != "bytes" or not isinstance(self.actual, int | float) or not self.actual:
            return text
        other = not is_binary(self.actual if self.beside is None else self.beside)
        return f"{text} ({format_bytes(self.actual, binary=other)})"

    def asked(self) -> str:
        """The bound with its sign."""
        return phrase(self.condition, self.scope, sign)

    def wanted(self) -> str:
        """The bound in words."""
        return phrase(self.condition, self.scope, words)

    def expected(self) -> str:
        """The bare bound, for a fix to name."""
        if self.row is None or self.row.shape != "quantity":
            return self.wanted()
        return figure(self.bound, self.unit)

    def missing(self) -> str:
        """How far the value is on the wrong side of the bound, or nothing."""
        if self.beside is None or self.row is None or not isinstance(self.actual, int | float):
            return ""
        gap = self.beside - self.actual if self.row.name in _LEAST else self.actual - self.beside
        if gap < 0 or self.row.shape != "quantity":
            return ""
        if self.unit == "bytes":
            return format_bytes(gap, binary=is_binary(self.beside))
        return figure(gap, self.unit)

    def short(self) -> str:
        """` (1.8 GB short)` where the value is below or above its bound, else nothing."""
        if self.row is None or not (gap := self.missing()):
            return ""
        return f" ({gap} {'short' if self.row.name in _LEAST else 'over'})"


def fill(text: str, figures: Figures, catalogue: Catalogue) -> str | None:
    """Replace placeholders: figures, the item, facts by path. None where one of them is unknown.

    A sentence with a hole in it is no advice, so a fix that can't be filled is not shown.
    """
    if "{" not in text:
        return text
    values = {name: _value(name, figures, catalogue) for name in PLACEHOLDER.findall(text)}
    if not all(values.values()):
        return None
    return PLACEHOLDER.sub(lambda match: values[match[1]] or "", text)


def _value(name: str, figures: Figures, catalogue: Catalogue) -> str | None:
    if name == "item":
        return figures.scope.item
    if name == "actual":
        return None if isinstance(figures.raw, Unknown) else figures.found
    if name in ("expected", "missing"):
        return figures.expected() if name == "expected" else figures.missing()
    path = split_path(name)
    relative = figures.scope.relative(path)
    if relative is not None and catalogue.find(relative) is not None:
        path = relative
    value, fact = figures.scope.facts.get(path), catalogue.find(path)
    return None if isinstance(value, Unknown) else figure(value, fact.unit if fact else "text")
