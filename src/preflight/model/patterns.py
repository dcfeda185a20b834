"""Regular expressions of rule files: which are allowed, and searching with a time limit.

Those of the program itself are in text files, which it reads.

Lookarounds, backreferences and the like are refused, because Hyperscan, which searches logs, has
none of them.
"""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from typing import Any, AnyStr

_re_parser: Any = import_module("re._parser" if sys.version_info >= (3, 11) else "sre_parse")
_re_constants: Any = import_module(
    "re._constants" if sys.version_info >= (3, 11) else "sre_constants"
)

_REFUSED_REGEX_CONSTRUCTS: Mapping[Any, str] = {
    _re_constants.ASSERT: "a lookaround",
    _re_constants.ASSERT_NOT: "a lookaround",
    _re_constants.GROUPREF: "a backreference",
    _re_constants.GROUPREF_EXISTS: "a conditional group",
    **{
        getattr(_re_constants, name): "an atomic group or possessive repeat"
        for name in ("ATOMIC_GROUP", "POSSESSIVE_REPEAT")  # from Python 3.11 on
        if hasattr(_re_constants, name)
    },
}
_SubPattern: Any = _re_parser.SubPattern
_MAX_REGEX_NODES = 5000  # nodes, with counted repeats written out
_MAX_SEARCH_SECONDS = 1.0  # of processor time for one search
_MAX_CHARS_SEARCHED_WITHOUT_TIMER = 4096  # characters or bytes of text without a timer


class SlowPatternError(ValueError):
    """A search took too long; names the pattern."""


@lru_cache(maxsize=512)
def compile_pattern(source: str) -> re.Pattern[str]:
    """Compile a pattern for texts; raises ValueError if it is invalid or refused."""
    return _compile_checked_pattern(source, 0)


@lru_cache(maxsize=8192)
def compile_log_pattern(source: str) -> re.Pattern[bytes]:
    """Compile a pattern for lines of logs: on bytes, case-insensitive; raises ValueError."""
    return _compile_checked_pattern(source.encode(), re.IGNORECASE)


def _compile_checked_pattern(source: AnyStr, flags: int) -> re.Pattern[AnyStr]:
    try:
        tree = _re_parser.parse(source, flags)
        pattern = re.compile(source, flags)
    except (re.error, OverflowError, RecursionError, ValueError) as error:
        raise ValueError(f"invalid regular expression: {error}") from None
    if _check_regex_and_count_nodes(tree) > _MAX_REGEX_NODES:
        raise ValueError("the regular expression is too large: reduce its repetitions")
    return pattern


def _check_regex_and_count_nodes(tree: Any) -> int:
    """Return the number of nodes in a parsed expression; raises ValueError for a refused one."""
    total = 0
    for operator, argument in tree:
        if operator in _REFUSED_REGEX_CONSTRUCTS:
            raise ValueError(
                f"{_REFUSED_REGEX_CONSTRUCTS[operator]} can take forever to match: "
                "rewrite the pattern without it"
            )
        parts = argument[1] if operator is _re_constants.BRANCH else argument
        branches = parts if isinstance(parts, list | tuple) else ()
        inner = sum(
            2 + _check_regex_and_count_nodes(part)
            for part in branches
            if isinstance(part, _SubPattern)
        )
        if operator in (_re_constants.MAX_REPEAT, _re_constants.MIN_REPEAT):
            low, high, _ = argument
            inner *= low + 1 if high is _re_constants.MAXREPEAT else int(high)
        total += 1 + inner
    return total


def search_with_time_limit(pattern: re.Pattern[AnyStr], text: AnyStr) -> re.Match[AnyStr] | None:
    """Search a text; raises SlowPatternError after more than a second of processor time."""
    with limit_search_time(_MAX_SEARCH_SECONDS, lambda: pattern) as is_timed:
        return pattern.search(text if is_timed else text[:_MAX_CHARS_SEARCHED_WITHOUT_TIMER])


@contextmanager
def limit_search_time(seconds: float, current: Callable[[], re.Pattern[Any]]) -> Iterator[bool]:
    """Raise SlowPatternError, naming the current pattern, where searching takes longer.

    Python's own engine can need exponential time. The timer, of processor time, works in the main
    thread only and not on Windows; yields whether it runs.
    """
    timer = getattr(signal, "setitimer", None)
    if timer is None or threading.current_thread() is not threading.main_thread():
        yield False
        return

    def stop(*_: object) -> None:
        source = current().pattern
        text = source.decode() if isinstance(source, bytes) else source
        raise SlowPatternError(f"the pattern {text!r:.200} takes too long to match")

    previous = signal.signal(signal.SIGVTALRM, stop)
    try:
        timer(signal.ITIMER_VIRTUAL, seconds)
        yield True
    finally:
        timer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, previous)


def read_regex_file(file: str, parts: Mapping[str, str]) -> dict[str, str]:
    """Return the expressions of a file by heading, in Python's verbose syntax.

    A heading in braces, such as `[{start}]`, names a part of those that follow, as in `parts`.
    """
    known, patterns = dict(parts), {}
    with open(file, encoding="utf-8") as lines:
        sections = lines.read().split("\n\n[")[1:]
    for section in sections:
        heading, pattern = section.split("]\n", 1)
        for name, part in known.items():
            pattern = pattern.replace(name, part)
        if heading.startswith("{"):
            known[heading] = f"(?:{pattern}\n)"  # it may end with a comment
        else:
            patterns[heading] = pattern
    return patterns
