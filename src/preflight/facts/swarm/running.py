"""How a project runs here: as a stack of the Swarm, or by docker compose; told by labels."""

from __future__ import annotations

from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, EngineError, get_label
from preflight.model.facts import Unknown

STACK = "com.docker.stack.namespace"
_SERVICE = "com.docker.swarm.service.name"
_PROJECT = "com.docker.compose.project"


def is_of(project: Project, stack: str | None, service: str | None) -> bool:
    """Whether a service is the project's, by the name of its stack or by its own."""
    return stack == project.name or service in {f"{project.name}_{one}" for one in project.services}


def by_containers(
    api: EngineApi, project: Project | Unknown | None, *, stack: bool
) -> str | Unknown | None:
    """Return what this engine's own containers tell: stack, compose, None where none is of it.

    They are asked for a `stack` only where nobody knows better: a task ends some time after its
    service.
    """
    if not isinstance(project, Project):
        return project
    try:
        rows = api.running_containers()
    except EngineError as fault:
        return Unknown(str(fault), fault.kind)
    if stack and any(
        is_of(project, get_label(row, STACK), get_label(row, _SERVICE)) for row in rows
    ):
        return "stack"
    return "compose" if any(get_label(row, _PROJECT) == project.name for row in rows) else None
