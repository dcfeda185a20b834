"""Patterns of file names as Go's `filepath.Match` and `.dockerignore` read them.

Source: moby/patternmatcher, and its ignorefile.
"""

import posixpath
import re
from collections.abc import Iterator
from itertools import count
from typing import NamedTuple

from preflight.model.facts import NotMeasuredError

_MAX_ANY_DEPTH_WILDCARDS = 4  # of one pattern; each multiplies the time that a match takes
_MAX_PATTERN_CHARS = 4096  # as many as a path may have
_MAX_PATTERNS = 2000  # of one file
_TOKEN_PATTERN = re.compile(
    r"\*\*+/?|\[(?P<negation>\^|(?!\^))(?P<class>(?:\\.|[^\]\\])+)\]|\\.|[^\\\[]", re.DOTALL
)
_RANGE_PATTERN = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)


class UndecidedSourceError(NotMeasuredError):
    """Why it isn't known whether the builder finds a source."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "unsupported")


class PatternError(UndecidedSourceError):
    """A pattern that Go refuses."""


class PatternLimitError(UndecidedSourceError):
    """A pattern that would take long."""


def has_wildcard(path: str) -> bool:
    """Return whether the builders take a path for a pattern; a backslash hides what follows."""
    return bool(re.search(r"[*?\[]", re.sub(r"\\.", "", path)))


def compile_pattern(pattern: str, *, any_depth: bool = False) -> re.Pattern[str]:
    r"""Return the regular expression of a pattern, with `**` for any number of folders.

    Of two stars in one name the first takes as little as it can and never more, so that no pattern
    takes long. Raises PatternError, PatternLimitError.
    """
    if len(pattern) > _MAX_PATTERN_CHARS:
        raise PatternLimitError(f"a pattern of {len(pattern):,} characters")
    parts: list[str] = []
    name, numbers, depth, position = [""], count(), 0, 0  # a name is split at its stars
    while position < len(pattern):
        token = _TOKEN_PATTERN.match(pattern, position)
        if token is None:
            raise PatternError("syntax error in pattern")
        position = token.end()
        if any_depth and token[0].startswith("**"):
            depth += 1
            parts += [
                _join_around_wildcards(name, numbers),
                "(?:.*/)?" if position < len(pattern) else ".*",
            ]
            name = [""]
        elif token[0] == "/":
            parts += [_join_around_wildcards(name, numbers), "/"]
            name = [""]
        elif token[0].startswith("*"):
            name.append("")
        elif token[0] == "?":
            name[-1] += "[^/]"
        elif token["class"]:
            name[-1] += _translate_character_class(token["negation"], token["class"])
        else:
            name[-1] += re.escape(token[0][-1])
    if depth > _MAX_ANY_DEPTH_WILDCARDS:
        raise PatternLimitError(
            f"{pattern!r} has more than {_MAX_ANY_DEPTH_WILDCARDS} wildcards **"
        )
    return re.compile("".join((*parts, _join_around_wildcards(name, numbers))), re.DOTALL)


def _join_around_wildcards(texts: list[str], numbers: Iterator[int]) -> str:
    """Return the expression of a name, given what stands between its stars."""
    first, *rest = texts
    for text, number in zip(rest[:-1], numbers, strict=False):
        first += f"(?=(?P<g{number}>[^/]*?{text}))(?P=g{number})"
    return f"{first}[^/]*{rest[-1]}" if rest else first


def _translate_character_class(negation: str, text: str) -> str:
    ranges = []
    for match in _RANGE_PATTERN.finditer(text):
        low, high = match[1][-1], (match[2] or match[1])[-1]
        if match[1] == "-" or match[2] == "-" or low > high:
            raise PatternError("syntax error in pattern")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{negation}{''.join(ranges)}]"


class IgnorePattern(NamedTuple):
    """A line of `.dockerignore`; `is_exception` is one that begins with `!`."""

    text: str
    expression: re.Pattern[str]
    is_exception: bool
    line: int


def _parse_ignore_line(line: str, number: int) -> IgnorePattern:
    is_exception = line.startswith("!")
    line = line[1:].strip() if is_exception else line
    if is_exception and not line:
        raise PatternError('illegal exclusion pattern: "!"')
    line = posixpath.normpath(line).lstrip("/") or "/"
    return IgnorePattern(line, compile_pattern(line, any_depth=True), is_exception, number)


class IgnoreFile:
    """The patterns of a `.dockerignore`.

    The builders refuse the whole file for one that isn't valid: `refusal` has the number of its
    line, its text and what they say. Raises PatternLimitError.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.patterns: list[IgnorePattern] = []
        self.refusal: tuple[int, str, str] | None = None
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if raw.startswith("#") or not line:
                continue
            if len(self.patterns) == _MAX_PATTERNS:
                raise PatternLimitError(f"more than {_MAX_PATTERNS:,} patterns in .dockerignore")
            try:
                self.patterns.append(_parse_ignore_line(line, number))
            except PatternError as error:
                self.refusal = self.refusal or (number, line, str(error))

    def find_excluding_pattern(self, path: str) -> IgnorePattern | None:
        """Return the pattern that excludes a path of the context, None for one that stays.

        The last pattern that matches it or a folder above it decides.
        """
        parts = path.split("/")
        paths = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
        decisive: IgnorePattern | None = None
        for pattern in self.patterns:
            is_excluded = decisive is not None
            if pattern.is_exception == is_excluded and any(
                map(pattern.expression.fullmatch, paths)
            ):
                decisive = None if pattern.is_exception else pattern
        return decisive

    def may_keep_below(self, folder: str) -> bool:
        """Return whether an exception may hold for something below a folder."""
        names = folder.split("/")
        for pattern in self.patterns:
            parts = pattern.text.split("/")
            is_below = len(parts) > len(names) and all(
                compile_pattern(part).fullmatch(name)
                for part, name in zip(parts, names, strict=False)
            )
            if pattern.is_exception and ("**" in pattern.text or is_below):
                return True
        return False

    def is_folder_skipped(self, folder: str) -> bool:
        """Return whether the classic builder leaves out a folder, whatever exceptions say.

        Source: docker/cli, cli/command/image/build; moby/go-archive.
        """
        return self.find_excluding_pattern(folder) is not None and not any(
            pattern.is_exception and f"{pattern.text}/".startswith(f"{folder}/")
            for pattern in self.patterns
        )
