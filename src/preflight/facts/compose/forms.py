"""Expands the short forms of ports and volumes, and reads the numbers of a service.

Pure functions of plain data; an invalid value raises ValueError. Source: compose-spec/compose-go,
types and format; docker/go-units.
"""

from __future__ import annotations

import os
import posixpath
import re
from math import inf
from typing import Any

from preflight.model.quantities import parse_boolean, parse_number

_MAX_SIZE = 2**63  # bytes
_SUFFIXES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SIZE = re.compile(
    r"([0-9][0-9_]*\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+) ?(?:([kmgtp])(?:i?b)?|b)?\Z", re.IGNORECASE
)
_VOLUME_PART = re.compile(r"(?:(?<![^:])[A-Za-z]:(?=[\\/]))?[^:]*(?::|\Z)")
_WINDOWS_PATH = re.compile(r"[A-Za-z]:[\\/]|\\")
_PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


def split_port(text: str) -> tuple[str, str, str, str]:
    """Split `[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]` into its parts; omitted ones are empty."""
    spec, _, protocol = text.partition("/")
    head, _, target = spec.rpartition(":")
    address, _, published = head.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), published, target, protocol.lower()


def parse_port_range(text: str) -> range:
    """Return the ports of `80` or `80-82`, an empty range for anything else."""
    match = _PORT_RANGE.fullmatch(text)
    if match is None or int(match[2] or match[1]) > 65535:
        return range(0)
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def split_volume(text: str) -> tuple[str, str, str]:
    """Split `[SOURCE:]TARGET[:OPTIONS]`; a drive such as C: belongs to its path."""
    parts = [part.removesuffix(":") for part in _VOLUME_PART.findall(text)[:-1]]
    if len(parts) < 2 or not any(parts):
        return "", text, ""
    return parts[0], parts[1], ":".join(parts[2:])


def resolve_path(path: str, folder: str) -> str:
    """Return a path of this machine as an absolute one, as Compose does."""
    if path.startswith("~"):  # Compose expands the user's own home alone
        path = f"{os.path.expanduser('~')}/{path[1:]}"
    return os.path.normpath(os.path.join(folder, path))


def expand_port(item: Any) -> list[dict[str, Any]]:
    """Return an item of `ports` in the long form, one entry for each port."""
    if isinstance(item, dict):
        numbers = {
            "target": parse_count(item["target"]),
            "published": str(item.get("published") or ""),
        }
        return [{"protocol": "tcp", **item, **numbers}]
    host_ip, published, target, protocol = split_port(str(item))
    targets, ports = parse_port_range(target), parse_port_range(published)
    differ = len(targets) > 1 and ports and len(targets) != len(ports)
    if not targets or differ or (published and not ports):
        text = f"{str(item)!r:.60}"
        raise ValueError(f"{text}: expected [ADDRESS:][PORT:]PORT[/PROTOCOL], such as 8000:80")
    port = {"protocol": protocol or "tcp", "host_ip": host_ip}
    if not ports:
        return [{**port, "target": number, "published": ""} for number in targets]
    if len(targets) == 1:  # the engine chooses one of the range
        ends = "-".join(map(str, dict.fromkeys((ports[0], ports[-1]))))
        return [{**port, "target": targets[0], "published": ends}]
    pairs = zip(targets, ports, strict=True)
    return [{**port, "target": inner, "published": str(outer)} for inner, outer in pairs]


def expand_volume(item: Any, folder: str) -> dict[str, Any]:
    """Return an item of `volumes` in the long form."""
    if isinstance(item, dict):
        mount = dict(item)
    else:
        source, target, options = split_volume(str(item))
        if str(item).startswith(":") and item != ":":
            wanted = "expected [SOURCE:]TARGET[:OPTIONS], such as data:/data"
            raise ValueError(f"{str(item)!r:.60}: {wanted}")
        is_path = source.startswith((".", "/", "~")) or _WINDOWS_PATH.match(source)
        kind = "bind" if is_path else "volume"
        mount = {"type": kind, "source": source, "target": target}
        mount["read_only"] = "ro" in options.split(",")
    source, target = str(mount.get("source") or ""), str(mount.get("target") or "")
    if mount.get("type") == "bind" and not _WINDOWS_PATH.match(source):
        mount["source"] = resolve_path(source, folder)
    if target.startswith("/"):
        mount["target"] = posixpath.normpath(target)
    return mount


def parse_size(value: Any) -> str | None:
    """Read a size as Compose does: `8G`, `8gb` and `8 GiB` are the same, binary.

    Returns the text of its bytes, None for zero. Source: docker/go-units, RAMInBytes.
    """
    if not isinstance(value, str):  # of bytes; Compose drops a number such as 1e9
        return str(value) if value and isinstance(value, int) else None
    match = _SIZE.match(value)
    size = float(match[1]) * _SUFFIXES[(match[2] or "").lower()] if match else inf
    if size >= _MAX_SIZE:
        is_kubernetes = value.endswith("i") and _SIZE.match(value[:-1])
        hint = f"write {value[:-1]}, or {value}B" if is_kubernetes else "expected one such as 512m"
        raise ValueError(f"{value!r:.60} isn't a valid size: {hint}")
    return str(int(size)) if int(size) else None


def _parse_memory(value: Any) -> str | None:
    if not isinstance(value, str):
        raise ValueError(f"write {value!r:.60} in quotation marks, with a unit such as 512m")
    return parse_size(value)


def parse_count(value: Any) -> int:
    """Read a whole number."""
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or number % 1:
        raise ValueError(f"{value!r:.60} isn't a whole number")
    return int(number)


def _parse_cores(value: Any) -> float:
    return parse_number(value) if isinstance(value, str) else float(value)


def _parse_device_count(value: Any) -> int:
    return -1 if value == "all" else parse_count(value)


_DEVICES = [{"count": _parse_device_count}]
_RESOURCES = {"memory": _parse_memory, "cpus": _parse_cores}
SHAPES: dict[str, Any] = {
    **dict.fromkeys(("mem_limit", "mem_reservation"), parse_size),
    "cpus": _parse_cores,
    "scale": parse_count,
    "gpus": _DEVICES,
    "logging": {"options": {}},
    "volumes": [{"read_only": lambda value: parse_boolean(str(value))}],
    **{key: [lambda value: value] for key in ("configs", "profiles", "secrets")},
    "deploy": {
        "replicas": parse_count,
        "resources": {"limits": _RESOURCES, "reservations": {**_RESOURCES, "devices": _DEVICES}},
    },
}
"""How the values of a service are read: by a function, or as a mapping or list of others."""
