"""What the containers of this compose project say: how they run, what they use, what killed them.

One list for the project, then for each container one inspect, and one sample where its cgroup is
not seen from here, side by side; never a question for each container of the machine.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from preflight.facts.catalogue import STACK
from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, EngineError, NotFoundError, get_label
from preflight.facts.engine.connection import Engine
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.responses import (
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
    facts,
    normalize_state,
)
from preflight.facts.stack.container_cgroup import ContainerCgroup, read_container_cgroup
from preflight.model.facts import Measured, Unknown

_ONE = "stack.containers.*"

_TOP = ("stack", "containers")
_MOST = 50  # containers that are looked into
_WORKERS = 4
_EVENTS_SINCE = 86400  # seconds back
_EVENTS_WAIT = 2.0  # seconds that their answer may take


def measure(context: MeasureContext, project: Project) -> Iterator[Measured]:
    """Yield the facts of each container of the project; an empty map where it has none."""
    try:
        engine = context.engine()
        rows = _selected(engine.api, project.name)
    except EndpointError as fault:
        yield Measured(_TOP, Unknown(str(fault), "invalid"))
        return
    except EngineError as fault:
        yield Measured(_TOP, Unknown(str(fault), fault.kind))
        return
    yield Measured(_TOP, {}, "GET /containers/json")
    yield from _containers(engine, project, rows)


def _selected(api: EngineApi, project: str) -> list[ListedContainer]:
    """Return the containers of a project by name, one-off runs left out."""
    rows = []
    for one in api.project_containers(project):
        container, state = text_or_none(one.get("Id")), text_or_none(one.get("State"))
        if container and get_label(one, "com.docker.compose.oneoff") != "True":
            service = get_label(one, "com.docker.compose.service")
            name = _name(one.get("Names")) or container[:12]
            rows.append(
                ListedContainer(container, name, service, normalize_state(state) if state else None)
            )
    return sorted(rows, key=lambda row: row.name)


def _name(names: Any) -> str | None:
    """Return a container's own name: `/web/db` is what another one calls it."""
    known = [str(one).lstrip("/") for one in names] if isinstance(names, list) else []
    return next((one for one in known if one and "/" not in one), None)


def _containers(
    engine: Engine, project: Project, rows: Sequence[ListedContainer]
) -> Iterator[Measured]:
    now = parse_time(engine.info.get("SystemTime"))
    events = _Events(engine.api, project.name, now) if rows and now is not None else None
    seen = _side_by_side(lambda row: _look(engine, row), rows[:_MOST])
    around = StackContext(engine, project, now, events.wait() if events else None)
    for row, one in zip(rows[:_MOST], seen, strict=True):
        if isinstance(one, Unknown):
            yield from _listed(row, one)
        elif one is not None:
            yield from _told(one, around)
    left = Unknown(f"only {_MOST} of {len(rows)} containers are looked into", "unsupported")
    for row in rows[_MOST:]:
        yield from _listed(row, left)


def _listed(row: ListedContainer, why: Unknown) -> Iterator[Measured]:
    """Yield what the list alone tells of a container."""
    source = "GET /containers/json"
    yield Measured((*_TOP, row.name, "service"), row.service, source)
    yield Measured((*_TOP, row.name, "state"), or_unreported(row.state, "State"), source)
    for fact in STACK[2:]:
        path = tuple(fact.path.removeprefix(f"{_ONE}.").removesuffix(".*").split("."))
        yield Measured((*_TOP, row.name, *path), why)


def _side_by_side(
    work: Callable[[ListedContainer], InspectedContainer | Unknown | None],
    rows: Sequence[ListedContainer],
) -> list[InspectedContainer | Unknown | None]:
    """Do `work` for each row in a few threads; what one raises is the reason for its row alone."""
    done: list[InspectedContainer | Unknown | None] = [None] * len(rows)
    waiting: SimpleQueue[int] = SimpleQueue()
    for index in range(len(rows)):
        waiting.put(index)

    def run() -> None:
        while True:
            try:
                index = waiting.get_nowait()
            except Empty:
                return
            try:
                done[index] = work(rows[index])
            except Exception as fault:  # noqa: BLE001 - an answer may be anything
                done[index] = Unknown(f"{type(fault).__name__}: {fault}", "error")

    count = min(_WORKERS, len(rows))
    threads = [threading.Thread(target=run, daemon=True) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return done


def _look(engine: Engine, row: ListedContainer) -> InspectedContainer | Unknown | None:
    """Ask for one container; None where it has vanished since the list."""
    try:
        told = engine.api.inspect(row.id)
    except NotFoundError:
        return None
    except EngineError as fault:
        return Unknown(str(fault), fault.kind)
    state = get_object(told, "State")
    status = text_or_none(state.get("Status"))
    if status is None:
        return unreported("State.Status")
    if normalize_state(status) not in ("running", "paused"):
        return InspectedContainer(row, told)
    pid, hidden = (
        state.get("Pid"),
        engine.visibility.processes_hidden or engine.visibility.cgroups_hidden,
    )
    cgroup: ContainerCgroup | Unknown = hidden or unreported("State.Pid")
    if hidden is None and is_count(pid) and pid:
        cgroup = read_container_cgroup(pid, row.id)
    if isinstance(cgroup, ContainerCgroup) and cgroup.usage is not None:
        return InspectedContainer(row, told, cgroup)
    return InspectedContainer(row, told, cgroup, _sample(engine.api, row.id))


def _sample(api: EngineApi, container: str) -> Mapping[str, Any] | Unknown | None:
    try:
        return api.stats(container)
    except NotFoundError:
        return None
    except EngineError as fault:
        return Unknown(str(fault), fault.kind)


class _Events:
    """The `oom` events of a project's containers, asked for while something else goes on."""

    def __init__(self, api: EngineApi, project: str, now: float) -> None:
        self._api = api
        self._project = project
        self._now = int(now)
        self._ends = time.monotonic() + _EVENTS_WAIT
        self._found: dict[str, tuple[float, ...]] | None = None
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def wait(self) -> Mapping[str, tuple[float, ...]] | None:
        """Return their times by the container's id, None where they could not be read in time."""
        self._thread.join(max(0.0, self._ends - time.monotonic()))
        return self._found

    def _read(self) -> None:
        filters = {
            "type": ["container"],
            "event": ["oom"],
            "label": [f"com.docker.compose.project={self._project}"],
        }
        since = self._now - _EVENTS_SINCE
        try:
            events = self._api.events(since, self._now, _EVENTS_WAIT, **filters)
        except EngineError:
            return
        found: dict[str, tuple[float, ...]] = {}
        for event in events:
            container, when = get_object(event, "Actor").get("ID"), event.get("timeNano")
            if event.get("Action") == "oom" and isinstance(container, str) and is_count(when):
                found[container] = (*found.get(container, ()), when / 1e9)
        self._found = found


def _told(seen: InspectedContainer, around: StackContext) -> list[Measured]:
    """Return the facts of one container; one whose answers are garbage is unknown alone."""
    top = (*_TOP, seen.row.name)
    try:
        return [Measured((*top, *path), *rest) for path, *rest in facts(seen, around)]
    except Exception as fault:  # noqa: BLE001 - an answer may be anything
        why = Unknown(f"the engine's answer: {type(fault).__name__}: {fault}", "invalid")
        return list(_listed(seen.row, why))
