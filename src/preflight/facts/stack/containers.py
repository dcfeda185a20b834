"""Lists the containers of this compose project; there is never a request for other containers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, get_label, list_or_empty, text_or_none
from preflight.facts.engine.endpoint import EngineError
from preflight.model.facts import Measured, Unknown

CONTAINERS_PATH = ("stack", "containers")
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
    except EngineError as error:
        yield Measured(CONTAINERS_PATH, Unknown(str(error), error.kind))
        return
    yield Measured(CONTAINERS_PATH, {}, "GET /containers/json")
    if not containers:
        return
    from preflight.facts.stack.container import measure_containers  # nothing to measure without any

    yield from measure_containers(engine, project, containers)


def list_containers(api: EngineApi, project: str) -> list[ListedContainer]:
    """Return the containers of a project by name, one-off runs left out."""
    containers = []
    for row in api.containers():
        if get_label(row, "com.docker.compose.project") != project:
            continue
        container, state = text_or_none(row.get("Id")), text_or_none(row.get("State"))
        if container and get_label(row, "com.docker.compose.oneoff") != "True":
            names = [str(name).lstrip("/") for name in list_or_empty(row.get("Names"))]
            # `/web/db` is what the container `web` calls it, not its own name
            own_name = next((name for name in names if name and "/" not in name), container[:12])
            service = get_label(row, "com.docker.compose.service")
            state = normalize_state(state) if state else None
            containers.append(ListedContainer(container, own_name, service, state))
    return sorted(containers, key=lambda listed: listed.name)


def normalize_state(state: str) -> str:
    """Return a state in Docker's words."""
    return _PODMAN_STATES.get(state.lower(), state.lower())
