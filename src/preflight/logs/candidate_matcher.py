"""Finds where patterns match in a block of bytes, all of them at once.

Hyperscan does it where it is installed, and its compiled patterns are kept in the user's cache
folder. What it finds are candidates: `re` then searches the line, and reads the named groups.
Elsewhere every line is a candidate, which is slow.
"""

import hashlib
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from preflight.cache_files import prepare_cache_file_path, read_cache_file, write_cache_file

FindMatches: TypeAlias = Callable[[bytes], "list[tuple[int, int]]"]

UNKNOWN_PATTERN_NUMBER = -1  # in place of a pattern's number: any of them may match

_LINE_OR_CHUNK_PATTERN = re.compile(rb"[^\n]{1,4096}")  # a line, or a part of a long one
_PATTERN_DIGEST_BYTES = 32
_MAX_CACHE_FILES = 4  # for rule files with errors of their own, of some 2 MB each
# what Hyperscan reads differently from `re`, or what Docker's json-file writes differently
_REGEX_TOKEN_PATTERN = re.compile(
    r"(?:(?P<token>\\.|\(\?P<\w+>|\[\^?\]?(?:\\.|[^\]\\])*\]|[\^$\"<>&.])|(?=[*+{]))"
    r"(?P<repeat>[*+]|\{[0-9]*,?[0-9]*\})?",
    re.DOTALL,
)
_JSON_ESCAPED_CHARS = '"\\<>&\t\x1b\0'  # characters that json-file writes as \" or \u003c
_JSON_ESCAPE_CHARS = "\\nrtu0123456789abcdef"  # characters of which such an escape consists


class CandidateMatchFinder(NamedTuple):
    """`find` returns where matches end in a block, each with its pattern's number, in order.

    Without Hyperscan, for the reason in `slow_reason`, those are just the ends of lines.
    """

    find: FindMatches
    slow_reason: str | None = None


def build_matcher(sources: Sequence[str]) -> CandidateMatchFinder:
    """Return what searches for all these patterns."""
    if not sources:
        return CandidateMatchFinder(lambda _block: [])
    try:
        import hyperscan
    except ImportError as error:  # no wheel for this platform, or a processor without SSSE3
        return CandidateMatchFinder(
            _list_all_lines_as_candidates, f"Hyperscan can't be loaded ({error})"
        )
    try:
        return CandidateMatchFinder(_make_hyperscan_finder(hyperscan, sources))
    except hyperscan.error as error:
        return CandidateMatchFinder(
            _list_all_lines_as_candidates, f"Hyperscan can't search for these patterns ({error})"
        )


def _list_all_lines_as_candidates(block: bytes) -> list[tuple[int, int]]:
    return [
        (piece.end(), UNKNOWN_PATTERN_NUMBER) for piece in _LINE_OR_CHUNK_PATTERN.finditer(block)
    ]


def _make_hyperscan_finder(hyperscan: Any, sources: Sequence[str]) -> FindMatches:
    expressions = [_widen_pattern_for_hyperscan(source).encode() for source in sources]
    key = repr((hyperscan.__version__, sys.byteorder, expressions)).encode()
    number = hashlib.sha256(key).digest()[0] % _MAX_CACHE_FILES
    database, cache_file = None, prepare_cache_file_path(f"log-patterns-{number}")
    if cache_file and (compiled := _read_cached_patterns(cache_file, key)) is not None:
        with suppress(hyperscan.error):  # compiled for another processor
            database = hyperscan.loadb(compiled, hyperscan.HS_MODE_BLOCK)
            database.scratch = hyperscan.Scratch(database)
    if database is None:
        database = hyperscan.Database(mode=hyperscan.HS_MODE_BLOCK)
        database.compile(
            expressions=expressions,
            ids=list(range(len(expressions))),
            flags=hyperscan.HS_FLAG_CASELESS | hyperscan.HS_FLAG_MULTILINE,
        )
        if cache_file:
            compiled = hyperscan.dumpb(database)
            write_cache_file(cache_file, hashlib.sha256(key + compiled).digest() + compiled)

    def find(block: bytes) -> list[tuple[int, int]]:
        found: list[tuple[int, int]] = []

        def add(number: int, _start: int, end: int, _flags: int, _context: object) -> None:
            found.append((end, number))

        database.scan(block, match_event_handler=add)
        return sorted(found)

    return find


def _widen_pattern_for_hyperscan(source: str) -> str:
    r"""Return an expression that matches wherever the pattern does, in a json-file's line too.

    There a quote is `\"` and "<" is `\u003c`, and the text begins and ends within the line.
    """

    def widen(match: re.Match[str]) -> str:
        token, repeat = match["token"], (match["repeat"] or "").replace("{,", "{0,")
        if not token:
            return repeat
        if token in ("^", r"\A"):
            return r"""(?:^|\\n|["'m\]:|>\s])""" + repeat
        if token in ("$", r"\Z"):
            return r"""(?:$|\r|\\+[rn]|\\*["']|\x1b|>|\xe2\x80\xa6)""" + repeat
        if token in (r"\b", r"\B"):
            return ""  # a word may stand beside `\u003c`, which ends like one
        if token.startswith("("):
            return "("
        if not any(re.match(token, char, re.ASCII) for char in _JSON_ESCAPED_CHARS):
            return token + repeat
        if repeat and all(re.match(token, char, re.ASCII) for char in _JSON_ESCAPE_CHARS):
            # an escape is just more of the same; a count would also take seconds to compile
            return token + ("*" if repeat.startswith(("*", "{0,")) else "+")
        return rf"(?:{token}|\\+(?:u00[0-9a-f]{{2}}|.))" + repeat

    return _REGEX_TOKEN_PATTERN.sub(widen, source)


# --- the cache ----------------------------------------------------------------------------------


def _read_cached_patterns(file: Path, key: bytes) -> bytes | None:
    """Return what was kept for the key; None if there is nothing, or nothing to trust."""
    data = read_cache_file(file)
    digest, compiled = data[:_PATTERN_DIGEST_BYTES], data[_PATTERN_DIGEST_BYTES:]
    return compiled if digest == hashlib.sha256(key + compiled).digest() else None
