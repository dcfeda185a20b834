"""Looks up the sources of COPY and ADD in a build context, as the builders see it.

Only what is named is looked up. A link counts as what it leads to, with the context as its root.
"""

import os
import posixpath
from itertools import islice
from typing import Literal, NamedTuple, TypeAlias

from preflight.facts.builds.patterns import (
    IgnoreFile,
    UndecidedSourceError,
    compile_pattern,
    has_wildcard,
)

CopySourceProblemKind: TypeAlias = Literal["missing", "ignored", "outside", "glob"]

_OUTSIDE_MESSAGE = "it is outside of the build context"
_MAX_SYMLINKS = 40
_MAX_LISTED_FOLDER_ENTRIES = 100_000
_MAX_PATH_CHARS = 1000


class CopySourceProblem(NamedTuple):
    """Why a builder doesn't find a source; `path` is where it looks, from the context's root."""

    kind: CopySourceProblemKind
    path: str
    reason: str


class BuildContext:
    """A folder that is sent to the builder, without what its `.dockerignore` excludes."""

    def __init__(self, folder: str, ignore: IgnoreFile, ignore_name: str, *, classic: bool) -> None:
        self.folder, self._ignore, self._ignore_name = folder, ignore, ignore_name
        self._classic = classic

    def find_source_problem(self, source: str) -> CopySourceProblem | None:
        """Return why a source isn't found, or None; raises OSError, UndecidedSourceError."""
        if len(source) > _MAX_PATH_CHARS:
            raise UndecidedSourceError(f"a source of {len(source):,} characters")
        relative = posixpath.normpath(source.lstrip("/") or ".")
        leads_out = relative == ".." or relative.startswith("../")
        if leads_out and self._classic:
            return CopySourceProblem("outside", source, _OUTSIDE_MESSAGE)
        path = posixpath.normpath(f"/{source}").lstrip("/")
        if has_wildcard(path):
            return self._find_glob_problem(path)
        problem = self._find_path_problem(path)
        if problem is not None and problem.kind == "missing" and leads_out:
            return CopySourceProblem("outside", path, _OUTSIDE_MESSAGE)
        return problem

    def _find_glob_problem(self, path: str) -> CopySourceProblem | None:
        parts = path.split("/")
        fixed = next(index for index, part in enumerate(parts) if has_wildcard(part))
        base = "/".join(parts[:fixed])
        if not self._classic:  # BuildKit accepts a pattern that matches nothing, in a folder
            problem = self._find_path_problem(base)
            return problem and problem._replace(kind="glob")
        if self._has_matching_file(base, parts[fixed:]):
            return None
        return CopySourceProblem("glob", path, "nothing in the build context matches it")

    def _has_matching_file(self, folder: str, parts: list[str]) -> bool:
        if not parts:
            return not self._is_ignored(folder)
        expression = compile_pattern(parts[0])
        try:
            with os.scandir(os.path.join(self.folder, folder)) as entries:
                names = [entry.name for entry in islice(entries, _MAX_LISTED_FOLDER_ENTRIES + 1)]
        except (FileNotFoundError, NotADirectoryError):
            return False
        if len(names) > _MAX_LISTED_FOLDER_ENTRIES:
            raise UndecidedSourceError(
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
                reason = self._explain_missing(path, current, links)
                at = posixpath.normpath("/".join((current, *remaining[::-1]))) if links else path
                return CopySourceProblem("missing", at, reason)
            decides = is_link or not remaining
            keeps_something = is_folder and self._ignore.may_keep_below(current)
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

    def _explain_missing(self, path: str, at: str, links: int) -> str:
        if links:
            return f"it is a link to {at}, which isn't in the build context"
        missing = "it" if at == path else at
        return f"{missing} isn't in the build context"

    def _is_ignored(self, path: str) -> bool:
        if self._ignore.find_excluding_pattern(path) is not None:
            return True
        parents = path.split("/")[:-1]
        return self._classic and any(
            self._ignore.is_folder_skipped("/".join(parents[: length + 1]))
            for length in range(len(parents))
        )
