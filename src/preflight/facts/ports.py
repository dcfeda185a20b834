"""The ports that the project publishes or a rule names, and who has them on this machine already.

There are two sources, because each is blind where the other isn't: the system's sockets, and the
engine's list of containers (without a userland proxy a published port has no socket). Nothing is
sent.
"""

import errno
import ipaddress
import re
import socket
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from functools import cached_property
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.collect.context import Engine, MeasurementContext
from preflight.facts.compose.project import Project, explain_absent_service, find_setting_source
from preflight.facts.engine.api import get_label, list_own_container_names
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.nested_values import get_nested_list
from preflight.facts.table import NO_COMPOSE_FILE_REASON
from preflight.model.facts import Measured, Source, Unknown
from preflight.model.quantities import parse_port_range_and_protocol

MAX_PUBLISHED_PORTS = 500
# programs that hold a port for a container; the kernel keeps 15 characters of a name
CONTAINER_PORT_PROXIES = {
    "docker-proxy", "dockerd", "rootlesskit", "rootlessport", "conmon", "slirp4netns", "pasta",
    "pasta.avx2", "com.docker.back", "com.docker.backend", "OrbStack Helper", "limactl",
}  # fmt: skip
_TCP_LISTEN_STATE = "0A"  # in /proc/net/tcp: proc_net_tcp.txt of the kernel
_PORTS_FACT_PATH = ("host", "ports")

PortHolder: TypeAlias = str | Unknown | None  # None: the port is free
PortNumber: TypeAlias = tuple[str, int]  # with its protocol: tcp, udp
# address -> pid, None for another user's process
Listeners: TypeAlias = dict[PortNumber, dict[str, int | None]]
# address and the container that has it, None for one that gives it up when the project starts
ContainerPorts: TypeAlias = Mapping[PortNumber, list[tuple[str, str | None]]]


class PublishedPort(NamedTuple):
    """A port that a service publishes: one, or a range of which each replica gets one."""

    service: str
    text: str
    first: int
    last: int
    protocol: str
    address: str  # empty where the file names none: all of them
    replicas: int

    @property
    def fact_key(self) -> str:
        """The name among the facts: the number for TCP, else with its protocol."""
        return self.text if self.protocol == "tcp" else self.with_protocol

    @property
    def with_protocol(self) -> str:
        """The port with its protocol, as Docker writes it."""
        return f"{self.text}/{self.protocol}"


def measure_ports(context: MeasurementContext) -> Iterator[Measured]:
    """Yield what is known of each port that is published or that a rule names."""
    given = context.project_or_unknown()
    project = given if isinstance(given, Project) else None
    by_key: dict[str, list[PublishedPort]] = defaultdict(list)
    for port in list_published_ports(project) if project else ():
        by_key[port.fact_key].append(port)
    for name in context.list_requested_keys(*_PORTS_FACT_PATH):
        if (
            numbers := parse_port_range_and_protocol(name)
        ) is not None:  # such as 5432, 8000-8002 or 53/udp
            asked = PublishedPort("", name.partition("/")[0], *numbers, "", 1)
            by_key.setdefault(asked.fact_key, [asked])
    source: str | Source = f"the ports of the active services, {MAX_PUBLISHED_PORTS} at most"
    if given is None and not by_key:
        yield Measured(_PORTS_FACT_PATH, None, NO_COMPOSE_FILE_REASON)
    else:
        yield Measured(_PORTS_FACT_PATH, given if isinstance(given, Unknown) else {}, source)
    if not by_key:
        return
    usage = _PortsInUse(context, project)
    for key, ports in by_key.items():
        line, source = Source("a rule names it"), Source(usage.source)
        if project and ports[0].service:
            key_path = ("services", ports[0].service, "ports", ports[0].text)
            line, source = (
                find_setting_source(project, key_path, text) for text in ("", usage.source)
            )
        holders = [usage.find_port_holder(port) for port in ports]
        named = next((holder for holder in holders if isinstance(holder, str)), None)
        unknown = next((holder for holder in holders if isinstance(holder, Unknown)), None)
        services = ", ".join(dict.fromkeys(port.service for port in ports)) or None
        addresses = ", ".join(dict.fromkeys(port.address or "0.0.0.0" for port in ports))
        for fact, value, fact_source in (
            ("free", False if named is not None else unknown or True, source),
            ("holder", named or unknown, source),
            ("service", services, line),
            ("address", addresses, line),
        ):
            yield Measured((*_PORTS_FACT_PATH, key, fact), value, fact_source)


def list_published_ports(project: Project) -> list[PublishedPort]:
    """Return the ports with a number that the active services publish, MAX_PORTS at most."""
    from preflight.facts.compose.compose_facts import (
        count_replicas,  # a machine without a file needs none
    )

    ports = []
    for name, service in project.services.items():
        count = count_replicas(service)
        # Docker discards the ports of a service without a network of its own
        if (
            count < 1
            or service.get("network_mode") in ("host", "none")
            or uses_network_of_container(service)
        ):
            continue
        for port in service.get("ports") or ():
            text = str(port.get("published") or "")
            match = re.fullmatch(r"0*([1-9][0-9]{0,4})(?:-([0-9]{1,5}))?", text)
            if match is not None:
                first, last = int(match[1]), int(match[2] or match[1])
                protocol = str(port.get("protocol") or "tcp").lower()
                address = port.get("host_ip") or ""
                ports.append(PublishedPort(name, text, first, last, protocol, address, count))
    return ports[:MAX_PUBLISHED_PORTS]


def uses_network_of_container(service: Mapping[str, Any]) -> bool:
    """Whether a service uses the network of another container."""
    return str(service.get("network_mode") or "").startswith(("service:", "container:"))


def addresses_conflict(address: str, other_address: str) -> bool:
    """Whether two addresses can't both have a port; an empty one is all of both families."""
    first, second = _parse_address(address), _parse_address(other_address)
    if first is None or second is None:
        return True
    same = first == second or first.is_unspecified or second.is_unspecified
    return first.version == second.version and same


def _parse_address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class _PortsInUse:
    """Who has ports now: sockets, where they are visible here, and the engine's containers."""

    def __init__(self, context: MeasurementContext, project: Project | None) -> None:
        self._network_hidden = context.find_visibility().network_hidden
        self._used_ports = None if self._network_hidden else read_used_ports()
        self._containers: ContainerPorts | None = None  # the engine can't be asked
        sockets = "psutil.net_connections" if self._used_ports is None else "/proc/net"
        sources = () if self._network_hidden else (sockets,)
        engine = context.engine_or_unknown()
        if isinstance(engine, Engine):
            with suppress(EngineError):  # the sockets still show whether a port is taken
                self._containers = read_container_ports(engine.api.containers(), project)
                sources = (*sources, "GET /containers/json")
        self.source = ", ".join(sources)

    @cached_property
    def _listeners(self) -> Listeners | Unknown:
        return self._network_hidden or read_listeners()

    def find_port_holder(self, port: PublishedPort) -> PortHolder:
        """Return who has a port; of a range enough ports must be free for the replicas."""
        if port.protocol not in ("tcp", "udp"):
            return Unknown(f"preflight doesn't check {port.protocol} ports", "unsupported")
        holders: list[str | Unknown] = []
        missing = min(port.replicas, port.last - port.first + 1)
        for number in range(port.first, port.last + 1):
            holder = self._find_address_holder((port.protocol, number), port.address)
            if holder is not None:
                holders.append(holder)
            elif missing <= 1:
                return None
            else:
                missing -= 1
        unknown = [holder for holder in holders if isinstance(holder, Unknown)]
        if len(unknown) >= missing:
            return unknown[0]
        return next(holder for holder in holders if isinstance(holder, str))

    def _find_address_holder(self, number: PortNumber, address: str) -> PortHolder:
        own_addresses = []
        for container_address, holder in (self._containers or {}).get(number, ()):
            if holder is None:
                own_addresses.append(container_address)
            elif addresses_conflict(container_address, address):
                return holder
        if self._used_ports is not None and number not in self._used_ports:
            return None
        if isinstance(self._listeners, Unknown):
            if any(addresses_conflict(own, address) for own in own_addresses):
                return None
            if self._network_hidden:
                return self._network_hidden
            free = can_bind_port(number, address)
            if isinstance(free, Unknown):
                return Unknown(f"{self._listeners.reason}; {free.reason}", free.kind)
            return None if free else "another process"
        for listened, pid in self._listeners.get(number, {}).items():
            # where the engine listens for our own container, the port gets free with it
            is_own = any(addresses_conflict(listened, own) for own in own_addresses)
            if is_own or not addresses_conflict(listened, address):
                continue
            # whether a socket on `::` leaves an IPv4 address free, only an attempt can tell
            is_taken = listened or "." not in address
            if is_taken or can_bind_port(number, address) is not True:
                return self._describe_process(pid, number[1])
        return None

    def _describe_process(self, pid: int | None, port: int) -> PortHolder:
        """Return a process as users know it; a worker inherits the socket of its server."""
        import psutil

        if pid is None:
            return "a process of another user (root may see it)"
        name = "a process"
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            while (parent := process.parent()) and port in _list_ports_of_process(parent):
                process = parent
            name, pid = process.name(), process.pid
        if self._containers is None and name in CONTAINER_PORT_PROXIES:  # perhaps our own container
            problem = "uses this port for a container, but the engine can't be asked which one"
            return Unknown(f"{name} (pid {pid}) {problem}")
        return f"{name} (pid {pid})"


def read_used_ports() -> set[PortNumber] | None:
    """Return the ports that sockets here have, or None where Linux doesn't list them.

    psutil also says whose they are, for which it looks at the open files of all processes.
    """
    ports: set[PortNumber] = set()
    for protocol, version in product(("tcp", "udp"), ("", "6")):
        try:
            text = Path(f"/proc/net/{protocol}{version}").read_text("ascii", "replace")
        except OSError:
            if version:
                continue  # IPv6 is off
            return None
        for line in text.splitlines()[1:]:
            _, address, _, state = line.split()[:4]
            if protocol == "udp" or state == _TCP_LISTEN_STATE:
                ports.add((protocol, int(address.rpartition(":")[2], 16)))
    return ports


def read_listeners() -> Listeners | Unknown:
    """Return who listens where; the address is empty for `::`, which may serve IPv4 too."""
    import psutil

    try:
        connections = psutil.net_connections("inet")
    except (psutil.Error, OSError) as error:
        return Unknown(f"this user can't list sockets ({error})", "permission")
    listeners: Listeners = defaultdict(dict)
    for socket_ in connections:
        protocol = "tcp" if socket_.type == socket.SOCK_STREAM else "udp"
        if socket_.laddr and (protocol == "udp" or socket_.status == psutil.CONN_LISTEN):
            address = "" if socket_.laddr.ip == "::" else socket_.laddr.ip
            listeners[protocol, socket_.laddr.port].setdefault(address, socket_.pid)
    return listeners


def _list_ports_of_process(process: Any) -> set[int]:
    connections = getattr(process, "net_connections", None) or process.connections  # before 6.0
    return {connection.laddr.port for connection in connections("inet") if connection.laddr}


def can_bind_port(number: PortNumber, address: str) -> bool | Unknown:
    """Return whether a port can be bound, by doing it for a moment without listening on it."""
    protocol, port = number
    for host in (address,) if address else ("0.0.0.0", "::"):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        try:
            with socket.socket(family, kind) as attempt:
                if family == socket.AF_INET6:
                    attempt.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                attempt.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            if host == "::":
                continue  # IPv6 is off
            denied = error.errno in (errno.EACCES, errno.EPERM)
            reason = f"{host}:{port} can't be tested: {error.strerror}"
            return Unknown(reason, "permission" if denied else "unavailable")
    return True


def read_container_ports(rows: list[dict[str, Any]], project: Project | None) -> ContainerPorts:
    """Return the published ports of GET /containers/json."""
    ports: dict[PortNumber, list[tuple[str, str | None]]] = defaultdict(list)
    for row in rows:
        name = next(iter(list_own_container_names(row)), "without a name")
        holder: str | None = f"container {name}"
        owner = get_label(row, "com.docker.compose.project")
        service = get_label(row, "com.docker.compose.service")
        if project is None or owner != project.name:
            holder = f"{holder} of project {owner}" if owner else holder
        elif get_label(row, "com.docker.compose.oneoff") == "True":
            holder = f"{holder} of docker compose run"
        elif service is None or service in project.services:
            holder = None
        else:
            holder = f"{holder} ({explain_absent_service(project, service)})"
        for port in get_nested_list(row, "Ports"):
            if port.get("PublicPort"):
                ports[port["Type"], port["PublicPort"]].append((port.get("IP") or "", holder))
    return ports
