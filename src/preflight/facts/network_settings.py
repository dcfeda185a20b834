"""Settings of networks and volumes that Docker or Compose refuses, in their words."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.facts.collect.context import Engine, Service
from preflight.facts.engine.api import get_label
from preflight.facts.nested_values import get_nested_list, get_nested_text, get_nested_value
from preflight.facts.networks_and_volumes import (
    NetworkOrVolume,
    list_existing_networks_or_volumes,
    read_network_or_volume,
    subnets_overlap,
)
from preflight.facts.service_settings import NAME_PATTERN, knows_all_names

_NETWORK_LABEL = "com.docker.compose.network"
_NETWORK_INTERFACES_DIR = "/sys/class/net"


def find_network_and_volume_refusals(service: Service) -> Iterator[tuple[str, str]]:
    """Yield what is said to a service's networks and volumes, with the key. Raises EngineError."""
    project, engine = service.project, service.engine
    given = None if service.config.get("network_mode") else service.config.get("networks")
    existing = list_existing_networks_or_volumes(service.context, "networks") if given else []
    for key in map(str, given or ()):
        settings = (given.get(key) if isinstance(given, Mapping) else None) or {}
        network = read_network_or_volume(project, "networks", key)
        row = network.find_row(existing)
        refusals = [*_address_refusals(network, settings, row, engine)]
        if not network.external:
            config = (project.config.get("networks") or {}).get(key) or {}
            refusals += _label_refusals(network, row) if row else ()
            refusals += () if row else _network_refusals(network, config, engine)
        yield from ((words, "networks") for words in refusals)
    for mount in service.volumes:
        key = str(mount.get("source") or "")
        config = (project.config.get("volumes") or {}).get(key)
        if mount.get("type") == "volume" and config and not config.get("external"):
            volume = read_network_or_volume(project, "volumes", key)
            row = volume.find_row(list_existing_networks_or_volumes(service.context, "volumes"))
            if row is not None:  # Compose keeps it, even if the file has changed
                config = {"driver": row.get("Driver"), "driver_opts": row.get("Options")}
            refusals = [*_volume_refusals(volume.name, config, engine)]
            yield from ((words, "volumes") for words in refusals)


def _label_refusals(network: NetworkOrVolume, row: Mapping[str, Any]) -> Iterator[str]:
    label = get_label(row, _NETWORK_LABEL) or ""
    if label != network.key:
        words = f"network {network.name} was found but has incorrect label {_NETWORK_LABEL}"
        yield f'{words} set to "{label}" (expected: "{network.key}")'


def _network_refusals(
    network: NetworkOrVolume, config: Mapping[str, Any], engine: Engine
) -> Iterator[str]:
    for subnet in network.subnets:
        try:
            ipaddress.ip_network(subnet, strict=False)
        except ValueError:
            yield f"invalid subnet {subnet}"
    parent = str(get_nested_value(config, "driver_opts.parent") or "")
    is_visible = engine.visibility.network_hidden is None and os.path.isdir(_NETWORK_INTERFACES_DIR)
    is_missing = is_visible and not os.path.exists(os.path.join(_NETWORK_INTERFACES_DIR, parent))
    if network.driver in ("macvlan", "ipvlan") and "." not in parent and is_missing:
        yield f"invalid subinterface vlan name {parent}, example formatting is eth0.10"


def _address_refusals(
    network: NetworkOrVolume,
    settings: Mapping[str, Any],
    row: Mapping[str, Any] | None,
    engine: Engine,
) -> Iterator[str]:
    """Yield what is said to a fixed address."""
    subnets: Sequence[str] = network.subnets
    if row is not None:
        pools = get_nested_list(row, "IPAM.Config")
        existing = [str(pool.get("Subnet")) for pool in pools if isinstance(pool, dict)]
        subnets = [*subnets, *existing]  # Compose replaces it if the file has changed
    for key in ("ipv4_address", "ipv6_address"):
        address = str(settings.get(key) or "")
        if not address or (not subnets and network.external):
            continue
        if not subnets:
            words = "user specified IP address is supported only when connecting to networks"
            yield f"{words} with user configured subnets"
        elif not any(subnets_overlap(subnet, address) for subnet in subnets):
            words = f"no configured subnet contains IP address {address}"
            if engine.is_older_than(25, default=True):
                reason = "It does not belong to any of this network's subnets"
                words = f"invalid address {address}: {reason}"
            yield words


def _volume_refusals(name: str, volume: Mapping[str, Any], engine: Engine) -> Iterator[str]:
    """Yield what is said to a volume of the driver local. Source: moby, volume/local."""
    if (volume.get("driver") or "local") != "local":
        return
    options = volume.get("driver_opts") or {}
    if not re.fullmatch(f"{NAME_PATTERN}+", name):
        words = f'"{name}" includes invalid characters for a local volume name'
        yield f'create {name}: {words}, only "{NAME_PATTERN}" are allowed'
    for option in options:
        if option not in ("device", "o", "size", "type") and knows_all_names(engine):
            yield f'create {name}: invalid option: "{option}"'
    for option, other in (("device", "type"), ("type", "device")):
        if option in options and other not in options:
            yield f'create {name}: missing required option: "{other}"'
    device = str(options.get("device") or "")
    is_bind = "bind" in str(options.get("o") or "").split(",") and device.startswith("/")
    if is_bind and engine.visibility.path_hidden(device) is None and not os.path.exists(device):
        root = get_nested_text(engine.info, "DockerRootDir") or "/var/lib/docker"
        place = f"{root}/volumes/{name}/_data, flags: 0x1000"
        yield f"failed to mount local volume: mount {device}:{place}: no such file or directory"
