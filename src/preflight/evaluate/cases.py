"""Holds a report against what a case expects of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from preflight.model.cases import CaseExpectation, VerdictMismatch
from preflight.model.problems import did_you_mean
from preflight.model.report import Report, Result, Verdict
from preflight.model.rules import RuleSet

_MOST = 5  # items that a reason names


def unknown_names(expected: CaseExpectation, ruleset: RuleSet) -> Iterator[str]:
    """Say which rules, tags and vars a case names that there are none of."""
    ids = {rule.id: rule for rule in ruleset.rules}
    for rule in dict.fromkeys(map(_rule, expected.verdicts)):
        if rule not in ids:
            yield f"unknown rule {_quoted(rule, ids)}"
    known = [*ids, *ruleset.tags()]
    for name in expected.only:
        if name not in known:
            yield f"only: no rule has the id or tag {_quoted(name, known)}"
    for name in expected.vars:
        if name not in ruleset.vars:
            yield f"vars: unknown var {_quoted(name, ruleset.vars)}"


def compare(
    report: Report, expected: CaseExpectation, *, exact: bool, part: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Return how much was compared, and what is another than expected.

    A rule's id stands for all its items that are not named. What isn't named is not compared,
    but where `exact`: then each verdict must be, by its full name. Where the report is but a
    `part` of what the case is about, what it lacks is no difference.
    """
    wanted = {name_of(result): _wanted(result, expected, exact) for result in report.results}
    compared = [one for one in report.results if exact or wanted[name_of(one)] is not None]
    found = [
        VerdictMismatch(name_of(one), wanted[name_of(one)], one.verdict, one.message)
        for one in compared
        if wanted[name_of(one)] != one.verdict
    ]
    missing = [] if part else list(_missing(report, expected, wanted, exact=exact))
    return len(compared) + len(missing), (*found, *missing)


def name_of(result: Result) -> str:
    """Return how a case names a result: `rule-id`, or `rule-id/item`."""
    return result.id if result.item is None else f"{result.id}/{result.item}"


def _rule(name: str) -> str:
    return name.partition("/")[0]


def _wanted(result: Result, expected: CaseExpectation, exact: bool) -> Verdict | None:
    named = expected.verdicts.get(name_of(result))
    return named if named or exact else expected.verdicts.get(result.id)


def _missing(
    report: Report, expected: CaseExpectation, found: Mapping[str, Verdict | None], *, exact: bool
) -> Iterator[VerdictMismatch]:
    """Yield what is expected and has no result, and why; then the exit code, if it is another."""
    items: defaultdict[str, list[str]] = defaultdict(list)
    for result in report.results:
        items[result.id].append(name_of(result))
    for name, verdict in expected.verdicts.items():
        here = items[_rule(name)]
        if name in found or (here and name == _rule(name) and not exact):
            continue
        yield VerdictMismatch(name, verdict, None, _why_none(here, expected))
    if expected.exit_code not in (None, report.exit_code):
        yield VerdictMismatch("exit code", str(expected.exit_code), str(report.exit_code))


def _why_none(here: list[str], expected: CaseExpectation) -> str:
    if here:
        return f"there is {', '.join(here[:_MOST])}{' …' if len(here) > _MOST else ''}"
    return "only leaves it out" if expected.only else "the rule is off; name it under only"


def _quoted(name: str, known: Iterable[str]) -> str:
    begin = name[:60]
    return f"{begin!r}{did_you_mean(begin, known)}"
