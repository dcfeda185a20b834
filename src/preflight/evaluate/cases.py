"""Compares a report with the verdicts that a case expects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from preflight.model.cases import CaseExpectation, VerdictMismatch
from preflight.model.problems import did_you_mean
from preflight.model.report import Report, Result, Verdict
from preflight.model.rules import RuleSet

_MAX_NAMED_ITEMS = 5
_MAX_NAME_CHARS = 60


def unknown_names(expected: CaseExpectation, ruleset: RuleSet) -> Iterator[str]:
    """Yield a message for each rule, tag and var of a case that the rules don't have."""
    ids = [rule.id for rule in ruleset.rules]
    for message, names, known in (
        ("unknown rule", dict.fromkeys(map(_rule_id, expected.verdicts)), ids),
        ("only: no rule has the id or tag", expected.only, [*ids, *ruleset.tags()]),
        ("vars: unknown var", expected.vars, ruleset.vars),
    ):
        for name in names:
            if name not in known:
                shown = name[:_MAX_NAME_CHARS]
                yield f"{message} {shown!r}{did_you_mean(shown, known)}"


def compare_verdicts(
    report: Report, expected: CaseExpectation, *, exact: bool, part: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Return how many verdicts were compared, and those that differ.

    A rule's id stands for all its items that are not named. Results without an expectation are
    not compared, unless `exact`: then each needs one by its full name. If the report is only a
    `part` of what the case covers, missing results are not mismatches.
    """
    verdicts = {result_name(result): result for result in report.results}
    wanted = {name: _expected_verdict(result, expected, exact) for name, result in verdicts.items()}
    compared = [name for name in verdicts if exact or wanted[name] is not None]
    mismatches = [
        VerdictMismatch(name, wanted[name], verdicts[name].verdict, verdicts[name].message)
        for name in compared
        if wanted[name] != verdicts[name].verdict
    ]
    missing = [] if part else list(_find_missing(report, expected, wanted, exact=exact))
    return len(compared) + len(missing), (*mismatches, *missing)


def result_name(result: Result) -> str:
    """Return the name of a result in a case: `rule-id`, or `rule-id/item`."""
    return result.id if result.item is None else f"{result.id}/{result.item}"


def _rule_id(name: str) -> str:
    return name.partition("/")[0]


def _expected_verdict(result: Result, expected: CaseExpectation, exact: bool) -> Verdict | None:
    verdict = expected.verdicts.get(result_name(result))
    return verdict if verdict or exact else expected.verdicts.get(result.id)


def _find_missing(
    report: Report, expected: CaseExpectation, results: Mapping[str, object], *, exact: bool
) -> Iterator[VerdictMismatch]:
    """Yield the expected verdicts without a result, then the exit code if it differs."""
    items: defaultdict[str, list[str]] = defaultdict(list)
    for result in report.results:
        items[result.id].append(result_name(result))
    for name, verdict in expected.verdicts.items():
        present = items[_rule_id(name)]
        if name in results or (present and name == _rule_id(name) and not exact):
            continue
        if present:
            more = " …" if len(present) > _MAX_NAMED_ITEMS else ""
            reason = f"found only {', '.join(present[:_MAX_NAMED_ITEMS])}{more}"
        elif expected.only:
            reason = "not selected by only"
        else:
            reason = "the rule is disabled; name it under only"
        yield VerdictMismatch(name, verdict, None, reason)
    if expected.exit_code not in (None, report.exit_code):
        yield VerdictMismatch("exit code", str(expected.exit_code), str(report.exit_code))
