"""The container engine over its API: whether it answers, and what it has and enforces.

Zero, null and missing in an answer are no measurement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.facts.catalogue import DOCKER
from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import EngineApi, EngineError
from preflight.facts.engine.connection import Engine
from preflight.facts.engine.endpoint import EndpointError, find_other_sockets
from preflight.facts.engine.host_resources import available_memory, containers_cgroup, free_disk
from preflight.facts.engine.locality import PathHidden
from preflight.facts.engine.log_rotation import is_log_rotated
from preflight.facts.engine.responses import (
    count_or_none,
    list_or_empty,
    or_unreported,
    text_or_none,
)
from preflight.facts.host.cgroups import Cgroups, Limit
from preflight.model.facts import Measured, Unknown

_UNSEEN = "; a limit over it is not seen"
_ALWAYS = {"endpoint", "context", "local", "reachable", "problem", "candidates"}


def measure(context: MeasureContext) -> Iterator[Measured]:
    """Yield the engine's facts as they come; an engine that can't be reached is a finding."""
    try:
        endpoint = context.endpoint()
    except EndpointError as fault:
        unknown = Unknown(str(fault), "invalid")
        yield Measured(("docker", "endpoint"), unknown)
        yield Measured(("docker", "context"), unknown)
        yield Measured(("docker", "local"), True, "nothing that is there names another host")
        yield from unreachable(unknown, find_other_sockets())
        return
    yield Measured(("docker", "endpoint"), endpoint.url, endpoint.named_by)
    yield Measured(("docker", "context"), endpoint.context, endpoint.named_by)
    yield Measured(("docker", "local"), *context.is_engine_local())
    try:
        engine = context.engine()
    except EngineError as fault:
        yield from unreachable(Unknown(str(fault), fault.kind), find_other_sockets(endpoint.url))
        return
    yield from _reached(engine, context)


def late(context: MeasureContext, how_long: str) -> Iterator[Measured]:
    """Yield what it means that time ran out: an engine that answers too slowly is not reachable.

    No other socket is named: the one that was asked is there.
    """
    endpoint = context.endpoint.peek()
    if endpoint is not None:
        yield Measured(("docker", "local"), endpoint.local, "the address")
    yield from unreachable(Unknown(f"no answer from the engine {how_long}", "timeout"))


def unreachable(why: Unknown, others: Sequence[str] = ()) -> Iterator[Measured]:
    """Yield what is known of an engine that didn't answer: false, why, and what else is there.

    An engine that can't be asked for want of a package here may be well: that is unknown.
    """
    reached = why if why.kind == "unsupported" and "package" in why.reason else False
    yield Measured(("docker", "reachable"), reached, why.reason)
    yield Measured(("docker", "problem", "kind"), why.kind, "the attempt")
    yield Measured(("docker", "problem", "reason"), why.reason, "the attempt")
    yield Measured(("docker", "candidates"), list(others) or None, "the usual places")
    for fact in DOCKER:
        path = tuple(fact.path.split("."))
        if path[1] not in _ALWAYS:
            yield Measured(path, why)


def _reached(engine: Engine, context: MeasureContext) -> Iterator[Measured]:
    yield Measured(("docker", "reachable"), True, "GET /version, GET /info")
    for name in (("problem", "kind"), ("problem", "reason"), ("candidates",)):
        yield Measured(("docker", *name), None, "it answers")
    source = "the address, the kernel, the daemon's process"
    yield Measured(("docker", "engine"), engine.name, "GET /version, GET /info")
    yield Measured(("docker", "native"), engine.visibility.native, source)
    yield from parse_info(engine.version, engine.info)
    yield from _disk(engine.api, engine.info, engine.visibility.path_hidden)
    yield from _memory(engine, context)


def parse_info(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Measured]:
    """Yield the facts that /version and /info state."""
    yield _stated(
        "version", text_or_none(version.get("Version") or info.get("ServerVersion")), "Version"
    )
    yield _stated("api", text_or_none(version.get("ApiVersion")), "ApiVersion")
    system, processor = text_or_none(version.get("Os")), text_or_none(version.get("Arch"))
    yield _stated("platform", f"{system}/{processor}" if system and processor else None, "Os, Arch")
    yield _stated("cpus", _positive(info.get("NCPU")), "NCPU")
    yield _stated("memory.total", _positive(info.get("MemTotal")), "MemTotal")
    cgroup = text_or_none(info.get("CgroupVersion"))
    yield _stated("cgroup.version", int(cgroup) if cgroup in ("1", "2") else None, "CgroupVersion")
    yield from _limits(info)
    options = info.get("SecurityOptions")
    rootless = info.get("Rootless")  # Podman's
    if not isinstance(rootless, bool):
        known = isinstance(options, list)
        rootless = any("rootless" in str(one) for one in list_or_empty(options)) if known else None
    yield _stated("rootless", rootless, "SecurityOptions")
    warnings = [str(one) for one in list_or_empty(info.get("Warnings"))]
    yield Measured(("docker", "warnings"), warnings, "GET /info Warnings")
    yield _stated("disk.root", text_or_none(info.get("DockerRootDir")), "DockerRootDir")
    yield _stated("storage.driver", text_or_none(info.get("Driver")), "Driver")
    driver = text_or_none(info.get("LoggingDriver"))
    yield _stated("log.driver", driver, "LoggingDriver")
    yield _rotated(driver)
    swarm = info.get("Swarm")
    state = text_or_none(swarm.get("LocalNodeState")) if isinstance(swarm, dict) else None
    yield _stated("swarm.state", state, "Swarm.LocalNodeState")


def _stated(name: str, value: Any, key: str) -> Measured:
    path = ("docker", *name.split("."))
    return Measured(path, or_unreported(value, key), f"GET /info {key}")


def _positive(value: Any) -> int | None:
    return count_or_none(value) or None


def _limits(info: Mapping[str, Any]) -> Iterator[Measured]:
    """Whether limits bind, by the booleans and the driver, never by the text of warnings."""
    unmanaged = info.get("CgroupDriver") == "none"
    for name, key in (("memory", "MemoryLimit"), ("cpus", "CpuCfsQuota")):
        value = info.get(key)
        path = ("docker", "limits", name)
        if unmanaged:
            yield Measured(path, False, "GET /info CgroupDriver none")
        elif isinstance(value, bool):
            yield Measured(path, value, f"GET /info {key}")
        else:
            yield _stated(f"limits.{name}", None, key)


def _rotated(driver: str | None) -> Measured:
    """Whether old logs are dropped; the options of the daemon's driver are not among /info."""
    path = ("docker", "log", "rotated")
    if driver is None:
        return Measured(path, Unknown("the engine does not say its logging driver"))
    return Measured(path, is_log_rotated(driver, None), f"the driver {driver}")


def _disk(api: EngineApi, info: Mapping[str, Any], files: PathHidden) -> Iterator[Measured]:
    root, status = text_or_none(info.get("DockerRootDir")), list_or_empty(info.get("DriverStatus"))
    yield Measured(("docker", "disk", "free"), *free_disk(root, status, files))
    reclaimable = ("docker", "disk", "reclaimable")
    try:
        images = api.images()
        used = api.images_in_use([str(image.get("Id")) for image in images])
    except EngineError as fault:
        yield Measured(reclaimable, Unknown(str(fault), fault.kind))
        return
    sizes = [
        count_or_none(image.get("Size")) for image in images if str(image.get("Id")) not in used
    ]
    if None in sizes:
        yield Measured(reclaimable, Unknown("the engine does not say the size of every image"))
        return
    source = "GET /images/json less those of GET /containers/json; shared layers count twice"
    yield Measured(reclaimable, sum(size or 0 for size in sizes), source)


def _memory(engine: Engine, context: MeasureContext) -> Iterator[Measured]:
    """The limit over the containers, and what is left for this stack now."""
    api, info, visibility = engine.api, engine.info, engine.visibility
    hidden = visibility.processes_hidden or visibility.cgroups_hidden
    place, limit = _limit(api, info) if hidden is None else ("", hidden)
    seen = isinstance(limit, Limit)
    lowest = limit.value if isinstance(limit, Limit) else None
    source = f"{limit.source}, over {place}" if isinstance(limit, Limit) else ""
    yield Measured(("docker", "memory", "limit"), lowest if seen else limit, source)
    total = _positive(info.get("MemTotal"))
    if total is None:
        yield _stated("memory.usable", None, "MemTotal")
    else:
        usable = total if lowest is None else min(total, lowest)
        source = "min(total, limit)" if seen else f"GET /info MemTotal{_UNSEEN}"
        yield Measured(("docker", "memory", "usable"), usable, source)
    available = ("docker", "memory", "available")
    if visibility.processes_hidden is not None:
        yield Measured(available, visibility.processes_hidden)
        return
    project = context.project_or_unknown()
    name = project.name if isinstance(project, Project) else None
    free, source = available_memory(api, place, lowest, name)
    yield Measured(available, free, source if seen else f"{source}{_UNSEEN}")


def _limit(api: EngineApi, info: Mapping[str, Any]) -> tuple[str, Limit | Unknown]:
    try:
        place = containers_cgroup(api, info)
        return place, Cgroups().memory_limit(place)
    except EngineError as fault:
        return "", Unknown(str(fault), fault.kind)
    except OSError as fault:
        return "", Unknown(str(fault))
