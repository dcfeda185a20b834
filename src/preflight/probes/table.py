"""The table of probes: what each declares, and the reader process that it runs in."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from preflight.model.facts import Fact, Measured
from preflight.probes import disk, docker, env, host
from preflight.probes.options import Options
from preflight.probes.spawn import Reader


@dataclass(frozen=True, slots=True)
class Probe:
    """One subject. `late` says what it means for the subject that time ran out."""

    name: str
    reader: Reader
    facts: Iterable[Fact]
    measure: Callable[[Options], Iterator[Measured]]
    late: Callable[[str], Iterator[Measured]] | None = None


PROBES = (
    Probe("host", "host", host.FACTS, host.measure),
    Probe("disk", "host", disk.FACTS, disk.measure),
    Probe("env", "host", env.FACTS, env.measure),
    Probe("docker", "engine", docker.FACTS, docker.measure, docker.late),
)

