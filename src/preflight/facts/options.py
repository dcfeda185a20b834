"""What a measurement is asked for: plain data, which travels to the worker as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Options(NamedTuple):
    """`path` is where data will be stored; `timeout` is in seconds, for the whole measurement."""

    path: str = "."
    docker_host: str | None = None
    context: str | None = None
    timeout: float = 10.0
    compose_files: Sequence[str] = ()
