"""The last lines of containers' logs, over the engine's API: bounded in lines, bytes and time.

What a container writes may be anything; it is handed on as bytes, each line as it was written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import ComposeError
from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.stack.containers import list_containers
from preflight.model.facts import Unknown

LOG_ERRORS = (ComposeError, EngineError)
MAX_CONTAINERS = 50
_HEADER_BYTES = 8  # before each frame: stream, three zeros, length


class LogLimits(NamedTuple):
    """What is read of each log: its last `lines`, not older than `since` seconds.

    `ends` is when to give up, by time.monotonic. Of a log of more than `max_bytes` fewer lines are
    read.
    """

    since: float | None
    lines: int
    ends: float
    max_bytes: int = 2 * 2**20


class ContainerLog(NamedTuple):
    """The last lines of one container, oldest first; an Unknown says why there are none."""

    container: str
    text: bytes | Unknown


def project_logs(context: MeasureContext, limits: LogLimits) -> Iterator[ContainerLog]:
    """Yield the logs of the compose project's containers, one-off runs left out.

    Raises one of LOG_ERRORS where it isn't even known which containers there are.
    """
    project = context.project()
    if project is not None:
        containers = list_containers(context.engine().api, project.name)
        yield from _read_logs(context, [(listed.name, listed.id) for listed in containers], limits)


def container_logs(
    context: MeasureContext, names: Iterable[str], limits: LogLimits
) -> Iterator[ContainerLog]:
    """Yield the logs of the containers of these names or ids; raises one of LOG_ERRORS."""
    yield from _read_logs(context, [(name, name) for name in sorted(names)], limits)


def _read_logs(
    context: MeasureContext, containers: list[tuple[str, str]], limits: LogLimits
) -> Iterator[ContainerLog]:
    api = context.engine().api
    for number, (name, container) in enumerate(containers):
        text: bytes | Unknown
        if number >= MAX_CONTAINERS:
            text = Unknown(f"only {MAX_CONTAINERS} containers are asked", "unsupported")
        elif time.monotonic() >= limits.ends:
            text = Unknown("there was no time left to ask", "timeout")
        else:
            try:
                text = _read_last_lines(api, container, limits)
            except EngineError as error:
                text = Unknown(str(error), error.kind)
        yield ContainerLog(name, text)


def _read_last_lines(api: EngineApi, container: str, limits: LogLimits) -> bytes:
    """Return the last lines; where they are more than `max_bytes`, fewer of them."""
    query = "stdout=1&stderr=1&timestamps=1"
    if limits.since is not None:
        query += f"&since={max(0.0, time.time() - limits.since):.6f}"
    lines = limits.lines
    while True:
        path = f"/containers/{quote(container, safe='')}/logs?{query}&tail={lines}"
        timeout = max(0.1, limits.ends - time.monotonic())
        status, data = api.get_bytes(path, timeout, limits.max_bytes)
        if status >= 400:
            message = " ".join(data[:300].decode("utf-8", "replace").split())
            reason = f"{api.address} does not return the log: {status} {message}"
            raise EngineError(reason, "unavailable")
        if len(data) <= limits.max_bytes or lines <= 1 or time.monotonic() >= limits.ends:
            break
        lines = max(1, lines // 4)
    data = data[: limits.max_bytes]
    # the log of a container with a terminal isn't in frames with headers
    has_frames = len(data) >= _HEADER_BYTES and data[0] in (0, 1, 2) and data[1:4] == b"\0\0\0"
    return b"".join(_parse_frames(data)) if has_frames else data


def _parse_frames(data: bytes) -> Iterator[bytes]:
    """Yield what each frame holds. Source: Docker Engine API, ContainerAttach, Stream format."""
    start = 0
    while start + _HEADER_BYTES <= len(data):
        text = start + _HEADER_BYTES
        start = text + int.from_bytes(data[text - 4 : text], "big")
        yield data[text:start]
