"""The conditions of the rule language: one table for the loader, the judge, sentences and docs.

A condition is data here; `judge_rules` applies it to facts.
"""

import operator
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

from preflight.model.facts import Path, Unit
from preflight.model.quantities import Version, parse_version

OperandShape: TypeAlias = Literal[
    "quantity", "value", "values", "pattern", "element", "range", "flag", "condition", "conditions"
]

ANY_ITEM_SEGMENT = "*"  # the segment of a path that stands for the item of `for_each`


class FactBound(NamedTuple):
    """Another fact as a bound: its value `times` a factor `plus` a figure in its unit."""

    path: Path
    times: float = 1
    plus: float = 0


class SumOfBounds(NamedTuple):
    """The sum of bounds."""

    parts: tuple["Operand", ...]


Operand: TypeAlias = Any  # a scalar, a Reference, a Sum, or what the operator's shape says


class Operator(NamedTuple):
    """One row of the table: `holds(actual, expected)` over known, present, typed values."""

    name: str
    shape: OperandShape
    sign: str  # in a table: `≥ 10 GB`
    phrase: str  # in a sentence: `at least 10 GB`
    summary: str
    holds: Callable[[Any, Any], bool] | None = None

    def __repr__(self) -> str:
        return self.name


class Condition(NamedTuple):
    """Tests that must all hold. `unit` is how the fact's value is read."""

    tests: tuple[tuple[Operator, Operand], ...]
    unit: Unit

    def list_comparisons(self) -> list[tuple[Operator, Operand, Unit]]:
        """Return the tests that compare with something, also those within `any_of` and the like."""
        comparisons = []
        for row, operand in self.tests:
            if row.shape in ("condition", "conditions"):
                for inner in operand if row.shape == "conditions" else (operand,):
                    comparisons += inner.list_comparisons()
            else:
                comparisons.append((row, operand, self.unit))
        return comparisons

    @property
    def compares_with_value(self) -> bool:
        """Whether it compares with more than true or false, or set or not set."""
        return self.unit != "boolean" and any(row.shape != "flag" for row, _ in self.tests)

    def referenced_facts(self) -> Iterator[Path]:
        """Yield the facts that are bounds, or parts of one."""
        for _, operand, _ in self.list_comparisons():
            yield from referenced_facts(operand)


def referenced_facts(operand: Operand) -> Sequence[Path]:
    """Return the facts that an operand refers to."""
    if not isinstance(operand, tuple):  # most are scalars
        return ()
    if isinstance(operand, FactBound):
        return (operand.path,)
    return [path for part in operand for path in referenced_facts(part)]  # of a sum, too


def _is_version_in_range(actual: str, bounds: tuple[tuple[str, Version], ...]) -> bool:
    version = parse_version(actual)
    return all(_COMPARISON_FUNCTION_BY_SYMBOL[sign](version, bound) for sign, bound in bounds)


def _matches_pattern(actual: str, pattern: str) -> bool:
    from preflight.model.patterns import search_with_time_limit  # few conditions need it

    return (
        search_with_time_limit(re.compile(pattern), actual) is not None
    )  # the loader has checked it


_COMPARISON_FUNCTION_BY_SYMBOL: dict[str, Callable[[Any, Any], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}

OPERATORS: dict[str, Operator] = {
    row.name: row
    for row in (
        Operator("at_least", "quantity", "≥ ", "at least ", "not less than", operator.ge),
        Operator("at_most", "quantity", "≤ ", "at most ", "not more than", operator.le),
        Operator("more_than", "quantity", "> ", "more than ", "more than", operator.gt),
        Operator("less_than", "quantity", "< ", "less than ", "less than", operator.lt),
        Operator("equals", "value", "", "", "the same", operator.eq),
        Operator("not_equals", "value", "not ", "not ", "different", operator.ne),
        Operator("one_of", "values", "", "", "one of these", lambda a, e: a in e),
        Operator("none_of", "values", "not ", "not ", "none of these", lambda a, e: a not in e),
        Operator(
            "matches",
            "pattern",
            "matches ",
            "matching ",
            "a regular expression found in the text",
            _matches_pattern,
        ),
        Operator(
            "contains",
            "element",
            "contains ",
            "containing ",
            "a part of the text, or an element of the list",
            lambda a, e: e in a,
        ),
        Operator("version", "range", "", "", "a version within a range", _is_version_in_range),
        Operator("exists", "flag", "", "", "set (true) or not set (false)"),
        Operator("all_of", "conditions", "", "", "every condition of a list"),
        Operator("any_of", "conditions", "", "", "at least one condition of a list"),
        Operator("not", "condition", "not ", "not ", "the opposite of a condition"),
    )
}
