"""Inspects the project's containers, and turns what the engine answers into facts.

Each is inspected, and its statistics are asked for if its cgroup isn't visible here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.catalogue import STACK
from preflight.facts.collect.context import Engine
from preflight.facts.compose.project import Project, explain_absence
from preflight.facts.engine.api import EngineError, NotFoundError, memory_used
from preflight.facts.engine.log_rotation import is_log_rotated
from preflight.facts.engine.responses import (
    count_or_none,
    get_object,
    or_unreported,
    parse_time,
    text_or_none,
    unreported,
)
from preflight.facts.stack.container_cgroup import ContainerCgroup, read_container_cgroup
from preflight.facts.stack.containers import ListedContainer, normalize_state
from preflight.facts.stack.drift import find_drift, parse_environment
from preflight.facts.stack.oom import (
    EVENTS_WAIT_SECONDS,
    OomSignals,
    OomTimes,
    judge_oom,
    read_oom_times,
)
from preflight.model.facts import Measured, Unknown
from preflight.model.quantities import parse_version

_CONTAINERS_PATH = ("stack", "containers")
_MAX_INSPECTED = 50  # containers
_MAX_THREADS = 4
_INSPECT = "GET /containers/ID/json"
_MEMORY_KEY = "HostConfig.Memory"
_STATS = "GET /containers/ID/stats"
_LOOP_RESTARTS = 3
_LOOP_SECONDS = 60

ContainerFact: TypeAlias = tuple[tuple[str, ...], Any, str]  # path, value, source
SourcedValue: TypeAlias = tuple[Any, str]  # value, source


class InspectedContainer(NamedTuple):
    """A container with the answer of inspect, and its cgroup or else its statistics.

    `cgroup` and `stats` are None where it doesn't run, Unknown where they couldn't be read.
    """

    listed: ListedContainer
    inspection: Mapping[str, Any]
    cgroup: ContainerCgroup | Unknown | None = None
    stats: Mapping[str, Any] | Unknown | None = None

    @property
    def host_config(self) -> Mapping[str, Any]:
        return get_object(self.inspection, "HostConfig")

    @property
    def state(self) -> Mapping[str, Any]:
        return get_object(self.inspection, "State")

    @property
    def status(self) -> str:
        return normalize_state(str(self.state.get("Status")))

    @property
    def is_running(self) -> bool:
        return self.status in ("running", "paused")


class StackContext(NamedTuple):
    """What all containers share: engine, project, the engine's clock and `oom` events.

    `now` is in seconds, `oom_times` by container id; both are None where they couldn't be read.
    """

    engine: Engine
    project: Project
    now: float | None
    oom_times: OomTimes | None


Inspected: TypeAlias = InspectedContainer | Unknown | None


def measure_containers(
    engine: Engine, project: Project, containers: Sequence[ListedContainer]
) -> Iterator[Measured]:
    """Inspect the first containers, and yield the facts of each; the others are unknown."""
    now = parse_time(engine.info.get("SystemTime"))
    oom_times: list[OomTimes] = []
    reading = threading.Thread(
        target=read_oom_times, args=(engine.api, project.name, now, oom_times), daemon=True
    )
    ends = time.monotonic() + EVENTS_WAIT_SECONDS
    reading.start()
    inspected = _inspect_all(engine, containers[:_MAX_INSPECTED])
    reading.join(max(0.0, ends - time.monotonic()))
    stack = StackContext(engine, project, now, oom_times[0] if oom_times else None)
    for listed, answer in zip(containers, inspected, strict=False):
        yield from _measure_container(listed, answer, stack)
    reason = f"only {_MAX_INSPECTED} of {len(containers)} containers are inspected"
    for listed in containers[_MAX_INSPECTED:]:
        yield from _measure_container(listed, Unknown(reason, "unsupported"), stack)


def _measure_container(
    listed: ListedContainer, answer: Inspected, stack: StackContext
) -> Iterator[Measured]:
    """Yield the facts of one container; one whose answers are garbage is unknown alone."""
    top = (*_CONTAINERS_PATH, listed.name)
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

    threads = [threading.Thread(target=run, daemon=True) for _ in range(_MAX_THREADS)]
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


def container_facts(
    container: InspectedContainer, context: StackContext
) -> Iterator[ContainerFact]:
    """Yield path, value and source of each fact of one container."""
    config, host = get_object(container.inspection, "Config"), container.host_config
    yield ("service",), container.listed.service, "GET /containers/json Labels"
    yield ("state",), container.status, f"{_INSPECT} State"
    yield ("exit_code",), _exit_code(container), f"{_INSPECT} State"
    restarts = count_or_none(container.inspection.get("RestartCount"))
    source = f"{_INSPECT} RestartCount"
    yield ("restarts",), or_unreported(restarts, "RestartCount"), source
    source += ", StartedAt, SystemTime"
    yield ("restarting",), _is_restarting(container, restarts, context), source
    started = text_or_none(container.state.get("StartedAt"))
    if started is not None and started.startswith("0001-"):
        yield ("started_at",), None, f"{_INSPECT} State"
    else:
        yield ("started_at",), or_unreported(started, "State.StartedAt"), f"{_INSPECT} State"
    memory = _read_memory(container, count_or_none(context.engine.info.get("MemTotal")))
    yield from _oom_facts(container, restarts, memory, context)
    configured = or_unreported(count_or_none(host.get("Memory")), _MEMORY_KEY)
    yield ("memory", "configured"), configured or None, f"{_INSPECT} {_MEMORY_KEY}"
    yield ("memory", "usage"), *memory.usage
    yield ("memory", "limit"), *memory.limit
    yield ("memory", "parent"), *memory.parent_limit
    yield ("cpus",), *_cpu_limit(host)
    source = f"{_INSPECT} Config.Env"
    variables = parse_environment(config["Env"]) if "Env" in config else None
    for name, value in (variables or {}).items():
        yield ("environment", name), value, source
    yield ("environment",), unreported("Config.Env") if variables is None else {}, source
    image = or_unreported(text_or_none(config.get("Image")), "Config.Image")
    yield ("image",), image, f"{_INSPECT} Config"
    rotated = _log_rotated(host, is_podman=context.engine.name == "podman")
    yield ("log", "rotated"), rotated, f"{_INSPECT} HostConfig.LogConfig"
    yield (
        ("drift",),
        _find_container_drift(container, context),
        f"{_INSPECT}, {', '.join(context.project.files)}",
    )


def _exit_code(container: InspectedContainer) -> int | Unknown | None:
    code = container.state.get("ExitCode")
    if container.is_running or (container.status == "created" and not code):
        return None
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    return unreported("State.ExitCode")


def _is_restarting(
    container: InspectedContainer, restarts: int | None, context: StackContext
) -> bool | Unknown:
    """Whether it is restarted again and again, by the engine's own clock.

    Docker reports `restarting` between two runs; Podman reports `exited`, for a moment.
    """
    if container.status == "restarting":
        return True
    if restarts is None:
        return unreported("RestartCount")
    between_runs = context.engine.name == "podman" and _will_restart(container, restarts)
    if restarts < _LOOP_RESTARTS or (container.status == "exited" and not between_runs):
        return False
    started = parse_time(container.state.get("StartedAt"))
    if started is None or context.now is None:
        return unreported("State.StartedAt or SystemTime")
    return context.now - started < _LOOP_SECONDS


def _will_restart(container: InspectedContainer, restarts: int) -> bool:
    policy = get_object(container.host_config, "RestartPolicy")
    if policy.get("Name") == "on-failure":
        max_restarts = count_or_none(policy.get("MaximumRetryCount")) or 0
        return not max_restarts or restarts < max_restarts
    return policy.get("Name") in ("always", "unless-stopped")


def _oom_facts(
    container: InspectedContainer, restarts: int | None, memory: _Memory, context: StackContext
) -> Iterator[ContainerFact]:
    is_podman = context.engine.name == "podman"
    flag, code = container.state.get("OOMKilled"), _exit_code(container)
    cgroup = container.cgroup if isinstance(container.cgroup, ContainerCgroup) else None
    times = context.oom_times
    usage, limit = memory.usage[0], memory.limit[0]
    known = isinstance(usage, int) and isinstance(limit, (int, float))
    verdict = judge_oom(
        OomSignals(
            flag=flag if isinstance(flag, bool) else None,
            running=container.is_running,
            exit_code=code if isinstance(code, int) else None,
            restarts=restarts or 0,
            started=parse_time(container.state.get("StartedAt")) or 0.0,
            kills=cgroup.oom_kills if cgroup else None,
            event_times=None if times is None else times.get(container.listed.id, ()),
            flag_is_reliable=not is_podman,
            flag_outlives_run=not is_podman and _is_before_24(context.engine),
            memory_share=usage / limit if known else None,
        )
    )
    source = f"{_INSPECT} State.OOMKilled"
    source += ", GET /events" if times is not None else ""
    source += f", {cgroup.oom_source}" if cgroup else ""
    unknown = verdict.killed if isinstance(verdict.killed, Unknown) else None
    yield ("oom_killed",), verdict.killed, source
    yield ("oom_certainty",), unknown or verdict.certainty, source
    yield ("oom_evidence",), unknown or verdict.evidence, source


def _is_before_24(engine: Engine) -> bool:
    try:
        return parse_version(str(engine.version.get("Version"))) < (24,)
    except ValueError:
        return True


class _Memory(NamedTuple):
    """Bytes of a container, each with its source; `parent_limit` is lower than its own."""

    usage: SourcedValue
    limit: SourcedValue
    parent_limit: SourcedValue


def _read_memory(container: InspectedContainer, total: int | None) -> _Memory:
    """Read the cgroup if it is visible, else statistics; these show `total` for "no limit"."""
    configured = count_or_none(container.host_config.get("Memory"))
    source = f"{_INSPECT} {_MEMORY_KEY}"
    own_limit: SourcedValue = or_unreported(configured, _MEMORY_KEY) or None, source
    cgroup, stats = container.cgroup, container.stats
    if cgroup is None:
        stopped = None, "it does not run"
        return _Memory(stopped, own_limit, stopped)
    if isinstance(cgroup, ContainerCgroup):
        usage: int | Unknown = Unknown(f"no number in {cgroup.usage_source}")
        if cgroup.usage is not None:
            usage = cgroup.usage
        parent_limit = _only_if_lower(cgroup.parent_limit.value, configured)
        parent_source = cgroup.parent_limit.source
        return _Memory((usage, cgroup.usage_source), cgroup.limit, (parent_limit, parent_source))
    if stats is None or isinstance(stats, Unknown):
        unread = stats or cgroup, ""
        return _Memory(unread, own_limit if configured else unread, (cgroup, ""))
    memory = get_object(stats, "memory_stats")
    details = get_object(memory, "stats")
    limits: list[tuple[int, str]] = [(configured, source)] if configured else []
    hierarchical = None  # Docker reports it on v1
    for key, values in (("limit", memory), ("hierarchical_memory_limit", details)):
        limit = count_or_none(values.get(key))
        if limit and total and limit < total:
            limits.append((limit, f"{_STATS} {key}"))
            hierarchical = limit if values is details else None
    lowest = min(limits) if limits else own_limit
    parent: SourcedValue = cgroup, ""
    if "hierarchical_memory_limit" in details:
        parent = _only_if_lower(hierarchical, configured), f"{_STATS} hierarchical_memory_limit"
    return _Memory(_stats_usage(stats, has_details=bool(details)), lowest, parent)


def _stats_usage(stats: Mapping[str, Any], *, has_details: bool) -> SourcedValue:
    try:
        used = memory_used(stats)
    except (AttributeError, TypeError, ValueError, OverflowError):
        used = None
    cache = "without page cache" if has_details else "with page cache, which it does not report"
    return or_unreported(used, "memory_stats.usage"), f"{_STATS}, {cache}"


def _only_if_lower(limit: float | None, configured: int | None) -> int | None:
    is_lower = limit is not None and (not configured or limit < configured)
    return int(limit) if limit is not None and is_lower else None


def _cpu_limit(host: Mapping[str, Any]) -> SourcedValue:
    nano, quota = count_or_none(host.get("NanoCpus")), count_or_none(host.get("CpuQuota"))
    if nano is None:
        return unreported("HostConfig.NanoCpus"), ""
    if nano == 0 and quota:
        period = count_or_none(host.get("CpuPeriod")) or 100_000
        return quota / period, f"{_INSPECT} HostConfig.CpuQuota, CpuPeriod"
    return nano / 1e9 or None, f"{_INSPECT} HostConfig.NanoCpus"


def _log_rotated(host: Mapping[str, Any], *, is_podman: bool) -> bool | Unknown:
    """Podman leaves out the options, which Docker reports even where there are none."""
    log = get_object(host, "LogConfig")
    driver, options = text_or_none(log.get("Type")), log.get("Config")
    if driver is None:
        return unreported("HostConfig.LogConfig.Type")
    if not isinstance(options, dict):
        options = None if is_podman else {}
    return is_log_rotated(driver, options)


def _find_container_drift(
    container: InspectedContainer, context: StackContext
) -> list[str] | Unknown | None:
    name = container.listed.service
    if name is None:
        return Unknown("it does not report its service: the label is missing")
    service = context.project.services.get(name)
    if service is None:
        return [explain_absence(context.project, name)]
    return find_drift(service, container.inspection) or None
