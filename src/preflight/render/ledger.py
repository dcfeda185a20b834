"""The memory ledger in one picture, and bars: where memory goes, and where it runs out."""

from __future__ import annotations

from preflight.model.quantities import format_bytes
from preflight.model.report import MemoryBreakdown, MemoryConstraint, ServiceMemory
from preflight.render.layout import TextLayout, pad

_BAR = 24  # cells of the largest bar
_FULL, _MAY = "▇", "▒"


def is_drawn(ledger: MemoryBreakdown) -> bool:
    """Whether there is something to draw: a service, and the memory that it shares."""
    return bool(ledger.services) and (ledger.host is not None or ledger.docker is not None)


def draw(layout: TextLayout, ledger: MemoryBreakdown) -> None:
    """Add the ledger; nothing where no service or no memory is known."""
    if not is_drawn(ledger):
        return
    whole = max(one for one in (ledger.host, ledger.docker, 1) if one is not None)
    layout.blank()
    name = "host" if ledger.host is not None else "Docker"
    top = ledger.host if ledger.host is not None else ledger.docker
    layout.add(("Memory", "bold"), f"   {name} {size(top)}")
    rows = [("system overhead", size(ledger.overhead), bar(ledger.overhead, None, whole))]
    rows += [_row(one, whole) for one in ledger.services]
    if ledger.model is not None:
        budget = f", may use {size(ledger.model_budget)}" if ledger.model_budget is not None else ""
        rows.append((f"model {ledger.model}", f"{size(ledger.model_memory)}{budget}", ""))
    width = min(34, max(len(row[0]) for row in rows))
    figures = max(len(row[1]) for row in rows)
    for title, figure, drawn in rows:
        layout.add(
            f"  ├ {pad(title, width)}  {pad(figure, figures, right=True)}  ", (drawn, "cyan")
        )
    _last(layout, ledger)


def _row(share: ServiceMemory, whole: float) -> tuple[str, str, str]:
    reserved, limit, count = share.reservation, share.limit, share.replicas
    drawn = bar((reserved or 0) * count, None if limit is None else limit * count, whole)
    return named(share), f"{reservation(share)} … {most(share)}", drawn


def named(share: ServiceMemory) -> str:
    """Name a service, with its replicas where there are several."""
    return share.name if share.replicas == 1 else f"{share.name} × {share.replicas}"


def reservation(share: ServiceMemory) -> str:
    """Say what one replica is guaranteed."""
    return size(share.reservation) if share.reservation is not None else "0"


def most(share: ServiceMemory) -> str:
    """Say what one replica may use at most."""
    return size(share.limit) if share.limit is not None else "no limit"


def _last(layout: TextLayout, ledger: MemoryBreakdown) -> None:
    """The weakest link, by its bytes."""
    link = ledger.tightest
    if link is None:
        layout.add(f"  └ Docker has {size(ledger.docker)}")
        return
    has, spare = told(link)
    if link.spare < 0:
        layout.add(f"  └ {has}: ", (f"{spare}  ◀ weakest", "bold red"))
    else:
        layout.add(f"  └ {has}: {spare}", ("  ◀ weakest", "dim"))


def told(link: MemoryConstraint) -> tuple[str, str]:
    """Say what there is, and how far that is from what is asked of it."""
    names = {"host": "the host has", "docker": "Docker has", "model": "the model may use"}
    if link.spare < 0:
        spare = f"{size(-link.spare, up=True)} less than {link.required_by}"
    else:
        spare = f"{size(link.spare)} more than {link.required_by}"
    return f"{names[link.where]} {size(link.available)}", spare


def bar(low: float | None, high: float | None, whole: float, cells: int = _BAR) -> str:
    """Return a bar: full up to `low`, light from there to `high`; `whole` is all the cells."""
    if whole <= 0:
        return ""
    least = 1 if low else 0
    full = min(cells, max(least, round((low or 0) / whole * cells)))
    light = min(cells, round((high or 0) / whole * cells)) - full
    return _FULL * full + _MAY * max(0, light)


def size(value: float | None, *, up: bool = False) -> str:
    """Write a size in GiB, all of them alike, so that they add up to the eye."""
    return "unknown" if value is None else format_bytes(value, binary=True, up=up)
