"""The facts of the effective compose configuration: what each service asks for, and the sums.

Sizes are in Compose's own grammar, which is binary; sums count replicas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, known_as, where
from preflight.facts.engine.log_rotation import DEFAULT_LOG_DRIVER, is_log_rotated
from preflight.facts.table import NO_FILE
from preflight.model.facts import Measured, Unknown, Value

_RESOURCES = {
    ("limits", "memory"): "mem_limit",
    ("limits", "cpus"): "cpus",
    ("reservations", "memory"): "mem_reservation",
    ("reservations", "cpus"): None,
}
"""Where a service of the Compose file format 2 says what `deploy.resources` says now."""


def measure(context: MeasureContext) -> Iterator[Measured]:
    """Yield the facts of the project; no compose file is absent, an unusable one unknown."""
    project = context.project_or_unknown()
    if isinstance(project, Project):
        yield Measured(("compose", "problem"), None, f"read by the {project.source}")
        yield from of_project(project)
        return
    if project is not None:
        yield Measured(("compose", "problem"), project.reason, "the compose files")
    yield from _nothing(project)


def _nothing(value: Unknown | None) -> Iterator[Measured]:
    for name in ("files", "project", "source", "caveats", "services", "problem"):
        yield Measured(("compose", name), value, NO_FILE)
    for key in _RESOURCES:
        yield Measured(("compose", "total", *key), value, NO_FILE)


def of_project(project: Project) -> Iterator[Measured]:
    """Yield the facts of a project that was read."""
    by = "docker compose config" if project.source == "cli" else "our own reading of the files"
    yield Measured(("compose", "files"), list(project.files), "--compose-file, COMPOSE_FILE, here")
    yield Measured(("compose", "project"), project.name, by)
    yield Measured(("compose", "source"), project.source, by)
    yield Measured(("compose", "caveats"), list(project.caveats) or None, by)
    sums: dict[tuple[str, str], list[float]] = {key: [] for key in _RESOURCES}
    for name, service in project.services.items():
        count = replicas(service)
        for key in _RESOURCES:
            value, _ = resource(service, *key)
            if isinstance(value, int | float):
                sums[key].append(value * count)
        yield from _service(project, name, service)
    yield Measured(("compose", "services"), {}, by)
    for key, values in sums.items():
        source = f"the sum over {len(values)} of {len(project.services)} services, with replicas"
        yield Measured(("compose", "total", *key), sum(values), source)


def replicas(service: Mapping[str, Any]) -> int:
    """Return how many containers a service has: deploy.replicas, else scale, else one."""
    deploy = service.get("deploy") or {}
    for value in (deploy.get("replicas"), service.get("scale")):
        if isinstance(value, int):
            return value
    return 1


def resource(
    service: Mapping[str, Any], kind: str, what: str
) -> tuple[float | Unknown | None, tuple[str, ...]]:
    """Return a limit or reservation in bytes or cores, None where none, and its key's path."""
    resources = (service.get("deploy") or {}).get("resources") or {}
    path: tuple[str, ...] = ("deploy", "resources", kind, what)
    value = (resources.get(kind) or {}).get(what)
    older = _RESOURCES[kind, what]
    if value is None and older is not None:
        value, path = service.get(older), (older,)
    try:
        figure = None if value is None else int(value) if what == "memory" else float(value)
    except (TypeError, ValueError):
        return Unknown(f"{'.'.join(path)} is no figure: {value!r:.60}", "invalid"), path
    return figure or None, path  # nought is how Compose writes none


def _service(project: Project, name: str, service: Mapping[str, Any]) -> Iterator[Measured]:
    top = ("services", name)

    def fact(path: tuple[str, ...], value: Value, *key: str) -> Measured:
        return Measured(("compose", *top, *path), value, where(project, (*top, *key)))

    yield fact((), {})
    yield fact(("known_as",), known_as(name, service), "image")
    yield fact(("image",), service.get("image"), "image")
    yield fact(("replicas",), replicas(service), *_replicas_key(service))
    for kind, what in _RESOURCES:
        value, key = resource(service, kind, what)
        yield fact((kind, what), value, *key)
    for variable, text in (service.get("environment") or {}).items():
        told = None if text is None else str(text)
        yield fact(("environment", variable), told, "environment", variable)
    yield fact(("environment",), {}, "environment")
    yield fact(("ports",), [_port(one) for one in service.get("ports") or ()], "ports")
    yield fact(("mounts",), [_mount(one) for one in service.get("volumes") or ()], "volumes")
    yield fact(("platform",), service.get("platform"), "platform")
    yield fact(("gpus",), gpus(service), "gpus" if service.get("gpus") else "deploy")
    logging = service.get("logging") or {}
    yield fact(("log", "driver"), logging.get("driver"), "logging", "driver")
    yield fact(("log", "rotated"), _rotated(logging), "logging")


def _replicas_key(service: Mapping[str, Any]) -> tuple[str, ...]:
    return ("deploy", "replicas") if "replicas" in (service.get("deploy") or {}) else ("scale",)


def _port(port: Mapping[str, Any]) -> str:
    """Write a published port as the short form does: `127.0.0.1:8000:80/tcp`."""
    parts = [port.get("host_ip"), port.get("published"), port.get("target")]
    joined = ":".join(str(part) for part in parts if part)
    return f"{joined}/{port.get('protocol') or 'tcp'}"


def _mount(mount: Mapping[str, Any]) -> str:
    parts = [mount.get("source"), mount.get("target"), "ro" if mount.get("read_only") else None]
    return ":".join(str(part) for part in parts if part)


def gpus(service: Mapping[str, Any]) -> int | None:
    """Return how many GPUs a service asks for, -1 for all of them, None where it asks for none."""
    resources = (service.get("deploy") or {}).get("resources") or {}
    devices = [
        one
        for one in (resources.get("reservations") or {}).get("devices") or ()
        if "gpu" in (one.get("capabilities") or ()) or one.get("driver") == "nvidia"
    ]
    devices += service.get("gpus") or ()
    if not devices:
        return -1 if service.get("runtime") == "nvidia" else None
    counts = [one.get("count") or len(one.get("device_ids") or ()) or -1 for one in devices]
    return -1 if any(not isinstance(n, int) or n < 0 for n in counts) else sum(counts)


def _rotated(logging: Mapping[str, Any]) -> bool | Unknown | None:
    """Whether a service's logging drops old logs, None where it says nothing of it."""
    driver, options = logging.get("driver"), logging.get("options") or {}
    return is_log_rotated(str(driver or DEFAULT_LOG_DRIVER), options) if driver or options else None
