"""Measures one container of the project: it is inspected, and its cgroup or statistics read.

What differs from the compose file is its drift. Values of variables are never shown there. What
can't be compared is left out: a variable that the file takes from the shell, one that only the
container has (its image may set it), an image that one side names by its digest alone.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from preflight.facts.collect.context import Engine
from preflight.facts.compose import cli
from preflight.facts.compose.compose_facts import read_limit_or_reservation
from preflight.facts.compose.load import make_compose_environment
from preflight.facts.compose.project import Project, explain_absent_service
from preflight.facts.engine.api import (
    LazyValue,
    NotFoundError,
    parse_engine_time,
    parse_memory_stats,
)
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.engine.engine_facts import is_log_rotated
from preflight.facts.host.proc_and_cgroups import ContainerCgroup, read_container_memory_cgroup
from preflight.facts.images import normalize_image_name
from preflight.facts.nested_values import (
    get_nested_object,
    get_nested_text,
    get_nested_whole_number,
    make_unreported_unknown,
    value_or_unreported,
)
from preflight.facts.stack.containers import ListedContainer
from preflight.facts.stack.drift import find_drifted_settings
from preflight.facts.stack.oom import OomSignals, judge_oom, read_oom_times
from preflight.model.facts import CONTAINERS_FACT_PATH, Measured, Unknown
from preflight.model.quantities import format_bytes, format_number

_INSPECT_SOURCE = "GET /containers/ID/json"
_STATS_SOURCE = "GET /containers/ID/stats"
_HIERARCHICAL_MEMORY_LIMIT_KEY = "hierarchical_memory_limit"
_DOCKER_STATE_BY_PODMAN_STATE = {
    "stopped": "exited",
    "configured": "created",
    "initialized": "created",
}
_MIN_RESTARTS_OF_LOOP = 3
_MAX_SECONDS_BETWEEN_RESTARTS = 60
_CONFIG_HASH_TIMEOUT_SECONDS = 3
_CPU_LIMIT_TOLERANCE_CORES = 1e-4  # cores: Compose computes limits in 32-bit floats

SourcedValue: TypeAlias = tuple[Any, str]
ContainerFact: TypeAlias = tuple[tuple[str, ...], Any, str]  # path, value, source


class InspectedContainer:
    """The engine's answer to inspect; raises KeyError, TypeError where it has another shape."""

    def __init__(self, listed: ListedContainer, inspection: Mapping[str, Any]) -> None:
        self.id = listed.id
        self.inspection = inspection
        self.service = listed.service
        self.state = inspection["State"]
        self.config = inspection["Config"]
        self.host_config = inspection["HostConfig"]
        status = self.state["Status"].lower()
        self.status = _DOCKER_STATE_BY_PODMAN_STATE.get(status, status)
        self.is_running = self.status in ("running", "paused")
        self.restarts = get_nested_whole_number(inspection, "RestartCount")
        self.started = parse_engine_time(self.state.get("StartedAt"))
        pairs = (row.partition("=") for row in self.config["Env"] or ())
        self.variables = {name: value for name, is_set, value in pairs if name and is_set}

    @property
    def exit_code(self) -> int | Unknown | None:
        """The exit code of its last run, None while it runs."""
        code = self.state.get("ExitCode")
        if self.is_running or (self.status == "created" and not code):
            return None
        return code if type(code) is int else make_unreported_unknown("State.ExitCode")


class ContainerMeasurer:
    """Measures the containers of a project; `now` is the engine's clock in seconds, if known."""

    def __init__(self, engine: Engine, project: Project) -> None:
        self.engine = engine
        self.project = project
        self.services = project.services
        self.is_podman = engine.name == "podman"
        self.now = parse_engine_time(engine.info.get("SystemTime"))
        self.config_hashes: LazyValue[Mapping[str, str]] = LazyValue(self._read_config_hashes)
        self.oom_times = LazyValue(lambda: read_oom_times(engine.api, project.name, self.now))

    def _read_config_hashes(self) -> Mapping[str, str]:
        """Return Compose's hash of each service's configuration, none if it doesn't print them."""
        if self.project.source != "cli":
            return {}
        environ = make_compose_environment(os.environ)
        return cli.ask_config_hashes(self.project.config, _CONFIG_HASH_TIMEOUT_SECONDS, environ)

    def measure_container(self, listed: ListedContainer) -> Sequence[Measured]:
        """Return the facts of one container, or none if it is gone; its failures are its own."""
        path = (*CONTAINERS_FACT_PATH, listed.name)
        try:
            container = InspectedContainer(listed, self.engine.api.inspect(listed.id))
            return [
                Measured((*path, *name), value, source)
                for name, value, source in self._measure_stack_container(container)
            ]
        except NotFoundError:
            return ()
        except EngineError as error:
            reason = error.unknown
        except Exception as error:  # noqa: BLE001 - an answer may be anything
            reason = Unknown(
                f"the engine returned an unexpected response ({type(error).__name__}: {error})",
                "invalid",
            )
        listed_service = Measured((*path, "service"), listed.service, "GET /containers/json Labels")
        return listed_service, Measured(path, reason)

    def _measure_stack_container(self, container: InspectedContainer) -> Iterator[ContainerFact]:
        config, host, source = container.config, container.host_config, f"{_INSPECT_SOURCE} State"
        yield ("service",), container.service, "GET /containers/json Labels"
        yield ("state",), container.status, source
        yield ("exit_code",), container.exit_code, source
        error = "" if container.is_running else str(container.state.get("Error") or "")
        yield ("error",), " ".join(error.split()) or None, source
        started: Any = get_nested_text(container.state, "StartedAt")
        started = value_or_unreported(started, "State.StartedAt")
        never_started = str(started).startswith("0001-")
        yield ("started_at",), None if never_started else started, source
        source = f"{_INSPECT_SOURCE} RestartCount"
        yield ("restarts",), value_or_unreported(container.restarts, "RestartCount"), source
        source += ", StartedAt, SystemTime"
        yield ("restarting",), self._is_in_restart_loop(container), source
        memory, cgroup = self._read_memory_usage_and_limits(container)
        for name, (value, memory_source) in memory.items():
            yield ("memory", name), value, memory_source
        yield from self._measure_oom(container, memory, cgroup)
        yield ("cpus",), *_get_configured_cpu_limit(host)
        source = f"{_INSPECT_SOURCE} Config.Env"
        for variable, value in container.variables.items():
            yield ("environment", variable), value, source
        yield ("environment",), {}, source
        image = value_or_unreported(get_nested_text(config, "Image"), "Config.Image")
        yield ("image",), image, f"{_INSPECT_SOURCE} Config"
        log = get_nested_object(host, "LogConfig")
        driver, options = get_nested_text(log, "Type"), log.get("Config")
        if not self.is_podman:
            options = options or {}  # Podman leaves them out, Docker reports that there are none
        rotated: bool | Unknown = make_unreported_unknown("LogConfig.Type")
        if driver is not None:
            rotated = is_log_rotated(driver, options)
        yield ("log", "rotated"), rotated, f"{_INSPECT_SOURCE} HostConfig.LogConfig"
        source = f"{_INSPECT_SOURCE}, {', '.join(self.project.files)}"
        yield ("drift",), self._find_differences_from_service(container), source

    def _is_in_restart_loop(self, container: InspectedContainer) -> bool | Unknown:
        """Whether it is restarted again and again, by the engine's own clock.

        Docker reports `restarting` between two runs; Podman reports `exited`, for a moment.
        """
        restarts = container.restarts
        if container.status == "restarting":
            return True
        if restarts is None:
            return make_unreported_unknown("RestartCount")
        has_ended = container.status == "exited" and not self.is_podman
        if restarts < _MIN_RESTARTS_OF_LOOP or has_ended:
            return False
        if container.started is None or self.now is None:
            return make_unreported_unknown("State.StartedAt or SystemTime")
        return self.now - container.started < _MAX_SECONDS_BETWEEN_RESTARTS

    def _read_memory_usage_and_limits(
        self, container: InspectedContainer
    ) -> tuple[dict[str, SourcedValue], ContainerCgroup | None]:
        """Return bytes and source of each memory fact, from the cgroup if that is visible here.

        `configured` is the container's own limit, `limit` the lowest over it, `parent` one below
        its own. Else one sample of statistics is read, where only Docker on cgroup v1 reports the
        lowest limit, and a limit of all memory or more means that there is none.
        """
        limit = value_or_unreported(
            get_nested_whole_number(container.host_config, "Memory"), "HostConfig.Memory"
        )
        configured: SourcedValue = limit or None, f"{_INSPECT_SOURCE} HostConfig.Memory"
        memory = {"configured": configured, "limit": configured}
        if not container.is_running:
            return {**memory, "usage": (None, "not running"), "parent": (None, "not running")}, None
        hidden = self.engine.visibility.cgroups_hidden
        pid = get_nested_whole_number(container.state, "Pid")
        cgroup: ContainerCgroup | Unknown = hidden or make_unreported_unknown("State.Pid")
        if pid and not hidden:
            cgroup = read_container_memory_cgroup(pid, container.id)
        if isinstance(cgroup, ContainerCgroup):
            memory["usage"] = cgroup.usage, cgroup.usage_source
            memory["limit"] = cgroup.limit
            memory["parent"] = _find_lower_parent_cgroup_limit(cgroup.parent_limit, configured)
            return memory, cgroup
        memory["parent"] = cgroup, ""
        try:
            stats = self.engine.api.stats(container.id)
        except EngineError as error:
            memory["usage"] = unread = error.unknown, ""
            return {**memory, "limit": configured if limit else unread}, None
        details = get_nested_object(stats, "memory_stats.stats")
        cache = "without page cache" if details else "with page cache, which it doesn't report"
        usage = value_or_unreported(parse_memory_stats(stats)[0], "memory_stats.usage")
        memory["usage"] = usage, f"{_STATS_SOURCE}, {cache}"
        lowest = get_nested_whole_number(details, _HIERARCHICAL_MEMORY_LIMIT_KEY)
        if lowest:
            has_limit = lowest < (get_nested_whole_number(self.engine.info, "MemTotal") or 0)
            memory["limit"] = (
                lowest if has_limit else None,
                f"{_STATS_SOURCE} {_HIERARCHICAL_MEMORY_LIMIT_KEY}",
            )
            memory["parent"] = _find_lower_parent_cgroup_limit(memory["limit"], configured)
        return memory, None

    def _measure_oom(
        self,
        container: InspectedContainer,
        memory: Mapping[str, SourcedValue],
        cgroup: ContainerCgroup | None,
    ) -> Iterator[ContainerFact]:
        flag, code, times = container.state.get("OOMKilled"), container.exit_code, self.oom_times()
        usage, limit = memory["usage"][0], memory["limit"][0]
        has_share = isinstance(usage, int) and isinstance(limit, int)
        signals = OomSignals(
            flag=flag if isinstance(flag, bool) else None,
            running=container.is_running,
            exit_code=code if isinstance(code, int) else None,
            restarts=container.restarts or 0,
            started=container.started or 0.0,
            kills=cgroup.oom_kills if cgroup else None,
            event_times=None if times is None else times.get(container.id, ()),
            flag_is_reliable=not self.is_podman,
            flag_outlives_run=not self.is_podman and self.engine.is_older_than(24, default=True),
            memory_share=usage / limit if has_share else None,
        )
        source = f"{_INSPECT_SOURCE} State.OOMKilled"
        source += ", GET /events" if times is not None else ""
        source += f", {cgroup.oom_source}" if cgroup else ""
        names = ("oom_killed", "oom_certainty", "oom_evidence")
        for name, value in zip(names, judge_oom(signals), strict=True):
            yield (name,), value, source

    def _find_differences_from_service(
        self, container: InspectedContainer
    ) -> list[str] | Unknown | None:
        name = container.service
        if name is None:
            return Unknown("the container has no label that names its service")
        service = self.services.get(name)
        if service is None:
            return [explain_absent_service(self.project, name)]
        differences = list(compare_with_service(container, service))
        has_label_file = ("services", name, "label_file") in self.project.positions
        # `up` hashes the name of the file too, which `config` doesn't print
        config_hash = None if has_label_file else self.config_hashes().get(name)
        differences += find_drifted_settings(
            self.project, service, container.inspection, config_hash, differences
        )
        return differences or None


def _find_lower_parent_cgroup_limit(parent: SourcedValue, configured: SourcedValue) -> SourcedValue:
    """Return the limit of a parent if it is below the container's own, else None."""
    limit = parent[0]
    is_lower = limit and not (isinstance(configured[0], int) and configured[0] <= limit)
    return int(limit) if is_lower else None, parent[1]


def _get_configured_cpu_limit(host: Mapping[str, Any]) -> SourcedValue:
    nano, quota = (
        get_nested_whole_number(host, "NanoCpus"),
        get_nested_whole_number(host, "CpuQuota"),
    )
    if nano == 0 and quota:
        period = get_nested_whole_number(host, "CpuPeriod") or 100_000
        return quota / period, f"{_INSPECT_SOURCE} HostConfig.CpuQuota, CpuPeriod"
    cpus = make_unreported_unknown("HostConfig.NanoCpus") if nano is None else nano / 1e9 or None
    return cpus, f"{_INSPECT_SOURCE} HostConfig.NanoCpus"


def compare_with_service(
    container: InspectedContainer, service: Mapping[str, Any]
) -> Iterator[str]:
    """Yield what differs from a service of the effective configuration."""
    for name, value in get_nested_object(service, "environment").items():
        if isinstance(value, str) and name not in container.variables:
            yield f"variable {name} is not set, the file sets it"
        elif isinstance(value, str) and container.variables[name] != value:
            yield f"variable {name} has another value than in the file"
    for label, kind, key, divisor, tolerance, format_limit in (
        ("memory", "memory", "Memory", 1, 0.0, partial(format_bytes, binary=True)),
        ("CPU", "cpus", "NanoCpus", 1e9, _CPU_LIMIT_TOLERANCE_CORES, format_number),
    ):
        limit, _ = read_limit_or_reservation(service, "limits", kind)
        reported = get_nested_whole_number(container.host_config, key)
        is_quota = kind == "cpus" and service.get("cpu_quota")
        if reported is None or is_quota:
            continue
        actual = reported / divisor
        if abs(actual - (limit or 0)) > tolerance:
            texts = [format_limit(amount) if amount else "none" for amount in (actual, limit)]
            yield f"{label} limit {texts[0]}, the file says {texts[1]}"
    wanted, image = service.get("image"), get_nested_text(container.config, "Image")
    if wanted and image and not _is_same_image(wanted, image):
        yield f"image {image}, the file says {wanted}"


def _is_same_image(wanted: str, actual: str) -> bool:
    """Whether two references may name one image.

    Without a registry Docker takes Docker Hub, and Podman any that registries.conf names.
    """
    if actual.startswith("sha256:") or ("@" in wanted) != ("@" in actual):
        return True
    wanted, actual = normalize_image_name(wanted), normalize_image_name(actual)
    short = wanted.removeprefix("docker.io/").removeprefix("library/")
    return actual == wanted or actual.endswith(f"/{short}")
