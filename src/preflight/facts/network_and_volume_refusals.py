"""Settings of networks and volumes that Docker or Compose refuses, in their words."""

import ipaddress
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from preflight.facts.collect.context import Engine, Service
from preflight.facts.compose.compose_facts import count_replicas
from preflight.facts.compose.project import read_start_dependencies
from preflight.facts.driver_option_rules import (
    GO_BOOLEAN_PATTERN,
    DriverOptionRule,
    find_driver_option_refusals,
)
from preflight.facts.engine.api import get_label
from preflight.facts.mount_refusals import is_tmpfs_option_value_valid
from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_object,
    get_nested_text,
    get_nested_value,
)
from preflight.facts.networks_and_volumes import (
    NetworkOrVolume,
    list_existing_networks_or_volumes,
    read_network_or_volume,
    subnets_overlap,
)
from preflight.facts.service_setting_refusals import (
    DOCKER_NAME_PATTERN,
    is_engine_version_covered,
    is_ip_address,
)

_NETWORK_LABEL = "com.docker.compose.network"
_NETWORK_INTERFACES_DIR = "/sys/class/net"
_NETWORK_MODES = ("bridge", "host", "none", "default", "service", "container")
_PREDEFINED_NETWORKS = ("bridge", "host", "none")
# by whether Docker is older than 25: Compose gives each container an alias
_NETWORK_ALIAS_REFUSAL_MESSAGES = {
    True: "network-scoped alias is supported only for containers in user defined networks",
    False: "network-scoped aliases are only supported for user-defined networks",
}
_COMPLETED_CONDITION = "service_completed_successfully"
_BRIDGE_OPTION_PREFIX = "com.docker.network.bridge"
_UNPARSED_VALUE_MESSAGE = "failed to parse {1} value: {0}"
_NETWORK_DRIVER_OPTION_RULES = (
    DriverOptionRule(
        ("bridge",), f"{_BRIDGE_OPTION_PREFIX}.name", ".{1,15}", "numerical result out of range"
    ),
    *(
        DriverOptionRule(("bridge",), option, pattern, _UNPARSED_VALUE_MESSAGE)
        for option, pattern in (
            (f"{_BRIDGE_OPTION_PREFIX}.enable_icc", GO_BOOLEAN_PATTERN),
            (f"{_BRIDGE_OPTION_PREFIX}.enable_ip_masquerade", GO_BOOLEAN_PATTERN),
            ("com.docker.network.driver.mtu", r"[-+]?\d+"),
        )
    ),
    DriverOptionRule(
        ("macvlan",), "macvlan_mode", "bridge|private|vepa|passthru",
        "requested macvlan mode '{}' is not valid",
    ),
    DriverOptionRule(
        ("ipvlan",), "ipvlan_mode", "l2|l3|l3s", "requested ipvlan mode '{}' is not valid"
    ),
)  # fmt: skip
_REQUIRED_VOLUME_OPTION_PAIRS = (
    *(("device", "type"), ("type", "device")),
    *(("o", "device"), ("o", "type")),
)
_FILE_SYSTEMS_WITHOUT_DEVICE = ("nfs", "nfs4", "cifs", "tmpfs", "overlay")


def find_network_and_volume_refusals(service: Service) -> Iterator[tuple[str, str]]:
    """Yield what is said to a service's networks and volumes, with the key. Raises EngineError."""
    project, engine = service.project, service.engine
    mode = str(service.config.get("network_mode") or "")
    given = None if mode else service.config.get("networks")
    if mode.partition(":")[0] not in ("", *_NETWORK_MODES):
        yield from ((words, "network_mode") for words in _find_network_mode_refusals(service, mode))
    existing = list_existing_networks_or_volumes(service.context, "networks") if given else []
    for key in map(str, given or ()):
        settings = (given.get(key) if isinstance(given, Mapping) else None) or {}
        network = read_network_or_volume(project, "networks", key)
        row = network.find_engine_row(existing)
        refusals = [*_find_address_refusals(network, settings, row, engine)]
        refusals += _find_taken_static_ip_refusals(service, network, settings, row)
        if network.external:
            if network.name in _PREDEFINED_NETWORKS and not engine.is_in_swarm:
                before_25 = engine.is_older_than(25, default=True)
                refusals.append(_NETWORK_ALIAS_REFUSAL_MESSAGES[before_25])
        else:
            config = (project.config.get("networks") or {}).get(key) or {}
            refusals += _find_network_label_refusals(network, row) if row else ()
            refusals += () if row else _find_network_refusals(network, config, engine)
        yield from ((words, "networks") for words in refusals)
    for mount in service.volumes:
        key = str(mount.get("source") or "")
        config = (project.config.get("volumes") or {}).get(key)
        if mount.get("type") == "volume" and config and not config.get("external"):
            volume = read_network_or_volume(project, "volumes", key)
            row = volume.find_engine_row(
                list_existing_networks_or_volumes(service.context, "volumes")
            )
            if row is not None:  # Compose keeps it, even if the file has changed
                config = {"driver": row.get("Driver"), "driver_opts": row.get("Options")}
            refusals = [*_find_local_volume_refusals(volume.name, config, engine)]
            yield from ((words, "volumes") for words in refusals)


def _find_network_label_refusals(network: NetworkOrVolume, row: Mapping[str, Any]) -> Iterator[str]:
    label = get_label(row, _NETWORK_LABEL) or ""
    if label != network.key:
        words = f"network {network.name} was found but has incorrect label {_NETWORK_LABEL}"
        yield f'{words} set to "{label}" (expected: "{network.key}")'


def _find_network_refusals(
    network: NetworkOrVolume, config: Mapping[str, Any], engine: Engine
) -> Iterator[str]:
    for subnet in network.subnets:
        try:
            ipaddress.ip_network(subnet, strict=False)
        except ValueError:
            yield f"invalid subnet {subnet}"
    yield from _find_gateway_refusals(config, engine)
    is_bridge = (network.driver or "bridge") == "bridge"
    if is_bridge and len([subnet for subnet in network.subnets if ":" not in subnet]) > 1:
        yield "bridge driver doesn't support multiple subnets"
    options = config.get("driver_opts") or {}
    if network.driver in ("host", "null"):
        yield f'only one instance of "{network.driver}" network is allowed'
    yield from find_driver_option_refusals(
        _NETWORK_DRIVER_OPTION_RULES, network.driver or "bridge", options
    )
    has_pool = any(":" in str(row) for row in get_nested_list(engine.info, "DefaultAddressPools"))
    is_ipv6_missing = config.get("enable_ipv6") and not any(":" in net for net in network.subnets)
    if is_ipv6_missing and not has_pool and engine.is_older_than(27, default=False):
        yield "could not find an available, non-overlapping IPv6 address pool among the defaults"
    parent = str(options.get("parent") or "")
    is_visible = engine.visibility.network_hidden is None and os.path.isdir(_NETWORK_INTERFACES_DIR)
    is_missing = is_visible and not os.path.exists(os.path.join(_NETWORK_INTERFACES_DIR, parent))
    if network.driver in ("macvlan", "ipvlan") and "." not in parent and is_missing:
        yield f"invalid subinterface vlan name {parent}, example formatting is eth0.10"


def _find_gateway_refusals(config: Mapping[str, Any], engine: Engine) -> Iterator[str]:
    """Yield what is said to a gateway or another address outside of its subnet."""
    is_before_25 = engine.is_older_than(25, default=True)
    if (get_nested_value(config, "ipam.driver") or "default") != "default":
        return  # a plugin judges them
    for pool in get_nested_value(config, "ipam.config") or ():
        subnet, gateway = (str(pool.get(key) or "") for key in ("subnet", "gateway"))
        if gateway and not subnet:
            yield "Invalid subnet  : invalid CIDR address" if is_before_25 else "invalid subnet"
            continue
        outside = f"parent subnet {subnet} doesn't contain this address"
        if gateway and not is_ip_address(gateway):
            words = f"invalid gateway address {gateway} in Ipam configuration"
            yield words if is_before_25 else f"invalid gateway {gateway}: invalid address"
        elif gateway and not subnets_overlap(subnet, gateway):
            words = f"failed to allocate gateway ({gateway}): Requested address is out of range"
            yield words if is_before_25 else f"invalid gateway {gateway}: {outside}"
        for name, address in (pool.get("aux_addresses") or {}).items():
            if not subnets_overlap(subnet, str(address)):
                words = f"auxiliary address: ({name}:{address}) must belong to the master pool"
                yield words if is_before_25 else f"invalid auxiliary address {name}: {outside}"
        with suppress(ValueError):
            network = ipaddress.ip_network(subnet, strict=False)
            if not is_before_25 and network.network_address != ipaddress.ip_interface(subnet).ip:
                yield f"invalid subnet {subnet}: it should be {network}"


def _find_network_mode_refusals(service: Service, mode: str) -> Iterator[str]:
    """Yield what is said to a network that network_mode names, and that isn't there."""
    rows = list_existing_networks_or_volumes(service.context, "networks")
    keys = service.project.config.get("networks") or {}
    names = {read_network_or_volume(service.project, "networks", key).name for key in keys}
    if mode not in names and not any(mode in (row.get("Name"), row.get("Id")) for row in rows):
        yield f"network {mode} not found"


def _find_taken_static_ip_refusals(
    service: Service,
    network: NetworkOrVolume,
    settings: Mapping[str, Any],
    row: Mapping[str, Any] | None,
) -> Iterator[str]:
    """Yield what is said to a fixed address that something else has."""
    address = str(settings.get("ipv4_address") or "")
    driver = network.driver or get_nested_text(row, "Driver") or "bridge"
    if not is_ip_address(address) or driver != "bridge":
        return
    config = (service.project.config.get("networks") or {}).get(network.key) or {}
    pools = get_nested_value(config, "ipam.config") or ()
    if network.external or not pools:
        pools = [
            {str(key).lower(): value for key, value in pool.items()}
            for pool in get_nested_list(row, "IPAM.Config")
            if isinstance(pool, dict)
        ]
    taken: set[str] = set()
    for pool in pools:
        with suppress(ValueError):
            subnet = ipaddress.ip_network(str(pool.get("subnet")), strict=False)
            has_range = pool.get("ip_range") or pool.get("iprange")  # the gateway is taken from it
            first = subnet.network_address + (0 if has_range else 1)  # newer don't always take it
            is_taken = service.engine.is_older_than(28, default=False)
            taken.add(str(pool.get("gateway") or (first if is_taken else "")))
            taken |= {str(subnet.network_address), str(subnet.broadcast_address)}
        taken |= {*map(str, (pool.get("aux_addresses") or {}).values())}
    for name, other in service.project.services.items():
        networks = other.get("networks")
        own = networks.get(network.key) if isinstance(networks, Mapping) else None
        has_ended = _COMPLETED_CONDITION in (
            read_start_dependencies(service.config).get(name),
            read_start_dependencies(other).get(service.name),
        )
        if name != service.name and count_replicas(other) and not has_ended:
            taken.add(str((own or {}).get("ipv4_address")))
    for container in service.engine.api.containers() if network.external else ():
        if get_label(container, "com.docker.compose.project") != service.project.name:
            networks = get_nested_object(container, "NetworkSettings.Networks")
            taken.add(str(get_nested_value(networks.get(network.name), "IPAddress")))
    if address in taken or count_replicas(service.config) > 1:
        yield "Address already in use"


def _find_address_refusals(
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
        if not subnets and engine.is_older_than(25, default=False):  # 28 accepts it
            words = "user specified IP address is supported only when connecting to networks"
            yield f"{words} with user configured subnets"
        elif subnets and not any(subnets_overlap(subnet, address) for subnet in subnets):
            words = f"no configured subnet contains IP address {address}"
            if engine.is_older_than(25, default=True):
                reason = "It does not belong to any of this network's subnets"
                words = f"invalid address {address}: {reason}"
            yield words


def _find_local_volume_refusals(
    name: str, volume: Mapping[str, Any], engine: Engine
) -> Iterator[str]:
    """Yield what is said to a volume of the driver local. Source: moby, volume/local."""
    if (volume.get("driver") or "local") != "local":
        return
    options = volume.get("driver_opts") or {}
    if not re.fullmatch(f"{DOCKER_NAME_PATTERN}+", name):
        words = f'"{name}" includes invalid characters for a local volume name'
        yield f'create {name}: {words}, only "{DOCKER_NAME_PATTERN}" are allowed'
    for option in options:
        if option not in ("device", "o", "size", "type") and is_engine_version_covered(engine):
            yield f'create {name}: invalid option: "{option}"'
    for option, other in _REQUIRED_VOLUME_OPTION_PAIRS:
        if option in options and other not in options:
            yield f'create {name}: missing required option: "{other}"'
            return
    kind, given = str(options.get("type") or ""), str(options.get("o") or "").split(",")
    device, problem = str(options.get("device") or ""), ""
    path = os.path.join("/", device)  # the engine's working directory
    is_path = "bind" in given or (
        path.startswith("/dev/") and kind not in _FILE_SYSTEMS_WITHOUT_DEVICE
    )
    if device and is_path and engine.visibility.path_hidden(path) is None:
        is_file = "bind" in given and os.path.isfile(path)
        problem = "not a directory" if is_file else ""
        problem = problem or ("" if os.path.exists(path) else "no such file or directory")
    if kind == "tmpfs" and not all(
        map(is_tmpfs_option_value_valid, given)
    ):  # kernels differ in their options
        problem = "invalid argument"
    if problem:
        root = get_nested_text(engine.info, "DockerRootDir") or "/var/lib/docker"
        place = f"{root}/volumes/{name}/_data"
        details = ", flags: 0x1000" if given == ["bind"] else ""
        details = f", data: {options.get('o')}" if kind == "tmpfs" else details
        yield f"failed to mount local volume: mount {device}:{place}{details}: {problem}"
