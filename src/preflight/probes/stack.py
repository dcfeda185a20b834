"""What the containers of this compose project say: how they run, what they use, what killed them.

One list for the project, then for each container one inspect, and one sample where its cgroup is
not seen from here, side by side; never a question for each container of the machine.
"""

from __future__ import annotations

import calendar
import re
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any, NamedTuple, TypeAlias, TypeGuard

from preflight.model.facts import Measured, Unknown
from preflight.model.quantities import parse_version
from preflight.probes.compose.project import ComposeError, Project
from preflight.probes.declared import STACK
from preflight.probes.drift import drift, environment
from preflight.probes.endpoint import EndpointError
from preflight.probes.engine import Engine
from preflight.probes.engine_api import EngineApi, EngineError, GoneError, label, memory_used
from preflight.probes.group import Group, read_group
from preflight.probes.machine import Machine
from preflight.probes.native import HIDDEN
from preflight.probes.oom import Signals, judge
from preflight.probes.table import NO_FILE

_ONE = "stack.containers.*"

_TOP = ("stack", "containers")
_INSPECT = "GET /containers/ID/json"
_MOST = 50  # containers that are looked into
_WORKERS = 4
_EVENTS_SINCE = 86400  # seconds back
_EVENTS_WAIT = 2.0  # seconds that their answer may take
_LOOP_RESTARTS = 3
_LOOP_SECONDS = 60
_STATES = {"stopped": "exited", "configured": "created", "initialized": "created"}  # Podman's
_ROTATING = ("local", "journald")

Told: TypeAlias = tuple[tuple[str, ...], Any, str]  # path, value, source


def measure(machine: Machine) -> Iterator[Measured]:
    """Yield the facts of each container of the project; an empty map where it has none."""
    try:
        project = machine.project()
    except ComposeError as fault:
        yield Measured(_TOP, Unknown(str(fault), "invalid"))
        return
    if project is None:
        yield Measured(_TOP, None, NO_FILE)
        return
    try:
        engine = machine.engine()
        rows = _selected(engine.api, project.name)
    except EndpointError as fault:
        yield Measured(_TOP, Unknown(str(fault), "invalid"))
        return
    except EngineError as fault:
        yield Measured(_TOP, Unknown(str(fault), fault.kind))
        return
    yield Measured(_TOP, {}, "GET /containers/json")
    yield from _containers(engine, project, rows)


class Row(NamedTuple):
    """A container as the list shows it."""

    id: str
    name: str
    service: str | None
    state: str | None


class Seen(NamedTuple):
    """A container that was looked into; where it runs, by its `group` or else by a `sample`.

    What could not be read is an Unknown.
    """

    row: Row
    told: Mapping[str, Any]
    group: Group | Unknown | None = None
    sample: Mapping[str, Any] | Unknown | None = None


class Around(NamedTuple):
    """What all containers share: the engine and its clock in seconds, the file, `oom` events."""

    engine: Engine
    project: Project
    now: float | None
    events: Mapping[str, tuple[float, ...]] | None


def _selected(api: EngineApi, project: str) -> list[Row]:
    """Return the containers of a project by name, one-off runs left out."""
    rows = []
    for one in api.containers_of(project):
        container, state = _text(one.get("Id")), _text(one.get("State"))
        if container and label(one, "com.docker.compose.oneoff") != "True":
            service = label(one, "com.docker.compose.service")
            name = _name(one.get("Names")) or container[:12]
            rows.append(Row(container, name, service, _state(state) if state else None))
    return sorted(rows, key=lambda row: row.name)


def _name(names: Any) -> str | None:
    """Return a container's own name: `/web/db` is what another one calls it."""
    known = [str(one).lstrip("/") for one in names] if isinstance(names, list) else []
    return next((one for one in known if one and "/" not in one), None)


def _state(said: str) -> str:
    return _STATES.get(said.lower(), said.lower())


def _containers(engine: Engine, project: Project, rows: Sequence[Row]) -> Iterator[Measured]:
    now = parse_time(engine.info.get("SystemTime"))
    events = _Events(engine.api, project.name, now) if rows and now is not None else None
    seen = _side_by_side(lambda row: _look(engine, row), rows[:_MOST])
    around = Around(engine, project, now, events.wait() if events else None)
    for row, one in zip(rows[:_MOST], seen, strict=True):
        if isinstance(one, Unknown):
            yield from _listed(row, one)
        elif one is not None:
            yield from _told(one, around)
    left = Unknown(f"only {_MOST} of {len(rows)} containers are looked into", "unsupported")
    for row in rows[_MOST:]:
        yield from _listed(row, left)


def _listed(row: Row, why: Unknown) -> Iterator[Measured]:
    """Yield what the list alone tells of a container."""
    source = "GET /containers/json"
    yield Measured((*_TOP, row.name, "service"), row.service, source)
    yield Measured((*_TOP, row.name, "state"), _stated(row.state, "State"), source)
    for fact in STACK[2:]:
        path = tuple(fact.path.removeprefix(f"{_ONE}.").removesuffix(".*").split("."))
        yield Measured((*_TOP, row.name, *path), why)


def _side_by_side(
    work: Callable[[Row], Seen | Unknown | None], rows: Sequence[Row]
) -> list[Seen | Unknown | None]:
    """Do `work` for each row in a few threads; what one raises is the reason for its row alone."""
    done: list[Seen | Unknown | None] = [None] * len(rows)
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


def _look(engine: Engine, row: Row) -> Seen | Unknown | None:
    """Ask for one container; None where it has vanished since the list."""
    try:
        told = engine.api.inspect(row.id)
    except GoneError:
        return None
    except EngineError as fault:
        return Unknown(str(fault), fault.kind)
    state = _map(told, "State")
    status = _text(state.get("Status"))
    if status is None:
        return _unstated("State.Status")
    if _state(status) not in ("running", "paused"):
        return Seen(row, told)
    group: Group | Unknown = HIDDEN
    pid = state.get("Pid")
    if engine.native and _is_count(pid) and pid:
        group = read_group(pid, row.id)
    if isinstance(group, Group) and group.usage is not None:
        return Seen(row, told, group)
    return Seen(row, told, group, _sample(engine.api, row.id))


def _sample(api: EngineApi, container: str) -> Mapping[str, Any] | Unknown | None:
    try:
        return api.stats(container)
    except GoneError:
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
            container, when = _map(event, "Actor").get("ID"), event.get("timeNano")
            if event.get("Action") == "oom" and isinstance(container, str) and _is_count(when):
                found[container] = (*found.get(container, ()), when / 1e9)
        self._found = found


def _told(seen: Seen, around: Around) -> list[Measured]:
    """Return the facts of one container; one whose answers are garbage is unknown alone."""
    top = (*_TOP, seen.row.name)
    try:
        return [Measured((*top, *path), *rest) for path, *rest in facts(seen, around)]
    except Exception as fault:  # noqa: BLE001 - an answer may be anything
        why = Unknown(f"the engine's answer: {type(fault).__name__}: {fault}", "invalid")
        return list(_listed(seen.row, why))


def facts(seen: Seen, around: Around) -> Iterator[Told]:
    """Yield path, value and source of what is known of one container."""
    told, config = seen.told, _map(seen.told, "Config")
    yield ("service",), seen.row.service, "GET /containers/json Labels"
    yield from _run(seen, around)
    yield from _killed(seen, around)
    yield from _memory(seen, around.engine)
    yield ("cpus",), *_cpus(_map(told, "HostConfig"))
    yield from _variables(config)
    yield ("image",), _stated(_text(config.get("Image")), "Config.Image"), f"{_INSPECT} Config"
    yield ("log", "rotated"), *_rotated(_map(told, "HostConfig"), around.engine.name)
    yield ("drift",), *_drift(seen, around)


def _run(seen: Seen, around: Around) -> Iterator[Told]:
    state = _map(seen.told, "State")
    status = _status(seen)
    source = f"{_INSPECT} State"
    yield ("state",), status, source
    yield ("exit_code",), _exit_code(state, status), source
    restarts = _count(seen.told.get("RestartCount"))
    yield ("restarts",), _stated(restarts, "RestartCount"), f"{_INSPECT} RestartCount"
    yield ("restarting",), _loops(seen, around), f"{_INSPECT} RestartCount, StartedAt, SystemTime"
    started = _text(state.get("StartedAt"))
    never = started is not None and started.startswith("0001-")
    yield ("started_at",), None if never else _stated(started, "State.StartedAt"), source


def _status(seen: Seen) -> str:
    return _state(str(_map(seen.told, "State").get("Status")))


def _exit_code(state: Mapping[str, Any], status: str) -> int | Unknown | None:
    code = state.get("ExitCode")
    if status in ("running", "paused") or (status == "created" and not code):
        return None
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    return _unstated("State.ExitCode")


def _loops(seen: Seen, around: Around) -> bool | Unknown:
    """Whether it is restarted again and again, by the engine's own clock.

    Docker says `restarting` between two runs; Podman says `exited`, for a moment.
    """
    status, state = _status(seen), _map(seen.told, "State")
    if status == "restarting":
        return True
    restarts = _count(seen.told.get("RestartCount"))
    if restarts is None:
        return _unstated("RestartCount")
    if restarts < _LOOP_RESTARTS:
        return False
    if status == "exited" and not (around.engine.name == "podman" and _goes_on(seen.told)):
        return False
    started = parse_time(state.get("StartedAt"))
    if started is None or around.now is None:
        return _unstated("State.StartedAt or SystemTime")
    return around.now - started < _LOOP_SECONDS


def _goes_on(told: Mapping[str, Any]) -> bool:
    """Whether its policy restarts it after it has ended."""
    policy = _map(_map(told, "HostConfig"), "RestartPolicy")
    if policy.get("Name") == "on-failure":
        most = _count(policy.get("MaximumRetryCount")) or 0
        return not most or (_count(told.get("RestartCount")) or 0) < most
    return policy.get("Name") in ("always", "unless-stopped")


def _killed(seen: Seen, around: Around) -> Iterator[Told]:
    state = _map(seen.told, "State")
    podman = around.engine.name == "podman"
    flag, code = state.get("OOMKilled"), _exit_code(state, _status(seen))
    group = seen.group if isinstance(seen.group, Group) else None
    events = around.events
    verdict = judge(
        Signals(
            flag=flag if isinstance(flag, bool) else None,
            running=_status(seen) in ("running", "paused"),
            exit_code=code if isinstance(code, int) else None,
            restarts=_count(seen.told.get("RestartCount")) or 0,
            started=parse_time(state.get("StartedAt")) or 0.0,
            kills=group.kills if group else None,
            events=None if events is None else events.get(seen.row.id, ()),
            trusted=not podman,
            lasting=not podman and _before_24(around.engine),
            share=_share(seen),
        )
    )
    sources = [f"{_INSPECT} State.OOMKilled", "GET /events" if events is not None else ""]
    source = ", ".join(filter(None, [*sources, group.counter if group else ""]))
    yield ("oom_killed",), verdict.killed, source
    unknown = verdict.killed if isinstance(verdict.killed, Unknown) else None
    yield ("oom_certainty",), unknown or verdict.certainty, source
    yield ("oom_evidence",), unknown or verdict.evidence, source


def _before_24(engine: Engine) -> bool:
    try:
        return parse_version(str(engine.version.get("Version"))) < (24,)
    except ValueError:
        return True


def _share(seen: Seen) -> float | None:
    usage, _ = _usage(seen)
    limits = [value for value, _ in _limits(seen, None)]
    return usage / min(limits) if limits and isinstance(usage, int) else None


def _memory(seen: Seen, engine: Engine) -> Iterator[Told]:
    configured = _count(_map(seen.told, "HostConfig").get("Memory"))
    source = f"{_INSPECT} HostConfig.Memory"
    own = _unstated("HostConfig.Memory") if configured is None else configured or None
    yield ("memory", "usage"), *_usage(seen)
    yield ("memory", "configured"), own, source
    limits = _limits(seen, _count(engine.info.get("MemTotal")))
    if limits:
        yield ("memory", "limit"), *min(limits, key=lambda one: one[0])
    else:
        yield ("memory", "limit"), _no_limit(seen, own), source
    yield ("memory", "parent"), *_parent(seen, configured, _count(engine.info.get("MemTotal")))


def _usage(seen: Seen) -> tuple[int | Unknown | None, str]:
    source = "GET /containers/ID/stats, without page cache"
    if isinstance(seen.group, Group) and seen.group.usage is not None:
        return seen.group.usage, seen.group.gauge
    if seen.sample is None:
        return None, "it does not run"
    if isinstance(seen.sample, Unknown):
        return seen.sample, ""
    try:
        used = memory_used(seen.sample)
    except (AttributeError, TypeError, ValueError, OverflowError):
        used = None
    if not _map(_map(seen.sample, "memory_stats"), "stats"):
        source = "GET /containers/ID/stats; page cache counts, the engine does not tell it"
    return _stated(used, "memory_stats.usage"), source


def _limits(seen: Seen, total: int | None) -> list[tuple[int, str]]:
    """Return every limit in bytes that is known to be over a container, with its source.

    Without a limit a sample shows the machine's `total`, or v1's largest number.
    """
    memory = _map(seen.sample, "memory_stats")
    found: list[tuple[Any, str]] = [
        (_map(seen.told, "HostConfig").get("Memory"), f"{_INSPECT} HostConfig.Memory"),
        (_below(memory.get("limit"), total), "GET /containers/ID/stats memory_stats.limit"),
        (_hierarchical(seen, total), "GET /containers/ID/stats hierarchical_memory_limit"),
    ]
    if isinstance(seen.group, Group) and seen.group.limit.value is not None:
        found.append((int(seen.group.limit.value), seen.group.limit.source))
    return [(value, source) for value, source in found if _count(value)]


def _hierarchical(seen: Seen, total: int | None) -> int | None:
    """The lowest limit of the cgroup and those above it, as Docker tells it on v1."""
    parts = _map(_map(seen.sample, "memory_stats"), "stats")
    return _below(parts.get("hierarchical_memory_limit"), total)


def _below(value: Any, total: int | None) -> int | None:
    figure = _count(value)
    return figure if figure and total and figure < total else None


def _no_limit(seen: Seen, own: int | Unknown | None) -> Unknown | None:
    """None where it is known that there is no limit, else why that isn't known."""
    if isinstance(own, Unknown):
        return own
    if isinstance(seen.sample, Unknown) and not isinstance(seen.group, Group):
        return seen.sample
    return None


def _parent(
    seen: Seen, configured: int | None, total: int | None
) -> tuple[int | Unknown | None, str]:
    if seen.group is None:
        return None, "it does not run"
    if isinstance(seen.group, Group):
        above: float | None = seen.group.above.value
        source = seen.group.above.source
    elif "hierarchical_memory_limit" in _map(_map(seen.sample, "memory_stats"), "stats"):
        above = _hierarchical(seen, total)
        source = "GET /containers/ID/stats hierarchical_memory_limit"
    else:
        return seen.group, ""
    lower = above is not None and (not configured or above < configured)
    return int(above) if above is not None and lower else None, source


def _cpus(host: Mapping[str, Any]) -> tuple[float | Unknown | None, str]:
    nano, quota = _count(host.get("NanoCpus")), _count(host.get("CpuQuota"))
    if nano is None:
        return _unstated("HostConfig.NanoCpus"), ""
    if nano == 0 and quota:
        period = _count(host.get("CpuPeriod")) or 100_000
        return quota / period, f"{_INSPECT} HostConfig.CpuQuota, CpuPeriod"
    return nano / 1e9 or None, f"{_INSPECT} HostConfig.NanoCpus"


def _variables(config: Mapping[str, Any]) -> Iterator[Told]:
    source = f"{_INSPECT} Config.Env"
    variables = environment(config["Env"]) if "Env" in config else None
    if variables is None:
        yield ("environment",), _unstated("Config.Env"), source
        return
    for name, value in variables.items():
        yield ("environment", name), value, source
    yield ("environment",), {}, source


def _rotated(host: Mapping[str, Any], engine: str) -> tuple[bool | Unknown | None, str]:
    log = _map(host, "LogConfig")
    driver, options = _text(log.get("Type")), log.get("Config")
    source = f"{_INSPECT} HostConfig.LogConfig"
    if driver == "none":
        return None, source
    if driver in _ROTATING:
        return True, source
    if driver == "json-file" and not (engine == "podman" and options is None):
        size = options.get("max-size") if isinstance(options, dict) else None
        return bool(size) and size != "-1", source
    if driver is None:
        return _unstated("HostConfig.LogConfig.Type"), source
    return Unknown(f"whether {driver} drops old logs is not told", "unsupported"), source


def _drift(seen: Seen, around: Around) -> tuple[list[str] | Unknown | None, str]:
    source = f"{_INSPECT}, {', '.join(around.project.files)}"
    name = seen.row.service
    if name is None:
        return Unknown("it does not say its service: the label is missing"), source
    service = around.project.services.get(name)
    if service is None:
        return [f"service {name} is not in the file"], source
    return drift(service, seen.told) or None, source


def parse_time(text: Any) -> float | None:
    """Read a time such as 2026-11-23T18:04:24.011350854Z as seconds since 1970, else None."""
    pattern = r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(\.\d+)?(Z|([-+])(\d\d):(\d\d))"
    match = re.fullmatch(pattern, text) if isinstance(text, str) else None
    if match is None or text.startswith("0001-"):
        return None
    try:
        seconds = calendar.timegm(time.strptime(match[1], "%Y-%m-%dT%H:%M:%S"))
    except ValueError:
        return None
    offset = int(match[5]) * 3600 + int(match[6]) * 60 if match[4] else 0
    return seconds + float(match[2] or 0) - (offset if match[4] == "+" else -offset)


def _unstated(key: str) -> Unknown:
    return Unknown(f"the engine does not say: {key} is zero, null or missing")


def _stated(value: Any, key: str) -> Any:
    return _unstated(key) if value is None else value


def _map(answer: Any, key: str) -> Mapping[str, Any]:
    value = answer.get(key) if isinstance(answer, Mapping) else None
    return value if isinstance(value, Mapping) else {}


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _count(value: Any) -> int | None:
    return value if _is_count(value) else None


def _is_count(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0
