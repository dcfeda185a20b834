"""Looks up the sources of COPY and ADD in a build context, as the builders see it.

Only what is named is looked up. A link counts as what it leads to, with the context as its root.
Source of the patterns of `.dockerignore` and of Go's `filepath.Match`: moby/patternmatcher, and its
ignorefile.
"""

import os
import posixpath
import re
from collections.abc import Iterator
from itertools import count, islice
from typing import Literal, NamedTuple, TypeAlias

from preflight.model.facts import NotMeasuredError

CopySourceProblemKind: TypeAlias = Literal["missing", "ignored", "outside", "glob", "syntax"]

_OUTSIDE_BUILD_CONTEXT_MESSAGE = "it is outside of the build context"
_MAX_SYMLINKS = 40
_MAX_LISTED_FOLDER_ENTRIES = 100_000
_MAX_COPY_SOURCE_CHARS = 1000
_MAX_ANY_DEPTH_WILDCARDS = 4  # of one pattern; each multiplies the time that a match takes
_MAX_IGNORE_PATTERN_CHARS = 4096  # as many as a path may have
_MAX_IGNORE_PATTERNS = 2000  # of one file
_GLOB_TOKEN_PATTERN = re.compile(
    r"\*\*+/?|\[(?P<negation>\^|(?!\^))(?P<class>(?:\\.|[^\]\\])+)\]|\\.|[^\\\[]", re.DOTALL
)
_CHARACTER_RANGE_PATTERN = re.compile(r"(\\.|[^\\])(?:-(\\.|[^\\]))?", re.DOTALL)


class UndecidableCopySourceError(NotMeasuredError):
    """Why it isn't known whether the builder finds a source."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, "unsupported")


class InvalidPathPatternError(UndecidableCopySourceError):
    """A pattern that Go refuses."""


def has_wildcard(path: str) -> bool:
    """Return whether the builders take a path for a pattern; a backslash hides what follows."""
    return bool(re.search(r"[*?\[]", re.sub(r"\\.", "", path)))


def compile_path_pattern(pattern: str, *, any_depth: bool = False) -> re.Pattern[str]:
    r"""Return the regular expression of a pattern, with `**` for any number of folders.

    Of two stars in one name the first takes as little as it can and never more, so that no pattern
    takes long. Raises InvalidPathPatternError, UndecidableCopySourceError.
    """
    if len(pattern) > _MAX_IGNORE_PATTERN_CHARS:
        raise UndecidableCopySourceError(f"a pattern is too long ({len(pattern):,} characters)")
    parts: list[str] = []
    name, numbers, depth, position = [""], count(), 0, 0  # a name is split at its stars
    while position < len(pattern):
        token = _GLOB_TOKEN_PATTERN.match(pattern, position)
        if token is None:
            raise InvalidPathPatternError("syntax error in pattern")
        position = token.end()
        if any_depth and token[0].startswith("**"):
            depth += 1
            parts += [
                _build_wildcard_expression(name, numbers),
                "(?:.*/)?" if position < len(pattern) else ".*",
            ]
            name = [""]
        elif token[0] == "/":
            parts += [_build_wildcard_expression(name, numbers), "/"]
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
        raise UndecidableCopySourceError(
            f"{pattern!r} contains ** more than {_MAX_ANY_DEPTH_WILDCARDS} times"
        )
    return re.compile("".join((*parts, _build_wildcard_expression(name, numbers))), re.DOTALL)


def _build_wildcard_expression(texts: list[str], numbers: Iterator[int]) -> str:
    """Return the expression of a name, given what stands between its stars."""
    first, *rest = texts
    for text, number in zip(rest[:-1], numbers, strict=False):
        first += f"(?=(?P<g{number}>[^/]*?{text}))(?P=g{number})"
    return f"{first}[^/]*{rest[-1]}" if rest else first


def _translate_character_class(negation: str, text: str) -> str:
    ranges = []
    for match in _CHARACTER_RANGE_PATTERN.finditer(text):
        low, high = match[1][-1], (match[2] or match[1])[-1]
        if match[1] == "-" or match[2] == "-" or low > high:
            raise InvalidPathPatternError("syntax error in pattern")
        ranges.append(f"{re.escape(low)}-{re.escape(high)}")
    return f"[{negation}{''.join(ranges)}]"


class DockerignorePattern(NamedTuple):
    """A line of `.dockerignore`; `is_exception` is one that begins with `!`."""

    text: str
    expression: re.Pattern[str]
    is_exception: bool
    line: int


class DockerignoreFile:
    """The patterns of a `.dockerignore`.

    The builders refuse the whole file for one that isn't valid: `refusal` has the number of its
    line, its text and what they say. Raises UndecidableCopySourceError.
    """

    def __init__(self, data: bytes = b"") -> None:
        self.patterns: list[DockerignorePattern] = []
        self.refusal: tuple[int, str, str] | None = None
        text = data.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")
        for number, raw in enumerate(text.split("\n"), 1):
            line = raw.strip()
            if raw.startswith("#") or not line:
                continue
            if len(self.patterns) == _MAX_IGNORE_PATTERNS:
                raise UndecidableCopySourceError(
                    f".dockerignore contains more than {_MAX_IGNORE_PATTERNS:,} patterns"
                )
            is_exception = line.startswith("!")
            pattern = posixpath.normpath(line.removeprefix("!").strip()).lstrip("/") or "/"
            try:
                if line == "!":
                    raise InvalidPathPatternError('illegal exclusion pattern: "!"')
                expression = compile_path_pattern(pattern, any_depth=True)
                self.patterns.append(DockerignorePattern(pattern, expression, is_exception, number))
            except InvalidPathPatternError as error:
                self.refusal = self.refusal or (number, line, str(error))

    def find_excluding_pattern(self, path: str) -> DockerignorePattern | None:
        """Return the pattern that excludes a path of the context, None for one that stays.

        The last pattern that matches it or a folder above it decides.
        """
        parts = path.split("/")
        paths = ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]
        decisive: DockerignorePattern | None = None
        for pattern in self.patterns:
            is_excluded = decisive is not None
            if pattern.is_exception == is_excluded and any(
                map(pattern.expression.fullmatch, paths)
            ):
                decisive = None if pattern.is_exception else pattern
        return decisive

    def may_include_below(self, folder: str) -> bool:
        """Return whether an exception may hold for something below a folder."""
        names = folder.split("/")
        for pattern in self.patterns:
            parts = pattern.text.split("/")
            is_below = len(parts) > len(names) and all(
                compile_path_pattern(part).fullmatch(name)
                for part, name in zip(parts, names, strict=False)
            )
            if pattern.is_exception and ("**" in pattern.text or is_below):
                return True
        return False

    def is_skipped_by_classic_builder(self, folder: str) -> bool:
        """Return whether the classic builder leaves out a folder, whatever exceptions say.

        Source: docker/cli, cli/command/image/build; moby/go-archive.
        """
        return self.find_excluding_pattern(folder) is not None and not any(
            pattern.is_exception and f"{pattern.text}/".startswith(f"{folder}/")
            for pattern in self.patterns
        )


class CopySourceProblem(NamedTuple):
    """Why a builder doesn't find a source; `path` is where it looks, from the context's root."""

    kind: CopySourceProblemKind
    path: str
    reason: str


class BuildContext:
    """A folder that is sent to the builder, without what its `.dockerignore` excludes."""

    def __init__(
        self, folder: str, ignore: DockerignoreFile, ignore_name: str, *, classic: bool
    ) -> None:
        self.folder, self._ignore, self._ignore_name = folder, ignore, ignore_name
        self._classic = classic

    def find_source_problem(self, source: str) -> CopySourceProblem | None:
        """Return why a source isn't found, or None; raises OSError, UndecidableCopySourceError."""
        if len(source) > _MAX_COPY_SOURCE_CHARS:
            raise UndecidableCopySourceError(
                f"a source path is too long ({len(source):,} characters)"
            )
        relative = posixpath.normpath(source.lstrip("/") or ".")
        leads_out = relative == ".." or relative.startswith("../")
        if leads_out and self._classic:
            return CopySourceProblem("outside", source, _OUTSIDE_BUILD_CONTEXT_MESSAGE)
        path = posixpath.normpath(f"/{source}").lstrip("/")
        if has_wildcard(path):
            return self._find_glob_problem(path)
        problem = self._find_path_problem(path)
        if problem is not None and problem.kind == "missing" and leads_out:
            return CopySourceProblem("outside", path, _OUTSIDE_BUILD_CONTEXT_MESSAGE)
        return problem

    def _find_glob_problem(self, path: str) -> CopySourceProblem | None:
        parts = path.split("/")
        fixed = next(index for index, part in enumerate(parts) if has_wildcard(part))
        base = "/".join(parts[:fixed])
        try:
            for part in parts[fixed:]:
                compile_path_pattern(part)
        except (
            InvalidPathPatternError
        ) as error:  # as from ['a', '/b'], whose quotes aren't those of JSON
            return CopySourceProblem("glob" if self._classic else "syntax", path, str(error))
        if not self._classic:  # BuildKit accepts a pattern that matches nothing, in a folder
            problem = self._find_path_problem(base)
            return problem and problem._replace(kind="glob")
        if self._has_matching_file(base, parts[fixed:]):
            return None
        return CopySourceProblem("glob", path, "nothing in the build context matches it")

    def _has_matching_file(self, folder: str, parts: list[str]) -> bool:
        if not parts:
            return not self._is_ignored(folder)
        expression = compile_path_pattern(parts[0])
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                names = [entry.name for entry in islice(entries, _MAX_LISTED_FOLDER_ENTRIES + 1)]
        except (FileNotFoundError, NotADirectoryError):
            return False
        if len(names) > _MAX_LISTED_FOLDER_ENTRIES:
            raise UndecidableCopySourceError(
                f"{folder or self.folder} has more than {_MAX_LISTED_FOLDER_ENTRIES:,} entries"
            )
        matching = (posixpath.join(folder, name) for name in names if expression.fullmatch(name))
        return any(self._has_matching_file(path, parts[1:]) for path in matching)

    def _find_path_problem(self, path: str) -> CopySourceProblem | None:
        remaining, current, links = path.split("/")[::-1] if path else [], "", 0
        while remaining:
            part = remaining.pop()
            if part in ("", "."):
                continue
            if part == "..":
                current = posixpath.dirname(current)
                continue
            current = posixpath.join(current, part)
            full = os.path.join(self.folder, current)
            is_link = os.path.islink(full)
            try:
                is_folder = os.path.isdir(full) if not is_link else False
                os.lstat(full)
            except (FileNotFoundError, NotADirectoryError):
                reason = self._explain_missing_source(path, current, links)
                at = posixpath.normpath("/".join((current, *remaining[::-1]))) if links else path
                return CopySourceProblem("missing", at, reason)
            decides = is_link or not remaining
            keeps_something = is_folder and self._ignore.may_include_below(current)
            if decides and not keeps_something and self._is_ignored(current):
                pattern = self._ignore.find_excluding_pattern(current)
                reason = f"{self._ignore_name} excludes the folder above it"
                if pattern is not None:
                    reason = f"{self._ignore_name}:{pattern.line} excludes it ({pattern.text})"
                return CopySourceProblem("ignored", current if links else path, reason)
            if is_link:
                links += 1
                target = os.readlink(full)
                if links > _MAX_SYMLINKS:
                    return CopySourceProblem(
                        "missing", path, f"{current} is a link that leads nowhere"
                    )
                current = "" if target.startswith("/") else posixpath.dirname(current)
                remaining += target.split("/")[::-1]
        return None

    def _explain_missing_source(self, path: str, at: str, links: int) -> str:
        if links:
            return f"it is a link to {at}, which isn't in the build context"
        missing = "it" if at == path else at
        return f"{missing} isn't in the build context"

    def _is_ignored(self, path: str) -> bool:
        if self._ignore.find_excluding_pattern(path) is not None:
            return True
        parents = path.split("/")[:-1]
        return self._classic and any(
            self._ignore.is_skipped_by_classic_builder("/".join(parents[: length + 1]))
            for length in range(len(parents))
        )
