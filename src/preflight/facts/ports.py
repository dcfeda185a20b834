"""The ports that the project publishes, and who has them on this machine already.

There are two sources, because each is blind where the other isn't: the system's sockets, and the
engine's list of containers (without a userland proxy a published port has no socket). Nothing is
sent.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.collect.context import Engine, EngineLocality, MeasureContext
from preflight.facts.compose.facts import replicas
from preflight.facts.compose.project import Project, explain_absence, source_of
from preflight.facts.engine.api import EngineError, get_label
from preflight.facts.engine.responses import list_or_empty
from preflight.model.facts import Measured, Unknown

MAX_PORTS = 500
# programs that hold a port for a container; the kernel keeps 15 characters of a name
_CONTAINER_PROXIES = {
    "docker-proxy", "dockerd", "rootlesskit", "rootlessport", "conmon", "slirp4netns", "pasta",
    "pasta.avx2", "com.docker.back", "com.docker.backend", "OrbStack Helper", "limactl",
}  # fmt: skip

Holder: TypeAlias = str | Unknown | None  # None: the port is free


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
    def key(self) -> str:
        """The name among the facts: the number for TCP, else with its protocol."""
        return self.text if self.protocol == "tcp" else self.with_protocol

    @property
    def with_protocol(self) -> str:
        """The port with its protocol, as Docker writes it."""
        return f"{self.text}/{self.protocol}"


class Listener(NamedTuple):
    """A socket that has a port; `address` is empty for one of IPv6 that may serve IPv4 too."""

    protocol: str
    port: int
    address: str


class ContainerPort(NamedTuple):
    """A port that a running container publishes; `is_oneoff` is from `docker compose run`."""

    protocol: str
    port: int
    address: str
    container: str
    project: str | None
    service: str | None = None
    is_oneoff: bool = False


def measure(context: MeasureContext, project: Project) -> Iterator[Measured]:
    """Yield what is known of each published port."""
    top = ("host", "ports")
    by_key: dict[str, list[PublishedPort]] = {}
    for port in published_ports(project):
        by_key.setdefault(port.key, []).append(port)
    yield Measured(top, {}, f"the ports of the active services, {MAX_PORTS} at most")
    if not by_key:
        return
    usage = _PortUsage(context.engine_locality(), project)
    for key, ports in by_key.items():
        path = ("services", ports[0].service, "ports", ports[0].text)
        source = source_of(project, path, usage.source)
        holders = [usage.find_holder(port) for port in ports]
        named = next((holder for holder in holders if isinstance(holder, str)), None)
        unknown = next((holder for holder in holders if isinstance(holder, Unknown)), None)
        free = False if named is not None else True if unknown is None else unknown
        yield Measured((*top, key, "free"), free, source)
        yield Measured((*top, key, "holder"), named or unknown, source)
        services = dict.fromkeys(port.service for port in ports)
        addresses = dict.fromkeys(port.address or "0.0.0.0" for port in ports)
        yield Measured((*top, key, "service"), ", ".join(services), source_of(project, path))
        yield Measured((*top, key, "address"), ", ".join(addresses), source_of(project, path))


def published_ports(project: Project) -> Iterator[PublishedPort]:
    """Yield the ports with a number that the active services publish, MAX_PORTS at most."""
    return islice(_published_ports(project), MAX_PORTS)


def _published_ports(project: Project) -> Iterator[PublishedPort]:
    for name, service in project.services.items():
        count = replicas(service)
        # Docker discards the ports of a service without a network of its own
        if count < 1 or service.get("network_mode") in ("host", "none") or shares_network(service):
            continue
        for port in service.get("ports") or ():
            text = str(port.get("published") or "")
            match = re.fullmatch(r"0*([1-9][0-9]{0,4})(?:-([0-9]{1,5}))?", text)
            if match is not None:
                first, last = int(match[1]), int(match[2] or match[1])
                protocol = str(port.get("protocol") or "tcp").lower()
                address = port.get("host_ip") or ""
                yield PublishedPort(name, text, first, last, protocol, address, count)


def shares_network(service: Mapping[str, Any]) -> bool:
    """Whether a service uses the network of another container."""
    return str(service.get("network_mode") or "").startswith(("service:", "container:"))


def addresses_conflict(one: str, other: str) -> bool:
    """Whether two addresses can't both have a port; an empty one is all of both families."""
    first, second = _parse_address(one), _parse_address(other)
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


class _PortUsage:
    """Who has ports now: sockets, where they are visible here, and the engine's containers.

    `_containers` is None where the engine can't be asked for them.
    """

    def __init__(self, locality: EngineLocality, project: Project) -> None:
        self._project = project
        self._containers: list[ContainerPort] | None = None
        self._listeners: Mapping[Listener, int | None] | Unknown
        if isinstance(locality.engine, Engine):
            with suppress(EngineError):  # the sockets still show whether a port is taken
                self._containers = list(parse_containers(locality.engine.api.containers()))
        self._may_bind = locality.network_hidden is None
        self._listeners = locality.network_hidden or read_listeners()
        sources = ("psutil.net_connections",) if self._may_bind else ()
        listed = () if self._containers is None else ("GET /containers/json",)
        self.source = ", ".join((*sources, *listed))

    def find_holder(self, port: PublishedPort) -> Holder:
        """Return who has a port; of a range enough ports must be free for the replicas."""
        if port.protocol not in ("tcp", "udp"):
            return Unknown(f"sockets of {port.protocol} are not checked", "unsupported")
        needed = min(port.replicas, port.last - port.first + 1)
        named: list[str] = []
        unknown: list[Unknown] = []
        for number in range(port.first, port.last + 1):
            holder = self._find_holder(Listener(port.protocol, number, port.address))
            if isinstance(holder, Unknown):
                unknown.append(holder)
            elif holder is not None:
                named.append(holder)
            else:
                needed -= 1
            if needed == 0:
                return None
        return unknown[0] if len(unknown) >= needed else named[0]

    def _find_holder(self, wanted: Listener) -> Holder:
        own = []
        for container in self._containers or ():
            if (container.protocol, container.port) != wanted[:2]:
                continue
            reason = _why_port_stays_taken(container, self._project)
            if reason is None:
                own.append(container.address)
            elif addresses_conflict(container.address, wanted.address):
                return f"container {container.container}{reason}"
        if isinstance(self._listeners, Unknown):
            if any(addresses_conflict(address, wanted.address) for address in own):
                return None
            return self._try_to_bind(wanted, self._listeners)
        for listener, pid in self._listeners.items():
            # where the engine listens for our own container, the port gets free with it
            if (
                listener[:2] == wanted[:2]
                and not any(addresses_conflict(listener.address, address) for address in own)
                and addresses_conflict(listener.address, wanted.address)
                and not _is_ipv6_only(listener, wanted)
            ):
                return self._name_owner(pid, listener.port)
        return None

    def _try_to_bind(self, wanted: Listener, reason: Unknown) -> Holder:
        if not self._may_bind:
            return reason
        free = can_bind(wanted.address, wanted.port, wanted.protocol)
        if isinstance(free, Unknown):
            return Unknown(f"{reason.reason}; {free.reason}", free.kind)
        return None if free else "another process"

    def _name_owner(self, pid: int | None, port: int) -> str | Unknown:
        import psutil

        if pid is None:
            is_root = hasattr(os, "geteuid") and os.geteuid() == 0
            hint = "not visible from here" if is_root else "of another user (root may see it)"
            return f"a process {hint}"
        name = "a process"
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            # a worker inherits the socket of the server that started it
            while (parent := process.parent()) is not None and _has_port(parent, port):
                process = parent
            name, pid = process.name(), process.pid
        if self._containers is None and name in _CONTAINER_PROXIES:
            problem = "has it for a container, and the engine can't be asked for which"
            return Unknown(f"{name} (pid {pid}) {problem}")
        return f"{name} (pid {pid})"


def _has_port(process: Any, port: int) -> bool:
    """Whether a process of psutil has a socket with a port; raises psutil.Error."""
    connections = getattr(process, "net_connections", None) or process.connections  # before 6.0
    return any(one.laddr and one.laddr.port == port for one in connections("inet"))


def read_listeners() -> dict[Listener, int | None] | Unknown:
    """Return the sockets that have a port and their pids, None for other users' processes."""
    import psutil

    try:
        connections = psutil.net_connections("inet")
    except (psutil.Error, OSError) as error:
        return Unknown(f"sockets are not visible to this user ({error})", "permission")
    listeners: dict[Listener, int | None] = {}
    for socket_ in connections:
        protocol = "tcp" if socket_.type == socket.SOCK_STREAM else "udp"
        if socket_.laddr and (protocol == "udp" or socket_.status == psutil.CONN_LISTEN):
            address = "" if socket_.laddr.ip == "::" else socket_.laddr.ip
            listeners.setdefault(Listener(protocol, socket_.laddr.port, address), socket_.pid)
    return listeners


def _why_port_stays_taken(container: ContainerPort, project: Project) -> str | None:
    """Return what a container is that keeps its port when the project is started, else None."""
    if container.project != project.name:
        return f" of project {container.project}" if container.project else ""
    if container.is_oneoff:
        return " of docker compose run"
    if container.service is None or container.service in project.services:
        return None
    return f" ({explain_absence(project, container.service)})"


def _is_ipv6_only(listener: Listener, wanted: Listener) -> bool:
    """Whether a socket on `::` leaves an IPv4 address free; only an attempt can tell."""
    address = _parse_address(wanted.address)
    if listener.address or address is None or address.version == 6:
        return False
    return can_bind(wanted.address, wanted.port, wanted.protocol) is True


def can_bind(address: str, port: int, protocol: str) -> bool | Unknown:
    """Return whether a port can be bound, by doing it for a moment without listening on it."""
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
            reason = f"{host}:{port} can't be tried: {error.strerror}"
            return Unknown(reason, "permission" if denied else "unavailable")
    return True


def parse_containers(rows: Sequence[Mapping[str, Any]]) -> Iterator[ContainerPort]:
    """Yield the published ports of GET /containers/json."""
    for row in rows:
        names = list_or_empty(row.get("Names"))
        name = str(names[0]).lstrip("/") if names else "without a name"
        project = get_label(row, "com.docker.compose.project")
        service = get_label(row, "com.docker.compose.service")
        is_oneoff = get_label(row, "com.docker.compose.oneoff") == "True"
        for port in list_or_empty(row.get("Ports")):
            number = port.get("PublicPort") if isinstance(port, dict) else None
            if isinstance(number, int) and number:
                address, protocol = str(port.get("IP") or ""), str(port.get("Type") or "tcp")
                yield ContainerPort(protocol, number, address, name, project, service, is_oneoff)
