"""What would make a rule pass: its fixes, filled in, and the smallest change of its fact."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from math import inf, nextafter
from typing import Any

from preflight.evaluate.conditions import Scope, all_hold, meets, resolve_operand
from preflight.evaluate.sentences import Comparison, fill_placeholders, format_value, is_number
from preflight.model.conditions import Condition
from preflight.model.facts import Measured, Path, Unknown, join_path
from preflight.model.report import ProposedChange, ResolvedFix
from preflight.model.rules import Fix


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


def propose_change(fact: Path, comparison: Comparison) -> ProposedChange | None:
    """Return the nearest value of the fact that meets the condition, None where none is found.

    Each is judged again. Texts are tried in the order of the rule, numbers from the nearest on.
    """
    condition, scope, actual = comparison.condition, comparison.scope, comparison.actual
    path = scope.absolute(fact)
    candidates = list(_candidates(condition, scope))
    if is_number(actual):
        candidates = [value for value in candidates if isinstance(value, int | float)]
        candidates.sort(key=lambda value: abs(value - actual))
    for value in candidates:
        if meets(condition, value, scope._replace(changed=Measured(path, value))) is True:
            after = format_value(value, comparison.unit, actual, binary=comparison.binary)
            text = f"{comparison.actual_text} → {after}"
            return ProposedChange(join_path(path), comparison.raw, value, text)
    return None


def _candidates(condition: Condition, scope: Scope) -> Iterator[Any]:
    """Yield the values at the bounds of a condition's tests."""
    for row, operand in condition.tests:
        if row.shape in ("condition", "conditions"):
            for inner in operand if row.shape == "conditions" else (operand,):
                yield from _candidates(inner, scope)
        elif row.shape == "flag":
            if not operand:
                yield None
        elif row.shape in ("quantity", "value", "values"):
            value = resolve_operand(operand, condition.unit, scope)
            for part in value if isinstance(value, tuple) else (value,):
                if part is not None and not isinstance(part, Unknown):
                    yield from _neighbors(part)


def _neighbors(value: Any) -> Iterator[Any]:
    """Yield a bound, and the nearest values beside it for `more_than` and the like."""
    yield value
    if isinstance(value, bool):
        yield not value
    elif isinstance(value, int):
        yield from (value + 1, value - 1)
    elif isinstance(value, float):
        yield from (nextafter(value, inf), nextafter(value, -inf))
