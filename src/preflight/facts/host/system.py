"""The machine this process runs on: memory, swap, CPU, system, and the limits on the process.

psutil doesn't know control groups, so limits are read beside it.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.engine.connection import Engine, differing_info_key
from preflight.facts.engine.locality import in_container
from preflight.facts.host.cgroups import Cgroups, Limit
from preflight.model.facts import Measured, Unknown, UnknownKind

_SYSTEMS = {"win32": "windows", "cygwin": "windows"}
_FAULTS: dict[int | None, UnknownKind] = {
    errno.EACCES: "permission",
    errno.EPERM: "permission",
    errno.EINVAL: "invalid",
}


def measure(context: MeasureContext, root: Path = Path("/")) -> Iterator[Measured]:
    """Yield the host's facts; where one subject can't be read, the others still are.

    Last comes what the engine is asked for: the machine's name, which a container hides.
    """
    failed = None
    for subject in (_system, _memory, _swap, _cpu, lambda root: _hostname(context, root)):
        try:
            yield from subject(root)
        except Exception as fault:  # noqa: BLE001 - raised again once the others are read
            failed = fault
    if failed is not None:
        raise failed


def late(_machine: MeasureContext, _how_long: str) -> Iterator[Measured]:
    """Yield the name that this process knows: the engine doesn't say another."""
    yield _text("hostname", platform.node(), "platform.node()")


def _hostname(context: MeasureContext, root: Path) -> Iterator[Measured]:
    engine = context.engine_locality().engine if in_container(root)[0] else None
    if isinstance(engine, Engine) and engine.endpoint.local and not differing_info_key(engine):
        name = engine.info.get("Name")
        if isinstance(name, str) and name:
            yield _text("hostname", name, "GET /info Name")
            return
    yield _text("hostname", platform.node(), "platform.node()")


def _system(root: Path) -> Iterator[Measured]:
    yield Measured(("host", "os"), _SYSTEMS.get(sys.platform, sys.platform), "sys.platform")
    yield _text("arch", platform.machine(), "platform.machine()")
    yield _text("kernel", platform.release(), "platform.release()")
    yield Measured(("host", "container"), *in_container(root))


def _text(name: str, value: str, source: str) -> Measured:
    path = ("host", name)
    return Measured(path, value or Unknown(f"{source} says nothing"), source)


def _memory(root: Path) -> Iterator[Measured]:
    import psutil

    source = "psutil.virtual_memory()"
    memory = _asked(psutil.virtual_memory, source)
    total = _positive(memory, f"{source}.total", "total")
    yield Measured(("host", "memory", "total"), total, f"{source}.total")
    source += ".available"
    available = _positive(memory, source, "available")
    if isinstance(total, int) and isinstance(available, int):
        back = _arc_shrinkable(root)
        if 0 < back <= total - available:  # else not counted as used: the figures are a container's
            available, source = available + back, f"{source} and what the ZFS ARC can give back"
    yield Measured(("host", "memory", "available"), available, source)
    limit = _limit(lambda: Cgroups(root).memory_limit())
    yield _limited(("host", "memory", "limit"), limit)
    usable = _least(total, limit)
    yield Measured(("host", "memory", "usable"), usable, "min(total, limit)")


def _swap(_root: Path) -> Iterator[Measured]:
    import psutil

    source = "psutil.swap_memory()"
    swap = _asked(psutil.swap_memory, source)
    for name in ("total", "free"):
        if isinstance(swap, Unknown):
            yield Measured(("host", "swap", name), swap)
        elif swap.total:
            yield Measured(("host", "swap", name), getattr(swap, name), f"{source}.{name}")
        else:
            yield Measured(("host", "swap", name), None, f"{source}: no swap")


def _cpu(root: Path) -> Iterator[Measured]:
    import psutil

    source = "psutil.cpu_count()"
    logical = _positive(_asked(psutil.cpu_count, source), source)
    yield Measured(("host", "cpu", "logical"), logical, source)
    source = "psutil.cpu_count(logical=False)"
    physical = _positive(_asked(lambda: psutil.cpu_count(logical=False), source), source)
    yield Measured(("host", "cpu", "physical"), physical, source)
    affinity: int | Unknown = logical
    source = "psutil.cpu_count(), no affinity here"
    if hasattr(os, "sched_getaffinity"):
        affinity, source = len(os.sched_getaffinity(0)), "os.sched_getaffinity"
    quota = _limit(lambda: Cgroups(root).cpu_quota())
    if isinstance(quota, Limit) and quota.value is not None:
        source = f"min({source}, {quota.source})"
    yield Measured(("host", "cpu", "usable"), _least(affinity, quota), source)


def _asked(ask: Callable[[], Any], source: str) -> Any | Unknown:
    """Return what psutil says, or that it couldn't: then only this figure is lost."""
    try:
        return ask()
    except Exception as fault:  # noqa: BLE001 - psutil raises what its parsing of /proc meets
        return Unknown(f"{source} failed: {type(fault).__name__}: {fault}", "error")


def _positive(said: Any | Unknown, source: str, name: str = "") -> int | Unknown:
    """Return a figure, or the one of this name; zero and nothing are none."""
    if isinstance(said, Unknown):
        return said
    value: int | None = getattr(said, name) if name else said
    return value or Unknown(f"{source} says {value}")


def _limit(read: Callable[[], Limit]) -> Limit | Unknown:
    if not sys.platform.startswith("linux"):
        return Unknown("control groups are Linux's", "unsupported")
    try:
        return read()
    except OSError as fault:
        reason = f"{fault.filename}: {fault.strerror}" if fault.filename else str(fault)
        return Unknown(reason, _FAULTS.get(fault.errno, "unavailable"))


def _limited(path: tuple[str, ...], limit: Limit | Unknown) -> Measured:
    if isinstance(limit, Unknown):
        return Measured(path, limit)
    return Measured(path, limit.value, limit.source)


def _least(total: float | Unknown, limit: Limit | Unknown) -> float | Unknown:
    """The lower of both; where there are no control groups by nature, the total."""
    if isinstance(total, Unknown):
        return total
    if isinstance(limit, Unknown):
        return total if limit.kind == "unsupported" else limit
    return total if limit.value is None else min(total, limit.value)


def _arc_shrinkable(root: Path) -> int:
    """Bytes that the ZFS cache gives back under pressure; Linux counts them as used."""
    try:
        text = (root / "proc/spl/kstat/zfs/arcstats").read_text(encoding="ascii")
        rows = {name: int(value) for name, _, value in map(str.split, text.splitlines()[2:])}
        return max(0, rows["size"] - rows["c_min"])
    except (OSError, ValueError, KeyError):
        return 0
