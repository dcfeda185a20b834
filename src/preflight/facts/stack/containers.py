"""Asks the engine about the containers of this compose project.

One list for the project, then for each container one inspect, and one sample of its statistics
where its cgroup isn't visible here; never a request for each container of the machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias

from preflight.facts.catalogue import STACK
from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, EngineError, NotFoundError, get_label
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.responses import (
    count_or_none,
    get_object,
    is_count,
    or_unreported,
    parse_time,
    text_or_none,
    unreported,
)
from preflight.facts.stack.container import (
    InspectedContainer,
    ListedContainer,
    StackContext,
    container_facts,
    normalize_state,
)
from preflight.facts.stack.container_cgroup import ContainerCgroup, read_container_cgroup
from preflight.model.facts import Measured, Unknown

_TOP = ("stack", "containers")
_MAX_INSPECTED = 50  # containers
_WORKERS = 4
_EVENTS_SINCE_SECONDS = 86400
_EVENTS_WAIT = 2.0  # seconds

Inspected: TypeAlias = InspectedContainer | Unknown | None
OomTimes: TypeAlias = Mapping[str, tuple[float, ...]]


def measure(context: MeasureContext, project: Project) -> Iterator[Measured]:
    """Yield the facts of each container of the project; an empty map where it has none."""
    try:
        engine = context.engine()
        containers = list_containers(engine.api, project.name)
    except EndpointError as error:
        yield Measured(_TOP, Unknown(str(error), "invalid"))
        return
    except EngineError as error:
        yield Measured(_TOP, Unknown(str(error), error.kind))
        return
    yield Measured(_TOP, {}, "GET /containers/json")
    if not containers:
        return
    now = parse_time(engine.info.get("SystemTime"))
    oom_times: list[OomTimes] = []
    reading = threading.Thread(
        target=_read_oom_times, args=(engine.api, project.name, now, oom_times), daemon=True
    )
    ends = time.monotonic() + _EVENTS_WAIT
    reading.start()
    inspected = _inspect_all(engine, containers[:_MAX_INSPECTED])
    reading.join(max(0.0, ends - time.monotonic()))
    stack = StackContext(engine, project, now, oom_times[0] if oom_times else None)
    for listed, answer in zip(containers, inspected, strict=False):
        yield from _measure_container(listed, answer, stack)
    reason = f"only {_MAX_INSPECTED} of {len(containers)} containers are inspected"
    for listed in containers[_MAX_INSPECTED:]:
        yield from _measure_container(listed, Unknown(reason, "unsupported"), stack)


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


def _measure_container(
    listed: ListedContainer, answer: Inspected, stack: StackContext
) -> Iterator[Measured]:
    """Yield the facts of one container; one whose answers are garbage is unknown alone."""
    top = (*_TOP, listed.name)
    if answer is None:
        return  # it has vanished since the list
    if isinstance(answer, InspectedContainer):
        try:
            facts = list(container_facts(answer, stack))
            yield from (Measured((*top, *path), value, source) for path, value, source in facts)
            return
        except Exception as error:  # noqa: BLE001 - an answer may be anything
            answer = Unknown(f"the engine's answer: {type(error).__name__}: {error}", "invalid")
    source = "GET /containers/json"
    yield Measured((*top, "service"), listed.service, source)
    yield Measured((*top, "state"), or_unreported(listed.state, "State"), source)
    for fact in STACK[2:]:
        path = fact.path.removeprefix("stack.containers.*.").removesuffix(".*").split(".")
        yield Measured((*top, *path), answer)


def _inspect_all(engine: Engine, containers: Sequence[ListedContainer]) -> list[Inspected]:
    """Inspect containers in a few threads; what goes wrong is the reason for its own alone."""
    answers: list[Inspected] = [None] * len(containers)
    waiting = list(enumerate(containers))

    def run() -> None:
        with suppress(IndexError):
            while True:
                index, listed = waiting.pop()
                try:
                    answers[index] = _inspect(engine, listed)
                except Exception as error:  # noqa: BLE001 - an answer may be anything
                    answers[index] = Unknown(f"{type(error).__name__}: {error}", "error")

    threads = [threading.Thread(target=run, daemon=True) for _ in range(_WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _inspect(engine: Engine, listed: ListedContainer) -> Inspected:
    """Ask for one container; None where it has vanished since the list."""
    try:
        container = InspectedContainer(listed, engine.api.inspect(listed.id))
    except NotFoundError:
        return None
    except EngineError as error:
        return Unknown(str(error), error.kind)
    if text_or_none(container.state.get("Status")) is None:
        return unreported("State.Status")
    if not container.is_running:
        return container
    hidden = engine.visibility.processes_hidden or engine.visibility.cgroups_hidden
    pid = count_or_none(container.state.get("Pid"))
    cgroup = hidden or (read_container_cgroup(pid, listed.id) if pid else unreported("State.Pid"))
    container = container._replace(cgroup=cgroup)
    if isinstance(cgroup, ContainerCgroup):
        return container
    try:
        return container._replace(stats=engine.api.stats(listed.id))
    except NotFoundError:
        return container
    except EngineError as error:
        return container._replace(stats=Unknown(str(error), error.kind))


def _read_oom_times(api: EngineApi, project: str, now: float | None, found: list[OomTimes]) -> None:
    """Add the times of `oom` events by container id to `found`; nothing if they can't be read."""
    if now is None:
        return
    label = f"com.docker.compose.project={project}"
    filters = {"type": ["container"], "event": ["oom"], "label": [label]}
    try:
        events = api.events(int(now) - _EVENTS_SINCE_SECONDS, int(now), _EVENTS_WAIT, **filters)
    except EngineError:
        return
    times: dict[str, tuple[float, ...]] = {}
    for event in events:
        container, nanoseconds = get_object(event, "Actor").get("ID"), event.get("timeNano")
        if event.get("Action") != "oom" or not isinstance(container, str):
            continue
        if is_count(nanoseconds):
            times[container] = (*times.get(container, ()), nanoseconds / 1e9)
    found.append(times)
