"""What a measuring is asked for. Plain data: it travels to the reader as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class Options(NamedTuple):
    """`path` is where data will be stored, `timeout` the seconds for the whole measuring."""

    path: str = "."
    docker_host: str | None = None
    context: str | None = None
    timeout: float = 10.0
    compose_files: Sequence[str] = ()
