"""The figures of a merged service: sizes in bytes, cores, counts, booleans."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from preflight.facts.compose.known import DEVICE, checked, expect
from preflight.facts.compose.nodes import HOLLOW, Node
from preflight.facts.compose.sizes import parse_cores, parse_count, parse_size


def settled(name: str, service: Node) -> Node:
    """Return a merged service with its figures read; raises ComposeError for one that is none."""
    result = _settled(service, f"services.{name}", _FIGURES)
    scale, deploy = result.get("scale"), result.get("deploy")
    if scale and deploy and deploy.value is not None and "replicas" not in deploy.value:
        deploy = deploy.of({**deploy.value, "replicas": scale})
        return result.of({**result.value, "deploy": deploy})
    return result


def _settled(node: Node, where: str, figures: dict[str, Any]) -> Node:
    entries = dict(node.value)
    for key, reader in figures.items():
        below = entries.get(key)
        if below is None or below.value is None:
            continue
        if isinstance(reader, dict):
            entries[key] = _settled(below, f"{where}.{key}", reader)
        elif below.tag == HOLLOW:
            del entries[key]
        else:
            entries[key] = reader(below, f"{where}.{key}")
            if reader is _size and entries[key].value == "0":
                del entries[key]  # nought is how Compose writes none
    return node.of(entries)


def figure(node: Node, name: str, read: Callable[[Any], Any]) -> Node:
    """Return a value as it is read; raises ComposeError where it can't be."""
    try:
        return node.of(read(node.value))
    except ValueError as fault:
        raise node.fault(f"{name}: {fault}") from None


def _size(node: Node, name: str) -> Node:
    """Sizes become text of bytes; a number is one of bytes already, -1 none.

    A broken number such as 1e9 is none either: Compose drops it without a word.
    """
    if isinstance(node.value, str):
        return figure(node, name, lambda text: str(parse_size(text)))
    if isinstance(node.value, float):
        return node.of("0")
    return figure(node, name, lambda number: str(_whole_bytes(number)))


def _whole_bytes(number: float) -> int:
    if not abs(number) < 2**63:
        raise ValueError("it is too large for a size")
    return int(number)


def _count(node: Node, name: str) -> Node:
    count = figure(node, name, parse_count)
    if count.value < 0:
        raise node.fault(f"{name} is {count.value}: it must be 0 or more")
    return count


def _pids(node: Node, name: str) -> Node:
    return figure(node, name, parse_count)


def _cores(node: Node, name: str) -> Node:
    return figure(node, name, parse_cores)


def _name(node: Node, name: str) -> Node:
    if not re.search(r"[a-zA-Z0-9][a-zA-Z0-9_.-]+", node.value):
        raise node.fault(f"{name} is {node.value!r:.60}: expected two letters or digits at least")
    return node


def _words(node: Node, name: str) -> Node:
    for item in node.value if isinstance(node.value, list) else ():
        expect(item, f"a part of {name}", "text")
    return node


def boolean(node: Node, name: str) -> Node:
    """Return a boolean as it is read; raises ComposeError for what is none."""
    if isinstance(node.value, bool):
        return node
    word = str(node.value).lower()
    if word not in _BOOLEANS:
        raise node.fault(f"{name} is {word!r:.60}, expected true or false")
    return node.of(_BOOLEANS[word])


_BOOLEANS = {
    **dict.fromkeys(("true", "yes", "y", "on"), True),
    **dict.fromkeys(("false", "no", "n", "off"), False),
}


def _devices(node: Node, name: str) -> Node:
    return node.of([_device(one, f"{name}.{index}") for index, one in enumerate(node.value)])


def _device(node: Node, name: str) -> Node:
    expect(node, name, "mapping")
    node = checked(node, name, DEVICE)
    count, ids = node.get("count"), node.get("device_ids")
    if count and ids:
        raise node.fault(f"{name}: count and device_ids exclude each other")
    if ids:
        return node
    if count is None or count.value == "all":
        return node.of({**node.value, "count": (count or node).of(-1)})
    return node.of({**node.value, "count": figure(count, f"{name}.count", parse_count)})


def _mounts(node: Node, name: str) -> Node:
    mounts = [_settled(one, name, {"read_only": boolean}) for one in node.value]
    return node.of([_settled(one, name, {"tmpfs": {"size": _size}}) for one in mounts])


_FIGURES: dict[str, Any] = {
    "cpus": _cores,
    "mem_limit": _size,
    "mem_reservation": _size,
    "memswap_limit": _size,
    "shm_size": _size,
    "pids_limit": _pids,
    "scale": _count,
    "gpus": _devices,
    "volumes": _mounts,
    "deploy": {
        "replicas": _count,
        "resources": {
            "limits": {"memory": _size, "cpus": _cores, "pids": _pids},
            "reservations": {"memory": _size, "cpus": _cores, "devices": _devices},
        },
    },
    "container_name": _name,
    **dict.fromkeys(("command", "entrypoint", "profiles"), _words),
    **dict.fromkeys(("init", "privileged", "read_only", "tty", "stdin_open"), boolean),
}
