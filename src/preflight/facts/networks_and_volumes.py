"""The networks and volumes that services use, and what the engine refuses of them.

The drivers of an engine are built in, managed plugins, and legacy plugins.
"""

import ipaddress
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.compose.project import Project, find_setting_source
from preflight.facts.engine.host_visibility import VM_ENGINE_SIGNS
from preflight.facts.nested_values import get_nested_list, get_nested_value, make_unreported_unknown
from preflight.model.facts import (
    Measured,
    NotMeasuredError,
    Unknown,
    Value,
    read_or_unknown,
    require_visible,
)

# of moby, pkg/plugins/discovery.go
_LEGACY_PLUGIN_FOLDERS = ("run/docker/plugins", "etc/docker/plugins", "usr/lib/docker/plugins")
_LEGACY_PLUGIN_SUFFIXES = (".sock", ".spec", ".json")
_UNLISTED_PODMAN_LOG_DRIVERS = {"json-file"}  # it writes k8s-file then
# by kind: what Docker and Podman say
_MISSING_DRIVER_MESSAGES_BY_KIND = {
    "volume": (
        'error looking up volume plugin {driver}: plugin "{driver}" not found',
        "no volume plugin with name {driver} available: required plugin missing",
    ),
    "network": ('plugin "{driver}" not found', "unsupported driver {driver}: invalid argument"),
    "log": (
        'error looking up logging plugin {driver}: plugin "{driver}" not found',
        "running container create option: invalid log driver: invalid argument",
    ),
}
_LEGACY_PLUGINS_HIDDEN_REASON = (
    "a driver that isn't in use yet may be a legacy plugin, which this engine doesn't list"
)


class NetworkOrVolume(NamedTuple):
    """A network or volume of the file; `name` is what the engine knows it by.

    `subnets` are of a network alone.
    """

    key: str
    name: str
    external: bool
    driver: str | None = None
    subnets: tuple[str, ...] = ()

    def find_engine_row(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return the engine's row about it, or None if the engine doesn't have it."""
        return next((row for row in rows if self.name in (row.get("Name"), row.get("Id"))), None)


def measure_networks_and_volumes(
    context: MeasurementContext, project: Project, root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield the facts; the engine is asked where one is external, or has a driver or a subnet."""
    services = project.services.values()
    mounts = [mount for service in services for mount in service.get("volumes") or ()]
    volumes = [mount.get("source") for mount in mounts if mount.get("type") == "volume"]
    used = {
        "networks": {
            str(name)
            for service in services
            if not service.get("network_mode")
            for name in service.get("networks") or ("default",)
        },
        "volumes": set(map(str, filter(None, volumes))),
    }
    for kind, keys in used.items():
        own = [read_network_or_volume(project, kind, key) for key in sorted(keys)]
        rows: list[dict[str, Any]] | Unknown | None = None
        if any(resource.external or resource.driver or resource.subnets for resource in own):
            rows = read_or_unknown(list_existing_networks_or_volumes, context, kind)
        existing = rows if isinstance(rows, list) else []
        for resource in own:
            facts: dict[str, Value] = {"name": resource.name, "external": resource.external}
            if driver := resource.driver:
                facts["driver"] = driver
            if rows is not None:
                is_known = not isinstance(rows, Unknown)
                facts["exists"] = (
                    resource.find_engine_row(existing) is not None if is_known else rows
                )
            if facts.get("exists") is False and not resource.external:  # else it isn't made
                if driver:
                    arguments = (context.engine(), kind.removesuffix("s"), driver, root)
                    refusal = read_or_unknown(predict_missing_driver_refusal, *arguments)
                    facts["driver_refused"] = refusal
                if resource.subnets:
                    facts["overlap"] = _find_overlapping_network(resource, existing, own)
            for fact, value in facts.items():
                place = find_setting_source(project, (kind, resource.key))
                yield Measured(("start", kind, resource.key, fact), value, place)


def read_network_or_volume(project: Project, kind: str, key: str) -> NetworkOrVolume:
    """Read one of the networks or volumes of the file."""
    config = (project.config.get(kind) or {}).get(key) or {}
    external = config.get("external") or False
    name = config.get("name") or get_nested_value(external, "name")
    if external:
        return NetworkOrVolume(key, str(name or key), True)
    subnets = (row.get("subnet") for row in get_nested_value(config, "ipam.config") or ())
    own_name = str(name or f"{project.name}_{key}")
    return NetworkOrVolume(
        key, own_name, False, config.get("driver"), tuple(map(str, filter(None, subnets)))
    )


def list_existing_networks_or_volumes(
    context: MeasurementContext, kind: str
) -> list[dict[str, Any]]:
    """Return the networks or volumes that the engine has; raises EngineError."""
    api = context.engine().api
    if kind == "networks":
        return api.get_object_list("/networks")
    rows = get_nested_list(api.get_object("/volumes"), "Volumes")
    return [row for row in rows if isinstance(row, dict)]


def _find_overlapping_network(
    resource: NetworkOrVolume, rows: Iterable[Mapping[str, Any]], own: Iterable[NetworkOrVolume]
) -> str | None:
    """Return the network whose subnet overlaps, and its subnet.

    The addresses of a Swarm are a space of their own.
    """
    others = [
        (f"network {row.get('Name')}", str(pool.get("Subnet")))
        for row in rows
        if (row.get("Scope") == "swarm") == (resource.driver == "overlay")
        for pool in get_nested_list(row, "IPAM.Config")
        if isinstance(pool, dict)
    ]
    for other in own:
        if other.name == resource.name:
            break  # of two in the file the second is refused
        if (other.driver == "overlay") == (resource.driver == "overlay"):
            others += [(f"network {other.name}", subnet) for subnet in other.subnets]
    for name, subnet in others:
        if any(subnets_overlap(subnet, wanted) for wanted in resource.subnets):
            return f"{name}, {subnet}"
    return None


def subnets_overlap(subnet: str, other: str) -> bool:
    try:
        first, second = (ipaddress.ip_network(text, strict=False) for text in (subnet, other))
    except ValueError:
        return False
    return first.version == second.version and first.overlaps(second)


def predict_missing_driver_refusal(
    engine: Engine, kind: str, driver: str, root: Path = Path("/")
) -> str | None:
    """Return what the engine says to a driver that it hasn't, or None if it has it.

    `kind` is volume, network or log. Docker lists legacy plugins only once they are in use, and
    finds the others by their files. Raises NotMeasuredError.
    """
    listed = get_nested_value(engine.info, f"Plugins.{kind.capitalize()}")
    if not isinstance(listed, list):
        raise NotMeasuredError(*make_unreported_unknown(f"Plugins.{kind.capitalize()}"))
    is_podman = engine.name == "podman"
    has_driver = driver in listed or (kind, driver) == ("log", "none")  # which no engine lists
    if is_podman:
        has_driver = has_driver or (kind == "log" and driver in _UNLISTED_PODMAN_LOG_DRIVERS)
    elif not has_driver:
        rows = engine.api.get_object_list("/plugins")
        enabled = {str(row.get("Name")) for row in rows if row.get("Enabled")}
        has_driver = bool({driver, f"{driver}:latest"} & enabled)
        if not has_driver and engine.name not in VM_ENGINE_SIGNS:
            has_driver = _has_legacy_plugin(engine, driver, root)
    return (
        None
        if has_driver
        else _MISSING_DRIVER_MESSAGES_BY_KIND[kind][is_podman].format(driver=driver)
    )


def _has_legacy_plugin(engine: Engine, driver: str, root: Path) -> bool:
    if engine.visibility.processes_hidden is not None:
        raise NotMeasuredError(_LEGACY_PLUGINS_HIDDEN_REASON, "unsupported")
    for folder in _LEGACY_PLUGIN_FOLDERS:
        require_visible(engine.visibility.path_hidden(f"/{folder}"))
        for suffix in _LEGACY_PLUGIN_SUFFIXES:
            below = root / folder
            files = (below / f"{driver}{suffix}", below / driver / f"{driver}{suffix}")
            if any(map(os.path.exists, files)):
                return True
    return False
