"""Lists the containers of this compose project; there is never a request for other containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, EngineError, get_label
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.responses import (
    text_or_none,
)
from preflight.model.facts import Measured, Unknown

_CONTAINERS_PATH = ("stack", "containers")
_PODMAN_STATES = {"stopped": "exited", "configured": "created", "initialized": "created"}


class ListedContainer(NamedTuple):
    """A container as the list shows it."""

    id: str
    name: str
    service: str | None
    state: str | None


def measure(context: MeasureContext, project: Project) -> Iterator[Measured]:
    """Yield the facts of each container of the project; an empty map where it has none."""
    try:
        engine = context.engine()
        containers = list_containers(engine.api, project.name)
    except EndpointError as error:
        yield Measured(_CONTAINERS_PATH, Unknown(str(error), "invalid"))
        return
    except EngineError as error:
        yield Measured(_CONTAINERS_PATH, Unknown(str(error), error.kind))
        return
    yield Measured(_CONTAINERS_PATH, {}, "GET /containers/json")
    if not containers:
        return
    from preflight.facts.stack.container import measure_containers  # nothing to measure without any

    yield from measure_containers(engine, project, containers)


def list_containers(api: EngineApi, project: str) -> list[ListedContainer]:
    """Return the containers of a project by name, one-off runs left out."""
    containers = []
    for row in api.project_containers(project):
        container, state = text_or_none(row.get("Id")), text_or_none(row.get("State"))
        if container and get_label(row, "com.docker.compose.oneoff") != "True":
            service = get_label(row, "com.docker.compose.service")
            name = _own_name(row.get("Names")) or container[:12]
            state = normalize_state(state) if state else None
            containers.append(ListedContainer(container, name, service, state))
    return sorted(containers, key=lambda listed: listed.name)


def _own_name(names: Any) -> str | None:
    """Return a container's own name: `/web/db` is what another one calls it."""
    known = [str(name).lstrip("/") for name in names] if isinstance(names, list) else []
    return next((name for name in known if name and "/" not in name), None)


def normalize_state(state: str) -> str:
    """Return a state in Docker's words."""
    return _PODMAN_STATES.get(state.lower(), state.lower())
