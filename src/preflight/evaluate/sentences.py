"""The words of a report: figures, bounds and the one sentence that every format shows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from math import ceil
from typing import Any, TypeGuard

from preflight.evaluate.conditions import Scope, bound, typed
from preflight.model.conditions import Condition, Operator, Reference
from preflight.model.facts import (
    Catalogue,
    Facts,
    Path,
    Unit,
    Unknown,
    Value,
    join_path,
    split_path,
)
from preflight.model.quantities import (
    format_bytes,
    format_duration,
    format_number,
    is_binary,
    is_plausible,
)
from preflight.model.rules import PLACEHOLDER

_DIGITS: Mapping[str, int] = {"bytes": 1, "seconds": 3}
_SIGNS: Mapping[str, str] = {"bytes": " B", "seconds": "s"}
_LEAST = ("at_least", "more_than")
MAX_TEXT_CHARS = 200  # characters of a foreign text in a sentence


def figure(
    value: Value | Unknown, unit: Unit, beside: Value | None = None, *, binary: bool | None = None
) -> str:
    """Write a value for people; a size in GiB where `binary`, else as it was probably written.

    Digits are added until a value that differs from the figure beside it also looks different.
    """
    if isinstance(value, Unknown):
        return "unknown"
    if value is None:
        return "none" if unit == "list" else "not set"
    if value is True or value is False:
        return "yes" if value else "no"
    if is_number(value) and is_plausible(value):
        return _number(value, unit, beside if is_number(beside) else None, binary)
    if isinstance(value, list | tuple):
        return ", ".join(figure(part, "text") for part in value) or "none"
    return brief(str(value))


def brief(text: str) -> str:
    """Return a foreign text as a sentence holds it: its beginning where it is long."""
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"


def is_number(value: Value | Unknown) -> TypeGuard[float]:
    """Whether a value is a figure; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=1024)  # a report writes the same few figures again and again
def _number(value: float, unit: Unit, beside: float | None, binary: bool | None) -> str:
    if binary is None:
        binary = is_binary(value)

    def write(number: float, digits: int) -> str:
        if unit == "bytes":
            return format_bytes(number, binary=binary, digits=digits)
        return (
            format_duration(number, digits) if unit == "seconds" else format_number(number, digits)
        )

    least = _DIGITS.get(unit, 2)
    text = write(value, least)
    if beside is None or value == beside or text != write(beside, least):
        return text
    finer = ((write(value, n), write(beside, n)) for n in range(least + 1, 10))
    return next((a for a, b in finer if a != b), f"{value!r}{_SIGNS.get(unit, '')}")


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


def phrase(
    condition: Condition, scope: Scope, style: Callable[[Operator], str], beside: Value = None
) -> str:
    """Write a condition: `style` picks the operator's sign (tables) or phrase (sentences).

    Its figures look different from the one `beside` them wherever they differ.
    """
    join = ", " if style is sign else " and "
    return join.join(
        _phrase(row, operand, condition.unit, scope, style, beside)
        for row, operand in condition.tests
    )


def _phrase(
    row: Operator,
    operand: Any,
    unit: Unit,
    scope: Scope,
    style: Callable[[Operator], str],
    beside: Value,
) -> str:
    if row.shape == "condition":
        return style(row) + phrase(operand, scope, style, beside)
    if row.shape == "conditions":
        join = " and " if row.name == "all_of" else " or "
        return join.join(phrase(one, scope, style, beside) for one in operand)
    if row.shape == "flag":
        return "set" if operand else "none" if unit == "list" else "not set"
    if row.shape == "range":
        return _range(operand)
    value = bound(operand, unit, scope)
    if row.shape == "values" and isinstance(value, tuple):
        return style(row) + " or ".join(figure(one, unit, beside) for one in value)
    if isinstance(operand, Reference) and (value is None or isinstance(value, Unknown)):
        return f"{style(row)}{join_path(scope.absolute(operand.path))} ({figure(value, unit)})"
    return style(row) + figure(value, unit, beside)


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
        self.beside: float | None = self.bound if is_number(self.bound) else None
        self.binary = None if self.beside is None else is_binary(self.beside)
        self.found = self._found()

    def _found(self) -> str:
        """The value, in the units of what is asked."""
        if isinstance(self.actual, Unknown) and not isinstance(self.raw, Unknown):
            return figure(self.raw, "text")  # there, but not of its kind
        return figure(self.actual, self.unit, self.beside, binary=self.binary)

    def both(self) -> str:
        """The value; a size also in the other family, since tools disagree which one they print."""
        text = self.found
        if self.unit != "bytes" or not is_number(self.actual):
            return text
        binary = is_binary(self.actual) if self.binary is None else self.binary
        other = format_bytes(self.actual, binary=not binary)
        return text if other == text else f"{text} ({other})"

    def asked(self) -> str:
        """The bound with its sign."""
        return phrase(self.condition, self.scope, sign, self.actual)

    def wanted(self) -> str:
        """The bound in words."""
        return phrase(self.condition, self.scope, words, self.actual)

    def expected(self) -> str:
        """The bare bound, for a fix to name; nothing where it is not known."""
        if self.row is not None and (self.bound is None or isinstance(self.bound, Unknown)):
            return ""
        if self.row is None or self.row.shape != "quantity":
            return self.wanted()
        return figure(self.bound, self.unit, self.actual)

    def missing(self) -> str:
        """How far the value is on the wrong side of the bound, or nothing."""
        if self.beside is None or self.row is None or not is_number(self.actual):
            return ""
        gap = self.beside - self.actual if self.row.name in _LEAST else self.actual - self.beside
        if gap <= 0 or self.row.shape != "quantity":
            return ""
        if self.unit == "bytes" and is_plausible(gap):
            return format_bytes(ceil(gap), binary=self.binary, up=True)
        return figure(gap, self.unit, 0)

    def short(self) -> str:
        """` (1.8 GB short)` where the value is below or above its bound, else nothing."""
        if self.row is None or not (gap := self.missing()):
            return ""
        return f" ({gap} {'short' if self.row.name in _LEAST else 'over'})"

    def word(self, catalogue: Catalogue, name: str) -> str | None:
        """Return what a placeholder stands for: a figure, the item, or a fact by its path."""
        if name == "item":
            return self.scope.item
        if name == "actual":
            return None if isinstance(self.raw, Unknown) else self.found
        if name in ("expected", "missing"):
            return self.expected() if name == "expected" else self.missing()
        path = split_path(name)
        relative = self.scope.relative(path)
        if relative is not None and catalogue.find(relative) is not None:
            path = relative
        return fact_word(self.scope.facts, catalogue, path)


def fill(text: str, word: Callable[[str], str | None]) -> str | None:
    """Replace placeholders by the word for each. None where one of them is unknown.

    A sentence with a hole in it is no advice, so a fix that can't be filled is not shown.
    """
    if "{" not in text:
        return text
    filled: dict[str, str] = {}
    for name in PLACEHOLDER.findall(text):
        found = word(name)
        if not found:
            return None
        filled[name] = found
    return PLACEHOLDER.sub(lambda match: filled[match[1]], text)


def fact_word(facts: Facts, catalogue: Catalogue, path: Path) -> str | None:
    """Return a fact as people read it, None where it is unknown or no fact."""
    value, fact = facts.get(path), catalogue.find(path)
    return None if fact is None or isinstance(value, Unknown) else figure(value, fact.unit)
