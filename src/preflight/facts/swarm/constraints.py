"""Placement constraints, read and held against a node exactly as the scheduler does it.

Keys and values fold case, names of labels don't; a constraint on what nobody has (a key that
doesn't exist, a malformed address) is met by no node. Source: moby/swarmkit, manager/constraint.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from typing import NamedTuple

from preflight.facts.engine.responses import text_or_none
from preflight.facts.swarm.cluster import Node

_KEY = re.compile(r"[a-z_][a-z0-9\-_.]+", re.IGNORECASE | re.ASCII)
_VALUE = re.compile(r"[a-z0-9:\-_\s.*()?+\[\]\\^$|/]+", re.IGNORECASE | re.ASCII)
_NODE_LABEL, _ENGINE_LABEL = "node.labels.", "engine.labels."


class ConstraintError(ValueError):
    """What Swarm says of a constraint that it refuses."""


class Constraint(NamedTuple):
    """`key == value`, or `key != value` where it isn't `equal`."""

    key: str
    equal: bool
    value: str


def parse(written: str) -> Constraint:
    """Read a constraint such as `node.labels.disk==ssd`; raises ConstraintError."""
    operator = next((one for one in ("==", "!=") if one in written), None)
    if operator is None:
        raise ConstraintError("constraint expected one operator from ==, !=")
    key, value = (part.strip() for part in written.split(operator, 1))
    if not _KEY.fullmatch(key):
        raise ConstraintError(f"key '{key}' is invalid")
    if not _VALUE.fullmatch(value):
        raise ConstraintError(f"value '{value}' is invalid")
    return Constraint(key, operator == "==", value)


def meets(node: Node, constraints: Iterable[Constraint]) -> bool:
    """Whether a node meets them all."""
    return all(_met(node, one) for one in constraints)


def _met(node: Node, constraint: Constraint) -> bool:
    if constraint.key.lower() == "node.ip":
        return _in_network(node.address, constraint)
    found = _value(node, constraint.key)
    if found is None:
        return False
    return (constraint.value.casefold() == found.casefold()) is constraint.equal


def _value(node: Node, key: str) -> str | None:
    """Return what a node has under a key, nothing where it has none, None for no such key."""
    folded = key.lower()
    if folded.startswith(_NODE_LABEL) and folded != _NODE_LABEL:
        return node.labels.get(key[len(_NODE_LABEL) :], "")
    if folded.startswith(_ENGINE_LABEL) and folded != _ENGINE_LABEL:
        return node.engine_labels.get(key[len(_ENGINE_LABEL) :], "")
    return {
        "node.id": node.id,
        "node.hostname": node.hostname,
        "node.role": node.role or "",
        "node.platform.os": text_or_none(node.platform.get("OS")) or "",
        "node.platform.arch": text_or_none(node.platform.get("Architecture")) or "",
    }.get(folded)


def _in_network(address: str, constraint: Constraint) -> bool:
    """Whether an address is, or isn't, the one or in the network that a constraint names."""
    try:
        network = ipaddress.ip_network(constraint.value, strict=False)
    except ValueError:
        return False
    try:
        within = ipaddress.ip_address(address) in network
    except ValueError:
        within = False
    return within is constraint.equal
