"""How one compose file is laid over another, and a service over the one that it extends.

Both sides are in their long form already. Source: compose-spec/compose-go, override.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from preflight.facts.compose.nodes import OVERRIDE, RESET, Node

_REPLACED = {"command", "entrypoint"}
_ADDED = {"devices", "gpus"}  # lists of mappings where nothing says which are the same


def merge(base: Node, over: Node, path: tuple[str, ...] = ()) -> Node:
    """Return `base` with `over` laid over it; raises ComposeError where their types differ."""
    reset = RESET in (base.tag, over.tag) or over.tag == OVERRIDE
    if reset or base.value is None or _replaces(base, over, path):
        return over
    if over.value is None:
        return over if path[2:-1] == ("environment",) else base
    if isinstance(base.value, dict) and isinstance(over.value, dict):
        return base.of(_merged(base.value, over.value, path))
    if isinstance(base.value, list) and isinstance(over.value, list):
        return over.of(unique(base.value + over.value, path[-1]))
    if isinstance(base.value, dict | list) or isinstance(over.value, dict | list):
        raise over.fault(
            f"cannot override {'.'.join(path)}: it is {over.kind} here, and {base.kind} "
            f"at {base.file}:{base.line}"
        )
    return over


def _merged(base: dict[str, Node], over: dict[str, Node], path: tuple[str, ...]) -> Any:
    result = dict(base)
    for key, value in over.items():
        before = result.get(key)
        if before is None or key.startswith("x-"):
            result[key] = value
        else:
            result[key] = merge(before, value, (*path, key))
    return result


def _replaces(base: Node, over: Node, path: tuple[str, ...]) -> bool:
    """Whether a value takes the place of the former one as a whole."""
    if path[:1] != ("services",) or len(path) < 3:
        return False
    if path[2:] == ("logging",):
        drivers = [driver.value for one in (base, over) if (driver := one.get("driver"))]
        return len(drivers) == 2 and drivers[0] != drivers[1]
    if path[2] == "ulimits":
        return len(path) == 4
    return path[2] in _REPLACED or path[2:] == ("healthcheck", "test")


def unique(items: list[Node], key: str) -> list[Node]:
    """Drop what a later item of the list takes the place of."""
    if key in _ADDED:
        return items
    identify = _KEYS.get(key, _whole)
    seen: dict[Any, Node] = {}
    for item in items:
        seen[identify(item)] = item
    return list(seen.values())


def port_key(item: Node) -> Any:
    """Name the port that an item is about."""
    port = {key: one.value for key, one in item.value.items()}
    host, protocol = port.get("host_ip") or "0.0.0.0", port.get("protocol") or "tcp"
    return host, str(port.get("published") or ""), port.get("target"), protocol


def _field(name: str) -> Callable[[Node], Any]:
    def identify(item: Node) -> Any:
        found = item.get(name)
        return _whole(item) if found is None else found.value

    return identify


def _whole(item: Node) -> Any:
    return repr(item.plain())


_KEYS: dict[str, Callable[[Node], Any]] = {
    "ports": port_key,
    "volumes": _field("target"),
    "env_file": _field("path"),
}


def stripped(node: Node) -> Node:
    """Return it without what is still marked for a reset."""
    if isinstance(node.value, dict):
        kept = {key: stripped(one) for key, one in node.value.items() if one.tag != RESET}
        return node.of(kept)
    return node
