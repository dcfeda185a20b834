"""The facts `docker.*` of the engine itself: whether it is reachable, what it has and enforces.

Zero, null and missing in a response are no measurement: those facts are unknown.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.facts.catalogue import DOCKER_FACTS
from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.compose.project import Project
from preflight.facts.engine.api import (
    EngineApi,
    count_or_none,
    get_object,
    list_or_empty,
    or_unreported,
    text_or_none,
)
from preflight.facts.engine.endpoint import EndpointError, EngineError, find_other_sockets
from preflight.facts.engine.host_resources import (
    available_memory,
    containers_cgroup,
    free_disk,
    is_log_rotated,
)
from preflight.facts.engine.locality import NOTHING_VISIBLE, VIRTUAL_MACHINES, is_rootless
from preflight.facts.host.kernel import Cgroups, Limit
from preflight.model.facts import Measured, Unknown

_LIMIT_HIDDEN = "; a cgroup limit above it can't be seen"
_KNOWN_WITHOUT_ENGINE = {"endpoint", "context", "local", "reachable", "problem", "candidates"}


def measure(context: MeasureContext) -> Iterator[Measured]:
    """Yield the engine's facts as they come; an engine that can't be reached is a finding."""
    try:
        endpoint = context.endpoint()
    except EndpointError as error:
        reason = Unknown(str(error), "invalid")
        yield _fact("endpoint", reason)
        yield _fact("context", reason)
        yield _fact("local", True, "nothing names another host")
        yield from _unreachable(reason, find_other_sockets())
        return
    yield _fact("endpoint", endpoint.url, endpoint.named_by)
    yield _fact("context", endpoint.context, endpoint.named_by)
    yield _fact("local", *context.is_engine_local())
    try:
        engine = context.engine()
    except EngineError as error:
        yield from _unreachable(error.unknown, find_other_sockets(endpoint.url))
        return
    yield from _reachable(engine, context)


def facts_on_timeout(context: MeasureContext, duration: str) -> Iterator[Measured]:
    """Yield the facts of an engine that answers too slowly: it is not reachable.

    No other sockets are listed: the one that was asked is there.
    """
    endpoint = context.endpoint.peek()
    if endpoint is not None:
        yield _fact("local", endpoint.local, "the address")
    yield from _unreachable(Unknown(f"no answer from the engine {duration}", "timeout"))


def _unreachable(reason: Unknown, other_sockets: Sequence[str] = ()) -> Iterator[Measured]:
    """Yield the facts of an engine that didn't answer: unreachable, why, and what else is there.

    If only a package is missing to ask the engine, it is unknown whether it is reachable.
    """
    package_missing = reason.kind == "unsupported" and "package" in reason.reason
    yield _fact("reachable", reason if package_missing else False, reason.reason)
    yield _fact("problem.kind", reason.kind, "the connection")
    yield _fact("problem.reason", reason.reason, "the connection")
    yield _fact("candidates", list(other_sockets) or None, "the usual places")
    for fact in DOCKER_FACTS:
        name = fact.path.removeprefix("docker.")
        if name.split(".")[0] not in _KNOWN_WITHOUT_ENGINE:
            yield _fact(name, reason)


def _reachable(engine: Engine, context: MeasureContext) -> Iterator[Measured]:
    yield _fact("reachable", True, "GET /version, GET /info")
    for name in ("problem.kind", "problem.reason", "candidates"):
        yield _fact(name, None, "it is reachable")
    yield _fact("engine", engine.name, "GET /version, GET /info")
    source = "the address, the kernel, the daemon's process"
    yield _fact("native", engine.visibility.processes_hidden is None, source)
    yield from parse_info(engine.version, engine.info)
    yield from _disk(engine)
    yield from _memory(engine, context)


def _fact(name: str, value: Any, source: str = "") -> Measured:
    return Measured(("docker", *name.split(".")), value, source)


def parse_info(version: Mapping[str, Any], info: Mapping[str, Any]) -> Iterator[Measured]:
    """Yield the facts that /version and /info report."""
    release = text_or_none(version.get("Version") or info.get("ServerVersion"))
    system, processor = text_or_none(version.get("Os")), text_or_none(version.get("Arch"))
    platform = f"{system}/{processor}" if system and processor else None
    cgroup = text_or_none(info.get("CgroupVersion"))
    swarm_state = text_or_none(get_object(info, "Swarm").get("LocalNodeState"))
    reports_rootless = "Rootless" in info or "SecurityOptions" in info  # Podman has the first
    rootless = is_rootless(info) if reports_rootless else None
    for name, request, key, value in (
        ("version", "/version", "Version", release),
        ("api", "/version", "ApiVersion", text_or_none(version.get("ApiVersion"))),
        ("platform", "/version", "Os, Arch", platform),
        ("cpus", "/info", "NCPU", _positive(info.get("NCPU"))),
        ("memory.total", "/info", "MemTotal", _positive(info.get("MemTotal"))),
        ("cgroup.version", "/info", "CgroupVersion", int(cgroup) if cgroup in ("1", "2") else None),
        ("limits.memory", "/info", "MemoryLimit", _enforces(info, "MemoryLimit")),
        ("limits.cpus", "/info", "CpuCfsQuota", _enforces(info, "CpuCfsQuota")),
        (
            "rootless",
            "/info",
            "SecurityOptions",
            rootless,
        ),
        ("disk.root", "/info", "DockerRootDir", text_or_none(info.get("DockerRootDir"))),
        ("storage.driver", "/info", "Driver", text_or_none(info.get("Driver"))),
        ("log.driver", "/info", "LoggingDriver", text_or_none(info.get("LoggingDriver"))),
        ("swarm.state", "/info", "Swarm.LocalNodeState", swarm_state),
    ):
        yield _fact(name, or_unreported(value, key), f"GET {request} {key}")
    warnings = [str(warning) for warning in list_or_empty(info.get("Warnings"))]
    yield _fact("warnings", warnings, "GET /info Warnings")
    driver = text_or_none(info.get("LoggingDriver"))  # the driver's options aren't in /info
    rotated = is_log_rotated(driver, None) if driver else or_unreported(None, "LoggingDriver")
    yield _fact("log.rotated", rotated, f"the driver {driver}")


def _positive(value: Any) -> int | None:
    return count_or_none(value) or None


def _enforces(info: Mapping[str, Any], key: str) -> bool | None:
    """Whether limits are enforced, by booleans and the driver, never by the text of warnings."""
    if info.get("CgroupDriver") == "none":
        return False
    value = info.get(key)
    return value if isinstance(value, bool) else None


def _disk(engine: Engine) -> Iterator[Measured]:
    api, info, path_hidden = engine.api, engine.info, engine.visibility.path_hidden
    if engine.name in VIRTUAL_MACHINES:
        path_hidden = NOTHING_VISIBLE.path_hidden  # the engine's own files are in the VM
    root, status = text_or_none(info.get("DockerRootDir")), list_or_empty(info.get("DriverStatus"))
    yield _fact("disk.free", *free_disk(root, status, path_hidden))
    try:
        images = api.get_rows("/images/json")
        in_use = {str(container.get("ImageID")) for container in api.containers()}
    except EngineError as error:
        yield _fact("disk.reclaimable", error.unknown)
        return
    unused = [image for image in images if str(image.get("Id")) not in in_use]
    sizes = [count_or_none(image.get("Size")) for image in unused]
    if None in sizes:
        reason = Unknown("the engine does not report the size of every image")
        yield _fact("disk.reclaimable", reason)
        return
    source = "GET /images/json less those of GET /containers/json; shared layers count twice"
    yield _fact("disk.reclaimable", sum(size or 0 for size in sizes), source)


def _memory(engine: Engine, context: MeasureContext) -> Iterator[Measured]:
    """Yield the limit above the containers, and what is left for this stack now."""
    api, visibility = engine.api, engine.visibility
    hidden = visibility.processes_hidden or visibility.cgroups_hidden
    cgroup, limit = _cgroup_limit(api, engine.info) if hidden is None else ("", hidden)
    limit_bytes, source, caveat = None, "", _LIMIT_HIDDEN
    if isinstance(limit, Limit):
        limit_bytes, source, caveat = limit.value, f"{limit.source}, over {cgroup}", ""
    yield _fact("memory.limit", limit if caveat else limit_bytes, source)
    total = _positive(engine.info.get("MemTotal"))
    if total is None:
        yield _fact("memory.usable", or_unreported(None, "MemTotal"))
    else:
        source = (
            f"GET /info MemTotal{caveat}"
            if caveat
            else "min(docker.memory.total, docker.memory.limit)"
        )
        usable = total if limit_bytes is None else min(total, limit_bytes)
        yield _fact("memory.usable", usable, source)
    if visibility.processes_hidden is not None:
        yield _fact("memory.available", visibility.processes_hidden)
        return
    project = context.project_or_unknown()
    name = project.name if isinstance(project, Project) else None
    available, source = available_memory(api, cgroup, limit_bytes, name)
    yield _fact("memory.available", available, source + caveat)


def _cgroup_limit(api: EngineApi, info: Mapping[str, Any]) -> tuple[str, Limit | Unknown]:
    try:
        cgroup = containers_cgroup(api, info)
        return cgroup, Cgroups().memory_limit(cgroup)
    except EngineError as error:
        return "", error.unknown
    except OSError as error:
        return "", Unknown(str(error))
