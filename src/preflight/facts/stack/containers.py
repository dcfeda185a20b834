"""The containers of this compose project; there is never a request for other containers."""

from collections.abc import Iterator
from typing import NamedTuple

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, get_label, list_own_container_names
from preflight.facts.nested_values import get_nested_text
from preflight.model.facts import CONTAINERS_FACT_PATH, Measured

_MAX_INSPECTING_THREADS = 4


class ListedContainer(NamedTuple):
    """A container as the list shows it."""

    id: str
    name: str
    service: str | None


def measure_containers(context: MeasurementContext, project: Project) -> Iterator[Measured]:
    """Yield the facts of the project's containers; raises EngineError if they can't be listed."""
    engine = context.engine()
    containers = list_project_containers(engine.api, project.name)
    yield Measured(CONTAINERS_FACT_PATH, {}, "GET /containers/json")
    if not containers:
        return
    from concurrent.futures import ThreadPoolExecutor

    from preflight.facts.stack.container_measurer import ContainerMeasurer  # needed seldom

    measurer = ContainerMeasurer(engine, project)
    for facts in ThreadPoolExecutor(_MAX_INSPECTING_THREADS).map(
        measurer.measure_container, containers
    ):
        yield from facts


def list_project_containers(api: EngineApi, project: str) -> list[ListedContainer]:
    """Return the containers of a project by name, one-off runs left out."""
    containers = []
    for row in api.containers():
        if get_label(row, "com.docker.compose.project") != project:
            continue
        container = get_nested_text(row, "Id")
        if container and get_label(row, "com.docker.compose.oneoff") != "True":
            own_name = next(iter(list_own_container_names(row)), container[:12])
            service = get_label(row, "com.docker.compose.service")
            containers.append(ListedContainer(container, own_name, service))
    return sorted(containers, key=lambda listed: listed.name)
