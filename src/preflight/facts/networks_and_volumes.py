"""The networks and volumes that services use, and what the engine refuses of them."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, find_source
from preflight.facts.engine.missing_drivers import explain_missing_driver
from preflight.facts.nested_values import get_nested_list, get_nested_value
from preflight.model.facts import Measured, Unknown, Value, value_or_unknown


class NetworkOrVolume(NamedTuple):
    """A network or volume of the file; `name` is what the engine knows it by.

    `subnets` are of a network alone.
    """

    key: str
    name: str
    external: bool
    driver: str | None = None
    subnets: tuple[str, ...] = ()

    def find_row(self, rows: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
        """Return the engine's row about it, or None if the engine doesn't have it."""
        return next((row for row in rows if self.name in (row.get("Name"), row.get("Id"))), None)


def measure(
    context: MeasureContext, project: Project, root: Path = Path("/")
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
        rows = None
        if any(resource.external or resource.driver or resource.subnets for resource in own):
            rows = value_or_unknown(list_existing_networks_or_volumes, context, kind)
        for resource in own:
            for fact, value in _resource_facts(context, kind, resource, rows, own, root):
                place = find_source(project, (kind, resource.key))
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


def list_existing_networks_or_volumes(context: MeasureContext, kind: str) -> list[dict[str, Any]]:
    """Return the networks or volumes that the engine has; raises EngineError."""
    api = context.engine().api
    if kind == "networks":
        return api.get_rows("/networks")
    rows = get_nested_list(api.get_object("/volumes"), "Volumes")
    return [row for row in rows if isinstance(row, dict)]


def _resource_facts(
    context: MeasureContext,
    kind: str,
    resource: NetworkOrVolume,
    rows: Sequence[Mapping[str, Any]] | Unknown | None,
    own: Iterable[NetworkOrVolume],
    root: Path,
) -> Iterator[tuple[str, Value | Unknown]]:
    yield "name", resource.name
    yield "external", resource.external
    if driver := resource.driver:
        yield "driver", driver
    if rows is None or isinstance(rows, Unknown):
        if rows is not None:
            yield "exists", rows
        return
    exists = resource.find_row(rows) is not None
    yield "exists", exists
    if exists or resource.external:  # an existing one isn't made again
        return
    if driver:
        arguments = (context.engine(), kind.removesuffix("s"), driver, root)
        yield "driver_refused", value_or_unknown(explain_missing_driver, *arguments)
    if resource.subnets:
        yield "overlap", _find_overlap(resource, rows, own)


def _find_overlap(
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
