"""What a measuring is asked for. Plain data: it travels to the readers as JSON."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """`path`: where data will be stored; `environment`: names that rules ask for."""

    path: str = "."
    docker_host: str | None = None
    context: str | None = None
    environment: tuple[str, ...] = ()
    timeout: float = 10.0  # seconds from now for the whole measuring
