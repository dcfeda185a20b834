"""Where the files of a compose project may lie: what it names beyond is refused, not read.

A project may come from anybody. What was typed, and what the environment names, is yours.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from preflight.facts.compose.project import ComposeError

ALLOW = "PREFLIGHT_ALLOW_READ"


class Bounds:
    """Folders that may be read, and what lies below them; links count as what they lead to."""

    def __init__(self, folders: Iterable[str]) -> None:
        self._folders = tuple(dict.fromkeys(map(os.path.realpath, folders)))

    def add(self, folder: str) -> None:
        """Take in one more folder."""
        self._folders = (*self._folders, os.path.realpath(folder))

    def refusal(self, path: str) -> str | None:
        """Say why a file isn't read, None where it may be."""
        real = os.path.realpath(path)
        if path == os.devnull or any(
            real == one or real.startswith(os.path.join(one, "")) for one in self._folders
        ):
            return None
        leads = f" (a link to {real})" if os.path.islink(path) else ""
        return (
            f"{path}{leads} lies outside of the project and its repository, so it isn't read: "
            f"allow it with {ALLOW}={os.path.dirname(real)}"
        )

    def require(self, path: str) -> None:
        """Raise ComposeError for a file that may not be read."""
        refusal = self.refusal(path)
        if refusal:
            raise ComposeError(refusal)


def bounds_of(typed: Sequence[str], environ: Mapping[str, str]) -> Bounds:
    """Return the current folder, those of the files that were named, and their repositories."""
    named = list(typed)
    for name, separator in (
        ("COMPOSE_FILE", environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep),
        ("COMPOSE_ENV_FILES", ","),
    ):
        named += filter(None, environ.get(name, "").split(separator))
    folders = {os.getcwd()}
    for file in named:
        folders |= {os.path.dirname(os.path.abspath(file)), os.path.realpath(file)}
    allowed = filter(None, environ.get(ALLOW, "").split(os.pathsep))
    return Bounds([*folders, *_repositories(folders), *allowed])


def _repositories(folders: Iterable[str]) -> Iterator[str]:
    """Yield the git repository around each folder; one that is all of your home is none."""
    home = os.path.realpath(os.path.expanduser("~"))
    for folder in map(Path, map(os.path.realpath, folders)):
        for place in (folder, *folder.parents[:-1]):
            if str(place) == home:
                break
            if (place / ".git").exists():
                yield str(place)
                break
