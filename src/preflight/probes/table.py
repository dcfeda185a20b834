"""The table of probes, and what each declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from preflight.model.facts import Fact, Measured, Unknown
from preflight.probes import disk, docker, env, host, model, ollama, ports, stack, start
from preflight.probes.compose import facts as compose
from preflight.probes.machine import Machine


class Probe(NamedTuple):
    """One subject. `late` says what it means for the subject that time ran out."""

    name: str
    facts: tuple[Fact, ...]
    measure: Callable[[Machine], Iterator[Measured]]
    late: Callable[[str], Iterator[Measured]] | None = None


PROBES = (
    Probe("host", host.FACTS, host.measure),
    Probe("disk", disk.FACTS, disk.measure),
    Probe("docker", docker.FACTS, docker.measure, docker.late),
    Probe("compose", compose.FACTS, compose.measure),
    Probe("start", start.FACTS, start.measure),
    Probe("ports", ports.FACTS, ports.measure),
    Probe("stack", stack.FACTS, stack.measure),
    Probe("ollama", ollama.FACTS, ollama.measure),
)

FACTS = tuple(fact for probe in PROBES for fact in probe.facts) + model.FACTS + env.FACTS


def missing(probe: Probe, reason: Unknown) -> Iterator[Measured]:
    """Yield an Unknown for everything that a probe declares, for whole collections too."""
    paths = (tuple(fact.path.split(".")) for fact in probe.facts)
    declared = dict.fromkeys(p[: p.index("*")] if "*" in p else p for p in paths)
    return (Measured(path, reason) for path in declared)
