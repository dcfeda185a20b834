"""The table of probes, and what each declares."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import NamedTuple

from preflight.model.facts import Fact, Measured
from preflight.probes import disk, docker, env, host
from preflight.probes.options import Options


class Probe(NamedTuple):
    """One subject. `late` says what it means for the subject that time ran out."""

    name: str
    facts: tuple[Fact, ...]
    measure: Callable[[Options], Iterator[Measured]]
    late: Callable[[str], Iterator[Measured]] | None = None


PROBES = (
    Probe("host", host.FACTS, host.measure),
    Probe("disk", disk.FACTS, disk.measure),
    Probe("docker", docker.FACTS, docker.measure, docker.late),
)

FACTS = tuple(fact for probe in PROBES for fact in probe.facts) + env.FACTS
