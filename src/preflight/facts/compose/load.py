"""Finds the compose project of a folder. Compose decides; without it the stand-in reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from preflight.facts.compose.files import Bounds, choose
from preflight.facts.compose.project import ComposeError, Need, Project
from preflight.facts.options import Options
from preflight.model.quantities import parse_version

if TYPE_CHECKING:
    from preflight.facts.compose.cli import Answer
    from preflight.facts.compose.guard import Guard
    from preflight.facts.compose.variables import Variables

_MISSING_VARIABLE = re.compile(r"required variable (\w+) is missing a value(?:: (.*))?")
_CONFLICT = re.compile(
    "can't set|neither an image|on undefined|to undefined|dependency cycle|already in use|"
    "mutually exclusive"
)


def load(options: Options, environ: Mapping[str, str] = os.environ) -> Project | None:
    """Return the project, None where there is no compose file; raises ComposeError."""
    bounds = Bounds(options.compose_files, environ)
    files = choose(options.compose_files, environ, bounds)
    if not files:
        return None
    from preflight.facts.compose import cli  # a machine without a compose file needs none of it
    from preflight.facts.compose.guard import Guard
    from preflight.facts.compose.variables import Variables, project_lookup

    folder = os.path.dirname(os.path.abspath(files[0]))
    bounds.require(os.path.join(folder, ".env"))
    unset: dict[str, None] = {}
    lookup = project_lookup(folder, environ, bounds, unset)
    guard = Guard(bounds)
    guard.check(files, folder, lookup)
    run = cli.start(files, environ)
    answer = run.answer(options.timeout) if run else cli.Answer()
    project = Project(
        name="",
        folder=folder,
        files=files,
        source="cli",
        config=answer.config or {},
        compose=answer.version,
        positions=guard.positions,
        unset_variables=answer.unset,
        needs=tuple(guard.needs.values()),
    )
    if answer.config is None:
        project = _read_by_standin(project, answer, guard, Variables(lookup, unset))
    services: Mapping[str, Any] = project.config.get("services") or {}
    inactive = {name: own for name, own in guard.profiles.items() if name not in services}
    return project._replace(name=str(project.config.get("name") or ""), inactive=inactive)


def _read_by_standin(
    project: Project, answer: Answer, guard: Guard, variables: Variables
) -> Project:
    """Read the files where Compose gave no configuration; raises ComposeError.

    What Compose refuses must have a cause that a rule judges, else the project can't be used.
    """
    from preflight.facts.compose import standin

    refusal = f"Docker Compose refuses it: {answer.refused}"
    try:
        reading = standin.read(guard, project.files, project.folder, variables)
    except ComposeError as error:
        if not answer.refused:
            raise
        raise ComposeError(f"{refusal} ({error})", project.files[0]) from None
    caveats = [*reading.caveats]
    project = project._replace(source="fallback", **reading._asdict())
    if answer.fault:
        caveats.append(answer.fault)
    elif answer.refused and is_too_old(project.compose, project.needs):
        caveats.append(f"Docker Compose {project.compose} refuses it: {answer.refused}")
    elif answer.refused:
        project = _with_refusal(project, answer.refused)
        if not (project.missing_variables or project.missing_env_files or project.conflicts):
            raise ComposeError(refusal, project.files[0])
    return project._replace(caveats=tuple(caveats))


def _with_refusal(project: Project, words: str) -> Project:
    """Return the project with the cause that Compose names; it names the first one alone."""
    variable = _MISSING_VARIABLE.search(words)
    if variable is not None:
        missing = {variable[1]: variable[2] or "", **project.missing_variables}
        return project._replace(missing_variables=missing, conflicts=())
    conflicts: tuple[tuple[str, str], ...] = ()
    if _CONFLICT.search(words):
        names = (name.removeprefix("services.") for name in re.findall(r"[\w.-]*\w", words))
        service = next((name for name in names if name in project.services), None)
        conflicts = ((service, words),) if service else ()
    return project._replace(conflicts=conflicts)


def highest_need(needs: tuple[Need, ...]) -> Need | None:
    """Return the feature that came last with Compose, None where nothing is newer than 2.0."""
    newer = [need for need in needs if parse_version(need.version) > (2,)]
    return max(newer, key=lambda need: parse_version(need.version), default=None)


def is_too_old(compose: str | None, needs: tuple[Need, ...]) -> bool | None:
    """Return whether Compose is older than what the files use, None where it isn't known."""
    need = highest_need(needs)
    if need is None:
        return False
    try:
        return None if compose is None else parse_version(compose) < parse_version(need.version)
    except ValueError:
        return None
