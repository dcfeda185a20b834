"""Which files make the project, and where the files that it names may lie.

A project may come from anybody: what it names outside its folder and repository isn't read. What
the user typed, and what the environment names, is the user's word. Source of the order:
compose-spec/compose-go, cli/options.go.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from preflight.facts.compose.project import ComposeError

ALLOW_READ = "PREFLIGHT_ALLOW_READ"
STANDARD_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDE_NAMES = tuple(
    f"{stem}.override.{suffix}"
    for stem in ("compose", "docker-compose")
    for suffix in ("yml", "yaml")
)


class Bounds:
    """The folders that may be read; a link counts as what it leads to."""

    def __init__(self, typed: Sequence[str], environ: Mapping[str, str]) -> None:
        """Allow the current folder, those of the files named by the user, and repositories."""
        separator = environ.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
        named = [*typed, *environ.get("COMPOSE_FILE", "").split(separator)]
        named += environ.get("COMPOSE_ENV_FILES", "").split(",")
        folders = {os.getcwd()}
        for file in filter(None, named):
            folders |= {os.path.dirname(os.path.abspath(file)), os.path.realpath(file)}
        folders |= set(filter(None, map(_find_repository, folders)))
        folders |= set(filter(None, environ.get(ALLOW_READ, "").split(os.pathsep)))
        self.folders = set(map(os.path.realpath, folders))

    def refusal(self, path: str) -> str | None:
        """Return why a file isn't read, None where it may be."""
        if path == os.devnull:
            return None
        if "\0" in path:
            return "the path has a NUL character"
        real = os.path.realpath(path)
        if not self.folders.isdisjoint((real, *map(str, Path(real).parents))):
            return None
        link = f" (a link to {real})" if os.path.islink(path) else ""
        return (
            f"{path}{link} lies outside of the project and its repository, so it isn't read: "
            f"allow it with {ALLOW_READ}={os.path.dirname(real)}"
        )

    def require(self, path: str) -> None:
        """Raise ComposeError for a file that may not be read."""
        refusal = self.refusal(path)
        if refusal:
            raise ComposeError(refusal)


def _find_repository(folder: str) -> str | None:
    """Return the git repository around a folder; one that is all of the home doesn't count."""
    home = os.path.realpath(os.path.expanduser("~"))
    path = Path(os.path.realpath(folder))
    for parent in (path, *path.parents[:-1]):
        if str(parent) == home:
            return None
        if (parent / ".git").exists():
            return str(parent)
    return None


def choose_files(
    typed: Sequence[str], environ: Mapping[str, str], bounds: Bounds
) -> tuple[str, ...]:
    """Return the compose files in their order, none where there is none here or above.

    Raises ComposeError for one that was named and isn't there, or is out of bounds.
    """
    files = tuple(typed) or _from_environment(environ, bounds)
    for file in files:
        if not os.path.isfile(file):
            raise ComposeError("no such compose file; name one with --compose-file", file)
    if not files:
        files = _find_standard(Path.cwd())
        bounds.folders |= {os.path.realpath(os.path.dirname(file)) for file in files}
    for file in files:
        bounds.require(file)
    return files


def _from_environment(environ: Mapping[str, str], bounds: Bounds) -> tuple[str, ...]:
    """COMPOSE_FILE of the environment, else of the current folder's .env."""
    if not {"COMPOSE_FILE", "COMPOSE_ENV_FILES"} & environ.keys() and not os.path.exists(".env"):
        return ()
    from preflight.facts.compose.variables import project_variables

    lookup = project_variables(os.getcwd(), environ, bounds).lookup
    separator = lookup("COMPOSE_PATH_SEPARATOR") or os.pathsep
    return tuple(filter(None, (lookup("COMPOSE_FILE") or "").split(separator)))


def _find_standard(folder: Path) -> tuple[str, ...]:
    """Return the first standard name here or in the nearest folder above, and its override."""
    for parent in (folder, *folder.parents):
        names = [name for name in STANDARD_NAMES if (parent / name).is_file()]
        if names:
            override = [name for name in OVERRIDE_NAMES if (parent / name).is_file()]
            return tuple(str(parent / name) for name in (names[0], *override[:1]))
    return ()


def display_path(path: str) -> str:
    """Return a path relative to the current folder where it is inside of it, else absolute."""
    path, here = os.path.abspath(path), os.getcwd()
    return os.path.relpath(path, here) if path.startswith(here.rstrip(os.sep) + os.sep) else path
