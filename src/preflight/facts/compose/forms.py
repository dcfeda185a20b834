"""Expands the short forms of ports, volumes and files, and reads the numbers of a service.

Pure functions of plain data; an invalid value raises ValueError. Source: compose-spec/compose-go,
types and format; docker/go-units.
"""

from __future__ import annotations

import os
import posixpath
import re
from typing import Any

from preflight.model.quantities import parse_boolean, parse_number

_MAX_SIZE = 2**63  # bytes
_SUFFIXES = {"": 1, "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40, "p": 2**50}
_SIZE = re.compile(
    r"([0-9][0-9_]*\.?[0-9]*(?:e[+-]?[0-9]+)?|\.[0-9]+) ?(?:([kmgtp])(?:i?b)?|b)?\Z", re.IGNORECASE
)
_KUBERNETES_SIZE = re.compile(r"([0-9.]+ ?[KMGTP])i")
_PORT_RANGE = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")
_VOLUME_PART = re.compile(r"(?:(?<![^:])[A-Za-z]:(?=[\\/]))?[^:]*(?::|\Z)")
_REMOTE = re.compile(r"[a-z+]+://|git@|github\.com/|service:|target:")


def split_port(text: str) -> tuple[str, str, str, str]:
    """Split `[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]` into its parts; omitted ones are empty."""
    spec, _, protocol = text.partition("/")
    head, _, target = spec.rpartition(":")
    address, _, published = head.rpartition(":")
    return address.removeprefix("[").removesuffix("]"), published, target, protocol.lower()


def port_range(text: str) -> range:
    """Return the ports of `80` or `80-82`, an empty range for anything else."""
    match = _PORT_RANGE.fullmatch(text)
    if match is None or int(match[2] or match[1]) > 65535:
        return range(0)
    return range(int(match[1]), int(match[2] or match[1]) + 1)


def split_volume(text: str) -> tuple[str, str, list[str]]:
    """Split `[SOURCE:]TARGET[:OPTIONS]`; a drive such as C: belongs to its path."""
    parts = [part.removesuffix(":") for part in _VOLUME_PART.findall(text)[:-1]]
    if len(parts) < 2 or not any(parts):
        return "", text, []
    return parts[0], parts[1], parts[2].split(",") if len(parts) > 2 else []


def resolve_path(path: str, folder: str) -> str:
    """Return a path of this machine as an absolute one, as Compose does."""
    if path.startswith("~"):  # Compose expands the user's own home alone
        path = f"{os.path.expanduser('~')}/{path[1:]}"
    return os.path.normpath(os.path.join(folder, path))


def _long_ports(item: Any, folder: str) -> list[dict[str, Any]]:
    """Return an item of `ports` in the long form, one entry for each port."""
    del folder
    if isinstance(item, dict):
        port = {"mode": "ingress", "protocol": "tcp", **item, "target": parse_count(item["target"])}
        if item.get("published") not in (None, ""):
            port["published"] = str(item["published"])
        return [port]
    host_ip, out, target, protocol = split_port(str(item))
    targets, published = port_range(target), port_range(out)
    differ = len(targets) > 1 and published and len(targets) != len(published)
    if not targets or differ or (out and not published):
        text = f"{str(item)!r:.60}"
        raise ValueError(f"{text}: expected [ADDRESS:][PORT:]PORT[/PROTOCOL], such as 8000:80")
    port = {"mode": "ingress", "protocol": protocol or "tcp"}
    if host_ip:
        port["host_ip"] = host_ip
    if not published:
        return [{**port, "target": one} for one in targets]
    if len(targets) == 1:  # the engine chooses one of the range
        ends = "-".join(map(str, dict.fromkeys((published[0], published[-1]))))
        return [{**port, "target": targets[0], "published": ends}]
    both = zip(targets, published, strict=True)
    return [{**port, "target": one, "published": str(other)} for one, other in both]


def _long_volume(item: Any, folder: str) -> list[dict[str, Any]]:
    """Return an item of `volumes` in the long form."""
    if isinstance(item, dict):
        mount = dict(item)
    else:
        source, target, options = split_volume(str(item))
        if str(item).startswith(":") and item != ":":
            wanted = "expected [SOURCE:]TARGET[:OPTIONS], such as data:/data"
            raise ValueError(f"{str(item)!r:.60}: {wanted}")
        bind = source[:1] in (".", "/", "~", "\\") or _is_windows_path(source)
        mount = {"type": "bind", "bind": {"create_host_path": True}} if bind else {"type": "volume"}
        mount |= {"source": source, "target": target, "read_only": "ro" in options}
        mount = {key: value for key, value in mount.items() if value}
    source, target = str(mount.get("source") or ""), str(mount.get("target") or "")
    if mount.get("type") == "bind" and not _is_windows_path(source):
        mount["source"] = resolve_path(source, folder)
    if target.startswith("/"):
        mount["target"] = posixpath.normpath(target)
    return [mount]


def _is_windows_path(path: str) -> bool:
    return bool(re.match(r"[A-Za-z]:[\\/]|\\\\", path))


def _long_env_file(item: Any, folder: str) -> list[dict[str, Any]]:
    """Return an item of `env_file` in the long form."""
    entry = item if isinstance(item, dict) else {"path": item}
    return [{**entry, "path": resolve_path(str(entry.get("path")), folder)}]


LONG_ITEMS = {"env_file": _long_env_file, "ports": _long_ports, "volumes": _long_volume}
"""How an item of each of these lists is expanded."""


def long_build(value: Any, folder: str) -> dict[str, Any]:
    """Return `build` in the long form."""
    build = value if isinstance(value, dict) else {"context": value}
    context = str(build.get("context") or ".")
    return {
        **build,
        "context": context if _REMOTE.match(context) else resolve_path(context, folder),
    }


def drop_replaced(items: list[Any], key: str) -> list[Any]:
    """Drop the items that a later item of the list replaces."""
    if key in ("devices", "gpus"):
        return items
    return list({_item_key(item, key): item for item in items}.values())


def _item_key(item: Any, key: str) -> str:
    if key == "ports":
        address = item.get("host_ip") or "0.0.0.0"
        return repr((address, item.get("published"), item.get("target"), item.get("protocol")))
    field = {"volumes": "target", "env_file": "path"}.get(key)
    return repr(item.get(field) if field else item)


def parse_size(value: Any) -> str | None:
    """Read a size as Compose does: `8G`, `8gb` and `8 GiB` are the same, binary.

    Returns the text of its bytes, None for zero. Source: docker/go-units, RAMInBytes.
    """
    if not isinstance(value, str):  # of bytes; Compose drops a number such as 1e9
        return str(value) if value and isinstance(value, int) else None
    match = _SIZE.match(value)
    size = int(float(match[1]) * _SUFFIXES[(match[2] or "").lower()]) if match else _MAX_SIZE
    if size >= _MAX_SIZE:
        kubernetes = _KUBERNETES_SIZE.fullmatch(value)
        hint = f"write {kubernetes[1]}, or {value}B" if kubernetes else "expected one such as 512m"
        raise ValueError(f"{value!r:.60} isn't a valid size: {hint}")
    return str(size) if size else None


def _parse_memory(value: Any) -> str | None:
    if not isinstance(value, str):
        raise ValueError(f"write {value!r:.60} in quotation marks, with a unit such as 512m")
    return parse_size(value)


def parse_count(value: Any) -> int:
    """Read a whole number."""
    number = parse_number(value) if isinstance(value, str) else value
    if isinstance(number, bool) or not isinstance(number, int | float) or number != int(number):
        raise ValueError(f"{value!r:.60} isn't a whole number")
    return int(number)


def _parse_cores(value: Any) -> int | float:
    number = parse_number(value) if isinstance(value, str) else float(value)
    return int(number) if number == int(number) else number


def _parse_boolean(value: Any) -> bool:
    return value if isinstance(value, bool) else parse_boolean(str(value))


def _parse_device(device: Any) -> Any:
    if device.get("device_ids"):
        return device
    count = device.get("count")
    return {**device, "count": -1 if count in (None, "all") else parse_count(count)}


_RESOURCES = {"memory": _parse_memory, "cpus": _parse_cores, "pids": parse_count}
FIGURES: dict[str, Any] = {
    **dict.fromkeys(("mem_limit", "mem_reservation", "memswap_limit", "shm_size"), parse_size),
    **dict.fromkeys(("pids_limit", "scale"), parse_count),
    **dict.fromkeys(("init", "privileged", "read_only", "stdin_open", "tty"), _parse_boolean),
    "build": {},
    "depends_on": {},
    "logging": {},
    "networks": {},
    **{key: [lambda value: value] for key in ("configs", "profiles", "secrets")},
    "cpus": _parse_cores,
    "gpus": [_parse_device],
    "volumes": [{"read_only": _parse_boolean, "tmpfs": {"size": parse_size}}],
    "deploy": {
        "replicas": parse_count,
        "resources": {
            "limits": _RESOURCES,
            "reservations": {**_RESOURCES, "devices": [_parse_device]},
        },
    },
}
"""How values are read: by a function, by a table of keys, or, in a list, item by item."""
