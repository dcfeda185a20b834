"""The facts of the effective compose configuration: what each service asks for, and the sums.

Sizes are in Compose's own grammar, which is binary; sums count replicas.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

from preflight.facts.compose.project import (
    Project,
    find_setting_source,
    list_service_and_image_names,
    read_start_dependencies,
)
from preflight.facts.engine.engine_facts import DEFAULT_LOG_DRIVER, is_log_rotated
from preflight.facts.nested_values import get_nested_value
from preflight.model.facts import Measured, Unknown, Value
from preflight.model.fix_commands_and_edits import LEGACY_KEY_BY_PATH

_SERVICE_TEXT_KEYS = (
    *("build.context", "build.dockerfile", "build.target"),
    *("cgroup_parent", "container_name", "cpuset", "network_mode", "pull_policy", "runtime"),
    "user",
)
# of the Java Virtual Machine; the last of several counts
_JAVA_HEAP_OPTION_PATTERN = r"(?i)(?:^|[\s\"'])-Xm([sx])([0-9]+)([kmgt]?)b?(?=$|[\s\"'])"
_JAVA_HEAP_NAME_BY_LETTER = {"s": "initial", "x": "max"}


def measure_compose_facts(_: object, project: Project) -> Iterator[Measured]:
    """Yield the facts of a project that was read."""
    reader = "docker compose config" if project.source == "cli" else "preflight's own reader"
    yield Measured(("compose", "files"), list(project.files), "--compose-file, COMPOSE_FILE, here")
    yield Measured(("compose", "problem"), None, reader)
    yield Measured(("compose", "project"), project.name, reader)
    yield Measured(("compose", "source"), project.source, reader)
    yield Measured(("compose", "caveats"), list(project.caveats) or None, reader)
    yield Measured(("compose", "profiles"), list(project.profiles) or None, "COMPOSE_PROFILES")
    for name, service in project.services.items():
        yield from _measure_service(project, name, service)
    yield Measured(("compose", "services"), {}, reader)
    services = project.services.values()
    for kind, what in LEGACY_KEY_BY_PATH:
        amounts = [
            (read_limit_or_reservation(service, kind, what)[0], count_replicas(service))
            for service in services
        ]
        known = [value * count for value, count in amounts if value]
        source = f"the sum over {len(known)} of {len(services)} services, with replicas"
        yield Measured(("compose", "total", kind, what), sum(known), source)


def count_replicas(service: Mapping[str, Any]) -> int:
    """Return how many containers a service has: deploy.replicas, else scale, else one."""
    counts = (get_nested_value(service, "deploy.replicas"), service.get("scale"), 1)
    return next(count for count in counts if isinstance(count, int))


def read_limit_or_reservation(
    service: Mapping[str, Any], kind: str, what: str
) -> tuple[float | None, tuple[str, ...]]:
    """Return a limit or reservation in bytes or cores, or None, and its key."""
    path: tuple[str, ...] = ("deploy", "resources", kind, what)
    value, older = get_nested_value(service, ".".join(path)), LEGACY_KEY_BY_PATH[kind, what]
    if value is None and older is not None:
        value, path = service.get(older), (older,)
    amount = int(value or 0) if what == "memory" else float(value or 0)
    return amount or None, path  # Compose omits zero limits


def _measure_service(project: Project, name: str, service: Mapping[str, Any]) -> Iterator[Measured]:
    top = ("services", name)

    def fact(path: tuple[str, ...], value: Value, *key: str) -> Measured:
        return Measured(("compose", *top, *path), value, find_setting_source(project, (*top, *key)))

    yield fact((), {})
    yield fact(("known_as",), list_service_and_image_names(name, service), "image")
    yield fact(("image",), service.get("image"), "image")
    repository, tag = split_image_tag(str(service.get("image") or ""))
    yield fact(("repository",), repository, "image")
    yield fact(("tag",), tag, "image")
    for text_key in _SERVICE_TEXT_KEYS:
        value = get_nested_value(service, text_key)
        if value is not None:  # what isn't measured of a service it doesn't have
            yield fact(tuple(text_key.split(".")), str(value), *text_key.split("."))
    deployed = get_nested_value(service, "deploy.replicas") is not None
    key = ("deploy", "replicas") if deployed else ("scale",)
    yield fact(("replicas",), count_replicas(service), *key)
    for kind, what in LEGACY_KEY_BY_PATH:
        amount, path = read_limit_or_reservation(service, kind, what)
        yield fact((kind, what), amount, *path)
    keys = [".".join(("deploy", "resources", *path)) for path in LEGACY_KEY_BY_PATH]
    keys += filter(None, LEGACY_KEY_BY_PATH.values())
    yield fact(("resource_keys",), [key for key in keys if get_nested_value(service, key)] or None)
    swap = int(service.get("memswap_limit") or 0)
    if swap > 0:
        yield fact(("limits", "memory_swap"), swap, "memswap_limit")
    for name_of_heap, size in parse_java_heap_sizes(service).items():
        yield fact(("heap", name_of_heap), size, "environment")
    for variable, value in (service.get("environment") or {}).items():
        text = None if value is None else str(value)
        yield fact(("environment", variable), text, "environment", variable)
    absent = [file for owner, file in project.missing_env_files if owner == name]
    others = Unknown(f"the env file {absent[0]} doesn't exist") if absent else {}
    yield fact(("environment",), others, "environment")
    yield fact(("ports",), [_format_port(port) for port in service.get("ports") or ()], "ports")
    mounts = [_format_mount(mount) for mount in service.get("volumes") or ()]
    yield fact(("mounts",), mounts, "volumes")
    targets = [
        re.sub("^[a-z]:(?=/)", "", str(m.get("target"))) for m in service.get("volumes") or ()
    ]
    yield fact(("mount_targets",), targets, "volumes")
    if program := _find_command_program(service):
        program_key = "entrypoint" if service.get("entrypoint") else "command"
        yield fact(("program",), program, program_key)
    if service.get("healthcheck"):
        yield fact(("healthcheck",), has_healthcheck(service), "healthcheck")
    for dependency, condition in read_start_dependencies(service).items():
        yield fact(("depends_on", dependency), condition, "depends_on", dependency)
    if devices := list_requested_host_devices(service):
        yield fact(("devices",), devices, "devices")
    for sysctl, value in parse_text_mapping(service.get("sysctls")).items():
        yield fact(("sysctls", sysctl), value, "sysctls", sysctl)
    for (limit, bound), number in parse_service_ulimits(service).items():
        yield fact(("ulimits", limit, bound), number, "ulimits", limit)
    yield fact(("platform",), service.get("platform") or None, "platform")
    yield fact(
        ("gpus",), _count_requested_gpus(service), "gpus" if service.get("gpus") else "deploy"
    )
    yield fact(("gpu_refused",), _predict_gpu_refusal(service))
    driver, options = (get_nested_value(service, f"logging.{key}") for key in ("driver", "options"))
    rotated = is_log_rotated(str(driver or DEFAULT_LOG_DRIVER), options or {})
    yield fact(("log", "driver"), driver, "logging", "driver")
    yield fact(("log", "rotated"), rotated if driver or options else None, "logging")


def split_image_tag(reference: str) -> tuple[str | None, str | None]:
    """Return repository and tag of an image as people write them, or None.

    Docker Hub's name is left out: `docker.io/library/redis:7@sha256:…` is redis and 7. Without a
    tag and a digest it is `latest`.
    """
    name, _, digest = reference.partition("@")
    name = re.sub(r"^(?:(?:index\.)?docker\.io/)?(?:library/)?", "", name.strip())
    repository, colon, tag = name.rpartition(":")
    if not colon or "/" in tag:
        repository, tag = name, "" if digest else "latest"
    return (repository, tag or None) if repository else (None, None)


def _find_command_program(service: Mapping[str, Any]) -> str | None:
    """Return the first word of what the file says to start, or None if it is the image's."""
    started = service.get("entrypoint") or service.get("command")
    words = started if isinstance(started, list) else str(started or "").split()
    return str(words[0]) if words else None


def has_healthcheck(service: Mapping[str, Any]) -> bool | None:
    """Return whether the file sets a health check, False if it disables it, None for the image's.

    Other keys, such as `interval`, change what the image has.
    """
    check = service.get("healthcheck") or {}
    test = check.get("test")
    first = test[0] if isinstance(test, list) and test else test
    if check.get("disable") or (first and str(first).upper() == "NONE"):
        return False
    return True if test else None


def list_requested_host_devices(
    service: Mapping[str, Any], *, only_required: bool = False
) -> list[str]:
    """Return the devices of the host that a service asks for, without those of CDI.

    A privileged container has all devices at their own paths: those aren't required.
    """
    devices = []
    for device in service.get("devices") or ():
        source, _, rest = str(device).partition(":")
        target = rest.partition(":")[0]
        if isinstance(device, Mapping):
            source, target = str(device.get("source")), str(device.get("target") or "")
        is_optional = service.get("privileged") and target in ("", source)
        if source.startswith("/") and not (only_required and is_optional):
            devices.append(source)
    return devices


def list_secret_and_config_targets(service: Mapping[str, Any]) -> list[str]:
    """Return where the secrets and configs of a service are mounted."""
    targets = []
    for kind, folder in (("secrets", "/run/secrets"), ("configs", "/")):
        for item in service.get(kind) or ():
            name = get_nested_value(item, "target") or get_nested_value(item, "source") or item
            targets.append(os.path.join(folder, str(name)))
    return targets


def parse_text_mapping(value: Any) -> dict[str, str]:
    """Return `[A=1]` or a mapping as a mapping to text."""
    if isinstance(value, list):
        value = dict(str(item).partition("=")[::2] for item in value)
    return {str(name): str(text) for name, text in (value or {}).items()}


def parse_service_ulimits(service: Mapping[str, Any]) -> dict[tuple[str, str], int]:
    """Return the limits of a service by name and bound, soft or hard; a single number is both."""
    limits = service.get("ulimits")
    numbers = {
        (str(name), bound): value.get(bound) if isinstance(value, Mapping) else value
        for name, value in (limits.items() if isinstance(limits, Mapping) else ())
        for bound in ("soft", "hard")
    }
    texts = {key: str(number) for key, number in numbers.items()}
    return {key: int(text) for key, text in texts.items() if re.fullmatch(r"-?\d{1,19}", text)}


def parse_java_heap_sizes(service: Mapping[str, Any]) -> dict[str, int]:
    """Return the initial and the largest Java heap in bytes, by variables and the command.

    Where several set it, the smallest counts: which of them Java sees isn't known.
    """
    texts = [str(text) for text in (service.get("environment") or {}).values()]
    for key in ("command", "entrypoint"):
        value = service.get(key)
        texts.append(" ".join(map(str, value)) if isinstance(value, list) else str(value or ""))
    sizes: dict[str, int] = {}
    for text in texts:
        if "-x" not in text.lower():  # a quick test
            continue
        by_name: dict[str, int] = {}
        for letter, number, suffix in re.findall(_JAVA_HEAP_OPTION_PATTERN, text):
            factor = 1024 ** " kmgt".index(suffix.lower() or " ")
            by_name[_JAVA_HEAP_NAME_BY_LETTER[letter.lower()]] = int(number) * factor
        for name, size in by_name.items():
            sizes[name] = min(size, sizes.get(name, size))
    return sizes


def _format_port(port: Mapping[str, Any]) -> str:
    """Write a published port as the short form does: `127.0.0.1:8000:80/tcp`."""
    parts = [port.get("host_ip"), port.get("published"), port.get("target")]
    joined = ":".join(str(part) for part in parts if part)
    return f"{joined}/{str(port.get('protocol') or 'tcp').lower()}"


def _format_mount(mount: Mapping[str, Any]) -> str:
    parts = [mount.get("source"), mount.get("target"), "ro" if mount.get("read_only") else None]
    return ":".join(str(part) for part in parts if part)


def _list_gpu_requests(service: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    requests = [
        request
        for request in get_nested_value(service, "deploy.resources.reservations.devices") or ()
        if "gpu" in (request.get("capabilities") or ()) or request.get("driver") == "nvidia"
    ]
    return [*requests, *(service.get("gpus") or ())]


def _count_requested_gpus(service: Mapping[str, Any]) -> int | None:
    """Return how many GPUs a service asks for, -1 for all of them, or None if it asks for none."""
    requests = _list_gpu_requests(service)
    if not requests:
        return -1 if service.get("runtime") == "nvidia" else None
    counts = [str(r.get("count") or len(r.get("device_ids") or ()) or "all") for r in requests]
    return sum(map(int, counts)) if all(map(str.isdecimal, counts)) else -1


def _predict_gpu_refusal(service: Mapping[str, Any]) -> str | None:
    """Return what Docker says to the first request for GPUs if it has none."""
    for request in _list_gpu_requests(service):
        driver, capabilities = request.get("driver") or "", request.get("capabilities") or ["gpu"]
        names = " ".join(map(str, capabilities))
        return f'could not select device driver "{driver}" with capabilities: [[{names}]]'
    return None
