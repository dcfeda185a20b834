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
    count_or_none,
    get_object,
    list_or_empty,
    or_unreported,
    text_or_none,
    unreported,
)
from preflight.facts.engine.endpoint import EngineError, find_other_sockets
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
    except EngineError as error:
        yield _fact("endpoint", error.unknown)
        yield _fact("context", error.unknown)
        yield _fact("local", True, "nothing names another host")
        yield from _unreachable(error.unknown, find_other_sockets(), is_known=True)
        return
    yield _fact("endpoint", endpoint.url, endpoint.named_by)
    yield _fact("context", endpoint.context, endpoint.named_by)
    yield _fact("local", *context.is_engine_local())
    try:
        engine = context.engine()
    except EngineError as error:
        # only a package is missing to ask it, or it had too little time to answer
        package_missing = error.unknown.kind == "unsupported" and "package" in str(error)
        is_late = error.unknown.kind == "timeout" and not context.had_engine_time()
        others = () if error.unknown.kind == "timeout" else find_other_sockets(endpoint.url)
        is_known = not (package_missing or is_late)
        yield from _unreachable(error.unknown, others, is_known=is_known)
        return
    yield _fact("reachable", True, "GET /version, GET /info")
    for name in ("problem.kind", "problem.reason", "candidates"):
        yield _fact(name, None, "it is reachable")
    yield _fact("engine", engine.name, "GET /version, GET /info")
    source = "the address, the kernel, the daemon's process"
    yield _fact("native", engine.visibility.processes_hidden is None, source)
    yield from parse_info(engine.version, engine.info)
    yield from _disk(engine)
    yield from _memory(engine, context)


def _unreachable(
    reason: Unknown, other_sockets: Sequence[str], *, is_known: bool
) -> Iterator[Measured]:
    """Yield the facts of an engine that didn't answer: unreachable, why, and what else is there."""
    yield _fact("reachable", False if is_known else reason, reason.reason)
    yield _fact("problem.kind", reason.kind, "the connection")
    yield _fact("problem.reason", reason.reason, "the connection")
    yield _fact("candidates", list(other_sockets) or None, "the usual places")
    for fact in DOCKER_FACTS:
        name = fact.path.removeprefix("docker.")
        if name.split(".")[0] not in _KNOWN_WITHOUT_ENGINE:
            yield _fact(name, reason)


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
    log_driver = text_or_none(info.get("LoggingDriver"))
    for name, request, key, value in (
        ("version", "/version", "Version", release),
        ("api", "/version", "ApiVersion", text_or_none(version.get("ApiVersion"))),
        ("platform", "/version", "Os, Arch", platform),
        ("cpus", "/info", "NCPU", _positive(info.get("NCPU"))),
        ("memory.total", "/info", "MemTotal", _positive(info.get("MemTotal"))),
        ("cgroup.version", "/info", "CgroupVersion", int(cgroup) if cgroup in ("1", "2") else None),
        ("limits.memory", "/info", "MemoryLimit", _enforces(info, "MemoryLimit")),
        ("limits.cpus", "/info", "CpuCfsQuota", _enforces(info, "CpuCfsQuota")),
        ("rootless", "/info", "SecurityOptions", rootless),
        ("disk.root", "/info", "DockerRootDir", text_or_none(info.get("DockerRootDir"))),
        ("storage.driver", "/info", "Driver", text_or_none(info.get("Driver"))),
        ("log.driver", "/info", "LoggingDriver", log_driver),
        ("swarm.state", "/info", "Swarm.LocalNodeState", swarm_state),
    ):
        yield _fact(name, or_unreported(value, key), f"GET {request} {key}")
    warnings = [str(warning) for warning in list_or_empty(info.get("Warnings"))]
    yield _fact("warnings", warnings, "GET /info Warnings")
    # the driver's options aren't in /info
    rotated = is_log_rotated(log_driver, None) if log_driver else unreported("LoggingDriver")
    yield _fact("log.rotated", rotated, f"the driver {log_driver}")


def _positive(value: Any) -> int | None:
    return count_or_none(value) or None


def _enforces(info: Mapping[str, Any], key: str) -> bool | None:
    """Whether limits are enforced, by booleans and the driver, never by the text of warnings."""
    if info.get("CgroupDriver") == "none":
        return False
    value = info.get(key)
    return value if isinstance(value, bool) else None


def _disk(engine: Engine) -> Iterator[Measured]:
    root = text_or_none(engine.info.get("DockerRootDir"))
    driver_status = list_or_empty(engine.info.get("DriverStatus"))
    in_vm = engine.name in VIRTUAL_MACHINES  # and the engine's own files with it
    path_hidden = (NOTHING_VISIBLE if in_vm else engine.visibility).path_hidden
    yield _fact("disk.free", *free_disk(root, driver_status, path_hidden))
    try:
        images = engine.api.get_rows("/images/json")
        in_use = {str(container.get("ImageID")) for container in engine.api.containers()}
    except EngineError as error:
        yield _fact("disk.reclaimable", error.unknown)
        return
    unused = [image for image in images if str(image.get("Id")) not in in_use]
    sizes = [count_or_none(image.get("Size")) for image in unused]
    missing = Unknown("the engine does not report the size of every image")
    source = "GET /images/json less those of GET /containers/json; shared layers count twice"
    total = missing if None in sizes else sum(size or 0 for size in sizes)
    yield _fact("disk.reclaimable", total, source)


def _memory(engine: Engine, context: MeasureContext) -> Iterator[Measured]:
    """Yield the limit above the containers, and what is left for this stack now."""
    visibility = engine.visibility
    cgroup, limit = _cgroup_limit(engine)
    limit_bytes, source, caveat = None, "", _LIMIT_HIDDEN
    if isinstance(limit, Limit):
        limit_bytes, source, caveat = limit.value, f"{limit.source}, over {cgroup}", ""
    yield _fact("memory.limit", limit if caveat else limit_bytes, source)
    total = _positive(engine.info.get("MemTotal"))
    usable = total if total is None or limit_bytes is None else min(total, limit_bytes)
    source = (
        f"GET /info MemTotal{caveat}" if caveat else "min(docker.memory.total, docker.memory.limit)"
    )
    yield _fact("memory.usable", or_unreported(usable, "MemTotal"), source)
    if visibility.processes_hidden is not None:
        yield _fact("memory.available", visibility.processes_hidden)
        return
    project = context.project_or_unknown()
    name = project.name if isinstance(project, Project) else None
    available, source = available_memory(engine.api, cgroup, limit_bytes, name)
    yield _fact("memory.available", available, source + caveat)


def _cgroup_limit(engine: Engine) -> tuple[str, Limit | Unknown]:
    hidden = engine.visibility.processes_hidden or engine.visibility.cgroups_hidden
    if hidden is not None:
        return "", hidden
    try:
        cgroup = containers_cgroup(engine.api, engine.info)
        return cgroup, Cgroups().limit("memory", cgroup)
    except EngineError as error:
        return "", error.unknown
    except OSError as error:
        return "", Unknown(str(error))
