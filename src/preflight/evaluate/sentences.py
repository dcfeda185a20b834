"""The texts of a report: values, conditions, fixes, the one sentence that every format shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache
from math import ceil
from typing import Any, Literal, TypeAlias, TypeGuard

from preflight.evaluate.conditions import Scope, all_hold, convert_value, resolve_operand
from preflight.model.conditions import ITEM, Condition, Operand, Operator, Reference, Sum
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
from preflight.model.report import ResolvedFix, Severity, Verdict
from preflight.model.rules import PLACEHOLDER, Fix

Style: TypeAlias = Literal["sign", "phrase"]  # as in tables or in sentences: see Operator

MAX_TEXT_CHARS = 200  # of a text from outside in a sentence

_MIN_DIGITS: Mapping[str, int] = {"bytes": 1, "seconds": 3}
_UNIT_SIGNS: Mapping[str, str] = {"bytes": " B", "seconds": "s"}
_LOWER_BOUNDS = ("at_least", "more_than")


def format_value(
    value: Value | Unknown,
    unit: Unit,
    other: Value | None = None,
    *,
    binary: bool | None = None,
) -> str:
    """Write a value for people; `binary` chooses GiB or GB, else it is guessed.

    Digits are added until the value looks different from an `other` that differs.
    """
    if isinstance(value, Unknown):
        return "unknown"
    if value is None:
        return "none" if unit == "list" else "not set"
    if value is True or value is False:
        return "yes" if value else "no"
    if is_number(value) and is_plausible(value):
        return _format_number(value, unit, other if is_number(other) else None, binary)
    if isinstance(value, list | tuple):
        return ", ".join(format_value(part, "text") for part in value) or "none"
    return shorten(str(value))


def shorten(text: str) -> str:
    """Return a text from outside, cut where it is too long for a sentence."""
    return text if len(text) <= MAX_TEXT_CHARS else text[: MAX_TEXT_CHARS - 1] + "…"


def is_number(value: Value | Unknown) -> TypeGuard[float]:
    """Return whether a value is a number; true and false aren't."""
    return isinstance(value, int | float) and not isinstance(value, bool)


@lru_cache(maxsize=1024)  # a report writes the same few numbers again and again
def _format_number(value: float, unit: Unit, other: float | None, binary: bool | None) -> str:
    if binary is None:
        binary = is_binary(value)

    def write(number: float, digits: int) -> str:
        if unit == "bytes":
            return format_bytes(number, binary=binary, digits=digits)
        if unit == "seconds":
            return format_duration(number, digits)
        return format_number(number, digits)

    min_digits = _MIN_DIGITS.get(unit, 2)
    text = write(value, min_digits)
    if other is None or value == other or text != write(other, min_digits):
        return text
    finer = ((write(value, n), write(other, n)) for n in range(min_digits + 1, 10))
    return next((a for a, b in finer if a != b), f"{value!r}{_UNIT_SIGNS.get(unit, '')}")


def first_bound(condition: Condition, scope: Scope) -> tuple[Operator | None, Any]:
    """Return the first operator that has a bound, and the bound, looking into `any_of` too."""
    for operator, operand in condition.tests:
        if operator.shape in ("condition", "conditions"):
            for inner in operand if operator.shape == "conditions" else (operand,):
                if (found := first_bound(inner, scope))[0] is not None:
                    return found
        elif operator.shape != "flag":
            return operator, resolve_operand(operand, condition.unit, scope)
    return None, None


def resolve_condition(condition: Condition, scope: Scope) -> Mapping[str, Any]:
    """Return the condition as JSON, with the values of the facts that it refers to."""
    resolved: dict[str, Any] = {}
    for operator, operand in condition.tests:
        value: Any
        if operator.shape == "condition":
            value = resolve_condition(operand, scope)
        elif operator.shape == "conditions":
            value = [resolve_condition(inner, scope) for inner in operand]
        elif operator.shape == "range":
            value = _format_range(operand)
        else:
            value = resolve_operand(operand, condition.unit, scope)
            value = None if isinstance(value, Unknown) else value
        resolved[operator.name] = list(value) if isinstance(value, tuple) else value
    return resolved


def describe_condition(
    condition: Condition, scope: Scope | None, style: Style = "phrase", other: Value = None
) -> str:
    """Write a condition; without a scope the facts that it refers to are written by name.

    Its numbers look different from an `other` value that differs.
    """
    unit = condition.unit

    def describe_operand(operator: Operator, operand: Operand) -> str:
        if operator.shape == "condition":
            return describe_condition(operand, scope, style, other)
        if operator.shape == "conditions":
            join = " and " if operator.name == "all_of" else " or "
            return join.join(describe_condition(inner, scope, style, other) for inner in operand)
        if operator.shape == "flag":
            return "set" if operand else "none" if unit == "list" else "not set"
        if operator.shape == "range":
            return _format_range(operand)
        if scope is None:
            return _describe_formula(operand, unit)
        value = resolve_operand(operand, unit, scope)
        if operator.shape == "values" and isinstance(value, tuple):
            return " or ".join(format_value(part, unit, other) for part in value)
        text = format_value(value, unit, other)
        if isinstance(operand, Reference) and (value is None or isinstance(value, Unknown)):
            return f"{join_path(scope.absolute(operand.path))} ({text})"
        return text

    if style == "sign":
        return ", ".join(test[0].sign + describe_operand(*test) for test in condition.tests)
    return " and ".join(test[0].phrase + describe_operand(*test) for test in condition.tests)


def _describe_formula(operand: Operand, unit: Unit) -> str:
    """Write an operand as a formula over the names of facts."""
    if isinstance(operand, Sum):
        return " + ".join(_describe_formula(part, unit) for part in operand.parts)
    if isinstance(operand, Reference):
        times = "" if operand.times == 1 else f"{format_number(operand.times)} × "
        plus = ""
        if operand.plus:
            sign = "+" if operand.plus > 0 else "-"
            plus = f" {sign} {format_value(abs(operand.plus), unit)}"
        return f"{times}{name_in_item(operand.path)}{plus}"
    if isinstance(operand, tuple):
        return " or ".join(_describe_formula(part, unit) for part in operand)
    return format_value(operand, unit)


def name_in_item(path: Path) -> str:
    """Return the name of a fact, of an item's own fact the part below the item."""
    return join_path(path[path.index(ITEM) + 1 :] if ITEM in path else path)


def _format_range(bounds: tuple[tuple[str, tuple[int, ...]], ...]) -> str:
    return ",".join(f"{sign}{'.'.join(map(str, version))}" for sign, version in bounds)


class ComparisonText:
    """A fact's value beside the condition that it must meet, as tables, sentences and fixes do."""

    def __init__(self, actual: Value | Unknown, condition: Condition, scope: Scope) -> None:
        self.raw = actual
        self.condition = condition
        self.scope = scope
        self.unit = condition.unit
        self.actual = convert_value(actual, self.unit)
        self.operator, self.bound = first_bound(condition, scope)
        self.number: float | None = self.bound if is_number(self.bound) else None
        self.binary = None if self.number is None else is_binary(self.number)
        if isinstance(self.actual, Unknown) and not isinstance(actual, Unknown):
            self.actual_text = format_value(actual, "text")  # of another type than declared
        else:
            self.actual_text = format_value(self.actual, self.unit, self.number, binary=self.binary)

    def in_both_units(self) -> str:
        """Write the value; a size in GB and in GiB, since tools disagree on which they print."""
        text = self.actual_text
        if self.unit != "bytes" or not is_number(self.actual):
            return text
        binary = is_binary(self.actual) if self.binary is None else self.binary
        other = format_bytes(self.actual, binary=not binary)
        return text if other == text else f"{text} ({other})"

    def describe(self, style: Style = "phrase") -> str:
        """Write the condition."""
        return describe_condition(self.condition, self.scope, style, self.actual)

    def bare_bound(self) -> str:
        """Write the bound without its operator, for fixes; nothing where it isn't known."""
        if self.operator is not None and (self.bound is None or isinstance(self.bound, Unknown)):
            return ""
        if self.operator is None or self.operator.shape != "quantity":
            return self.describe()
        return format_value(self.bound, self.unit, self.actual)

    def shortfall(self) -> str:
        """Write by how much the value misses its bound, or nothing."""
        if self.number is None or self.operator is None or not is_number(self.actual):
            return ""
        is_lower = self.operator.name in _LOWER_BOUNDS
        gap = self.number - self.actual if is_lower else self.actual - self.number
        if gap <= 0 or self.operator.shape != "quantity":
            return ""
        if self.unit == "bytes" and is_plausible(gap):
            return format_bytes(ceil(gap), binary=self.binary, round_up=True)
        return format_value(gap, self.unit, 0)

    def sentence(self, title: str, verdict: Verdict, severity: Severity, reason: str) -> str:
        """Write what was found and what is required: the message of a result."""
        if verdict in ("unknown", "skip"):
            return f"{title}: {'unknown' if verdict == 'unknown' else 'skipped'}, {reason}"
        actual, words = self.in_both_units(), self.describe()
        is_flag = [operator.shape for operator, _ in self.condition.tests] == ["flag"]
        if self.unit == "boolean" or (is_flag and self.actual is not None):
            return f"{title}: {actual}"
        if is_flag:
            return f"{title}: not set ({severity})" if self.condition.tests[0][1] else title
        if words.startswith("not "):
            modal = "must" if severity == "required" else "should"
            requirement = f"{modal} not be {words[4:]}"
        else:
            if self.operator is not None and self.operator.shape in ("pattern", "element"):
                words = f"a value {words}"
            required = severity == "required"
            requirement = f"needs {words}" if required else f"{words} recommended"
        gap = "" if verdict == "pass" else self.describe_gap()
        return f"{title}: {actual}, {requirement}{gap}"

    def describe_gap(self) -> str:
        """Write ` (1.8 GB short)` or ` (2 over)` where the value misses its bound."""
        if self.operator is None or not (gap := self.shortfall()):
            return ""
        return f" ({gap} {'short' if self.operator.name in _LOWER_BOUNDS else 'over'})"

    def format_placeholder(self, catalogue: Catalogue, name: str) -> str | None:
        """Return the text for a placeholder of a fix: a value, the item, or a fact by its path."""
        if name == "item":
            return self.scope.item
        if name == "actual":
            return None if isinstance(self.raw, Unknown) else self.actual_text
        if name in ("expected", "missing"):
            return self.bare_bound() if name == "expected" else self.shortfall()
        path = split_path(name)
        relative = self.scope.relative(path)
        if relative is not None and catalogue.find(relative) is not None:
            path = relative
        return format_fact(self.scope.facts, catalogue, path)


def fill_placeholders(text: str, format_: Callable[[str], str | None]) -> str | None:
    """Replace the placeholders of a text. None where one is unknown: the text is not shown then."""
    if "{" not in text:
        return text
    texts: dict[str, str] = {}
    for name in PLACEHOLDER.findall(text):
        value = format_(name)
        if not value:
            return None
        texts[name] = value
    return PLACEHOLDER.sub(lambda match: texts[match[1]], text)


def format_fact(facts: Facts, catalogue: Catalogue, path: Path) -> str | None:
    """Return a fact as people read it, None where it is unknown or not declared."""
    value, fact = facts.get(path), catalogue.find(path)
    if fact is None or isinstance(value, Unknown):
        return None
    return format_value(value, fact.unit)


def resolve_fixes(
    fixes: Iterable[Fix], scope: Scope, format_placeholder: Callable[[str], str | None]
) -> Iterator[ResolvedFix]:
    """Yield the first fix whose `when` holds, and those without `when`, in their order.

    A fix is left out where its text or command has an unknown placeholder.
    """
    chosen = False
    for fix in fixes:
        if fix.when and (chosen or all_hold(fix.when, scope) is not True):
            continue
        text, command, url = (
            fill_placeholders(part, format_placeholder) if part else part
            for part in (fix.text, fix.command, fix.url)
        )
        if text is None or (fix.command and command is None):
            continue
        chosen = chosen or bool(fix.when)
        yield ResolvedFix(text, command, url)
