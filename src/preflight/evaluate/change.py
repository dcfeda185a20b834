"""The smallest change that passes: the nearest value of a rule's fact with which it would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from math import inf, nextafter
from typing import Any

from preflight.evaluate.conditions import Scope, Truth, bound, typed
from preflight.model.conditions import Condition
from preflight.model.facts import Unknown, Value

Proof = Callable[[Value], Truth]
"""Judges the rule again with its fact at this value."""


def smallest(
    condition: Condition, actual: Value, scope: Scope, proof: Proof
) -> tuple[Value] | None:
    """Return the nearest value that the proof holds for, None where none was found.

    A text is offered as it stands in the rule; numbers are tried from the nearest on.
    """
    offers = list(_offers(condition, scope))
    now = typed(actual, condition.unit)
    if isinstance(now, int | float) and not isinstance(now, bool):
        offers = [one for one in offers if isinstance(one, int | float)]
        offers.sort(key=lambda one: abs(one - now))
    return next(((one,) for one in offers if proof(one) is True), None)


def _offers(condition: Condition, scope: Scope) -> Iterator[Any]:
    """Yield the values at the edges of a condition's tests."""
    for row, operand in condition.tests:
        if row.shape in ("condition", "conditions"):
            for inner in operand if row.shape == "conditions" else (operand,):
                yield from _offers(inner, scope)
        elif row.shape == "flag":
            if not operand:
                yield None
        elif row.shape in ("quantity", "value", "values"):
            edge = bound(operand, condition.unit, scope)
            for one in edge if isinstance(edge, tuple) else (edge,):
                if one is not None and not isinstance(one, Unknown):
                    yield from _near(one)


def _near(edge: Any) -> Iterator[Any]:
    """Yield a bound, and the nearest values beside it for `more_than` and the like."""
    yield edge
    if isinstance(edge, bool):
        yield not edge
    elif isinstance(edge, int):
        yield from (edge + 1, edge - 1)
    elif isinstance(edge, float):
        yield from (nextafter(edge, inf), nextafter(edge, -inf))
