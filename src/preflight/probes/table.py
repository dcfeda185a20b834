"""The table of probes: what each declares, and the module that measures it.

The module is imported in the reader alone; it has `measure(machine)`, and `late(how_long)` where
it means something for the subject that time ran out.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module
from typing import Any, NamedTuple

from preflight.model.facts import Fact, Measured, Unknown
from preflight.probes import declared


class Probe(NamedTuple):
    """One subject."""

    facts: tuple[Fact, ...]
    module: str

    def load(self) -> Any:
        """Import the module."""
        return import_module(f"preflight.probes.{self.module}")


PROBES = (
    Probe(declared.HOST, "host"),
    Probe(declared.DISK, "disk"),
    Probe(declared.DOCKER, "docker"),
    Probe(declared.COMPOSE, "compose.facts"),
    Probe(declared.START, "start"),
    Probe(declared.PORTS, "ports"),
    Probe(declared.STACK, "stack"),
    Probe(declared.OLLAMA, "ollama"),
)

FACTS = tuple(fact for probe in PROBES for fact in probe.facts) + declared.MODEL + declared.ENV


def missing(probe: Probe, reason: Unknown) -> Iterator[Measured]:
    """Yield an Unknown for everything that a probe declares, for whole collections too."""
    paths = (tuple(fact.path.split(".")) for fact in probe.facts)
    named = dict.fromkeys(p[: p.index("*")] if "*" in p else p for p in paths)
    return (Measured(path, reason) for path in named)
