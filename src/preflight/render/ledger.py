"""The memory ledger in one picture, and bars: where memory goes, and where it runs out."""

from __future__ import annotations

from preflight.model.quantities import format_bytes
from preflight.model.report import Ledger, Share
from preflight.render.page import Page, pad

_BAR = 24  # cells of the largest bar
_FULL, _MAY = "▇", "▒"


def draw(page: Page, ledger: Ledger) -> None:
    """Add the ledger; nothing where no service or no memory is known."""
    if not ledger.services or (ledger.host is None and ledger.docker is None):
        return
    whole = max(one for one in (ledger.host, ledger.docker, 1) if one is not None)
    page.blank()
    name = "host" if ledger.host is not None else "Docker"
    top = ledger.host if ledger.host is not None else ledger.docker
    page.add(("Memory", "bold"), f"   {name} {_size(top)}")
    rows = [("system overhead", _size(ledger.overhead), bar(ledger.overhead, None, whole))]
    rows += [_row(one, whole) for one in ledger.services]
    if ledger.model is not None:
        budget = f", may use {_size(ledger.budget)}" if ledger.budget is not None else ""
        rows.append((f"model {ledger.model}", f"{_size(ledger.memory)}{budget}", ""))
    width = min(34, max(len(row[0]) for row in rows))
    figures = max(len(row[1]) for row in rows)
    for title, figure, drawn in rows:
        page.add(f"  ├ {pad(title, width)}  {pad(figure, figures, right=True)}  ", (drawn, "cyan"))
    _last(page, ledger)


def _row(share: Share, whole: float) -> tuple[str, str, str]:
    count = f" × {share.replicas}" if share.replicas != 1 else ""
    reserved, limit = share.reservation, share.limit
    figure = f"{_size(reserved) if reserved is not None else '0'} … "
    figure += _size(limit) if limit is not None else "no limit"
    total = share.replicas
    drawn = bar((reserved or 0) * total, None if limit is None else limit * total, whole)
    return f"{share.name}{count}", figure, drawn


def _last(page: Page, ledger: Ledger) -> None:
    """The weakest link, by its bytes."""
    link = ledger.weakest
    if link is None:
        page.add(f"  └ Docker has {_size(ledger.docker)}")
        return
    names = {"host": "the host has", "docker": "Docker has", "model": "the model may use"}
    head = f"{names[link.where]} {_size(link.has)}: "
    if link.spare < 0:
        lacks = f"{_size(-link.spare, up=True)} less than {link.what}"
        page.add(f"  └ {head}", (f"{lacks}  ◀ weakest", "bold red"))
    else:
        page.add(f"  └ {head}{_size(link.spare)} more than {link.what}", ("  ◀ weakest", "dim"))


def bar(low: float | None, high: float | None, whole: float, cells: int = _BAR) -> str:
    """Return a bar: full up to `low`, light from there to `high`; `whole` is all the cells."""
    if whole <= 0:
        return ""
    least = 1 if low else 0
    full = min(cells, max(least, round((low or 0) / whole * cells)))
    light = min(cells, round((high or 0) / whole * cells)) - full
    return _FULL * full + _MAY * max(0, light)


def _size(size: float | None, *, up: bool = False) -> str:
    """Write a size in GiB, all of them alike, so that they add up to the eye."""
    return "unknown" if size is None else format_bytes(size, binary=True, up=up)
