"""Names of facts and rules that earlier versions had: still known, without effect.

An override, a waiver, `--only` or `--skip` that names a retired rule is ignored and a note says so.
A retired fact is unknown, with the reason given here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from preflight.model.facts import Unit

_UNPLACED = "docker.swarm.unplaced replaces it"
_PLACED = "swarm-tasks-placed replaces it"

RETIRED_FACTS: Mapping[str, tuple[Unit, str]] = {  # by path: unit, and what to use instead
    "docker.swarm.packed.state": ("text", _UNPLACED),
    "docker.swarm.packed.unplaced": ("list", _UNPLACED),
    "docker.swarm.packed.reason": ("text", _UNPLACED),
    "docker.swarm.loss.node": ("text", "nothing replaces it"),
    "docker.swarm.loss.state": ("text", "nothing replaces it"),
    "docker.swarm.loss.unplaced": ("list", "nothing replaces it"),
    "docker.swarm.loss.reason": ("text", "nothing replaces it"),
    "docker.swarm.services.*.error": ("text", "docker.swarm.services.*.reason replaces it"),
}
RETIRED_RULES: Mapping[str, str] = {  # by id: what to use instead
    "swarm-tasks-packed": _PLACED,
    "swarm-tasks-would-pack": _PLACED,
    "swarm-node-lost": "nothing replaces it",
}


def describe_retired_rule(rule: str) -> str:
    """Return the note about a retired rule."""
    return f"rule {rule} no longer exists: {RETIRED_RULES[rule]}"
