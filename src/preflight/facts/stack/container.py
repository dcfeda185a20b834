"""What is known of one container of the project, out of what the engine told of it.

Nothing is asked here: that is `stack`'s.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.compose.project import Project, absent
from preflight.facts.engine.api import memory_used
from preflight.facts.engine.connection import Engine
from preflight.facts.engine.log_rotation import is_log_rotated
from preflight.facts.engine.responses import (
    count_or_none,
    get_object,
    or_unreported,
    parse_time,
    text_or_none,
    unreported,
)
from preflight.facts.stack.container_cgroup import ContainerCgroup
from preflight.facts.stack.drift import drift, environment
from preflight.facts.stack.oom import Signals, judge
from preflight.model.facts import Unknown
from preflight.model.quantities import parse_version

_INSPECT = "GET /containers/ID/json"
_LOOP_RESTARTS = 3
_LOOP_SECONDS = 60
_STATES = {"stopped": "exited", "configured": "created", "initialized": "created"}  # Podman's

Told: TypeAlias = tuple[tuple[str, ...], Any, str]  # path, value, source


class ListedContainer(NamedTuple):
    """A container as the list shows it."""

    id: str
    name: str
    service: str | None
    state: str | None


class InspectedContainer(NamedTuple):
    """A container that was looked into; where it runs, by its `group` or else by a `sample`.

    What could not be read is an Unknown.
    """

    row: ListedContainer
    told: Mapping[str, Any]
    cgroup: ContainerCgroup | Unknown | None = None
    sample: Mapping[str, Any] | Unknown | None = None


class StackContext(NamedTuple):
    """What all containers share: the engine and its clock in seconds, the file, `oom` events."""

    engine: Engine
    project: Project
    now: float | None
    events: Mapping[str, tuple[float, ...]] | None


def normalize_state(said: str) -> str:
    """Return a state in Docker's words."""
    return _STATES.get(said.lower(), said.lower())


def facts(seen: InspectedContainer, around: StackContext) -> Iterator[Told]:
    """Yield path, value and source of what is known of one container."""
    told, config = seen.told, get_object(seen.told, "Config")
    yield ("service",), seen.row.service, "GET /containers/json Labels"
    yield from _run(seen, around)
    yield from _killed(seen, around)
    yield from _memory(seen, around.engine)
    yield ("cpus",), *_cpus(get_object(told, "HostConfig"))
    yield from _variables(config)
    yield (
        ("image",),
        or_unreported(text_or_none(config.get("Image")), "Config.Image"),
        f"{_INSPECT} Config",
    )
    yield ("log", "rotated"), *_rotated(get_object(told, "HostConfig"), around.engine.name)
    yield ("drift",), *_drift(seen, around)


def _run(seen: InspectedContainer, around: StackContext) -> Iterator[Told]:
    state = get_object(seen.told, "State")
    status = _status(seen)
    source = f"{_INSPECT} State"
    yield ("state",), status, source
    yield ("exit_code",), _exit_code(state, status), source
    restarts = count_or_none(seen.told.get("RestartCount"))
    yield ("restarts",), or_unreported(restarts, "RestartCount"), f"{_INSPECT} RestartCount"
    yield ("restarting",), _loops(seen, around), f"{_INSPECT} RestartCount, StartedAt, SystemTime"
    started = text_or_none(state.get("StartedAt"))
    never = started is not None and started.startswith("0001-")
    yield ("started_at",), None if never else or_unreported(started, "State.StartedAt"), source


def _status(seen: InspectedContainer) -> str:
    return normalize_state(str(get_object(seen.told, "State").get("Status")))


def _exit_code(state: Mapping[str, Any], status: str) -> int | Unknown | None:
    code = state.get("ExitCode")
    if status in ("running", "paused") or (status == "created" and not code):
        return None
    if isinstance(code, int) and not isinstance(code, bool):
        return code
    return unreported("State.ExitCode")


def _loops(seen: InspectedContainer, around: StackContext) -> bool | Unknown:
    """Whether it is restarted again and again, by the engine's own clock.

    Docker says `restarting` between two runs; Podman says `exited`, for a moment.
    """
    status, state = _status(seen), get_object(seen.told, "State")
    if status == "restarting":
        return True
    restarts = count_or_none(seen.told.get("RestartCount"))
    if restarts is None:
        return unreported("RestartCount")
    if restarts < _LOOP_RESTARTS:
        return False
    if status == "exited" and not (around.engine.name == "podman" and _goes_on(seen.told)):
        return False
    started = parse_time(state.get("StartedAt"))
    if started is None or around.now is None:
        return unreported("State.StartedAt or SystemTime")
    return around.now - started < _LOOP_SECONDS


def _goes_on(told: Mapping[str, Any]) -> bool:
    """Whether its policy restarts it after it has ended."""
    policy = get_object(get_object(told, "HostConfig"), "RestartPolicy")
    if policy.get("Name") == "on-failure":
        most = count_or_none(policy.get("MaximumRetryCount")) or 0
        return not most or (count_or_none(told.get("RestartCount")) or 0) < most
    return policy.get("Name") in ("always", "unless-stopped")


def _killed(seen: InspectedContainer, around: StackContext) -> Iterator[Told]:
    state = get_object(seen.told, "State")
    podman = around.engine.name == "podman"
    flag, code = state.get("OOMKilled"), _exit_code(state, _status(seen))
    cgroup = seen.cgroup if isinstance(seen.cgroup, ContainerCgroup) else None
    events = around.events
    verdict = judge(
        Signals(
            flag=flag if isinstance(flag, bool) else None,
            running=_status(seen) in ("running", "paused"),
            exit_code=code if isinstance(code, int) else None,
            restarts=count_or_none(seen.told.get("RestartCount")) or 0,
            started=parse_time(state.get("StartedAt")) or 0.0,
            kills=cgroup.oom_kills if cgroup else None,
            events=None if events is None else events.get(seen.row.id, ()),
            trusted=not podman,
            lasting=not podman and _before_24(around.engine),
            share=_share(seen),
        )
    )
    sources = [f"{_INSPECT} State.OOMKilled", "GET /events" if events is not None else ""]
    source = ", ".join(filter(None, [*sources, cgroup.oom_source if cgroup else ""]))
    yield ("oom_killed",), verdict.killed, source
    unknown = verdict.killed if isinstance(verdict.killed, Unknown) else None
    yield ("oom_certainty",), unknown or verdict.certainty, source
    yield ("oom_evidence",), unknown or verdict.evidence, source


def _before_24(engine: Engine) -> bool:
    try:
        return parse_version(str(engine.version.get("Version"))) < (24,)
    except ValueError:
        return True


def _share(seen: InspectedContainer) -> float | None:
    usage, _ = _usage(seen)
    limits = [value for value, _ in _limits(seen, None)]
    return usage / min(limits) if limits and isinstance(usage, int) else None


def _memory(seen: InspectedContainer, engine: Engine) -> Iterator[Told]:
    configured = count_or_none(get_object(seen.told, "HostConfig").get("Memory"))
    source = f"{_INSPECT} HostConfig.Memory"
    own = unreported("HostConfig.Memory") if configured is None else configured or None
    yield ("memory", "usage"), *_usage(seen)
    yield ("memory", "configured"), own, source
    limits = _limits(seen, count_or_none(engine.info.get("MemTotal")))
    if limits:
        yield ("memory", "limit"), *min(limits, key=lambda one: one[0])
    else:
        yield ("memory", "limit"), _no_limit(seen, own), source
    yield (
        ("memory", "parent"),
        *_parent(seen, configured, count_or_none(engine.info.get("MemTotal"))),
    )


def _usage(seen: InspectedContainer) -> tuple[int | Unknown | None, str]:
    source = "GET /containers/ID/stats, without page cache"
    if isinstance(seen.cgroup, ContainerCgroup) and seen.cgroup.usage is not None:
        return seen.cgroup.usage, seen.cgroup.usage_source
    if seen.sample is None:
        return None, "it does not run"
    if isinstance(seen.sample, Unknown):
        return seen.sample, ""
    try:
        used = memory_used(seen.sample)
    except (AttributeError, TypeError, ValueError, OverflowError):
        used = None
    if not get_object(get_object(seen.sample, "memory_stats"), "stats"):
        source = "GET /containers/ID/stats; page cache counts, the engine does not tell it"
    return or_unreported(used, "memory_stats.usage"), source


def _limits(seen: InspectedContainer, total: int | None) -> list[tuple[int, str]]:
    """Return every limit in bytes that is known to be over a container, with its source.

    Without a limit a sample shows the machine's `total`, or v1's largest number.
    """
    memory = get_object(seen.sample, "memory_stats")
    found: list[tuple[Any, str]] = [
        (get_object(seen.told, "HostConfig").get("Memory"), f"{_INSPECT} HostConfig.Memory"),
        (_less(memory.get("limit"), total), "GET /containers/ID/stats memory_stats.limit"),
        (_hierarchical(seen, total), "GET /containers/ID/stats hierarchical_memory_limit"),
    ]
    if isinstance(seen.cgroup, ContainerCgroup) and seen.cgroup.limit.value is not None:
        found.append((int(seen.cgroup.limit.value), seen.cgroup.limit.source))
    return [(value, source) for value, source in found if count_or_none(value)]


def _hierarchical(seen: InspectedContainer, total: int | None) -> int | None:
    """The lowest limit of the cgroup and those above it, as Docker tells it on v1."""
    parts = get_object(get_object(seen.sample, "memory_stats"), "stats")
    return _less(parts.get("hierarchical_memory_limit"), total)


def _less(value: Any, total: int | None) -> int | None:
    figure = count_or_none(value)
    return figure if figure and total and figure < total else None


def _no_limit(seen: InspectedContainer, own: int | Unknown | None) -> Unknown | None:
    """None where it is known that there is no limit, else why that isn't known."""
    if isinstance(own, Unknown):
        return own
    if isinstance(seen.sample, Unknown) and not isinstance(seen.cgroup, ContainerCgroup):
        return seen.sample
    return None


def _parent(
    seen: InspectedContainer, configured: int | None, total: int | None
) -> tuple[int | Unknown | None, str]:
    if seen.cgroup is None:
        return None, "it does not run"
    if isinstance(seen.cgroup, ContainerCgroup):
        above: float | None = seen.cgroup.parent_limit.value
        source = seen.cgroup.parent_limit.source
    elif "hierarchical_memory_limit" in get_object(
        get_object(seen.sample, "memory_stats"), "stats"
    ):
        above = _hierarchical(seen, total)
        source = "GET /containers/ID/stats hierarchical_memory_limit"
    else:
        return seen.cgroup, ""
    lower = above is not None and (not configured or above < configured)
    return int(above) if above is not None and lower else None, source


def _cpus(host: Mapping[str, Any]) -> tuple[float | Unknown | None, str]:
    nano, quota = count_or_none(host.get("NanoCpus")), count_or_none(host.get("CpuQuota"))
    if nano is None:
        return unreported("HostConfig.NanoCpus"), ""
    if nano == 0 and quota:
        period = count_or_none(host.get("CpuPeriod")) or 100_000
        return quota / period, f"{_INSPECT} HostConfig.CpuQuota, CpuPeriod"
    return nano / 1e9 or None, f"{_INSPECT} HostConfig.NanoCpus"


def _variables(config: Mapping[str, Any]) -> Iterator[Told]:
    source = f"{_INSPECT} Config.Env"
    variables = environment(config["Env"]) if "Env" in config else None
    if variables is None:
        yield ("environment",), unreported("Config.Env"), source
        return
    for name, value in variables.items():
        yield ("environment", name), value, source
    yield ("environment",), {}, source


def _rotated(host: Mapping[str, Any], engine: str) -> tuple[bool | Unknown, str]:
    """Podman leaves out the options, which Docker tells even where there are none."""
    log = get_object(host, "LogConfig")
    driver, options = text_or_none(log.get("Type")), log.get("Config")
    told = options if isinstance(options, dict) else None if engine == "podman" else {}
    found = (
        unreported("HostConfig.LogConfig.Type") if driver is None else is_log_rotated(driver, told)
    )
    return found, f"{_INSPECT} HostConfig.LogConfig"


def _drift(
    seen: InspectedContainer, around: StackContext
) -> tuple[list[str] | Unknown | None, str]:
    source = f"{_INSPECT}, {', '.join(around.project.files)}"
    name = seen.row.service
    if name is None:
        return Unknown("it does not say its service: the label is missing"), source
    service = around.project.services.get(name)
    if service is None:
        return [absent(around.project, name)], source
    return drift(service, seen.told) or None, source
