"""The memory ledger as a picture: what stands where on one scale, in percent of its width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from preflight.model.report import MemoryBreakdown, ServiceMemory
from preflight.render.ledger import most, named, reservation, size, told
from preflight.render.sanitize import short

_MOST_BARS = 20  # services that have a bar of their own; the eye compares no more
_WIDEST = 24  # characters of a name that leave room for its figures on a phone


class Bar(NamedTuple):
    """One line: a name, its figures, and a bar.

    From `start` to `end` is what is needed, as far as `room` it is there; to `top` it may grow.
    """

    name: str
    figure: str
    start: float
    end: float
    room: float
    top: float

    @property
    def parts(self) -> Iterator[tuple[str, float, float]]:
        """Yield what is to be drawn: its kind, where it begins, how wide it is."""
        for kind, start, end in (
            ("sure", self.start, min(self.end, self.room)),
            ("over", max(self.start, self.room), self.end),
            ("may", self.end, self.top),
        ):
            if end > start:
                yield kind, start, round(end - start, 2)


class Picture(NamedTuple):
    """What there is, above what is asked of it; `marks` are the ends of what there is."""

    there: tuple[Bar, ...]
    asked: tuple[Bar, ...]
    marks: tuple[float, ...]
    sentence: str
    lacks: bool
    figures: tuple[tuple[str, str, str, str], ...]


def picture(ledger: MemoryBreakdown) -> Picture:
    """Lay out the ledger: each service begins where what is reserved before it ends.

    The overhead comes last: it is the host's alone, Docker's share holds the services only.
    """
    rooms = {"host": ledger.host, "Docker": ledger.docker}
    known = {name: has for name, has in rooms.items() if has is not None}
    shares = _fewer(ledger.services)
    reserved = sum((one.reservation or 0) * one.replicas for one in shares)
    overhead, memory = ledger.overhead or 0, ledger.model_memory or 0
    scale = _Scale(max(1, *known.values(), reserved + overhead, memory))
    least = min(known.values())
    there = [scale.bar(name, size(has), 0, has, has) for name, has in known.items()]
    asked = list(_services(scale, shares, least))
    if ledger.overhead is not None:
        host = least if ledger.host is None else ledger.host
        end = reserved + overhead
        asked.append(scale.bar("system overhead", size(overhead), reserved, end, host))
    if ledger.model is not None:
        room = scale.whole if ledger.model_budget is None else ledger.model_budget
        figure = _range(size(ledger.model_memory), *_budget(ledger))
        asked.append(
            scale.bar(f"model {ledger.model}", figure, 0, memory, room, ledger.model_budget or 0)
        )
    link = ledger.tightest
    return Picture(
        there=tuple(there),
        asked=tuple(asked),
        marks=tuple(dict.fromkeys(one.end for one in there)),
        sentence="" if link is None else ": ".join(told(link)),
        lacks=link is not None and link.spare < 0,
        figures=tuple(_figures(ledger)),
    )


class _Scale(NamedTuple):
    whole: float

    def bar(
        self, name: str, figure: str, start: float, end: float, room: float, top: float = 0
    ) -> Bar:
        at = (round(100 * min(1, one / self.whole), 2) for one in (start, end, room, top))
        return Bar(short(name, _WIDEST), figure, *at)


def _services(scale: _Scale, shares: Sequence[ServiceMemory], room: float) -> Iterator[Bar]:
    start = 0.0
    for one in shares:
        end = start + (one.reservation or 0) * one.replicas
        top = scale.whole if one.limit is None else start + one.limit * one.replicas
        yield scale.bar(named(one), _range(reservation(one), most(one)), start, end, room, top)
        start = end


def _fewer(shares: Sequence[ServiceMemory]) -> list[ServiceMemory]:
    """Return what there are bars for: where there are many, the largest, and the rest as one."""
    if len(shares) <= _MOST_BARS:
        return list(shares)
    ranked = sorted(
        shares, key=lambda one: -max(one.reservation or 0, one.limit or 0) * one.replicas
    )
    shown, rest = ranked[: _MOST_BARS - 1], ranked[_MOST_BARS - 1 :]
    limits = [None if one.limit is None else one.limit * one.replicas for one in rest]
    limit = None if None in limits else sum(one for one in limits if one is not None)
    reserved = sum((one.reservation or 0) * one.replicas for one in rest)
    return [*shown, ServiceMemory(f"{len(rest)} more", 1, reserved, limit)]


def _range(least: str, *upper: str) -> str:
    return " … ".join((least, *upper))


def _budget(ledger: MemoryBreakdown) -> tuple[str, ...]:
    return () if ledger.model_budget is None else (size(ledger.model_budget),)


def _figures(ledger: MemoryBreakdown) -> Iterator[tuple[str, str, str, str]]:
    """Yield every figure for a table: its name, what there is, what is needed, what it may use."""
    for name, has in (("host", ledger.host), ("Docker", ledger.docker)):
        yield name, size(has), "", ""
    for one in ledger.services:
        yield named(one), "", reservation(one), most(one)
    yield "system overhead", "", size(ledger.overhead), ""
    if ledger.model is not None:
        yield f"model {ledger.model}", "", size(ledger.model_memory), size(ledger.model_budget)
