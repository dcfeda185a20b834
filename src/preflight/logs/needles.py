"""What a line must hold for a regular expression to match: a few characters in a row.

A needle is a row of sets of bytes, in lower case; a choice is a set of needles of which every
match holds one. An expression may have several choices, or none.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import product
from typing import Any, TypeAlias

from preflight.model import patterns
from preflight.model.patterns import codes

Needle: TypeAlias = tuple[frozenset[int], ...]
Choice: TypeAlias = tuple[Needle, ...]

_MOST_NEEDLES = 24  # of a choice
_MOST_BYTES = 12  # that one place of a needle takes
_MOST_COUNT = 3  # repeats that are written out
LONGEST = 40  # places of a needle
_ESCAPED = frozenset(b'"\\<>&/')  # JSON may write them otherwise


def choices(source: str) -> list[Choice]:
    """Return the choices of an expression, the most telling first."""
    found: list[Choice] = []
    _collect(patterns.parse(source), found)
    return sorted(dict.fromkeys(found), key=_length, reverse=True)


def _length(choice: Choice) -> int:
    return min(map(len, choice))


def _collect(tree: Any, found: list[Choice]) -> None:
    """Add what the runs of fixed characters of a tree are: each match has them all."""
    run: list[Needle] = [()]
    for operator, argument in _flat(tree):
        exact = _exact(operator, argument)
        if exact is not None and len(run) * len(exact) <= _MOST_NEEDLES:
            run = _joined(run, exact)
            continue
        _close(run, found)
        run = exact or [()]
        if exact is None:
            _inside(operator, argument, found)
    _close(run, found)


def _flat(tree: Any) -> Iterable[tuple[Any, Any]]:
    """Yield the nodes in a row; a group is what it holds."""
    for operator, argument in tree:
        if operator is codes.SUBPATTERN:
            yield from _flat(argument[3])
        else:
            yield operator, argument


def _joined(run: list[Needle], exact: list[Needle]) -> list[Needle]:
    return list(dict.fromkeys((*before, *after) for before, after in product(run, exact)))


def _close(run: list[Needle], found: list[Choice]) -> None:
    if all(run):
        found.append(tuple(one[:LONGEST] for one in run))


def _inside(operator: Any, argument: Any, found: list[Choice]) -> None:
    """Add what is sure of a node that is no fixed text."""
    if operator is codes.BRANCH:
        options: list[list[Choice]] = [[] for _ in argument[1]]
        for option, into in zip(argument[1], options, strict=True):
            _collect(option, into)
        if all(options):
            best = [max(one, key=_length) for one in options]
            needles = tuple(dict.fromkeys(needle for choice in best for needle in choice))
            if len(needles) <= _MOST_NEEDLES:
                found.append(needles)
    elif operator in (codes.MAX_REPEAT, codes.MIN_REPEAT) and argument[0] > 0:
        _collect(argument[2], found)


def _exact(operator: Any, argument: Any) -> list[Needle] | None:
    """Return all that a node may match, None where that is too much."""
    if operator is codes.AT:
        return [()]
    if operator in (codes.LITERAL, codes.IN):
        taken = _bytes([(operator, argument)] if operator is codes.LITERAL else argument)
        return [(taken,)] if taken else None
    if operator is codes.BRANCH:
        options = [_exact_row(option) for option in argument[1]]
        known = [needle for option in options if option is not None for needle in option]
        return known if None not in options and len(known) <= _MOST_NEEDLES else None
    if operator is codes.SUBPATTERN:
        return _exact_row(argument[3])
    if operator in (codes.MAX_REPEAT, codes.MIN_REPEAT):
        return _counted(*argument)
    return None


def _exact_row(tree: Any) -> list[Needle] | None:
    row: list[Needle] = [()]
    for operator, argument in tree:
        exact = _exact(operator, argument)
        if exact is None or len(row) * len(exact) > _MOST_NEEDLES:
            return None
        row = _joined(row, exact)
    return row


def _counted(least: int, most: Any, tree: Any) -> list[Needle] | None:
    once = None if most is codes.MAXREPEAT or most > _MOST_COUNT else _exact_row(tree)
    if once is None:
        return None
    row: list[Needle] = [()]
    found: list[Needle] = [()] if least == 0 else []
    for count in range(1, int(most) + 1):
        row = _joined(row, once)
        found += row if count >= least else []
        if len(row) > _MOST_NEEDLES or len(found) > _MOST_NEEDLES:
            return None
    return list(dict.fromkeys(found))


def _bytes(items: Iterable[tuple[Any, Any]]) -> frozenset[int]:
    """Return the bytes in lower case that a place takes; nothing where they are no few."""
    taken: set[int] = set()
    for operator, argument in items:
        if operator is codes.LITERAL:
            taken.add(argument)
        elif operator is codes.RANGE:
            taken.update(range(argument[0], min(argument[1], 128) + 1))
        elif operator is codes.CATEGORY and argument is codes.CATEGORY_DIGIT:
            taken.update(b"0123456789")
        else:
            return frozenset()
    lower = frozenset(one + 32 if 65 <= one <= 90 else one for one in taken)
    plain = all(32 <= one < 127 and one not in _ESCAPED for one in lower)
    return lower if plain and len(lower) <= _MOST_BYTES else frozenset()


def expression(needle: Needle) -> bytes:
    """Return the regular expression of a needle, or of a part of one."""
    return b"".join(
        re.escape(bytes(taken))
        if len(taken) == 1
        else b"[" + b"".join(re.escape(bytes([one])) for one in sorted(taken)) + b"]"
        for taken in needle
    )
