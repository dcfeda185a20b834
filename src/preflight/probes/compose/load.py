"""Finds the compose project of a folder and reads it, by the CLI where it is there.

Our own reading goes on beside the CLI's: it knows the lines, and what the CLI stops at.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

from preflight.probes.compose.files import choose, project_folder
from preflight.probes.compose.project import ComposeError, Project, Reading
from preflight.probes.options import Options

if TYPE_CHECKING:
    from preflight.probes.compose.cli import Answer


def load(options: Options, environ: Mapping[str, str] = os.environ) -> Project | None:
    """Return the project, None where there is no compose file; raises ComposeError."""
    files = choose(options.compose_files, environ)
    if not files:
        return None
    from preflight.probes.compose import cli  # a machine without a compose file needs neither

    folder = project_folder(files)
    asked = cli.ask(files, environ)  # it runs while our own reader is imported and reads

    from preflight.probes.compose.reading import read

    reading: Reading | ComposeError
    try:
        reading = read(files, folder, environ)
    except ComposeError as fault:
        reading = fault
    told = asked.answer(options.timeout) if asked else cli.Answer()
    return _put_together(files, folder, told, reading)


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
