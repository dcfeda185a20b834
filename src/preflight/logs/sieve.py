"""Finds the few places of a block of bytes where a known error may stand.

Needles with a byte in common are searched for in one pass of Python's own engine, which hops from
one such byte to the next. Which bytes these are, and which of a pattern's choices is searched for,
is told by a sample of the log: what costs least. Where google-re2 is installed, it finds the lines
in one pass for all. A place too many costs time alone: patterns decide, so both find the same.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from math import inf
from typing import Any, NamedTuple, TypeAlias

from preflight.logs.needles import LONGEST, Choice, Needle, choices, expression

try:
    import re2  # type: ignore[import-untyped,import-not-found,unused-ignore]
except ImportError:
    re2 = None

Owners: TypeAlias = tuple[int, ...]

_LEAST = 4  # bytes of a needle that is worth searching for
_BEHIND = 2  # of them behind its pivot, which turn down most places
# what a pass costs, as measured: of all bytes; of a percent of them that it stops at, and there of
# each needle that is tried
_PASS, _HOP, _TRY = 0.26, 0.2, 0.015
_MOST_ROUNDS = 8
_MANY = 256  # places of a block from which on the passes are faster than RE2
_LINE = re.compile(rb"[^\n]+")


class _Pass(NamedTuple):
    """One search for needles with a byte in common; whose each of its groups is."""

    pivot: bytes
    search: re.Pattern[bytes]
    owners: tuple[Owners, ...]


class Sieve:
    """Where lines may match, by the number of each expression."""

    def __init__(self, sources: Sequence[str], sample: bytes) -> None:
        sample = sample.lower()
        of: dict[Needle, set[int]] = {}
        every: list[int] = []
        for number, source in enumerate(sources):
            found = [one for one in choices(source) if all(map(_is_searchable, one))]
            if not found:
                every.append(number)
                continue
            for needle in _rarest(found, sample):
                of.setdefault(needle, set()).add(number)
        self._every = tuple(every)
        self._passes = _passes(of, sample)
        self._union = _union(of) if re2 is not None and of else None

    def places(self, block: bytes, begin: int, end: int) -> list[tuple[int, Owners]]:
        """Return the places from `begin` to before `end`, in order, with the expressions to try.

        A needle that stands across one of these may be told or not: let them be where lines begin.
        """
        found = self._by_union(self._union, block, begin, end) if self._union else None
        if found is None:
            found = list(self._by_passes(block.lower(), begin, end))
        if self._every:
            rows = _LINE.finditer(block, begin, end)
            found += ((match.start(), self._every) for match in rows)
        found.sort()
        return found

    def _by_passes(self, lower: bytes, begin: int, end: int) -> Iterator[tuple[int, Owners]]:
        for pivot, search, owners in self._passes:
            first = lower.find(pivot, begin, end)
            for match in search.finditer(lower, first) if first >= 0 else ():
                at = match.start()
                if at >= end:
                    break
                yield at, owners[match.lastindex or 0]

    def _by_union(
        self, union: Any, block: bytes, begin: int, end: int
    ) -> list[tuple[int, Owners]] | None:
        """Let RE2 find the places; the passes tell whose they are. None where there are many."""
        found: list[tuple[int, Owners]] = []
        at = begin
        for _ in range(_MANY):
            match = union.search(block, at)
            if match is None or match.start() >= end:
                return found
            start, at = match.span()
            near = block[start : at + LONGEST].lower()
            found += ((start, owners) for _, owners in self._by_passes(near, 0, len(near)))
        return None


def _union(needles: Iterable[Needle]) -> Any:
    """Return one RE2 expression for all needles."""
    options = re2.Options()
    options.case_sensitive, options.never_capture = False, True
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = 2**25
    return re2.compile(b"|".join(map(expression, needles)), options)


def _rarest(found: list[Choice], sample: bytes) -> Choice:
    """Return the choice that the sample holds least of; the longest of several."""
    if len(found) == 1:
        return found[0]
    return min(found, key=lambda choice: (min(map(len, choice)) < _LEAST, _count(choice, sample)))


def _count(choice: Choice, sample: bytes) -> int:
    return sum(sum(1 for _ in re.finditer(expression(one), sample)) for one in choice)


def _passes(of: dict[Needle, set[int]], sample: bytes) -> list[_Pass]:
    """Return the passes that find all needles."""
    needles = list(of)
    places = [dict(_pivots(needle)) for needle in needles]
    serves: dict[int, int] = {}  # a bit for each needle
    for number, pivots in enumerate(places):
        for byte in pivots:
            serves[byte] = serves.get(byte, 0) | 1 << number
    often = {byte: 100 * sample.count(byte) / max(len(sample), 1) for byte in serves}
    passes = []
    for byte in _cover(serves, often):
        served = [number for number, pivots in enumerate(places) if byte in pivots]
        passes.append(_pass(byte, {needles[n]: places[n][byte] for n in served}, of))
        for number in served:
            places[number] = {}
    return passes


def _pivots(needle: Needle) -> Iterator[tuple[int, int]]:
    """Yield the bytes that a needle may be searched by, with their place in it."""
    for at, taken in enumerate(needle):
        if len(taken) == 1 and (len(needle) - at > _BEHIND or at == 0):
            yield next(iter(taken)), at


def _is_searchable(needle: Needle) -> bool:
    return any(True for _ in _pivots(needle))


def _pass(byte: int, pivots: dict[Needle, int], of: dict[Needle, set[int]]) -> _Pass:
    """Make one expression: the byte, and around it whichever needle; it takes the byte alone.

    So needles that overlap are all found. Of those that may stand at one place the first is told,
    and with it whose the others are.
    """
    rests = [needle[at + 1 :] for needle, at in pivots.items()]
    whose = [of[needle] for needle in pivots]
    owners: list[Owners] = [()]
    for number, rest in enumerate(rests):
        both = zip(rests[number:], whose[number:], strict=True)
        owners.append(
            tuple(sorted({one for other, its in both if _meet(rest, other) for one in its}))
        )
    around = (
        expression(rest) + (b"(?<=" + expression(needle) + b")" if at else b"") + b"()"
        for rest, (needle, at) in zip(rests, pivots.items(), strict=True)
    )
    pivot = bytes([byte])
    search = re.compile(re.escape(pivot) + b"(?=" + b"|".join(around) + b")")
    return _Pass(pivot, search, tuple(owners))


def _meet(one: Needle, other: Needle) -> bool:
    """Whether two needles may stand at one place."""
    return all(a & b for a, b in zip(one, other, strict=False))


# --- which bytes to search by -------------------------------------------------------------------


def _cover(serves: dict[int, int], often: dict[int, float]) -> list[int]:
    """Return bytes that serve every needle at little cost, the rarest first.

    They are found greedily, then bettered: one or two of them give way to another or to none,
    until nothing is gained.
    """
    every = 0
    for mask in serves.values():
        every |= mask
    chosen: list[int] = []
    while left := _left(chosen, every, serves):
        gains = (
            (_cost(byte, mask & left, often) / (mask & left).bit_count(), byte)
            for byte, mask in serves.items()
            if mask & left
        )
        chosen.append(min(gains)[1])
    cost, chosen = _ordered(chosen, every, serves, often)
    for _ in range(_MOST_ROUNDS):
        others = (
            _ordered([*(set(chosen) - set(pair)), *more], every, serves, often)
            for pair in combinations_with_replacement(chosen, 2)
            for more in [(), *((byte,) for byte in serves)]
        )
        least, best = min(others, default=(cost, chosen))
        if least >= cost:
            break
        cost, chosen = least, best
    return chosen


def _left(chosen: Iterable[int], every: int, serves: dict[int, int]) -> int:
    for byte in chosen:
        every &= ~serves[byte]
    return every


def _cost(byte: int, mine: int, often: dict[int, float]) -> float:
    return _PASS + often[byte] * (_HOP + _TRY * mine.bit_count())


def _ordered(
    chosen: Iterable[int], every: int, serves: dict[int, int], often: dict[int, float]
) -> tuple[float, list[int]]:
    """Return what searching by these bytes costs, and those that are of use, the rarest first."""
    cost, used = 0.0, []
    for byte in sorted(set(chosen), key=lambda one: (often[one], one)):
        if mine := every & serves[byte]:
            cost += _cost(byte, mine, often)
            used.append(byte)
            every &= ~mine
    return (inf if every else cost), used
