"""Where memory goes and where it runs out: the rows and bars that text and HTML draw."""

from math import inf
from typing import NamedTuple

from preflight.model.report import MemoryBreakdown, MemoryConstraint
from preflight.render.layout import TextLayout, pad_to_width

_BAR_CELLS = 24
_MAX_NAME_COLUMNS = 34
_BAR_NEEDED_CELL, _BAR_LIMIT_CELL = "▇", "▒"


class MemoryRow(NamedTuple):
    """What takes memory: its figures as text, and its place on one scale, in bytes.

    From `start` to `end` it is reserved or needed, to `top` it may grow; up to `room` there is
    memory for it.
    """

    name: str
    needed: str
    limit: str
    start: float
    end: float
    top: float
    room: float

    @property
    def needed_and_limit(self) -> str:
        """Both figures, `0.5 … 2.0 GiB`."""
        if not self.limit:
            return self.needed
        unit = " GiB" if self.limit.endswith(" GiB") else ""
        return f"{self.needed.removesuffix(unit)} … {self.limit}"


def has_memory_table_rows(memory: MemoryBreakdown) -> bool:
    """Whether there is something to draw: a service, and the memory that it shares."""
    return bool(memory.services) and (memory.host is not None or memory.docker is not None)


def make_available_memory_rows(memory: MemoryBreakdown) -> list[MemoryRow]:
    """Return the memory of the host and of Docker, as far as they are known."""
    rooms = {"host": memory.host, "Docker": memory.docker}
    return [
        MemoryRow(name, format_gib(room), "", 0, room, 0, room)
        for name, room in rooms.items()
        if room is not None
    ]


def make_needed_memory_rows(memory: MemoryBreakdown) -> list[MemoryRow]:
    """Return what takes memory; each service begins where the reservations before it end.

    The overhead begins after them all: it is the host's, and Docker's memory is for services only.
    """
    room = min(row.room for row in make_available_memory_rows(memory))
    rows = []
    start = 0.0
    for service in memory.services:
        end = start + (service.reservation or 0) * service.replicas
        top = inf if service.limit is None else start + service.limit * service.replicas
        name = service.name if service.replicas == 1 else f"{service.name} × {service.replicas}"
        needed = "0 GiB" if service.reservation is None else format_gib(service.reservation)
        limit = "no limit" if service.limit is None else format_gib(service.limit)
        rows.append(MemoryRow(name, needed, limit, start, end, top, room))
        start = end
    if memory.overhead is not None:  # no rule says what the system takes
        host, end = room if memory.host is None else memory.host, start + memory.overhead
        overhead = format_gib(memory.overhead)
        rows.insert(0, MemoryRow("system overhead", overhead, "", start, end, 0, host))
    if memory.model is not None:
        needed, budget = format_gib(memory.model_memory), memory.model_budget
        limit = "" if budget is None else format_gib(budget)
        end, room = memory.model_memory or 0, inf if budget is None else budget
        rows.append(MemoryRow(f"model {memory.model}", needed, limit, 0, end, budget or 0, room))
    return rows


def add_memory_rows(layout: TextLayout, memory: MemoryBreakdown) -> None:
    """Add the rows with their bars, and the tightest constraint."""
    if not has_memory_table_rows(memory):
        return
    available = make_available_memory_rows(memory)
    whole = max(1, *(row.room for row in available))
    layout.add_blank_line()
    layout.add_line(("Memory", "bold"), f"   {available[0].name} {available[0].needed}")
    rows = make_needed_memory_rows(memory)
    width = min(_MAX_NAME_COLUMNS, max(len(row.name) for row in rows))
    figures = max(len(row.needed_and_limit) for row in rows)
    for row in rows:
        high = 0 if row.top == inf else row.top - row.start
        drawn = format_memory_bar(row.end - row.start, high, whole, _BAR_CELLS)
        figure = pad_to_width(row.needed_and_limit, figures, right=True)
        layout.add_line(f"  ├ {pad_to_width(row.name, width)}  {figure}  ", (drawn, "cyan"))
    if (tightest := memory.tightest) is None:
        layout.add_line(f"  └ Docker memory: {format_gib(memory.docker)}")
    else:
        has, spare = format_constraint(tightest)
        layout.add_line(f"  └ {has}: ", (spare, "bold red" if tightest.spare < 0 else "dim"))


def format_constraint(constraint: MemoryConstraint) -> tuple[str, str]:
    """Say what is available, and how that compares with what is required."""
    names = {"host": "the host has", "docker": "Docker has", "model": "the model may use"}
    spare = constraint.spare
    difference = f"{format_gib(-spare)} less" if spare < 0 else f"{format_gib(spare)} more"
    available = f"{names[constraint.where]} {format_gib(constraint.available)}"
    return available, f"{difference} than {constraint.required_by}"


def format_memory_bar(low: float, high: float, whole: float, cells: int) -> str:
    """Return a bar: full up to `low`, light from there to `high`; `whole` is all the cells."""
    if whole <= 0:
        return ""
    full = min(cells, max(1 if low else 0, round(low / whole * cells)))
    light = min(cells, round(high / whole * cells)) - full
    return _BAR_NEEDED_CELL * full + _BAR_LIMIT_CELL * max(0, light)


def format_gib(value: float | None) -> str:
    """Write a size in GiB, so that all sizes can be compared and added up."""
    if value is None:
        return "unknown"
    return f"{value / 2**30:.1f} GiB" if value == 0 or value >= 2**30 / 20 else "< 0.1 GiB"
