"""Regular expressions from a rule file, matched in a time that grows with the text and no faster.

Those that Python's own engine can't get lost in are left to it. The others, such as `(a+)+b`, are
run by a matcher that is at each step of the expression once for each place of the text, with the
same result (where the body of a repeat may be empty, a group may hold more). Lookarounds, back-
references and what else can't be bounded is refused. As logs need it, upper and lower case are
the same and classes such as `\\d` are ASCII's, unless other flags are given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from importlib import import_module
from typing import Any, NamedTuple, Protocol

try:
    parser: Any = import_module("re._parser")
    codes: Any = import_module("re._constants")
except ImportError:  # Python 3.10
    parser = import_module("sre_parse")
    codes = import_module("sre_constants")

FLAGS = int(re.IGNORECASE | re.ASCII)
_REFUSED: Mapping[Any, str] = {
    codes.ASSERT: "a lookaround",
    codes.ASSERT_NOT: "a lookaround",
    codes.GROUPREF: "a backreference",
    codes.GROUPREF_EXISTS: "a conditional group",
    **{
        getattr(codes, name): "an atomic group or possessive repeat"
        for name in ("ATOMIC_GROUP", "POSSESSIVE_REPEAT")
        if hasattr(codes, name)
    },
}
_REPEATS = (codes.MAX_REPEAT, codes.MIN_REPEAT)
_MOST_STEPS = 5000  # of a program
_LONG = 32  # repeats; one of more is taken for endless
_MOST_CHOICES = 8  # ambiguous ones outside of repeats: each may double the work
_SPACES = " \t\n\r\f\v"  # of ASCII


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


_CLASSES: Mapping[Any, tuple[Callable[[str], bool], bool]] = {
    codes.CATEGORY_DIGIT: (str.isdecimal, True),
    codes.CATEGORY_NOT_DIGIT: (str.isdecimal, False),
    codes.CATEGORY_SPACE: (str.isspace, True),
    codes.CATEGORY_NOT_SPACE: (str.isspace, False),
    codes.CATEGORY_WORD: (_is_word, True),
    codes.CATEGORY_NOT_WORD: (_is_word, False),
}
_NAMED = (codes.LITERAL, codes.RANGE)


class Found(Protocol):
    """A match, as `re.Match` is one."""

    def start(self) -> int:
        """Return where it begins."""

    def groupdict(self) -> Mapping[str, str | None]:
        """Return what the named groups hold."""


@lru_cache(maxsize=512)
def parse(source: str, flags: int = FLAGS) -> Any:
    """Return the tree of an expression; raises ValueError where it is none, or is refused."""
    try:
        tree = parser.parse(source, flags)
    except (re.error, OverflowError, RecursionError) as fault:
        raise ValueError(f"no regular expression: {fault}") from None
    for operator, _ in walk(tree):
        if operator in _REFUSED:
            raise ValueError(f"{_REFUSED[operator]} can take for ever: write it without one")
    if _size(tree) > _MOST_STEPS:
        raise ValueError("the regular expression is too large: it repeats too much")
    return tree


def _size(tree: Any) -> int:
    """Return how many steps an expression makes at most, its counted repeats written out."""
    total = 0
    for operator, argument in tree:
        inner = sum(2 + _size(one) for one in children(operator, argument))
        if operator in _REPEATS:
            least, most, _ = argument
            inner *= least + 1 if most is codes.MAXREPEAT else int(most)
        total += 1 + inner
    return total


def groups(tree: Any) -> list[str]:
    """Return the names of an expression's groups."""
    return list(tree.state.groupdict)


def walk(tree: Any) -> Iterator[tuple[Any, Any]]:
    """Yield every node of a tree."""
    for operator, argument in tree:
        yield operator, argument
        for inner in children(operator, argument):
            yield from walk(inner)


def children(operator: Any, argument: Any) -> list[Any]:
    """Return the trees below a node."""
    if operator is codes.BRANCH:
        return list(argument[1])
    if operator is codes.SUBPATTERN:
        return [argument[3]]
    return [argument[2]] if operator in _REPEATS else []


@lru_cache(maxsize=512)
def compiled(source: str, flags: int = FLAGS) -> Callable[[str], Found | None]:
    """Return what searches a text for an expression; raises ValueError where it is refused."""
    program = _Program(parse(source, flags))
    if program.is_tame():
        return re.compile(source, flags).search
    return program.search


# --- the other matcher --------------------------------------------------------------------------


class Match(NamedTuple):
    """What the linear matcher found."""

    at: int
    named: Mapping[str, str | None]

    def start(self) -> int:
        """Return where it begins."""
        return self.at

    def groupdict(self) -> Mapping[str, str | None]:
        """Return what the named groups hold."""
        return self.named


class _Chars(dict[str, bool]):
    """Which characters a place takes; asked once for each."""

    def __init__(self, items: list[tuple[Any, Any]], folds: bool, flags: int) -> None:
        super().__init__()
        self._ascii = bool(flags & re.ASCII)
        self._negated = bool(items) and items[0][0] is codes.NEGATE
        self._items = items  # NEGATE among them takes no character
        self._folds = folds
        self.mask = sum(1 << i for i in range(128) if self[chr(i)])
        self.mask |= (1 << 128) if self._negated or self._beyond_ascii() else 0

    def _beyond_ascii(self) -> bool:
        named = [a if o is codes.LITERAL else a[1] for o, a in self._items if o in _NAMED]
        classes = [a for o, a in self._items if o is codes.CATEGORY]
        wide = any(not self._ascii or not _CLASSES[one][1] for one in classes)
        return wide or (self._folds and not self._ascii) or any(last > 127 for last in named)

    def __missing__(self, char: str) -> bool:
        folds = self._folds and (char.isascii() or not self._ascii)
        cases = {char, char.lower(), char.upper()} if folds else {char}
        self[char] = found = any(self._has(one) for one in cases) is not self._negated
        return found

    def _has(self, char: str) -> bool:
        for operator, argument in self._items:
            if operator is codes.LITERAL and char == chr(argument):
                return True
            if operator is codes.RANGE and chr(argument[0]) <= char <= chr(argument[1]):
                return True
            if operator is codes.CATEGORY and self._is_in(argument, char):
                return True
        return False

    def _is_in(self, category: Any, char: str) -> bool:
        known, wanted = _CLASSES[category]
        if self._ascii and known is str.isspace:
            return (char in _SPACES) is wanted
        return (known(char) and (char.isascii() or not self._ascii)) is wanted


_CHAR, _SPLIT, _JUMP, _SAVE, _AT, _MATCH = range(6)


class _Loop(NamedTuple):
    """An endless repeat: its choice, which its body follows, and the step after that."""

    split: int
    end: int


class _Program:
    """An expression as steps: take a character, choose between two steps, keep a place."""

    def __init__(self, tree: Any) -> None:
        self._names: Mapping[str, int] = dict(tree.state.groupdict)
        self._slots = 2 * tree.state.groups
        self._flags = tree.state.flags
        self._steps: list[tuple[int, Any, int]] = []
        self._loops: list[_Loop] = []
        self._sequence(tree, bool(self._flags & re.IGNORECASE))
        self._add(_MATCH)

    # -- from a tree to steps

    def _add(self, kind: int, argument: Any = None, other: int = 0) -> int:
        self._steps.append((kind, argument, other))
        return len(self._steps) - 1

    def _sequence(self, tree: Any, folds: bool) -> None:
        for operator, argument in tree:
            self._node(operator, argument, folds)

    def _node(self, operator: Any, argument: Any, folds: bool) -> None:
        if operator is codes.LITERAL:
            self._char([(operator, argument)], folds)
        elif operator is codes.NOT_LITERAL:
            self._char([(codes.NEGATE, None), (codes.LITERAL, argument)], folds)
        elif operator is codes.ANY:
            newline = [] if self._flags & re.DOTALL else [(codes.LITERAL, 10)]
            self._char([(codes.NEGATE, None), *newline], folds)
        elif operator is codes.IN:
            self._char(list(argument), folds)
        elif operator is codes.AT:
            self._add(_AT, argument)
        elif operator is codes.BRANCH:
            self._branch(argument[1], folds)
        elif operator is codes.SUBPATTERN:
            self._group(argument, folds)
        elif operator in _REPEATS:
            least, most, inner = argument
            self._repeat(least, most, inner, folds, operator is codes.MIN_REPEAT)
        else:
            raise ValueError(f"the regular expression has a part that isn't known: {operator}")

    def _char(self, items: list[tuple[Any, Any]], folds: bool) -> None:
        self._add(_CHAR, _Chars(items, folds, self._flags))

    def _branch(self, options: list[Any], folds: bool) -> None:
        ends = []
        for option in options[:-1]:
            split = self._add(_SPLIT)
            self._sequence(option, folds)
            ends.append(self._add(_JUMP))
            self._steps[split] = (_SPLIT, split + 1, len(self._steps))
        self._sequence(options[-1], folds)
        for end in ends:
            self._steps[end] = (_JUMP, len(self._steps), 0)

    def _group(self, argument: Any, folds: bool) -> None:
        number, added, removed, inner = argument
        folds = (folds or bool(added & re.IGNORECASE)) and not removed & re.IGNORECASE
        if number is None:
            self._sequence(inner, folds)
            return
        self._add(_SAVE, 2 * number)
        self._sequence(inner, folds)
        self._add(_SAVE, 2 * number + 1)

    def _repeat(self, least: int, most: Any, inner: Any, folds: bool, lazy: bool) -> None:
        endless = most is codes.MAXREPEAT
        for _ in range(least):
            self._sequence(inner, folds)
        splits = []
        for _ in range(least, least + 1 if endless else int(most)):
            splits.append(self._add(_SPLIT))
            self._sequence(inner, folds)
        if endless:
            self._add(_JUMP, splits[0])
        end = len(self._steps)
        for split in splits:  # each of them leads out
            self._steps[split] = (_SPLIT, end, split + 1) if lazy else (_SPLIT, split + 1, end)
        if endless or len(splits) > _LONG:
            self._loops.append(_Loop(splits[0], end))

    # -- is Python's own engine sure to come back soon?

    def is_tame(self) -> bool:
        """Whether backtracking takes no more than the square of a text's length.

        So it is where every repeat knows by the next character whether it goes on, or where the
        only repeat doesn't.
        """
        heads = {one.split for one in self._loops}
        if self._within_a_repeat(heads):
            return False
        splits = [i for i, step in enumerate(self._steps) if step[0] == _SPLIT]
        unsure = {i for i in splits if self._first(i, 1) & self._first(i, 2)}
        if self._within_a_repeat(unsure):
            return False
        sure = not unsure & heads or len(heads) == 1
        return sure and len(unsure - heads) <= _MOST_CHOICES

    def _within_a_repeat(self, choices: set[int]) -> bool:
        return any(one.split < i < one.end for i in choices for one in self._loops)

    def _first(self, split: int, way: int) -> int:
        """Which characters may come next on one way out of a choice."""
        waiting, seen, mask = [self._steps[split][way]], set(), 0
        while waiting:
            step = waiting.pop()
            if step in seen:
                continue
            seen.add(step)
            kind, argument, other = self._steps[step]
            if kind == _CHAR:
                mask |= argument.mask
            elif kind == _SPLIT:
                waiting += [argument, other]
            elif kind == _JUMP:
                waiting.append(argument)
            elif kind != _MATCH:
                waiting.append(step + 1)
        return mask

    # -- matching

    def search(self, text: str) -> Match | None:
        """Return the match that Python's own engine would find, in steps times length."""
        seen = bytearray(len(self._steps) * (len(text) + 1))
        for start in range(len(text) + 1):
            places = self._from(start, text, seen)
            if places is not None:
                return Match(start, self._named(places, text))
        return None

    def _from(self, start: int, text: str, seen: bytearray) -> list[int] | None:
        """Return the places of groups of the match that begins here; what failed is in `seen`."""
        steps, length, width = self._steps, len(text), len(text) + 1
        places = [-1] * self._slots
        waiting: list[tuple[int, int]] = [(0, start)]
        while waiting:
            step, at = waiting.pop()
            if step < 0:  # a way that failed: what it kept is undone
                places[~step] = at
                continue
            while not seen[step * width + at]:
                seen[step * width + at] = 1
                kind, argument, other = steps[step]
                if kind == _CHAR:
                    if at == length or not argument[text[at]]:
                        break
                    step, at = step + 1, at + 1
                elif kind == _SPLIT:
                    waiting.append((other, at))
                    step = argument
                elif kind == _JUMP:
                    step = argument
                elif kind == _SAVE:
                    waiting.append((~argument, places[argument]))
                    places[argument] = at
                    step += 1
                elif kind == _MATCH:
                    return places
                elif self._holds(argument, text, at):
                    step += 1
                else:
                    break
        return None

    def _named(self, places: list[int], text: str) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for name, number in self._names.items():
            begin, end = places[2 * number], places[2 * number + 1]
            found[name] = text[begin:end] if 0 <= begin <= end else None
        return found

    def _holds(self, where: Any, text: str, at: int) -> bool:
        many = self._flags & re.MULTILINE
        if where in (codes.AT_BEGINNING, codes.AT_BEGINNING_STRING):
            lines = many and where is codes.AT_BEGINNING
            return at == 0 or bool(lines and text[at - 1] == "\n")
        if where is codes.AT_END:
            last = len(text) - 1 if not many else at
            return at == len(text) or (at == last and text[at] == "\n")
        if where is codes.AT_END_STRING:
            return at == len(text)
        before = at > 0 and self._is_word(text[at - 1])
        after = at < len(text) and self._is_word(text[at])
        return (before is not after) is (where is codes.AT_BOUNDARY)

    def _is_word(self, char: str) -> bool:
        return _is_word(char) and (char.isascii() or not self._flags & re.ASCII)
