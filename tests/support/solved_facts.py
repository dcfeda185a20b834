"""Facts on which a fix of a rule is shown: found by trying values, one fact after the other."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from preflight.evaluate.conditions import FactLookup, meets_condition
from preflight.evaluate.judge import list_conditions
from preflight.model.facts import (
    FactCatalogue,
    Facts,
    Measured,
    Path,
    Unknown,
    Value,
    replace_facts,
)
from preflight.model.rules import TEXT_PLACEHOLDER_PATTERN, FactCondition, Fix, Rule

ITEM, SERVICE = "api", "ollama"
NUMBERS = (
    0, 1, 2, 3, 4, 5, 8, 16, 10**6, 5 * 10**8, 10**9, 5 * 10**9, 7 * 10**9, 9 * 10**9, 4 * 10**10,
)  # fmt: skip
TEXTS = (
    "x", "linux", "darwin", "windows", "alpine", "debian", "ubuntu", "12", "13", "18", "2.5.0",
    "6.6.87-microsoft-standard-WSL2", "Docker Engine - Community", "unix:///run/x.sock",
    "tcp://10.0.0.9:2375", "DOCKER_HOST 'x' isn't a valid engine address", "TLS x", "context x is",
    "--docker-host x isn't a valid engine address", "ollama", "nvidia", "hdd", "none",
)  # fmt: skip
LISTS = (["/srv/x.conf"], ["/var/run/docker.sock"], ["x"], ["ollama", "api"])


def solve(rule: Rule, fix: Fix, facts: Facts, catalogue: FactCatalogue) -> Facts | None:
    """Return facts on which a rule isn't met and a fix of it is shown; None if none are found."""
    found: Facts | None = facts
    for line in (*rule.when, *fix.when):
        found = found and _make_true(found, rule, line)
    if found is None:
        return None
    path = _own_path(rule, rule.fact)
    lines = (*rule.when, *fix.when)
    found = _fill_placeholders(found, rule, fix, catalogue)
    for candidate in _try_values(found, path, _candidates(line.condition for line in lines)):
        scope = _scope(candidate, rule)
        if any(
            meets_condition(condition, scope.get(rule.fact), scope) is False
            for condition, *_ in list_conditions(rule)
        ) and all(_holds(candidate, rule, line) for line in lines):
            return candidate
    return None


def _fill_placeholders(facts: Facts, rule: Rule, fix: Fix, catalogue: FactCatalogue) -> Facts:
    """Give a value to what the texts of a fix name."""
    for name in TEXT_PLACEHOLDER_PATTERN.findall(f"{fix.text} {fix.command}"):
        path = tuple(name.split("."))
        if rule.for_each and catalogue.find((*rule.for_each, ITEM, *path)):
            path = (*rule.for_each, ITEM, *path)
        fact = catalogue.find(path)
        if fact and (isinstance(facts.get(path), Unknown) or facts.get(path) is None):
            is_number = fact.unit in ("bytes", "cores", "number")
            facts = next(_try_values(facts, path, [10**9 if is_number else "x"]))
    return facts


def _make_true(facts: Facts, rule: Rule, line: FactCondition) -> Facts | None:
    if _holds(facts, rule, line):
        return facts
    values = _candidates([line.condition])
    candidates = _try_values(facts, _own_path(rule, line.path), values)
    return next((changed for changed in candidates if _holds(changed, rule, line)), None)


def _holds(facts: Facts, rule: Rule, line: FactCondition) -> bool:
    scope = _scope(facts, rule)
    return meets_condition(line.condition, scope.get(line.path), scope) is True


def _scope(facts: Facts, rule: Rule) -> FactLookup:
    return FactLookup(facts, ITEM, rule.for_each) if rule.for_each else FactLookup(facts)


def _own_path(rule: Rule, path: Path) -> Path:
    return tuple(ITEM if segment == "*" else segment for segment in path)


def _candidates(conditions: Iterable[object]) -> Iterator[Value]:
    """Yield values: those that the conditions name first."""
    for condition in conditions:
        for operator, operand, _ in condition.list_comparisons():  # type: ignore[attr-defined]
            if operator.name == "contains":
                yield from (operand, [operand])
            elif operator.shape in ("value", "values"):
                yield from operand if isinstance(operand, tuple) else (operand,)
    yield from (*LISTS, True, False, *NUMBERS, *TEXTS, None)


def _try_values(facts: Facts, path: Path, values: Iterable[Value]) -> Iterator[Facts]:
    name = ".".join(path)
    known = {
        key: unknown for key, unknown in facts.unknown.items()
        if not (f"{name}.".startswith(f"{key}.") or f"{key}.".startswith(f"{name}."))
    }  # fmt: skip
    for value in values:
        if not isinstance(value, tuple):
            name = SERVICE if path[-1] == "service" else path[-1]
            measured = Measured(path, name if value == "x" else value, "a test")
            yield replace_facts(facts._replace(unknown=known), [measured])
