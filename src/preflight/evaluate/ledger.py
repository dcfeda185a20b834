"""Where memory goes: the host, Docker's share, each service, the model, and the weakest link."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflight.evaluate.sentences import is_number
from preflight.model.facts import Facts
from preflight.model.quantities import is_sane
from preflight.model.report import Ledger, Link, Share


def ledger(facts: Facts, overhead: float | None) -> Ledger:
    """Return the memory ledger; what is not known is None in it."""
    services = facts.get(("compose", "services"))
    shares = tuple(
        _share(facts, str(name)) for name in (services if isinstance(services, Mapping) else ())
    )
    host = _size(facts, "host", "memory", "total")
    docker = _size(facts, "docker", "memory", "usable")
    made = Ledger(
        host=host if facts.get(("docker", "local")) is not False else None,
        overhead=overhead,
        docker=docker,
        services=shares,
        model=_text(facts, "model", "name"),
        memory=_size(facts, "model", "memory"),
        budget=_size(facts, "model", "budget"),
    )
    return made._replace(weakest=_weakest(made))


def _share(facts: Facts, name: str) -> Share:
    top = ("compose", "services", name)
    count = _size(facts, *top, "replicas")
    return Share(
        name,
        1 if count is None else max(int(count), 0),  # a snapshot may say anything
        _size(facts, *top, "reservations", "memory"),
        _size(facts, *top, "limits", "memory"),
    )


def _weakest(made: Ledger) -> Link | None:
    """The link with the least room to spare, or the one that lacks most."""
    reserved = sum((one.reservation or 0) * one.replicas for one in made.services)
    links = []
    if made.host is not None and reserved:
        what = "the reservations and the overhead"
        links.append(Link("host", made.host, reserved + (made.overhead or 0), what))
    if made.docker is not None and reserved:
        links.append(Link("docker", made.docker, reserved, "the reservations"))
    if made.budget is not None and made.memory is not None:
        links.append(Link("model", made.budget, made.memory, "the model needs"))
    return min(links, key=lambda link: link.spare, default=None)


def _size(facts: Facts, *path: str) -> float | None:
    value: Any = facts.get(path)
    return value if is_number(value) and is_sane(value) else None


def _text(facts: Facts, *path: str) -> str | None:
    value = facts.get(path)
    return value if isinstance(value, str) else None
