"""The last lines of containers' logs, over the engine's API: bounded in lines, bytes and time.

What a container writes may be anything; it is handed on as bytes, each line as it was written.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from preflight.facts.collect.context import Engine, MeasureContext
from preflight.facts.compose.project import ComposeError
from preflight.facts.engine.api import EngineError
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.stack.containers import list_containers
from preflight.model.facts import Unknown

LOG_ERRORS = (ComposeError, EndpointError, EngineError)
MAX_BYTES = 2 * 2**20  # of one container's log
MAX_CONTAINERS = 50
_HEADER_BYTES = 8  # before each frame: stream, three zeros, length


class ContainerLog(NamedTuple):
    """The last lines of one container, oldest first; an Unknown says why there are none."""

    container: str
    text: bytes | Unknown


def project_logs(
    context: MeasureContext, since: float | None, lines: int, ends: float, limit: int = MAX_BYTES
) -> Iterator[ContainerLog]:
    """Yield the logs of the compose project's containers, one-off runs left out.

    `since` is in seconds before now; `ends` is when to give up, by time.monotonic; `limit` is in
    bytes of each log: a longer one is cut to fewer of its last lines. Raises one of LOG_ERRORS
    where it isn't even known which containers there are.
    """
    project = context.project()
    if project is None:
        return
    engine = context.engine()
    containers = [(one.name, one.id) for one in list_containers(engine.api, project.name)]
    yield from _read_logs(engine, containers, since, lines, ends, limit)


def container_logs(
    context: MeasureContext, names: Iterable[str], since: float | None, lines: int, ends: float,
    limit: int = MAX_BYTES,
) -> Iterator[ContainerLog]:  # fmt: skip
    """Yield the logs of the containers of these names or ids; as `project_logs`."""
    containers = [(name, name) for name in sorted(names)]
    yield from _read_logs(context.engine(), containers, since, lines, ends, limit)


def _read_logs(
    engine: Engine, containers: list[tuple[str, str]], since: float | None, lines: int,
    ends: float, limit: int,
) -> Iterator[ContainerLog]:  # fmt: skip
    for number, (name, container) in enumerate(containers):
        text: bytes | Unknown
        if number >= MAX_CONTAINERS:
            text = Unknown(f"only {MAX_CONTAINERS} containers are asked", "unsupported")
        elif time.monotonic() >= ends:
            text = Unknown("there was no time left to ask", "timeout")
        else:
            try:
                text = _read_last_lines(engine, container, since, lines, ends, limit)
            except EngineError as error:
                text = Unknown(str(error), error.kind)
        yield ContainerLog(name, text)


def _read_last_lines(
    engine: Engine, container: str, since: float | None, lines: int, ends: float, limit: int
) -> bytes:
    """Return the last lines; where they are more than `limit` bytes, fewer of them."""
    data = _fetch(engine, container, since, lines, ends, limit)
    while len(data) > limit and lines > 1 and time.monotonic() < ends:
        lines = max(1, lines // 4)
        data = _fetch(engine, container, since, lines, ends, limit)
    data = data[:limit]
    return b"".join(_parse_frames(data)) if _has_frames(data) else data


def _fetch(
    engine: Engine, container: str, since: float | None, lines: int, ends: float, limit: int
) -> bytes:
    query = f"stdout=1&stderr=1&timestamps=1&tail={lines}"
    if since is not None:
        query += f"&since={max(0.0, time.time() - since):.6f}"
    path = f"/containers/{quote(container, safe='')}/logs?{query}"
    status, data = engine.api.get_bytes(path, max(0.1, ends - time.monotonic()), limit)
    if status >= 400:
        message = " ".join(data[:300].decode("utf-8", "replace").split())
        reason = f"{engine.api.address} does not give its log: {status} {message}"
        raise EngineError(reason, "unavailable")
    return data


def _has_frames(data: bytes) -> bool:
    """Whether the log is in frames with headers; that of a container with a terminal isn't."""
    return len(data) >= _HEADER_BYTES and data[0] in (0, 1, 2) and data[1:4] == b"\0\0\0"


def _parse_frames(data: bytes) -> Iterator[bytes]:
    """Yield what each frame holds. Source: Docker Engine API, ContainerAttach, Stream format."""
    start = 0
    while start + _HEADER_BYTES <= len(data):
        text = start + _HEADER_BYTES
        start = text + int.from_bytes(data[text - 4 : text], "big")
        yield data[text:start]
