"""Measures the project's containers: each is inspected, and its cgroup or its statistics read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.catalogue import STACK_FACTS
from preflight.facts.collect.context import Engine
from preflight.facts.compose.project import Project, explain_absence
from preflight.facts.engine.api import (
    Lazy,
    NotFoundError,
    count_or_none,
    get_object,
    memory_used,
    or_unreported,
    parse_time,
    text_or_none,
    unreported,
)
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.host_resources import is_log_rotated
from preflight.facts.host.kernel import ContainerCgroup, read_container_cgroup
from preflight.facts.stack.containers import CONTAINERS_PATH, ListedContainer, normalize_state
from preflight.facts.stack.drift import find_drift, parse_environment
from preflight.facts.stack.oom import OomSignals, OomTimes, judge_oom, read_oom_times
from preflight.model.facts import Measured, Unknown
from preflight.model.quantities import parse_version

_MAX_INSPECTED = 50  # containers
_THREADS = 4
_INSPECT = "GET /containers/ID/json"
_MEMORY_LIMIT_KEY = "HostConfig.Memory"
_STATS = "GET /containers/ID/stats"
_LOWEST_LIMIT_KEY = "hierarchical_memory_limit"
_LOOP_RESTARTS = 3
_LOOP_SECONDS = 60

ContainerFact: TypeAlias = tuple[tuple[str, ...], Any, str]  # path, value, source
SourcedValue: TypeAlias = tuple[Any, str]  # value, source


class StackContext(NamedTuple):
    """What all containers share; `now` is the engine's clock in seconds, None if unknown."""

    engine: Engine
    project: Project
    now: float | None
    oom_times: Lazy[OomTimes | None]

    @property
    def is_podman(self) -> bool:
        return self.engine.name == "podman"


class InspectedContainer(NamedTuple):
    """A container with the engine's answer to inspect, and two objects of that."""

    listed: ListedContainer
    inspection: Mapping[str, Any]
    state: Mapping[str, Any]
    host_config: Mapping[str, Any]
    status: str

    @property
    def restarts(self) -> int | None:
        return count_or_none(self.inspection.get("RestartCount"))

    @property
    def is_running(self) -> bool:
        return self.status in ("running", "paused")

    @property
    def exit_code(self) -> int | Unknown | None:
        code = self.state.get("ExitCode")
        if self.is_running or (self.status == "created" and not code):
            return None
        return code if type(code) is int else unreported("State.ExitCode")


def measure_containers(
    engine: Engine, project: Project, containers: Sequence[ListedContainer]
) -> Iterator[Measured]:
    """Measure the first containers in a few threads; the facts of the others are unknown."""
    now = parse_time(engine.info.get("SystemTime"))
    oom_times = Lazy(lambda: read_oom_times(engine.api, project.name, now))
    stack = StackContext(engine, project, now, oom_times)
    inspected = containers[:_MAX_INSPECTED]
    facts: list[Sequence[Measured]] = [()] * len(inspected)

    def measure_share(first: int) -> None:
        for index in range(first, len(inspected), _THREADS):
            facts[index] = _measure_container(inspected[index], stack)

    tasks: list[Callable[[], object]] = [oom_times]
    tasks += [partial(measure_share, first) for first in range(_THREADS)]
    threads = [threading.Thread(target=task, daemon=True) for task in tasks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    yield from chain.from_iterable(facts)
    reason = f"only {_MAX_INSPECTED} of {len(containers)} containers are inspected"
    for listed in containers[_MAX_INSPECTED:]:
        yield from _unknown_container(listed, Unknown(reason, "unsupported"))


def _measure_container(listed: ListedContainer, stack: StackContext) -> Sequence[Measured]:
    """Return the facts of one container, none if it is gone; whatever fails is its own alone."""
    try:
        inspection = stack.engine.api.inspect(listed.id)
        state, host_config = inspection["State"], inspection["HostConfig"]
        status = normalize_state(state["Status"])
        container = InspectedContainer(listed, inspection, state, host_config, status)
        facts = list(container_facts(container, stack))
    except NotFoundError:
        return ()
    except EngineError as error:
        return _unknown_container(listed, Unknown(str(error), error.kind))
    except Exception as error:  # noqa: BLE001 - an answer may be anything
        reason = Unknown(f"the engine's answer: {type(error).__name__}: {error}", "invalid")
        return _unknown_container(listed, reason)
    container_path = (*CONTAINERS_PATH, listed.name)
    return [Measured((*container_path, *path), value, source) for path, value, source in facts]


def _unknown_container(listed: ListedContainer, reason: Unknown) -> Sequence[Measured]:
    """Return what the list says of a container, and the reason for every other fact."""
    container_path, source = (*CONTAINERS_PATH, listed.name), "GET /containers/json"
    facts = [
        Measured((*container_path, "service"), listed.service, source),
        Measured((*container_path, "state"), or_unreported(listed.state, "State"), source),
    ]
    for fact in STACK_FACTS[2:]:
        path = fact.path.removeprefix("stack.containers.*.").removesuffix(".*").split(".")
        facts.append(Measured((*container_path, *path), reason))
    return facts


def container_facts(container: InspectedContainer, stack: StackContext) -> Iterator[ContainerFact]:
    """Yield path, value and source of each fact of one container."""
    config, host = container.inspection["Config"], container.host_config
    yield ("service",), container.listed.service, "GET /containers/json Labels"
    yield ("state",), container.status, f"{_INSPECT} State"
    yield ("exit_code",), container.exit_code, f"{_INSPECT} State"
    source = f"{_INSPECT} RestartCount"
    yield ("restarts",), or_unreported(container.restarts, "RestartCount"), source
    source += ", StartedAt, SystemTime"
    yield ("restarting",), _is_restarting(container, stack), source
    started = or_unreported(text_or_none(container.state.get("StartedAt")), "State.StartedAt")
    never = isinstance(started, str) and started.startswith("0001-")
    yield ("started_at",), None if never else started, f"{_INSPECT} State"
    memory = _read_memory(container, stack.engine)
    yield from _oom_facts(container, memory, stack)
    yield ("memory", "configured"), *memory.configured
    yield ("memory", "usage"), *memory.usage
    yield ("memory", "limit"), *memory.limit
    yield ("memory", "parent"), *memory.parent_limit
    yield ("cpus",), *_cpu_limit(host)
    source = f"{_INSPECT} Config.Env"
    for name, value in parse_environment(config["Env"]).items():
        yield ("environment", name), value, source
    yield ("environment",), {}, source
    image = or_unreported(text_or_none(config.get("Image")), "Config.Image")
    yield ("image",), image, f"{_INSPECT} Config"
    rotated = _is_log_rotated(get_object(host, "LogConfig"), is_podman=stack.is_podman)
    yield ("log", "rotated"), rotated, f"{_INSPECT} HostConfig.LogConfig"
    source = f"{_INSPECT}, {', '.join(stack.project.files)}"
    yield ("drift",), _find_drift(container, stack.project), source


def _is_restarting(container: InspectedContainer, stack: StackContext) -> bool | Unknown:
    """Whether it is restarted again and again, by the engine's own clock.

    Docker reports `restarting` between two runs; Podman reports `exited`, for a moment.
    """
    restarts = container.restarts
    if container.status == "restarting":
        return True
    if restarts is None:
        return unreported("RestartCount")
    between_runs = stack.is_podman and _will_restart(container, restarts)
    if restarts < _LOOP_RESTARTS or (container.status == "exited" and not between_runs):
        return False
    started = parse_time(container.state.get("StartedAt"))
    if started is None or stack.now is None:
        return unreported("State.StartedAt or SystemTime")
    return stack.now - started < _LOOP_SECONDS


def _will_restart(container: InspectedContainer, restarts: int) -> bool:
    policy = get_object(container.host_config, "RestartPolicy")
    if policy.get("Name") == "on-failure":
        max_restarts = policy.get("MaximumRetryCount")
        return not max_restarts or restarts < max_restarts
    return policy.get("Name") in ("always", "unless-stopped")


class _Memory(NamedTuple):
    """Bytes of a container, each with its source.

    `configured` is its own limit, `limit` the lowest over it, `parent_limit` one below its own.
    """

    configured: SourcedValue
    usage: SourcedValue
    limit: SourcedValue
    parent_limit: SourcedValue
    cgroup: ContainerCgroup | None = None


def _read_memory(container: InspectedContainer, engine: Engine) -> _Memory:
    """Read the container's cgroup if it is visible, else ask for its statistics."""
    limit = or_unreported(count_or_none(container.host_config.get("Memory")), _MEMORY_LIMIT_KEY)
    configured = limit or None, f"{_INSPECT} {_MEMORY_LIMIT_KEY}"
    if not container.is_running:
        stopped = None, "it does not run"
        return _Memory(configured, stopped, configured, stopped)
    hidden = engine.visibility.processes_hidden or engine.visibility.cgroups_hidden
    pid = count_or_none(container.state.get("Pid"))
    cgroup: ContainerCgroup | Unknown = hidden or unreported("State.Pid")
    if pid and not hidden:
        cgroup = read_container_cgroup(pid, container.listed.id)
    if isinstance(cgroup, ContainerCgroup):
        usage = cgroup.usage, cgroup.usage_source
        parent = _only_if_lower(cgroup.parent_limit.value, configured[0])
        sourced_parent = parent, cgroup.parent_limit.source
        return _Memory(configured, usage, cgroup.limit, sourced_parent, cgroup)
    try:
        stats = engine.api.stats(container.listed.id)
    except EngineError as error:
        unread = Unknown(str(error), error.kind), ""
        has_limit = isinstance(configured[0], int)
        return _Memory(configured, unread, configured if has_limit else unread, (cgroup, ""))
    total = count_or_none(engine.info.get("MemTotal")) or 0
    return _memory_from_stats(stats, configured, total, cgroup)


def _memory_from_stats(
    stats: Mapping[str, Any], configured: SourcedValue, total: int, cgroup_hidden: Unknown
) -> _Memory:
    """Read a sample of statistics, where a limit of `total` or more means that there is none.

    Only Docker on cgroup v1 reports the lowest limit over a container.
    """
    memory = get_object(stats, "memory_stats")
    details = get_object(memory, "stats")
    cache = "without page cache" if details else "with page cache, which it does not report"
    usage = or_unreported(memory_used(stats), "memory_stats.usage"), f"{_STATS}, {cache}"
    limits = [configured] if isinstance(configured[0], int) else []
    lowest_limit = details.get(_LOWEST_LIMIT_KEY)
    for key, limit in (("limit", memory.get("limit")), (_LOWEST_LIMIT_KEY, lowest_limit)):
        if limit and limit < total:
            limits.append((limit, f"{_STATS} {key}"))
    parent: SourcedValue = cgroup_hidden, ""
    if lowest_limit is not None:
        parent_limit = lowest_limit if lowest_limit < total else None
        parent = _only_if_lower(parent_limit, configured[0]), f"{_STATS} {_LOWEST_LIMIT_KEY}"
    return _Memory(configured, usage, min(limits, default=configured), parent)


def _only_if_lower(limit: float | None, configured: int | Unknown | None) -> int | None:
    is_lower = limit and (not isinstance(configured, int) or limit < configured)
    return int(limit) if limit and is_lower else None


def _oom_facts(
    container: InspectedContainer, memory: _Memory, stack: StackContext
) -> Iterator[ContainerFact]:
    flag, code, times = container.state.get("OOMKilled"), container.exit_code, stack.oom_times()
    usage, limit, cgroup = memory.usage[0], memory.limit[0], memory.cgroup
    has_share = isinstance(usage, int) and isinstance(limit, int | float)
    killed, certainty, evidence = judge_oom(
        OomSignals(
            flag=flag if isinstance(flag, bool) else None,
            running=container.is_running,
            exit_code=code if isinstance(code, int) else None,
            restarts=container.restarts or 0,
            started=parse_time(container.state.get("StartedAt")) or 0.0,
            kills=cgroup.oom_kills if cgroup else None,
            event_times=None if times is None else times.get(container.listed.id, ()),
            flag_is_reliable=not stack.is_podman,
            flag_outlives_run=not stack.is_podman and _is_before_24(stack.engine),
            memory_share=usage / limit if has_share else None,
        )
    )
    source = f"{_INSPECT} State.OOMKilled"
    source += ", GET /events" if times is not None else ""
    source += f", {cgroup.oom_source}" if cgroup else ""
    yield ("oom_killed",), killed, source
    yield ("oom_certainty",), certainty, source
    yield ("oom_evidence",), evidence, source


def _is_before_24(engine: Engine) -> bool:
    try:
        return parse_version(str(engine.version.get("Version"))) < (24,)
    except ValueError:
        return True


def _cpu_limit(host: Mapping[str, Any]) -> SourcedValue:
    nano, quota = count_or_none(host.get("NanoCpus")), count_or_none(host.get("CpuQuota"))
    if nano == 0 and quota:
        period = count_or_none(host.get("CpuPeriod")) or 100_000
        return quota / period, f"{_INSPECT} HostConfig.CpuQuota, CpuPeriod"
    cpus = unreported("HostConfig.NanoCpus") if nano is None else nano / 1e9 or None
    return cpus, f"{_INSPECT} HostConfig.NanoCpus"


def _is_log_rotated(log_config: Mapping[str, Any], *, is_podman: bool) -> bool | Unknown:
    """Podman leaves out the options, which Docker reports even where there are none."""
    driver, options = text_or_none(log_config.get("Type")), log_config.get("Config")
    if driver is None:
        return unreported("HostConfig.LogConfig.Type")
    return is_log_rotated(driver, options if options or is_podman else {})


def _find_drift(container: InspectedContainer, project: Project) -> list[str] | Unknown | None:
    name = container.listed.service
    if name is None:
        return Unknown("it does not report its service: the label is missing")
    service = project.services.get(name)
    if service is None:
        return [explain_absence(project, name)]
    return find_drift(service, container.inspection) or None
