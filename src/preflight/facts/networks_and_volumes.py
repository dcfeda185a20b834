"""The networks and volumes that services use, and what the engine refuses of them."""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.collect.context import Engine, ask_engine
from preflight.facts.compose.project import Project, find_source, get_nested_value
from preflight.facts.engine.api import list_or_empty
from preflight.facts.engine.drivers import explain_missing_driver
from preflight.model.facts import Measured, Unknown, Value


class NetworkOrVolume(NamedTuple):
    """A network or volume of the file; `subnets` are of a network alone."""

    name: str
    external: bool
    driver: str | None
    subnets: tuple[str, ...]


def measure(
    project: Project, engine: Engine | Unknown, root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield the facts; the engine is asked where one is external, or has a driver or a subnet."""
    services = project.services.values()
    mounts = [mount for service in services for mount in service.get("volumes") or ()]
    volumes = [mount.get("source") for mount in mounts if mount.get("type") == "volume"]
    used = {
        "networks": {name for service in services for name in list_networks(service)},
        "volumes": set(map(str, filter(None, volumes))),
    }
    for kind, keys in used.items():
        defined = project.config.get(kind) or {}
        own = {key: read_resource(project, key, defined.get(key) or {}) for key in sorted(keys)}
        is_asked = any(r.external or r.driver or r.subnets for r in own.values())
        rows = list_existing(engine, kind) if is_asked else None
        for key, resource in own.items():
            for fact, value in _resource_facts(kind, resource, rows, own.values(), engine, root):
                place = find_source(project, (kind, key))
                yield Measured(("start", kind, key, fact), value, place)


def list_networks(service: Mapping[str, Any]) -> list[str]:
    """Return the networks of a service by their names in the file."""
    if service.get("network_mode"):
        return []
    return [str(name) for name in service.get("networks") or ("default",)]


def read_resource(project: Project, key: str, config: Mapping[str, Any]) -> NetworkOrVolume:
    """Read a network or volume of the file, with the name that the engine knows it by."""
    external = config.get("external") or False
    name = config.get("name") or get_nested_value(external, "name")
    if external:
        return NetworkOrVolume(str(name or key), True, None, ())
    subnets = [row.get("subnet") for row in get_nested_value(config, "ipam.config") or ()]
    return NetworkOrVolume(
        str(name or f"{project.name}_{key}"),
        False,
        config.get("driver"),
        tuple(map(str, filter(None, subnets))),
    )


def list_existing(engine: Engine | Unknown, kind: str) -> list[dict[str, Any]] | Unknown:
    """Return the networks or volumes that an engine has."""
    if kind == "networks":
        return ask_engine(engine, lambda engine: engine.api.get_rows("/networks"))
    answer = ask_engine(engine, lambda engine: engine.api.get_object("/volumes"))
    if isinstance(answer, Unknown):
        return answer
    return [row for row in list_or_empty(answer.get("Volumes")) if isinstance(row, dict)]


def _resource_facts(
    kind: str,
    resource: NetworkOrVolume,
    rows: Sequence[Mapping[str, Any]] | Unknown | None,
    own: Iterable[NetworkOrVolume],
    engine: Engine | Unknown,
    root: Path,
) -> Iterator[tuple[str, Value | Unknown]]:
    yield "name", resource.name
    yield "external", resource.external
    if resource.driver:
        yield "driver", resource.driver
    if rows is None:
        return
    if isinstance(rows, Unknown):
        yield "exists", rows
        return
    exists = any(resource.name in (row.get("Name"), row.get("Id")) for row in rows)
    yield "exists", exists
    if exists or resource.external:  # an existing one isn't made again
        return
    if driver := resource.driver:
        noun = kind.removesuffix("s")
        refusal = ask_engine(engine, lambda e: explain_missing_driver(e, noun, driver, root))
        yield "driver_refused", refusal
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
        for pool in list_or_empty(get_nested_value(row, "IPAM.Config"))
        if isinstance(pool, dict)
    ]
    for other in own:
        if other.name == resource.name:
            break  # of two in the file the second is refused
        if (other.driver == "overlay") == (resource.driver == "overlay"):
            others += [(f"network {other.name}", subnet) for subnet in other.subnets]
    for name, subnet in others:
        if any(_subnets_overlap(subnet, wanted) for wanted in resource.subnets):
            return f"{name}, {subnet}"
    return None


def _subnets_overlap(subnet: str, other: str) -> bool:
    try:
        first, second = (ipaddress.ip_network(text, strict=False) for text in (subnet, other))
    except ValueError:
        return False
    return first.version == second.version and first.overlaps(second)
