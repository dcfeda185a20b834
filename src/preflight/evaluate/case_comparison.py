"""Compares a report with the verdicts that a case expects."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from preflight.model.cases import CaseExpectations, VerdictMismatch
from preflight.model.problems import did_you_mean
from preflight.model.quantities import format_shortened_list
from preflight.model.report import Report
from preflight.model.rules import RuleSet

_MAX_LISTED_RESULT_NAMES = 5
_MAX_SHOWN_NAME_CHARS = 60


def find_unknown_names_in_case(expected: CaseExpectations, ruleset: RuleSet) -> Iterator[str]:
    """Yield a message for each rule, tag and var of a case that the rules don't have."""
    ids = [rule.id for rule in ruleset.rules]
    for message, names, known in (
        ("unknown rule", dict.fromkeys(name.split("/")[0] for name in expected.verdicts), ids),
        ("only: no rule has the id or tag", expected.only, [*ids, *ruleset.tags()]),
        ("vars: unknown var", expected.vars, ruleset.vars),
    ):
        for name in names:
            if name not in known:
                shown = name[:_MAX_SHOWN_NAME_CHARS]
                yield f"{message} {shown!r}{did_you_mean(shown, known)}"


def compare_with_expected_verdicts(
    report: Report, expected: CaseExpectations, *, exact: bool, part: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Return how many verdicts were compared, and those that differ.

    Results are named `rule-id` or `rule-id/item`. A rule's id stands for all its items that are
    not named. Results without an expectation are not compared, unless `exact`: then each needs
    one by its full name. If the report is only a `part` of what the case covers, missing results
    are not mismatches.
    """
    verdicts = expected.verdicts
    present: defaultdict[str, list[str]] = defaultdict(list)  # by rule: the names of its results
    count, mismatches = 0, []
    for result in report.results:
        name = result.id if result.item is None else f"{result.id}/{result.item}"
        present[result.id].append(name)
        wanted = verdicts.get(name) or (None if exact else verdicts.get(result.id))
        if wanted or exact:
            count += 1
            if wanted != result.verdict:
                mismatches.append(VerdictMismatch(name, wanted, result.verdict, result.message))
    for name, verdict in {} if part else verdicts.items():
        names = present[name.split("/")[0]]
        if name not in names and (exact or "/" in name or not names):
            count += 1
            mismatches.append(
                VerdictMismatch(
                    name, verdict, None, _explain_missing_expected_result(names, expected)
                )
            )
    if not part and expected.exit_code not in (None, report.exit_code):
        count += 1
        codes = str(expected.exit_code), str(report.exit_code)
        mismatches.append(VerdictMismatch("exit code", *codes))
    return count, tuple(mismatches)


def _explain_missing_expected_result(names: list[str], expected: CaseExpectations) -> str:
    if names:
        return f"found only {format_shortened_list(names, _MAX_LISTED_RESULT_NAMES)}"
    if expected.only:
        return "not selected by only"
    return "the rule is disabled; name it under only"
