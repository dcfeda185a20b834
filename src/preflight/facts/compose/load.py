"""Finds the compose project of a folder and reads it, by the CLI where it is there.

Our own reading goes on beside the CLI's: it knows the lines, and what the CLI stops at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from preflight.facts.compose.bounds import bounds_of
from preflight.facts.compose.files import choose, project_folder
from preflight.facts.compose.project import LARGEST, ComposeError, Project, Reading
from preflight.facts.options import Options

if TYPE_CHECKING:
    from preflight.facts.compose.cli import Answer

_NAMING = (b"extends", b"include", b"env_file", b"label_file", b"\\", b"\0")


def load(options: Options, environ: Mapping[str, str] = os.environ) -> Project | None:
    """Return the project, None where there is no compose file; raises ComposeError."""
    bounds = bounds_of(options.compose_files, environ)
    files = choose(options.compose_files, environ, bounds)
    if not files:
        return None
    from preflight.facts.compose import cli  # a machine without a compose file needs neither

    folder = project_folder(files)
    alone = _name_no_other(files)
    asked = cli.ask(files, environ) if alone else None  # beside our own reading, to save its time

    from preflight.facts.compose.reading import read

    reading: Reading | ComposeError
    try:
        reading = read(files, folder, environ, bounds=bounds)
        asked = asked or cli.ask(files, environ)
    except ComposeError as fault:
        reading = fault
    told = asked.answer(options.timeout) if asked else cli.Answer()
    return _put_together(files, folder, told, reading)


def _name_no_other(files: Sequence[str]) -> bool:
    """Whether files can't name further ones, which our reading holds within bounds first.

    A word can be hidden by an escape, or by an encoding of two bytes.
    """
    for file in files:
        try:
            with open(file, "rb") as content:
                data = content.read(LARGEST + 1)
        except OSError:
            return False  # our reading tells it
        if len(data) > LARGEST or any(one in data for one in _NAMING):
            return False
    return True


def _put_together(
    files: tuple[str, ...], folder: str, told: Answer, reading: Reading | ComposeError
) -> Project:
    """The CLI decides where it answers; what it refuses must have a cause that we can name."""
    if told.config is not None:
        ours = reading if isinstance(reading, Reading) else Reading(told.config, {})
        name = str(told.config.get("name") or "")
        return Project(name, folder, files, "cli", told.config, ours, told.version)
    if isinstance(reading, ComposeError):
        raise reading
    if told.refused and not (_stops(reading) or reading.caveats):
        raise ComposeError(f"Docker Compose refuses it: {told.refused}", files[0])
    if told.fault:
        reading = reading._replace(caveats=(*reading.caveats, told.fault))
    name = str(reading.config.get("name") or "")
    return Project(name, folder, files, "fallback", reading.config, reading, told.version)


def _stops(reading: Reading) -> bool:
    """Whether the reading itself names what stops Compose; rules tell it then."""
    return bool(reading.missing_variables or reading.missing_env_files or reading.conflicts)
