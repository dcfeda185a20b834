"""The texts of a report: values, conditions, fixes, the one sentence that every format shows."""

import re
import shlex
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property, lru_cache
from math import ceil
from typing import Any, NamedTuple, TypeGuard

from preflight.evaluate.conditions import (
    FactLookup,
    all_conditions_hold,
    convert_value,
    resolve_operand,
)
from preflight.model.conditions import (
    ANY_ITEM_SEGMENT,
    Condition,
    FactBound,
    Operand,
    Operator,
    SumOfBounds,
    referenced_facts,
)
from preflight.model.facts import (
    FactCatalogue,
    Facts,
    Path,
    Unit,
    Unknown,
    Value,
    join_path,
    split_fact_path,
)
from preflight.model.fix_commands_and_edits import classify_fix, remove_unsupported_commands
from preflight.model.quantities import (
    Version,
    format_bytes,
    format_duration,
    format_number,
    format_shortened_list,
    is_finite_and_within_limit,
    looks_like_binary_size,
    shorten_text,
)
from preflight.model.report import ITEM_PLACEHOLDER, ResolvedFix, Severity, Verdict
from preflight.model.rules import TEXT_PLACEHOLDER_PATTERN, FactCondition, Fix
from preflight.model.secret_names import is_secret_fact

MAX_SHOWN_LIST_ITEMS = 8  # of a list in a sentence
MAX_SHOWN_TEXT_CHARS = 200  # of a text from outside in a sentence

_MIN_DECIMALS_BY_UNIT: Mapping[str, int] = {"bytes": 1, "seconds": 3}
_SYMBOL_BY_UNIT: Mapping[str, str] = {"bytes": " B", "seconds": "s"}
_LOWER_BOUND_OPERATORS = ("at_least", "more_than")


def format_value(
    value: Value | Unknown, unit: Unit, other: Value | None = None, *, binary: bool | None = None
) -> str:
    """Write a value for people; `binary` chooses GiB or GB, else it is guessed.

    Digits are added until the value looks different from an `other` that differs.
    """
    if is_number(value):
        return _format_distinct_number(value, unit, other if is_number(other) else value, binary)
    if isinstance(value, Unknown):
        return "unknown"
    if value is None:
        return "none" if unit == "list" else "not set"
    if value is True or value is False:
        return "yes" if value else "no"
    if isinstance(value, (list, tuple, Mapping)):
        return (
            format_shortened_list((format_value(v, "text") for v in value), MAX_SHOWN_LIST_ITEMS)
            or "none"
        )
    return shorten_text(str(value), MAX_SHOWN_TEXT_CHARS)


def is_number(value: Value | Unknown) -> TypeGuard[float]:
    """Return whether a value is a number; true and false aren't."""
    return value.__class__ in (int, float)


@lru_cache(maxsize=1024, typed=True)  # rules compare the same few numbers again and again
def _format_distinct_number(value: float, unit: Unit, other: float, binary: bool | None) -> str:
    if not is_finite_and_within_limit(value):
        return shorten_text(str(value), MAX_SHOWN_TEXT_CHARS)

    def write(number: float, digits: int) -> str:
        if unit == "bytes":
            is_in_binary = looks_like_binary_size(value) if binary is None else binary
            return format_bytes(number, binary=is_in_binary, digits=digits)
        if unit == "seconds":
            return format_duration(number, digits)
        return format_number(number, digits)

    for digits in range(_MIN_DECIMALS_BY_UNIT.get(unit, 2), 10):
        text = write(value, digits)
        is_rounded_away = text == "0" and value != 0
        if not is_rounded_away and (value == other or text != write(other, digits)):
            return text
    return f"{value!r}{_SYMBOL_BY_UNIT.get(unit, '')}"


def condition_as_json(condition: Condition, scope: FactLookup) -> Mapping[str, Any]:
    """Return the condition as JSON, with the values of the facts that it refers to."""
    resolved: dict[str, Any] = {}
    for operator, operand in condition.tests:
        value: Any
        if operator.shape == "condition":
            value = condition_as_json(operand, scope)
        elif operator.shape == "conditions":
            value = [condition_as_json(inner, scope) for inner in operand]
        elif operator.shape == "range":
            value = _format_version_range(operand)
        else:
            value = resolve_operand(operand, condition.unit, scope)
            value = None if isinstance(value, Unknown) else value
        resolved[operator.name] = list(value) if isinstance(value, tuple) else value
    return resolved


class ConditionWording(NamedTuple):
    """A condition as in tables, and as in sentences: see Operator."""

    sign: str
    phrase: str


def describe_condition(
    condition: Condition, scope: FactLookup | None, other: Value = None
) -> ConditionWording:
    """Write a condition; without a scope the facts that it refers to are written by name.

    Its numbers look different from an `other` value that differs.
    """
    unit = condition.unit

    def describe_operand(operator: Operator, operand: Operand) -> ConditionWording:
        if operator.shape == "condition":
            return describe_condition(operand, scope, other)
        if operator.shape == "conditions":
            join = " and " if operator.name == "all_of" else " or "
            texts = (describe_condition(inner, scope, other) for inner in operand)
            return ConditionWording(*map(join.join, zip(*texts, strict=True)))
        if operator.shape == "flag":
            text = "set" if operand else "none" if unit == "list" else "not set"
        elif operator.shape == "range":
            text = _format_version_range(operand)
        elif operator.shape == "values":
            text = " or ".join(_format_bound(part, unit, scope, other) for part in operand)
        else:
            text = _format_bound(operand, unit, scope, other)
        return ConditionWording(text, text)

    signs, phrases = [], []
    for operator, operand in condition.tests:
        text = describe_operand(operator, operand)
        signs.append(operator.sign + text.sign)
        phrases.append(operator.phrase + text.phrase)
    return ConditionWording(", ".join(signs), " and ".join(phrases))


def _format_bound(operand: Operand, unit: Unit, scope: FactLookup | None, other: Value) -> str:
    """Write a bound by its value, or as a formula over the names of facts."""
    if scope is not None and not any(map(is_secret_fact, referenced_facts(operand))):
        value = resolve_operand(operand, unit, scope)
        text = format_bound_in_both_units(value, unit, other, operand)
        if isinstance(operand, FactBound) and (value is None or isinstance(value, Unknown)):
            return f"{join_path(scope.replace_item_segment(operand.path))} ({text})"
        return text
    if isinstance(operand, SumOfBounds):
        return " + ".join(_format_bound(part, unit, scope, other) for part in operand.parts)
    if isinstance(operand, FactBound):
        times = "" if operand.times == 1 else f"{format_number(operand.times)} × "
        sign = "+" if operand.plus > 0 else "-"
        plus = f" {sign} {format_value(abs(operand.plus), unit)}" if operand.plus else ""
        return f"{times}{_format_fact_name_within_item(operand.path)}{plus}"
    return format_value(operand, unit)


def format_bound(value: Value | Unknown, unit: Unit, other: Value, operand: Operand) -> str:
    """Write a bound: a size as its document has it, in GiB where it was measured."""
    is_measured = bool(referenced_facts(operand))
    return format_value(value, unit, other, binary=is_measured or None)


def format_bound_in_both_units(
    value: Value | Unknown, unit: Unit, other: Value, operand: Operand
) -> str:
    """Write a bound, with GiB in brackets where the document has another unit.

    What is measured is in GiB throughout a report, so the two can be compared.
    """
    text = format_bound(value, unit, other, operand)
    if unit != "bytes" or not is_number(value):
        return text
    in_gib = format_value(value, unit, other, binary=True)
    return text if in_gib == text else f"{text} ({in_gib})"


def _format_fact_name_within_item(path: Path) -> str:
    """Return the name of a fact, of an item's own fact the part below the item."""
    return join_path(path[path.index(ANY_ITEM_SEGMENT) + 1 :] if ANY_ITEM_SEGMENT in path else path)


def _format_version_range(bounds: tuple[tuple[str, Version], ...]) -> str:
    return ",".join(f"{sign}{'.'.join(map(str, version))}" for sign, version in bounds)


def describe_when(line: FactCondition, scope: FactLookup | None) -> str:
    """Write one line of a `when`, an item's own fact by its name there."""
    condition = describe_condition(line.condition, scope).phrase
    return f"{_format_fact_name_within_item(line.path)} {describe_as_predicate(condition)}"


def describe_as_predicate(words: str) -> str:
    """Return the words of a condition with their verb: `is at least 10 GB`."""
    positive = words.removeprefix("not ")
    if not positive.startswith(("matching ", "containing ")):
        return f"is {words}"
    verbs = {"match": "matches", "contain": "contains"}
    if positive != words:
        words, verbs = f"doesn't {positive}", {verb: verb for verb in verbs}
    return re.sub(r"\b(match|contain)ing\b", lambda verb: verbs[verb[1]], words)


class ComparisonText:
    """A fact's value beside the condition that it must meet, as tables, sentences and fixes do.

    `bound` is that of the first test that has one. Where the fact or a bound is a secret nothing
    is shown but whether it is met: a difference or a bound would show the other one.
    """

    def __init__(
        self, actual: Value | Unknown, condition: Condition, scope: FactLookup, fact: Path = ()
    ) -> None:
        tests = condition.list_comparisons()
        paths = [path for _, operand, _ in tests for path in referenced_facts(operand)]
        self.is_secret = any(map(is_secret_fact, (fact, *paths)))
        self.raw = actual
        self.fact = fact
        self.condition = condition
        self.scope = scope
        self.unit = condition.unit
        self.actual = None if self.is_secret else convert_value(actual, self.unit)
        bounded = [test for test in tests if test[0].shape != "flag" and not self.is_secret]
        none: list[tuple[Operator | None, Operand, Unit]] = [(None, None, self.unit)]
        self.operator, self.operand, unit = (bounded or none)[0]
        self.bound: Any = resolve_operand(self.operand, unit, scope)
        self.is_quantity = self.operator is not None and self.operator.shape == "quantity"
        if self.is_secret:
            self.actual_text = "not set" if actual is None else "not shown"
        elif isinstance(self.actual, Unknown) and not isinstance(actual, Unknown):
            self.actual_text = format_value(actual, "text")  # of another type than declared
        else:
            self.actual_text = format_value(self.actual, self.unit, self.bound, binary=True)

    def expected_as_json(self) -> Mapping[str, Any]:
        """Return the condition as JSON, nothing of a secret's."""
        return {} if self.is_secret else condition_as_json(self.condition, self.scope)

    def explain_unknown(self, unknown: Unknown) -> str:
        """Return why it is unknown whether the condition is met."""
        if self.is_secret and not isinstance(self.raw, Unknown):
            return "a value that isn't shown can't be compared"
        return unknown.reason

    @cached_property
    def condition_text(self) -> ConditionWording:
        """The condition in words."""
        return describe_condition(self.condition, self.scope, self.actual)

    def format_bound_without_operator(self) -> str:
        """Write the bound without its operator, for fixes; nothing if it isn't known."""
        if self.operator is not None and (self.bound is None or isinstance(self.bound, Unknown)):
            return ""
        if not self.is_quantity:
            return self.condition_text.phrase
        return format_bound(self.bound, self.unit, self.actual, self.operand)

    def format_shortfall(self) -> str:
        """Write by how much the value misses its bound, or nothing."""
        is_compared = self.is_quantity and is_number(self.bound) and is_number(self.actual)
        if self.operator is None or not is_compared:
            return ""
        gap = self.bound - self.actual
        gap = gap if self.operator.name in _LOWER_BOUND_OPERATORS else -gap
        if gap <= 0:
            return ""
        if self.unit == "bytes" and is_finite_and_within_limit(gap):
            return format_bytes(ceil(gap), binary=True, round_up=True)
        return format_value(gap, self.unit, 0)

    def sentence(self, title: str, verdict: Verdict, severity: Severity, reason: str) -> str:
        """Write what was found and what is required: the message of a result."""
        if verdict in ("unknown", "skip"):
            return f"{title}: {'unknown' if verdict == 'unknown' else 'skipped'}, {reason}"
        if self.is_secret:
            absence = "not set " if self.raw is None else ""
            return f"{title}: {absence}({'met' if verdict == 'pass' else 'not met'})"
        if not self.condition.compares_with_value:
            if self.unit != "boolean" and self.actual is None:
                return f"{title}: not set ({severity})" if self.condition.tests[0][1] else title
            is_of_network = self.fact[:1] == ("net",) and verdict != "pass"
            source = self.scope.facts.source(self.fact) if is_of_network else ""
            cause = f" ({source})" if source else ""
            return f"{title}: {self.actual_text}{cause}"
        words = self.condition_text.phrase
        if words.startswith("not "):
            modal = "must" if severity == "required" else "should"
            return f"{title}: {self.actual_text}, {modal} not be {words[4:]}"
        if words.startswith(("matching ", "containing ")):
            words = f"a value {words}"
        return f"{title}: {self.actual_text}, {words} {severity}"

    def fill_problem_sentence(
        self, problem: str, format_placeholder: Callable[[str], str | None]
    ) -> str | None:
        """Fill in a rule's own sentence; None if one of its placeholders is unknown."""

        def format_in_sentence(name: str) -> str | None:
            if name == "expected" and self.is_quantity and self.format_bound_without_operator():
                return format_bound_in_both_units(self.bound, self.unit, self.actual, self.operand)
            return format_placeholder(name)

        return fill_placeholders(problem, format_in_sentence)

    def format_placeholder(self, catalogue: FactCatalogue, name: str) -> str | None:
        """Return the text for a placeholder of a fix: a value, or a fact by its path."""
        if self.is_secret and name in ("actual", "expected", "missing"):
            return None
        if name == "actual":
            return None if isinstance(self.raw, Unknown) else self.actual_text
        if name in ("expected", "missing"):
            return (
                self.format_bound_without_operator()
                if name == "expected"
                else self.format_shortfall()
            )
        path = split_fact_path(name)
        relative = self.scope.prepend_item_to_path(path)
        if relative is not None and catalogue.find(relative) is not None:
            path = relative
        return format_fact(self.scope.facts, catalogue, path)


def fill_placeholders(text: str, format_: Callable[[str], str | None]) -> str | None:
    """Replace the placeholders of a text. None if one is unknown: the text is not shown then."""
    if "{" not in text:
        return text
    parts = TEXT_PLACEHOLDER_PATTERN.split(text)  # every second one is a name
    values = [value for name in parts[1::2] if (value := format_(name))]
    if len(values) < len(parts) // 2:
        return None
    parts[1::2] = values
    return "".join(parts)


def format_fact(facts: Facts, catalogue: FactCatalogue, path: Path) -> str | None:
    """Return a fact as people read it, or None if it is unknown, not declared or a secret."""
    value, fact = facts.get(path), catalogue.find(path)
    if fact is None or isinstance(value, Unknown) or is_secret_fact(path):
        return None
    return format_value(value, fact.unit, binary=True)


def list_os_and_distribution(facts: Facts) -> list[str | None]:
    """Return what fixes depend on: the operating system and the distribution."""
    return [facts.text("host", "os"), facts.text("host", "distribution", "id")]


def resolve_fixes(
    fixes: Iterable[Fix],
    scope: FactLookup,
    format_placeholder: Callable[[str], str | None],
    systems: Iterable[str | None],
    fact: Path = (),
) -> Iterator[ResolvedFix]:
    """Yield the first fix whose `when` holds, and those without `when`, in their order.

    `systems` are those of `list_os_and_distribution`, `fact` is what a rule judges. A fix is left
    out where its text or command has an unknown placeholder. Values in a command are quoted: it is
    pasted, and names may be a stranger's.
    """

    def quote_placeholder(name: str) -> str | None:
        value = format_placeholder(name)
        return shlex.quote(value) if value and value != ITEM_PLACEHOLDER else value

    chosen = False
    for fix in fixes:
        if fix.when and (chosen or all_conditions_hold(fix.when, scope) is not True):
            continue
        text = fill_placeholders(fix.text, format_placeholder)
        url = fix.url and fill_placeholders(fix.url, format_placeholder)
        command = fix.command and fill_placeholders(fix.command, quote_placeholder)
        if text is None or (fix.command and command is None):
            continue
        chosen = chosen or bool(fix.when)
        kind = fix.kind or classify_fix(command, fact)
        text, command = remove_unsupported_commands(text, command, *systems)
        if text or command:
            yield ResolvedFix(text, command, url, kind)
