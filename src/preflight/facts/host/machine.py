"""The machine this process runs on: memory, swap, CPU, system, and the limits on the process.

psutil doesn't know control groups, so their limits are read beside it.
"""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.engine.api import text_or_none
from preflight.facts.engine.locality import find_differing_info_key, is_in_container
from preflight.facts.host.kernel import Cgroups, explain_os_error
from preflight.model.facts import Measured, Unknown


def measure(context: MeasureContext, root: Path = Path("/")) -> Iterator[Measured]:
    """Yield the host's facts; the hostname last, because a container asks the engine for it."""
    yield from _measure_memory(root)
    yield from _measure_cpu(root)
    yield _host_fact("os", "windows" if sys.platform == "win32" else sys.platform, "sys.platform")
    yield _host_fact("arch", platform.machine(), "platform.machine()")
    yield _host_fact("kernel", platform.release(), "platform.release()")
    inside, evidence = is_in_container(root)
    yield _host_fact("container", inside, evidence)
    name, source = _read_nonzero(platform.node, "platform.node()")
    engine = context.engine_or_unknown() if inside else None
    if isinstance(engine, Engine) and engine.api.endpoint.is_local:
        machine_name = text_or_none(engine.info.get("Name"))
        if machine_name and find_differing_info_key(engine.name, engine.info) is None:
            name, source = machine_name, "GET /info Name"
    yield _host_fact("hostname", name, source)


def _host_fact(name: str, value: Any, source: str) -> Measured:
    return Measured(("host", *name.split(".")), value, source)


def _measure_memory(root: Path) -> Iterator[Measured]:
    import psutil

    total, source = _read_nonzero(
        lambda: psutil.virtual_memory().total, "psutil.virtual_memory().total"
    )
    yield _host_fact("memory.total", total, source)
    available, source = _read_nonzero(
        lambda: psutil.virtual_memory().available, "psutil.virtual_memory().available"
    )
    if isinstance(total, int) and isinstance(available, int):
        arc = _read_arc_shrinkable(root)
        # a larger cache isn't counted in these figures: they are those of a container (lxcfs)
        if 0 < arc <= total - available:
            available, source = available + arc, f"{source} and what the ZFS ARC can give back"
    yield _host_fact("memory.available", available, source)
    limit, source = _read_cgroup_limit("memory", root)
    yield _host_fact("memory.limit", limit, source)
    source = "min(host.memory.total, host.memory.limit)"
    yield _host_fact("memory.usable", _lower_of_total_and_limit(total, limit), source)
    swap, source = _read_nonzero(psutil.swap_memory, "psutil.swap_memory()")
    for name in ("total", "free"):
        value = swap if isinstance(swap, Unknown) else getattr(swap, name) if swap.total else None
        yield _host_fact(f"swap.{name}", value, f"{source}.{name}")


def _measure_cpu(root: Path) -> Iterator[Measured]:
    import psutil

    physical = _read_nonzero(
        lambda: psutil.cpu_count(logical=False), "psutil.cpu_count(logical=False)"
    )
    yield _host_fact("cpu.physical", *physical)
    usable, source = _read_nonzero(psutil.cpu_count, "psutil.cpu_count()")
    yield _host_fact("cpu.logical", usable, source)
    if hasattr(os, "sched_getaffinity"):
        usable, source = len(os.sched_getaffinity(0)), "os.sched_getaffinity"
    quota, quota_source = _read_cgroup_limit("cpu", root)
    if isinstance(quota, int | float):
        source = f"min({source}, {quota_source})"
    yield _host_fact("cpu.usable", _lower_of_total_and_limit(usable, quota), source)


def _read_nonzero(read: Callable[[], Any], source: str) -> tuple[Any | Unknown, str]:
    """Return a figure and its source; zero and None are unknown, and so is one that fails."""
    try:
        value = read()
    except Exception as error:  # noqa: BLE001 - psutil raises what its parsing of /proc meets
        return Unknown(f"{source} failed: {type(error).__name__}: {error}", "error"), source
    return value or Unknown(f"{source} reports {value or 'nothing'}"), source


def _read_cgroup_limit(controller: str, root: Path) -> tuple[float | Unknown | None, str]:
    if not sys.platform.startswith("linux"):
        return Unknown("only Linux has control groups", "unsupported"), ""
    try:
        return Cgroups(root).limit(controller)
    except OSError as error:
        return explain_os_error(error), ""


def _lower_of_total_and_limit(
    total: float | Unknown, limit: float | Unknown | None
) -> float | Unknown:
    """Return the lower of both; the total where the system has no control groups."""
    if isinstance(total, Unknown) or limit is None:
        return total
    if isinstance(limit, Unknown):
        return total if limit.kind == "unsupported" else limit
    return min(total, limit)


def _read_arc_shrinkable(root: Path) -> int:
    """Return the bytes that the ZFS cache gives back under pressure; Linux counts them as used."""
    try:
        text = (root / "proc/spl/kstat/zfs/arcstats").read_text(encoding="ascii")
        figures = dict(re.findall("^(size|c_min) +4 +([0-9]+)$", text, re.MULTILINE))
        return max(0, int(figures["size"]) - int(figures["c_min"]))
    except (OSError, KeyError):
        return 0
