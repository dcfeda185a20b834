"""Finds the compose project of a folder. Compose decides; without it the stand-in reads it."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from preflight.facts.collect.measurement import Options
from preflight.facts.compose.files import Bounds, choose_files
from preflight.facts.compose.project import ComposeError, Project

if TYPE_CHECKING:
    from preflight.facts.compose.cli import ComposeAnswer
    from preflight.facts.compose.guard import Guard
    from preflight.facts.compose.variables import Variables

_MISSING_VARIABLE = re.compile(r"required variable (\w+) is missing a value(?:: (.*))?")
_CONFLICT = re.compile(
    "can't set|neither an image|on undefined|to undefined|dependency cycle|already in use|"
    "mutually exclusive"
)


def load_project(options: Options, environ: Mapping[str, str] = os.environ) -> Project | None:
    """Return the project, None where there is no compose file; raises ComposeError."""
    bounds = Bounds(options.compose_files, environ)
    files = choose_files(options.compose_files, environ, bounds)
    if not files:
        return None
    from preflight.facts.compose import cli  # a machine without a compose file needs none of it
    from preflight.facts.compose.guard import Guard
    from preflight.facts.compose.variables import project_variables

    folder = os.path.dirname(os.path.abspath(files[0]))
    bounds.require(os.path.join(folder, ".env"))
    variables = project_variables(folder, environ, bounds)
    guard = Guard(bounds, variables)
    guard.check(files, folder)
    answer = cli.ask_compose(files, options.timeout, environ)
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
        project = _read_by_standin(project, answer, guard, variables)
    inactive = {k: own for k, own in guard.profiles.items() if k not in project.services}
    return project._replace(name=str(project.config.get("name") or ""), inactive=inactive)


def _read_by_standin(
    project: Project, answer: ComposeAnswer, guard: Guard, variables: Variables
) -> Project:
    """Read the files where Compose gave no configuration; raises ComposeError.

    What Compose refuses must have a cause that a rule judges, else the project can't be used.
    """
    from preflight.facts.compose import standin

    refusal = f"Docker Compose refuses it: {answer.refused}"
    try:
        project = standin.read(project, guard, variables)
    except ComposeError as error:
        if not answer.refused:
            raise
        raise ComposeError(f"{refusal} ({error})", project.files[0]) from None
    caveats = [answer.fault] if answer.fault else []
    if answer.refused and project.is_too_old:
        caveats = [f"Docker Compose {project.compose} refuses it: {answer.refused}"]
    elif answer.refused:
        project = _with_refusal(project, answer.refused)
        if not (project.missing_variables or project.missing_env_files or project.conflicts):
            raise ComposeError(refusal, project.files[0])
    return project._replace(caveats=(*project.caveats, *caveats))


def _with_refusal(project: Project, words: str) -> Project:
    """Return the project with the cause that Compose names; it names the first one alone."""
    conflicts: tuple[tuple[str, str], ...] = ()
    missing = dict(project.missing_variables)
    if variable := _MISSING_VARIABLE.search(words):
        missing.setdefault(variable[1], variable[2] or "")
    elif _CONFLICT.search(words):
        names = (name.removeprefix("services.") for name in re.findall(r"[\w.-]*\w", words))
        conflicts = tuple((name, words) for name in names if name in project.services)[:1]
    return project._replace(missing_variables=missing, conflicts=conflicts)
