"""The long form of what a service can say in short: ports, volumes, environment, files.

It is what files are merged in, and where paths still know the folder that they are relative to.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from preflight.facts.compose.figures import boolean, figure
from preflight.facts.compose.interpolation import Lookup
from preflight.facts.compose.known import PORT, SERVICE, VOLUME, checked, expect
from preflight.facts.compose.merging import stripped, unique
from preflight.facts.compose.nodes import HOLLOW, RESET, Date, Node
from preflight.facts.compose.project import ComposeError
from preflight.facts.compose.sizes import as_text, parse_count

Reader: TypeAlias = Callable[[Node, str], Node]

_MOST_PORTS = 2**16  # of a service


class Setting(NamedTuple):
    """What the values of a file mean: the folder of its project, and its variables."""

    folder: str
    lookup: Lookup


def canonical(name: str, service: Node, setting: Setting) -> Node:
    """Return a service of one file in its long form; raises ComposeError."""
    where = f"services.{name}"
    if service.value is None:
        return service
    if not isinstance(service.value, dict):
        raise no_service(name, service)
    service = checked(service, where, SERVICE, whole=False)
    placed = {key: partial(read, setting=setting) for key, read in _PLACED.items()}
    return lengthened(service, where, {**_LONG, **placed})


def no_service(name: str, node: Node) -> ComposeError:
    """Return the error for what stands where a service should."""
    return node.fault(f"services.{name} is {node.kind}, expected a mapping with image or build")


def lengthened(node: Node, name: str, readers: Mapping[str, Reader]) -> Node:
    """Return a mapping with what `readers` know in its long form."""
    entries = dict(node.value)
    for key, one in node.value.items():
        if key in readers and one.value is not None and one.tag not in (RESET, HOLLOW):
            entries[key] = readers[key](one, f"{name}.{key}")
    return node.of(entries)


def canonical_shared(node: Node, where: str) -> Node:
    """Return the networks or volumes of one file with their labels in the long form."""
    entries = {
        name: lengthened(one, f"{where}.{name}", {"labels": _labels})
        if isinstance(one.value, dict)
        else one
        for name, one in node.value.items()
    }
    return node.of(entries)


def _items(node: Node) -> list[Node]:
    """Return the items of a list, or a single one, that have a value."""
    items = node.value if isinstance(node.value, list) else [node]
    return [item for item in items if item.tag != HOLLOW]


def _pairs(node: Node, name: str, blank: str | None = "") -> Node:
    """Turn `[A=1, B]` into `{A: 1, B: blank}`, and the values to text."""
    expect(node, name, "pairs")
    if isinstance(node.value, dict):
        pairs = dict(node.value)
    else:
        pairs = {}
        for item in node.value:
            if item.tag == HOLLOW and item.value.startswith("="):
                continue
            if not isinstance(item.value, str):
                raise item.fault(f"{name} has {item.kind} in its list, expected NAME=value")
            key, given, value = item.value.partition("=")
            pairs[key] = item.of(value if given else None)
    for key, one in pairs.items():
        if isinstance(one.value, dict | list | Date):
            raise one.fault(f"{name}.{key} is {one.kind}, expected text, a number or a boolean")
        if not isinstance(one.value, str):
            pairs[key] = one.of(blank if one.value is None else as_text(one.value))
    return node.of(pairs)


def _labels(node: Node, name: str) -> Node:
    return _pairs(node, name)


def _logging(node: Node, name: str) -> Node:
    return lengthened(node, name, {"options": _pairs})


def _deploy(node: Node, name: str) -> Node:
    return lengthened(node, name, {"labels": _labels})


def _environment(node: Node, name: str, setting: Setting) -> Node:
    pairs = _pairs(node, name, None)
    for key, one in pairs.value.items():
        if key != key.rstrip() and isinstance(node.value, list):
            raise one.fault(f"{name} has the variable {key!r:.60} with a space at its end")
        if one.value is None:
            pairs.value[key] = one.of(setting.lookup(key))
    return pairs


def _texts(node: Node, name: str) -> Node:
    return node.of(unique(_items(node), name))


def _build(node: Node, name: str, setting: Setting) -> Node:
    build = {"context": node} if isinstance(node.value, str) else dict(node.value)
    context = build.get("context") or node.of(".")
    expect(context, f"{name}.context", "text")
    remote = re.match(r"[a-z+]+://|git@|github\.com/|service:|target:", context.value)
    if not remote:
        context = context.of(resolved(context.value or ".", setting.folder))
    pairs = dict.fromkeys(("additional_contexts", "args", "labels"), _pairs)
    return lengthened(
        node.of({**build, "context": context}), name, {**pairs, "extra_hosts": _hosts}
    )


def _env_file(node: Node, name: str, setting: Setting) -> Node:
    files = []
    for item in _items(node):
        entry = item.value if isinstance(item.value, dict) else {"path": item}
        path = entry.get("path")
        if path is None or not isinstance(path.value, str):
            raise item.fault(f"{name} expects a path, or a mapping with path")
        path = path.of(resolved(path.value, setting.folder))
        required, way = entry.get("required"), entry.get("format")
        if way is not None and way.value not in ("raw", ""):
            raise way.fault(f"{name} has the format {way.value!r:.60}, expected raw or none")
        if required is None or required.tag in (RESET, HOLLOW):
            required = item.of(True)
        entry = {**entry, "path": path, "required": boolean(required, f"{name}.required")}
        files.append(item.of(entry))
    return node.of(unique(files, "env_file"))


def _depends_on(node: Node, name: str) -> Node:
    if isinstance(node.value, list):
        mapping = {}
        for item in _items(node):
            expect(item, f"an entry of {name}", "text")
            mapping[item.value] = item.of({})
    else:
        mapping = {key: one.of(one.value or {}) for key, one in node.value.items()}
    for key, one in mapping.items():
        expect(one, f"{name}.{key}", "mapping")
        usual = {"condition": one.of("service_started"), "required": one.of(True)}
        mapping[key] = one.of({**usual, **one.value})
    return node.of(mapping)


def _named(node: Node, name: str) -> Node:
    if isinstance(node.value, dict):
        return node
    for item in _items(node):
        expect(item, f"an entry of {name}", "text")
    return node.of({item.value: item.of(None) for item in _items(node)})


def _hosts(node: Node, name: str) -> Node:
    expect(node, name, "pairs")
    if isinstance(node.value, list):
        return node
    pairs = ((key, item) for key, one in node.value.items() for item in _items(one))
    return node.of([item.of(f"{key}={as_text(item.value)}") for key, item in pairs])


def _gpus(node: Node, name: str) -> Node:
    if isinstance(node.value, list):
        return node
    if node.value != "all":
        raise node.fault(f"{name} is {node.value!r:.60}, expected all or a list of devices")
    return node.of([node.of({"count": node.of(-1)})])


def _ports(node: Node, name: str) -> Node:
    ports = []
    for item in _items(node):
        if isinstance(item.value, dict):
            ports.append(_long_port(item, name))
        elif isinstance(item.value, int | str) and not isinstance(item.value, bool):
            ports += _short_ports(item, name)
        else:
            raise item.fault(f"{name} has {item.kind}, expected a port such as 8000:80")
        if len(ports) > _MOST_PORTS:
            raise item.fault(f"{name} has more than {_MOST_PORTS} ports")
    return node.of(unique(ports, "ports"))


def _long_port(item: Node, name: str) -> Node:
    item = checked(stripped(item), name, PORT)
    target = item.get("target")
    if target is None:
        raise item.fault(f"{name} has a port without target: say which port of the container")
    entry = {"mode": item.of("ingress"), "protocol": item.of("tcp"), **item.value}
    entry["target"] = figure(target, f"{name}.target", parse_count)
    published = item.get("published")
    if published is not None:
        entry["published"] = published.of(as_text(published.value))
    if published is None or published.value in (None, ""):
        entry.pop("published", None)
    return item.of(entry)


def _short_ports(item: Node, name: str) -> list[Node]:
    """Expand `[HOST_IP:][PUBLISHED:]TARGET[/PROTOCOL]`, where both may be ranges."""
    spec, _, protocol = str(item.value).partition("/")
    head, _, target = spec.rpartition(":")
    address, _, published = head.rpartition(":")
    address = address[1:-1] if address.startswith("[") and address.endswith("]") else address
    targets = _range(target)
    publishes = _range(published) if published else []
    wrong = (
        not targets
        or targets[0] == 0
        or (published and not publishes)
        or (protocol or "tcp").lower() not in ("tcp", "udp", "sctp")
        or (address and not _is_address(address))
        or (publishes and len(targets) > 1 and len(publishes) != len(targets))
    )
    if wrong:
        raise item.fault(
            f"{name} has {str(item.value)!r:.60}: expected [ADDRESS:][PORT:]PORT[/PROTOCOL], "
            "such as 8000:80"
        )
    entry: dict[str, Any] = {"mode": "ingress", "protocol": (protocol or "tcp").lower()}
    if address:
        entry["host_ip"] = address
    if not publishes:
        return [_node(item, {**entry, "target": one}) for one in targets]
    if len(targets) == 1:  # the engine chooses one of the range
        ends = dict.fromkeys((publishes[0], publishes[-1]))
        chosen = "-".join(map(str, ends))
        return [_node(item, {**entry, "target": targets[0], "published": chosen})]
    both = zip(targets, publishes, strict=True)
    return [_node(item, {**entry, "target": one, "published": str(out)}) for one, out in both]


def _node(item: Node, entry: dict[str, Any]) -> Node:
    return item.of({key: item.of(value) for key, value in entry.items()})


def _range(text: str) -> list[int]:
    """Return the ports of `80` or `80-82`, none where it is neither."""
    match = re.fullmatch(r"([0-9]{1,5})(?:-([0-9]{1,5}))?", text)
    if match is None:
        return []
    first, last = int(match[1]), int(match[2] or match[1])
    return list(range(first, last + 1)) if last <= 65535 else []


def _is_address(text: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return "%" not in text  # no zone


def _volumes(node: Node, name: str, setting: Setting) -> Node:
    volumes = []
    for item in _items(node):
        if isinstance(item.value, str):
            volumes.append(_short_volume(item, name, setting))
        elif isinstance(item.value, dict):
            volumes.append(_long_volume(item, name, setting))
        else:
            raise item.fault(f"{name} has {item.kind}, expected a volume such as data:/data")
    return node.of(unique(volumes, "volumes"))


_VOLUME_TYPES = ("bind", "volume", "tmpfs", "cluster", "npipe", "image")


def _long_volume(item: Node, name: str, setting: Setting) -> Node:
    item = checked(stripped(item), name, VOLUME)
    entry = dict(item.value)
    kind, source, target = entry.get("type"), entry.get("source"), entry.get("target")
    if kind is None or kind.value not in _VOLUME_TYPES:
        said = "no type" if kind is None else f"the type {kind.value!r:.60}"
        raise item.fault(f"{name} has a volume with {said}, expected {', '.join(_VOLUME_TYPES)}")
    if target is None or not isinstance(target.value, str):
        raise item.fault(f"{name} has a volume without target: say where it is mounted")
    if kind.value == "bind":
        if source is None or not isinstance(source.value, str) or not source.value:
            raise item.fault(f"{name} has a bind mount without source: say what is mounted")
        entry["source"] = source.of(resolved(source.value, setting.folder))
    entry["target"] = target.of(_clean(target.value))
    return item.of(entry)


def _short_volume(item: Node, name: str, setting: Setting) -> Node:
    """Read `[SOURCE:]TARGET[:OPTIONS]`; a drive such as C: is part of a path."""
    parts = re.findall(r"(?:(?<![^:])[A-Za-z]:)?[^:]*(?::|\Z)", item.value)
    parts = [part[:-1] if part.endswith(":") else part for part in parts[:-1]] or [""]
    if item.value.endswith(":") or not all(parts) or len(parts) > 3:
        raise item.fault(
            f"{name} has {item.value!r:.60}: expected [SOURCE:]TARGET[:OPTIONS], such as data:/data"
        )
    source, target = (parts[0], parts[1]) if len(parts) > 1 else ("", parts[0])
    options = parts[2].split(",") if len(parts) == 3 else []
    bind = source[:1] in (".", "/", "~", "\\") or source[1:2] == ":"
    entry: dict[str, Any] = {"type": "bind" if bind else "volume"}
    if source:
        entry["source"] = resolved(source, setting.folder) if bind else source
    entry["target"] = _clean(target)
    if "ro" in options:
        entry["read_only"] = True
    return _node(item, entry)


def _clean(path: str) -> str:
    """Clean a path of a container."""
    if not path:
        return path
    cleaned = os.path.normpath(path.replace(os.sep, "/")).replace(os.sep, "/")
    return cleaned[1:] if cleaned.startswith("//") else cleaned


def resolved(path: str, folder: str) -> str:
    """Return a path of the machine as an absolute one."""
    if path.startswith("~"):  # of another user Compose knows nothing
        path = os.path.normpath(f"{os.path.expanduser('~')}/{path[1:]}")
    if os.path.isabs(path) or re.match(r"[A-Za-z]:[\\/]|\\\\", path):
        return path
    return os.path.normpath(os.path.join(folder, path))


_LONG: dict[str, Reader] = {
    **dict.fromkeys(("annotations", "labels", "sysctls"), _labels),
    **dict.fromkeys(("dns", "dns_search", "label_file", "tmpfs"), _texts),
    "depends_on": _depends_on,
    "deploy": _deploy,
    "extra_hosts": _hosts,
    "gpus": _gpus,
    "logging": _logging,
    "models": _named,
    "networks": _named,
    "ports": _ports,
}
_PLACED: dict[str, Callable[..., Node]] = {
    "build": _build,
    "env_file": _env_file,
    "environment": _environment,
    "volumes": _volumes,
}
"""What depends on the project's folder or variables."""
