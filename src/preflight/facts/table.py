"""The table of probes: what each declares, and the module that measures it.

The module is imported in the reader alone. It has `measure(machine)`, and where all of it is of
the project `measure(machine, project)`; also `late(machine, how_long)` where it means something
for the subject that time ran out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from importlib import import_module
from typing import Any, NamedTuple

from preflight.facts import catalogue as declared
from preflight.model.facts import Fact, Measured, Unknown

NO_FILE = "no compose file here"


class Probe(NamedTuple):
    """One subject; `of_project` where there is nothing to measure without a project."""

    facts: tuple[Fact, ...]
    module: str
    of_project: bool = False

    def load(self) -> Any:
        """Import the module."""
        return import_module(f"preflight.facts.{self.module}")


PROBES = (
    Probe(declared.HOST, "host.system"),
    Probe(declared.DISK, "host.disk"),
    Probe(declared.DOCKER, "engine.engine_facts"),
    Probe(declared.COMPOSE, "compose.facts"),
    Probe(declared.START, "start", of_project=True),
    Probe(declared.PORTS, "ports", of_project=True),
    Probe(declared.STACK, "stack.containers", of_project=True),
    Probe(declared.SWARM, "swarm"),
    Probe(declared.OLLAMA, "ollama.ollama_facts"),
)

FACTS = tuple(fact for probe in PROBES for fact in probe.facts) + declared.MODEL + declared.ENV


def missing(probe: Probe, reason: Unknown) -> Iterator[Measured]:
    """Yield an Unknown for everything that a probe declares, for whole collections too."""
    return (Measured(path, reason) for path in _declared(probe))


def without_project(probe: Probe, why: Unknown | None) -> Iterator[Measured]:
    """Yield what is known without a project: why its file can't be used, or that there is none.

    Of what there is none nothing is there, and the engine is not asked.
    """
    if why is not None:
        yield from missing(probe, why)
        return
    asked = Unknown("asked only where there is a compose file")
    for path in _declared(probe):
        yield Measured(path, asked if path[0] == "docker" else None, NO_FILE)


def _declared(probe: Probe) -> Iterable[tuple[str, ...]]:
    paths = (tuple(fact.path.split(".")) for fact in probe.facts)
    return dict.fromkeys(p[: p.index("*")] if "*" in p else p for p in paths)
