"""Which compose files are meant: named ones, COMPOSE_FILE, or the standard names.

Source: compose-spec/compose-go, cli/options.go.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from preflight.facts.compose.bounds import Bounds
from preflight.facts.compose.project import ComposeError

NAMES = ("compose.yaml", "compose.yml", "docker-compose.yml", "docker-compose.yaml")
OVERRIDES = tuple(
    f"{stem}.override.{suffix}"
    for stem in ("compose", "docker-compose")
    for suffix in ("yml", "yaml")
)


def choose(named: Sequence[str], environ: Mapping[str, str], bounds: Bounds) -> tuple[str, ...]:
    """Return the compose files in their order, none where there is none here or above.

    Raises ComposeError for one that was named and isn't there, or is out of bounds.
    """
    files = tuple(named) or _from_environment(environ, bounds)
    for file in files:
        if not os.path.isfile(file):
            raise ComposeError("no such compose file; name one with --compose-file", file)
    standard = () if files else _standard(Path.cwd())
    for file in standard[:1]:
        bounds.add(os.path.dirname(file))  # it may be above this one
    for file in files or standard:
        bounds.require(file)
    return files or standard


def _from_environment(environ: Mapping[str, str], bounds: Bounds) -> tuple[str, ...]:
    """COMPOSE_FILE of the environment, else of the current folder's .env."""
    named = {"COMPOSE_FILE", "COMPOSE_ENV_FILES"} & environ.keys()
    if not named and not os.path.exists(".env"):
        return ()
    from preflight.facts.compose.interpolation import dotenv

    known = {**dotenv(os.getcwd(), environ, bounds), **environ}
    separator = known.get("COMPOSE_PATH_SEPARATOR") or os.pathsep
    return tuple(file for file in known.get("COMPOSE_FILE", "").split(separator) if file)


def _standard(folder: Path) -> tuple[str, ...]:
    """The first standard name here or in the nearest folder above, and its override."""
    for place in (folder, *folder.parents):
        found = [name for name in NAMES if (place / name).is_file()]
        if found:
            override = [name for name in OVERRIDES if (place / name).is_file()]
            return tuple(str(place / name) for name in (found[0], *override[:1]))
    return ()


def project_folder(files: Sequence[str]) -> str:
    """Return the project's folder: that of the first file."""
    return os.path.dirname(os.path.abspath(files[0]))
