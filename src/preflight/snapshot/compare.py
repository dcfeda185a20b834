"""Compares two measurings: snapshots judged by the same rules, or reports; noise is folded.

Noise is what differs between any two measurings of one machine: free memory and disk within 5 %,
times, ids of containers and processes, the numbers of placeholders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeGuard

from preflight.model.difference import GRAVITY, Difference, FactChange, VerdictChange
from preflight.model.facts import Facts, Path, Unknown, Value, join_path, split_path
from preflight.snapshot.report_file import Judged
from preflight.snapshot.shapes import PLACEHOLDER

NEAR = 0.05  # of the larger figure
_WAVERS = re.compile(
    r"(?:.*\.)?(?:available|free|usage|reclaimable)|model\.budget|ollama\.loaded\..*", re.DOTALL
)
_TIME = re.compile(r".*\.started_at", re.DOTALL)
_IDS = re.compile(r"\bpid \d+|(?<![\w.-])[0-9a-f]{12,64}(?![\w.-])")


class Side(NamedTuple):
    """One of the two: `facts` is None where only a report is there, and `results` hold figures."""

    results: tuple[Judged, ...]
    facts: Facts | None = None


def compare(before: Side, after: Side) -> Difference:
    """Return what changed, the worst first: verdicts, and facts in the order of these."""
    mixed = (before.facts is None) != (after.facts is None)
    verdicts = sorted(
        _verdicts(_by_rule(before), _by_rule(after), mixed=mixed),
        key=lambda one: (not one.worse, -GRAVITY[one.after], GRAVITY[one.before]),
    )
    order = {one.fact: number for number, one in reversed(list(enumerate(verdicts)))}
    changes = list(_facts(before, after))
    told = [one for one in changes if one.path in order or not _is_noise(one)]
    told.sort(key=lambda one: order.get(one.path, len(order)))
    notes = ("a report against a snapshot: only what both hold is compared",) if mixed else ()
    return Difference(tuple(told), tuple(verdicts), len(changes) - len(told), notes)


def _by_rule(side: Side) -> Mapping[tuple[str, str | None], Judged]:
    return {(one.id, _alike(one.item)): one for one in side.results}


def _verdicts(
    before: Mapping[tuple[str, str | None], Judged],
    after: Mapping[tuple[str, str | None], Judged],
    *,
    mixed: bool,
) -> Iterator[VerdictChange]:
    for key in dict.fromkeys((*before, *after)):
        was, now = before.get(key), after.get(key)
        one = now or was
        same = was is not None and now is not None and was.verdict == now.verdict
        if one is None or same or (mixed and (was is None or now is None)):
            continue
        yield VerdictChange(
            one.id,
            one.item,
            one.title,
            was and was.verdict,
            now and now.verdict,
            one.fact,
            one.message,
        )


# --- facts --------------------------------------------------------------------------------------


def _facts(before: Side, after: Side) -> Iterator[FactChange]:
    if before.facts is not None and after.facts is not None:
        yield from _nested(before.facts, after.facts, ())
        return
    was, now = _figures(before, after), _figures(after, before)
    for path, value in was.items():
        if path in now and not _same(value, now[path]):
            yield FactChange(path, value, now[path])


def _nested(before: Facts, after: Facts, path: Path) -> Iterator[FactChange]:
    """Yield what changed at and below a path; what came or went whole is one change."""
    was, now = (facts.get(path) if path else facts.values for facts in (before, after))
    sides = ((was, before), (now, after))
    if any(isinstance(value, Mapping) for value, _ in sides) and not any(
        _is_told(value, facts, path) for value, facts in sides
    ):
        for name in _names(was, now):
            yield from _nested(before, after, (*path, name))
    elif not _same(was, now) and not any(_is_not_held(value, f, path) for value, f in sides):
        yield FactChange(join_path(path), was, now)


def _is_told(value: Value | Unknown, facts: Facts, path: Path) -> bool:
    """Whether that is all that is known of a path: it isn't there, or why nobody knows."""
    if isinstance(value, Unknown):
        return join_path(path) in facts.unknown
    return not isinstance(value, Mapping)


def _is_not_held(value: Value | Unknown, facts: Facts, path: Path) -> bool:
    """Whether a snapshot says nothing of a path, as one of an older program doesn't."""
    return isinstance(value, Unknown) and not any(
        join_path(path[:end]) in facts.unknown for end in range(len(path), 0, -1)
    )


def _names(was: Any, now: Any) -> Iterable[str]:
    sides = [side for side in (was, now) if isinstance(side, Mapping)]
    return dict.fromkeys(name for side in sides for name in side)


def _figures(side: Side, other: Side) -> dict[str, Value | Unknown]:
    """Return the figures that the results of either side are about."""
    if side.facts is None:
        return {
            one.fact: Unknown(one.message) if one.verdict == "unknown" else one.actual
            for one in side.results
            if one.verdict != "skip"
        }
    figures = {}
    for one in other.results:
        try:
            figures[one.fact] = side.facts.get(split_path(one.fact))
        except ValueError:
            continue  # a report from elsewhere may name anything
    return figures


def _same(was: Value | Unknown, now: Value | Unknown) -> bool:
    if isinstance(was, Unknown) or isinstance(now, Unknown):
        return isinstance(was, Unknown) and isinstance(now, Unknown)
    return type(was) is type(now) and was == now if isinstance(was, bool) else bool(was == now)


def _is_noise(change: FactChange) -> bool:
    was, now = change.before, change.after
    if _is_figure(was) and _is_figure(now):
        near = abs(was - now) <= NEAR * max(abs(was), abs(now))
        return near and _WAVERS.fullmatch(change.path) is not None
    if _TIME.fullmatch(change.path) and isinstance(was, str) and isinstance(now, str):
        return True
    return _alike(was) == _alike(now) or _may_be_same(was, now) or _may_be_same(now, was)


def _is_figure(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _alike(value: Any) -> Any:
    """Return a value without what tells only this measuring from others."""
    if isinstance(value, str):
        return PLACEHOLDER.sub(lambda found: found[0].rpartition("-")[0], _IDS.sub("#", value))
    if isinstance(value, list):
        return [_alike(one) for one in value]
    if isinstance(value, Mapping):
        return {_alike(name): _alike(one) for name, one in value.items()}
    return value


def _may_be_same(redacted: Any, other: Any) -> bool:
    """Whether a redacted text may stand for another: then nobody can tell a change."""
    if isinstance(redacted, list) and isinstance(other, list) and len(redacted) == len(other):
        return all(a == b or _may_be_same(a, b) for a, b in zip(redacted, other, strict=True))
    if not isinstance(redacted, str) or not isinstance(other, str):
        return False
    parts = PLACEHOLDER.split(redacted)
    if len(parts) == 1 or not other.startswith(parts[0]) or not other.endswith(parts[-1]):
        return False
    at = len(parts[0])
    for part in parts[1:-1]:
        at = other.find(part, at)
        if at < 0:
            return False
        at += len(part)
    return at + len(parts[-1]) <= len(other)
