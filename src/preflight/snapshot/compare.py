"""Compares two measurements: snapshots judged by the same rules, or saved reports, which it reads.

Noise is what differs between any two measurements of one machine, and is only counted: free memory
and disk within 5 %, times, ids of containers and processes, the numbers of placeholders.
"""

import glob
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from preflight.model.difference import (
    RANK_BY_VERDICT,
    FactAndVerdictChanges,
    FactChange,
    VerdictChange,
)
from preflight.model.facts import (
    MAX_SNAPSHOT_BYTES,
    Facts,
    NoSuchItem,
    Path,
    Unknown,
    Value,
    join_path,
)
from preflight.model.report import VERDICTS, Result
from preflight.snapshot.json_input import (
    find_shape_mismatches,
    make_invalid_file_error,
    parse_json_with_schema,
)
from preflight.snapshot.secret_finder import SECRET_PLACEHOLDER_PATTERN

REPORT_SCHEMA_NAME = "preflight.report/1"
_REPORT_FILE_SHAPE = {
    "results": [
        {"id": str, "title": str, "message": str, "fact": str, "verdict": VERDICTS,
         "item?": str | None}
    ]
}  # fmt: skip
_HOW_TO_MAKE_REPORT = "make one with: preflight check -f json:FILE"

MAX_IGNORED_CHANGE_SHARE = 0.05  # of the larger number
_NOISY_FACTS_PATTERN = re.compile(
    r"(?:.*\.)?(?:available|free|usage|reclaimable|budget)|\w+\.loaded\..*", re.DOTALL
)
_VOLATILE_IDS_PATTERN = re.compile(r"\bpid \d+|(?<![\w.-])[0-9a-f]{12,64}(?![\w.-])")


class ComparisonInput(NamedTuple):
    """One of the two that are compared; of a saved report, `facts` is None."""

    results: tuple[Result, ...]
    facts: Facts | None = None


def is_report(data: bytes) -> bool:
    """Whether a file says, near its beginning, that it is a report of any version."""
    return b'"preflight.report/' in data[:200]


def read_report_results(data: bytes, file: str) -> tuple[Result, ...]:
    """Return the results of a saved report, with the fields that a comparison needs."""
    root = parse_json_with_schema(
        data, file, REPORT_SCHEMA_NAME, MAX_SNAPSHOT_BYTES, _HOW_TO_MAKE_REPORT
    )
    for problem in find_shape_mismatches(root, _REPORT_FILE_SHAPE):
        raise make_invalid_file_error(file, f"not a report: {problem}", _HOW_TO_MAKE_REPORT)
    return tuple(
        Result(
            **{key: result[key] for key in ("id", "title", "verdict", "message", "fact")},
            **{key: result.get(key) for key in ("item", "actual")},
            severity="required",
        )
        for result in root["results"]
    )


def compare_snapshots_or_reports(
    before: ComparisonInput, after: ComparisonInput
) -> FactAndVerdictChanges:
    """Return what changed, worst first: verdicts, and facts in the order of these."""
    is_mixed = (before.facts is None) != (after.facts is None)
    verdicts = sorted(
        _find_changed_verdicts(before.results, after.results, is_mixed=is_mixed),
        key=lambda change: (
            not change.is_worse, not change.is_newly_judged_problem,
            -RANK_BY_VERDICT[change.after], RANK_BY_VERDICT[change.before],
        ),
    )  # fmt: skip
    if before.facts is not None and after.facts is not None:
        changes = list(_find_changed_facts(before.facts, after.facts, ()))
    else:
        old, new = (_get_values_of_judged_facts(side.results) for side in (before, after))
        changes = [
            FactChange(path, value, new[path])
            for path, value in old.items()
            if path in new and not _is_same_value(value, new[path])
        ]
    order = {change.result.fact: number for number, change in reversed(list(enumerate(verdicts)))}
    shown = [
        change for change in changes if change.path in order or not _is_insignificant_change(change)
    ]
    shown.sort(key=lambda change: order.get(change.path, len(order)))
    notes = ("a report against a snapshot: only what both hold is compared",) if is_mixed else ()
    return FactAndVerdictChanges(tuple(shown), tuple(verdicts), len(changes) - len(shown), notes)


def _find_changed_verdicts(
    before: Iterable[Result], after: Iterable[Result], *, is_mixed: bool
) -> Iterator[VerdictChange]:
    sides = [
        {(r.id, _remove_volatile_ids(r.item or "")): r for r in results}
        for results in (before, after)
    ]
    for key in {**sides[0], **sides[1]}:
        old, new = (results.get(key) for results in sides)
        latest = new or old
        verdicts = old and old.verdict, new and new.verdict
        if latest is None or verdicts[0] == verdicts[1] or (is_mixed and None in verdicts):
            continue
        yield VerdictChange(latest, *verdicts)


def _find_changed_facts(before: Facts, after: Facts, path: Path) -> Iterator[FactChange]:
    """Yield what changed at and below a path; a whole mapping that came or went is one change."""
    old, new = (_get_value_in_snapshot(facts, path) for facts in (before, after))
    missing = [_is_not_in_snapshot(old, before, path), _is_not_in_snapshot(new, after, path)]
    mappings = [value for value in (old, new) if isinstance(value, Mapping)]
    if mappings and len(mappings) + sum(missing) == len(missing):
        for name in dict.fromkeys(name for mapping in mappings for name in mapping):
            yield from _find_changed_facts(before, after, (*path, name))
    elif not any(missing) and not _is_same_value(old, new):
        yield FactChange(join_path(path), old, new)


def _get_value_in_snapshot(facts: Facts, path: Path) -> Value | Unknown:
    """Return a value; None for an item that a complete collection doesn't have."""
    value = facts.get(path) if path else facts.values
    return None if isinstance(value, NoSuchItem) else value


def _is_not_in_snapshot(value: Value | Unknown, facts: Facts, path: Path) -> bool:
    """Whether a snapshot says nothing about a path, like that of an older program."""
    return isinstance(value, Unknown) and not any(
        join_path(path[:end]) in facts.unknown for end in range(len(path), 0, -1)
    )


def _get_values_of_judged_facts(results: Iterable[Result]) -> dict[str, Value | Unknown]:
    return {
        result.fact: Unknown(result.message) if result.verdict == "unknown" else result.actual
        for result in results
        if result.verdict != "skip"
    }


def _is_same_value(old: Value | Unknown, new: Value | Unknown) -> bool:
    if isinstance(old, Unknown) or isinstance(new, Unknown):
        return isinstance(old, Unknown) and isinstance(new, Unknown)
    return bool(old == new) and isinstance(old, bool) == isinstance(new, bool)


def _is_insignificant_change(change: FactChange) -> bool:
    values = (change.before, change.after)
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        is_near = abs(numbers[0] - numbers[1]) <= MAX_IGNORED_CHANGE_SHARE * max(map(abs, numbers))
        return is_near and _NOISY_FACTS_PATTERN.fullmatch(change.path) is not None
    if change.path.endswith(".started_at") and all(isinstance(value, str) for value in values):
        return True
    before, after = (_remove_volatile_ids(json.dumps(value, sort_keys=True)) for value in values)
    return (
        before == after
        or _may_equal_redacted_text(*values)
        or _may_equal_redacted_text(*reversed(values))
    )


def _remove_volatile_ids(text: str) -> str:
    """Return a text without what is different in each measurement."""
    return SECRET_PLACEHOLDER_PATTERN.sub(
        lambda match: match[0].rpartition("-")[0], _VOLATILE_IDS_PATTERN.sub("#", text)
    )


def _may_equal_redacted_text(redacted: Any, other: Any) -> bool:
    """Whether a redacted text may stand for another one: then nobody can see a change."""
    if isinstance(redacted, list) and isinstance(other, list) and len(redacted) == len(other):
        return all(
            a == b or _may_equal_redacted_text(a, b) for a, b in zip(redacted, other, strict=True)
        )
    if not isinstance(redacted, str) or not isinstance(other, str):
        return False
    pattern = "*".join(map(glob.escape, SECRET_PLACEHOLDER_PATTERN.split(redacted)))
    return pattern != glob.escape(redacted) and fnmatchcase(other, pattern)
