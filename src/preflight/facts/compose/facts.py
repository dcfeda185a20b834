"""The facts of the effective compose configuration: what each service asks for, and the sums.

Sizes are in Compose's own grammar, which is binary; sums count replicas.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.compose.project import (
    Project,
    find_source,
    list_service_aliases,
    read_field,
)
from preflight.facts.engine.engine_facts import DEFAULT_LOG_DRIVER, is_log_rotated
from preflight.model.facts import Measured, Value
from preflight.model.fixes import LEGACY_KEY_BY_PATH


def measure(_: object, project: Project) -> Iterator[Measured]:
    """Yield the facts of a project that was read."""
    reader = "docker compose config" if project.source == "cli" else "preflight's own reader"
    yield Measured(("compose", "files"), list(project.files), "--compose-file, COMPOSE_FILE, here")
    yield Measured(("compose", "problem"), None, reader)
    yield Measured(("compose", "project"), project.name, reader)
    yield Measured(("compose", "source"), project.source, reader)
    yield Measured(("compose", "caveats"), list(project.caveats) or None, reader)
    for name, service in project.services.items():
        yield from _service_facts(project, name, service)
    yield Measured(("compose", "services"), {}, reader)
    services = project.services.values()
    for kind, what in LEGACY_KEY_BY_PATH:
        amounts = [
            (read_resource(service, kind, what)[0], count_replicas(service)) for service in services
        ]
        known = [value * count for value, count in amounts if value]
        source = f"the sum over {len(known)} of {len(services)} services, with replicas"
        yield Measured(("compose", "total", kind, what), sum(known), source)


def count_replicas(service: Mapping[str, Any]) -> int:
    """Return how many containers a service has: deploy.replicas, else scale, else one."""
    counts = (read_field(service, "deploy.replicas"), service.get("scale"), 1)
    return next(count for count in counts if isinstance(count, int))


def read_resource(
    service: Mapping[str, Any], kind: str, what: str
) -> tuple[float | None, tuple[str, ...]]:
    """Return a limit or reservation in bytes or cores, None where there is none, and its key."""
    path: tuple[str, ...] = ("deploy", "resources", kind, what)
    value, older = read_field(service, ".".join(path)), LEGACY_KEY_BY_PATH[kind, what]
    if value is None and older is not None:
        value, path = service.get(older), (older,)
    amount = int(value or 0) if what == "memory" else float(value or 0)
    return amount or None, path  # Compose omits zero limits


def _service_facts(project: Project, name: str, service: Mapping[str, Any]) -> Iterator[Measured]:
    top = ("services", name)

    def fact(path: tuple[str, ...], value: Value, *key: str) -> Measured:
        return Measured(("compose", *top, *path), value, find_source(project, (*top, *key)))

    yield fact((), {})
    yield fact(("known_as",), list_service_aliases(name, service), "image")
    yield fact(("image",), service.get("image"), "image")
    deployed = read_field(service, "deploy.replicas") is not None
    key = ("deploy", "replicas") if deployed else ("scale",)
    yield fact(("replicas",), count_replicas(service), *key)
    for kind, what in LEGACY_KEY_BY_PATH:
        amount, path = read_resource(service, kind, what)
        yield fact((kind, what), amount, *path)
    legacy = [key for key in LEGACY_KEY_BY_PATH.values() if key and service.get(key)]
    yield fact(("legacy_keys",), legacy or None, *legacy[:1])
    for variable, value in (service.get("environment") or {}).items():
        text = None if value is None else str(value)
        yield fact(("environment", variable), text, "environment", variable)
    yield fact(("environment",), {}, "environment")
    yield fact(("ports",), [_format_port(port) for port in service.get("ports") or ()], "ports")
    mounts = [_format_mount(mount) for mount in service.get("volumes") or ()]
    yield fact(("mounts",), mounts, "volumes")
    yield fact(("platform",), service.get("platform") or None, "platform")
    yield fact(("gpus",), _count_gpus(service), "gpus" if service.get("gpus") else "deploy")
    driver, options = (read_field(service, f"logging.{key}") for key in ("driver", "options"))
    rotated = is_log_rotated(str(driver or DEFAULT_LOG_DRIVER), options or {})
    yield fact(("log", "driver"), driver, "logging", "driver")
    yield fact(("log", "rotated"), rotated if driver or options else None, "logging")


def _format_port(port: Mapping[str, Any]) -> str:
    """Write a published port as the short form does: `127.0.0.1:8000:80/tcp`."""
    parts = [port.get("host_ip"), port.get("published"), port.get("target")]
    joined = ":".join(str(part) for part in parts if part)
    return f"{joined}/{str(port.get('protocol') or 'tcp').lower()}"


def _format_mount(mount: Mapping[str, Any]) -> str:
    parts = [mount.get("source"), mount.get("target"), "ro" if mount.get("read_only") else None]
    return ":".join(str(part) for part in parts if part)


def _count_gpus(service: Mapping[str, Any]) -> int | None:
    """Return how many GPUs a service asks for, -1 for all of them, None where it asks for none."""
    devices = [
        device
        for device in read_field(service, "deploy.resources.reservations.devices") or ()
        if "gpu" in (device.get("capabilities") or ()) or device.get("driver") == "nvidia"
    ]
    devices += service.get("gpus") or ()
    if not devices:
        return -1 if service.get("runtime") == "nvidia" else None
    counts = [str(d.get("count") or len(d.get("device_ids") or ()) or "all") for d in devices]
    return sum(map(int, counts)) if all(map(str.isdecimal, counts)) else -1
