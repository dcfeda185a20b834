"""The ports that the project publishes, held against what listens on this machine already.

Two sources, since each is blind where the other sees: the sockets of the system, and the engine's
list of containers (without a userland proxy a published port has no socket). Nothing is sent.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import re
import socket
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from preflight.facts.collect.context import EngineLocality, MeasureContext
from preflight.facts.compose.facts import replicas
from preflight.facts.compose.project import Project, absent, where
from preflight.facts.engine.api import EngineError, get_label
from preflight.facts.engine.connection import Engine
from preflight.model.facts import Measured, Unknown

_MOST_PORTS = 500
_MOST_LINKS = 200_000  # open files that are looked at for the owner of a socket
_LABELS = ("project", "service", "oneoff")
_LISTEN = "0A"  # include/net/tcp_states.h of Linux
# programs that hold a port for a container; the kernel keeps 15 characters of a name
_FOR_CONTAINERS = {
    "docker-proxy", "dockerd", "rootlesskit", "rootlessport", "conmon", "slirp4netns", "pasta",
    "pasta.avx2", "com.docker.back", "com.docker.backend", "OrbStack Helper", "limactl",
}  # fmt: skip


class PublishedPort(NamedTuple):
    """A port of a service as the file says it: one, or a range of which each copy gets one."""

    service: str
    text: str
    first: int
    last: int
    protocol: str
    address: str  # nothing where the file names none: every one
    copies: int

    @property
    def key(self) -> str:
        """The name among the facts: the number for TCP, else with its protocol."""
        return self.text if self.protocol == "tcp" else self.full

    @property
    def full(self) -> str:
        """The port with its protocol, as Docker writes it."""
        return f"{self.text}/{self.protocol}"


class Listener(NamedTuple):
    """A socket that has a port; the address is empty where it is one of IPv6 for IPv4 too."""

    protocol: str
    port: int
    address: str
    inode: int = 0
    pid: int = 0


class Container(NamedTuple):
    """A port that a running container has; `oneoff` is one of `docker compose run`."""

    protocol: str
    port: int
    address: str
    name: str
    project: str | None
    service: str | None = None
    oneoff: bool = False


def measure(
    context: MeasureContext, project: Project, root: Path = Path("/")
) -> Iterator[Measured]:
    """Yield what is known of each published port."""
    top = ("host", "ports")
    ports: dict[str, list[PublishedPort]] = {}
    for port in published_ports(project):
        ports.setdefault(port.key, []).append(port)
    yield Measured(top, {}, f"the ports of the active services, {_MOST_PORTS} at most")
    if not ports:
        return
    scene = _scene(context.engine_locality(), project, root)
    for key, ones in ports.items():
        source = where(project, ("services", ones[0].service, "ports", ones[0].text))
        free, holder = _judged(scene, ones)
        looked = source.with_detail(scene.source)
        yield Measured((*top, key, "free"), free, looked)
        yield Measured((*top, key, "holder"), holder, looked)
        services = dict.fromkeys(one.service for one in ones)
        addresses = dict.fromkeys(one.address or "0.0.0.0" for one in ones)
        yield Measured((*top, key, "service"), ", ".join(services), source)
        yield Measured((*top, key, "address"), ", ".join(addresses), source)


def published_ports(project: Project) -> Iterator[PublishedPort]:
    """Yield the ports with a number that the active services publish, 500 at most."""
    return islice(_published(project), _MOST_PORTS)


def _published(project: Project) -> Iterator[PublishedPort]:
    for name, service in project.services.items():
        copies = replicas(service)
        if copies < 1 or service.get("network_mode") in ("host", "none") or shares_network(service):
            continue  # in the host's network Docker discards them, without one nothing is there
        for port in service.get("ports") or ():
            text = str(port.get("published") or "")
            match = re.fullmatch(r"0*([1-9][0-9]{0,4})(?:-([0-9]{1,5}))?", text)
            if match is None:
                continue
            first, last = int(match[1]), int(match[2] or match[1])
            protocol = port.get("protocol") or "tcp"
            address = port.get("host_ip") or ""
            yield PublishedPort(name, text, first, last, protocol, address, copies)


def shares_network(service: Mapping[str, Any]) -> bool:
    """Whether a service lives in the network of another container."""
    return str(service.get("network_mode") or "").startswith(("service:", "container:"))


def addresses_conflict(one: str, other: str) -> bool:
    """Whether two addresses can't both have a port; nothing stands for all of both families."""
    first, second = _address(one), _address(other)
    if first is None or second is None:
        return True
    same = first == second or first.is_unspecified or second.is_unspecified
    return first.version == second.version and same


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


class _Scene(NamedTuple):
    """What has ports now: sockets, where they are seen here, and the engine's containers.

    `containers` is None where the engine can't be asked for them; a port may be `tried` where
    the sockets aren't told, unless the network is another.
    """

    project: Project
    listeners: Sequence[Listener] | Unknown
    containers: Sequence[Container] | None
    name: Callable[[Listener], str]
    source: str
    tried: bool = True


def _scene(around: EngineLocality, project: Project, root: Path) -> _Scene:
    containers = None
    if isinstance(around.engine, Engine):
        try:
            containers = list(parse_containers(around.engine.api.containers()))
        except EngineError:
            pass  # the sockets still tell whether a port is held
    if around.network_hidden is not None:
        listed = "GET /containers/json"
        return _Scene(
            project, around.network_hidden, containers, _name_by_psutil, listed, tried=False
        )
    also = "" if containers is None else ", GET /containers/json"
    if (root / "proc/net/tcp").exists():
        try:
            listeners: list[Listener] | Unknown = read_listeners(root)
        except OSError as fault:
            listeners = Unknown(f"{fault.strerror}: {fault.filename}", "permission")
        names = Processes(root)
        return _Scene(project, listeners, containers, names.name, f"/proc/net/tcp{also}")
    source = f"psutil.net_connections, bind{also}"
    return _Scene(project, _by_psutil(), containers, _name_by_psutil, source)


def _judged(
    scene: _Scene, ports: Sequence[PublishedPort]
) -> tuple[bool | Unknown, str | Unknown | None]:
    """Return whether a port is free on every address that is asked for, and who has it."""
    unknown: Unknown | None = None
    for port in ports:
        holder = _holder(scene, port)
        if isinstance(holder, str):
            return False, holder
        unknown = unknown or holder
    return (True, None) if unknown is None else (unknown, unknown)


def _holder(scene: _Scene, want: PublishedPort) -> str | Unknown | None:
    """Return who keeps a port from its service; of a range enough must be left for its copies."""
    if want.protocol not in ("tcp", "udp"):
        return Unknown(f"sockets of {want.protocol} are not looked at", "unsupported")
    needed = min(want.copies, want.last - want.first + 1)
    known: list[str] = []
    unknown: list[Unknown] = []
    for port in range(want.first, want.last + 1):
        holder = _holder_of(scene, want, port)
        if holder is None:
            needed -= 1
            if needed == 0:
                return None
        elif isinstance(holder, Unknown):
            unknown.append(holder)
        else:
            known.append(holder)
    return unknown[0] if len(unknown) >= needed else known[0]


def _holder_of(scene: _Scene, want: PublishedPort, port: int) -> str | Unknown | None:
    own = []
    for one in scene.containers or ():
        if (one.protocol, one.port) != (want.protocol, port):
            continue
        stays = _stays(one, scene.project)
        if stays is None:
            own.append(one.address)
        elif addresses_conflict(one.address, want.address):
            return f"container {one.name}{stays}"
    if isinstance(scene.listeners, Unknown):
        if any(addresses_conflict(address, want.address) for address in own):
            return None
        if not scene.tried:
            return scene.listeners
        return _tried(want.address, port, want.protocol, scene.listeners)
    for listener in scene.listeners:
        same = (listener.protocol, listener.port) == (want.protocol, port)
        if not same or any(addresses_conflict(listener.address, address) for address in own):
            continue  # another port, or the engine has it for our own container
        if addresses_conflict(listener.address, want.address) and not _only_ipv6(listener, want):
            return _named(scene, listener)
    return None


def _stays(one: Container, project: Project) -> str | None:
    """Return what a container is that keeps its port when the project is started, else None."""
    if one.project != project.name:
        return f" of project {one.project}" if one.project else ""
    if one.oneoff:
        return " of docker compose run"
    if one.service is None or one.service in project.services:
        return None
    return f" ({absent(project, one.service)})"


def _only_ipv6(one: Listener, want: PublishedPort) -> bool:
    """Whether a socket on `::` leaves an IPv4 address alone: the system's list doesn't tell."""
    address = _address(want.address)
    if one.address or address is None or address.version == 6:
        return False
    return can_bind(want.address, one.port, one.protocol) is True


def _named(scene: _Scene, one: Listener) -> str | Unknown:
    name = scene.name(one)
    if scene.containers is None and name.partition(" (pid")[0] in _FOR_CONTAINERS:
        return Unknown(f"{name} has it for a container, and the engine can't be asked for whose")
    return name


def _tried(address: str, port: int, protocol: str, why: Unknown) -> str | Unknown | None:
    free = can_bind(address, port, protocol)
    if isinstance(free, Unknown):
        return Unknown(f"{why.reason}; {free.reason}", free.kind)
    return None if free else "another process"


def can_bind(address: str, port: int, protocol: str) -> bool | Unknown:
    """Return whether a port can be had, by having it for a moment, without listening on it."""
    for one in (address,) if address else ("0.0.0.0", "::"):
        family = socket.AF_INET6 if ":" in one else socket.AF_INET
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        try:
            with socket.socket(family, kind) as probe:
                if family == socket.AF_INET6:
                    probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                probe.bind((one, port))
        except OSError as fault:
            if fault.errno == errno.EADDRINUSE:
                return False
            if one == "::":
                continue  # IPv6 is off
            denied = fault.errno in (errno.EACCES, errno.EPERM)
            reason = f"{one}:{port} can't be tried: {fault.strerror}"
            return Unknown(reason, "permission" if denied else "unavailable")
    return True


def parse_containers(listed: Sequence[Mapping[str, Any]]) -> Iterator[Container]:
    """Yield the published ports of GET /containers/json."""
    for one in listed:
        names = one.get("Names")
        project, service, oneoff = (get_label(one, f"com.docker.compose.{key}") for key in _LABELS)
        name = str(names[0]).lstrip("/") if isinstance(names, list) and names else "without a name"
        ports = one.get("Ports")
        for port in ports if isinstance(ports, list) else ():
            number = port.get("PublicPort") if isinstance(port, dict) else None
            if isinstance(number, int) and number:
                address, protocol = str(port.get("IP") or ""), str(port.get("Type") or "tcp")
                ran = oneoff == "True"
                yield Container(protocol, number, address, name, project, service, ran)


def read_listeners(root: Path = Path("/")) -> list[Listener]:
    """Read the sockets that have a port, of /proc/net; raises OSError."""
    found: list[Listener] = []
    for name in ("tcp", "tcp6", "udp", "udp6"):
        try:
            text = (root / "proc/net" / name).read_text(encoding="ascii", errors="replace")
        except FileNotFoundError:
            continue  # IPv6 is off
        found += parse_listeners(text, name)
    return found


def parse_listeners(text: str, name: str) -> Iterator[Listener]:
    """Yield the sockets of a file of /proc/net: proc(5). Each of UDP has its port, in any state."""
    protocol = name.removesuffix("6")
    for line in text.splitlines()[1:]:
        fields = line.split()
        if len(fields) < 10 or (protocol == "tcp" and fields[3] != _LISTEN):
            continue
        address, _, port = fields[1].partition(":")
        spelled = _spelled(address)
        if name.endswith("6") and spelled == "::":
            spelled = ""  # it has IPv4 too, unless its program wanted it otherwise
        yield Listener(protocol, int(port, 16), spelled, int(fields[9]))


def _spelled(digits: str) -> str:
    """Spell an address that the kernel prints word by word, each in its own byte order."""
    words = [bytes.fromhex(digits[at : at + 8]) for at in range(0, len(digits), 8)]
    if sys.byteorder == "little":
        words = [word[::-1] for word in words]
    return str(ipaddress.ip_address(b"".join(words)))


class Processes:
    """Who has a socket open; looked up when the first is asked for."""

    def __init__(self, root: Path = Path("/")) -> None:
        self._proc = root / "proc"

    def name(self, listener: Listener) -> str:
        """Return the program and pid that have a socket open, or why they aren't seen."""
        pid = self._owners.get(listener.inode)
        if pid is None:
            if os.geteuid() != 0:
                return "a process of another user (root may see it)"
            return "a process that is not seen from here"
        try:
            name = (self._proc / str(pid) / "comm").read_text(errors="replace").rstrip("\n")
        except OSError:
            name = "a process"
        return f"{name} (pid {pid})"

    @cached_property
    def _owners(self) -> dict[int, int]:
        """The lowest pid for each socket's inode: where a server forks, its parent's."""
        owners: dict[int, int] = {}
        left = _MOST_LINKS
        pids = sorted(int(one) for one in os.listdir(self._proc) if one.isdecimal())
        for pid in pids:
            for inode in _sockets(self._proc / str(pid) / "fd", left):
                left -= 1
                if inode is not None:
                    owners.setdefault(inode, pid)
        return owners


def _sockets(folder: Path, most: int) -> Iterator[int | None]:
    """Yield the inode of each open file that is a socket, None for the others."""
    try:
        files = os.listdir(folder)[:most]
    except OSError:
        return  # another user's, or it has ended
    for file in files:
        try:
            match = re.fullmatch(r"socket:\[([0-9]+)]", os.readlink(folder / file))
        except OSError:
            match = None
        yield int(match[1]) if match else None


def _by_psutil() -> list[Listener] | Unknown:
    import psutil

    try:
        connections = psutil.net_connections("inet")
    except psutil.AccessDenied:
        return Unknown("other users' sockets are only shown to root", "permission")
    found = []
    for one in connections:
        protocol = "tcp" if one.type == socket.SOCK_STREAM else "udp"
        if one.laddr and (protocol == "udp" or one.status == psutil.CONN_LISTEN):
            address = "" if one.laddr.ip == "::" else one.laddr.ip
            found.append(Listener(protocol, one.laddr.port, address, pid=one.pid or 0))
    return found


def _name_by_psutil(listener: Listener) -> str:
    import psutil

    if not listener.pid:
        return "a process of another user (root may see it)"
    try:
        return f"{psutil.Process(listener.pid).name()} (pid {listener.pid})"
    except psutil.Error:
        return f"a process (pid {listener.pid})"
