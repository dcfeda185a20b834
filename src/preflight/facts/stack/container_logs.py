"""The last lines of containers' logs, over the engine's API: bounded in lines, bytes and time.

What a container writes may be anything; it is handed on as bytes, each line as it was written.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from typing import NamedTuple
from urllib.parse import quote

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import ComposeError
from preflight.facts.engine.api import EngineError, explain_failure, get_label
from preflight.facts.engine.connection import Engine
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.transport import transport
from preflight.model.facts import Unknown

MOST_BYTES = 2 * 2**20  # of one container's log
MOST_CONTAINERS = 50
_HEADER = 8  # bytes before each piece: stream, three noughts, length
_RELATIVE = re.compile(r"([0-9]{1,9})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Log(NamedTuple):
    """The last lines of one container, oldest first; `text` is why there are none."""

    container: str
    text: bytes | Unknown


def project_logs(
    context: MeasureContext, since: float | None, lines: int, ends: float, most: int = MOST_BYTES
) -> Iterator[Log]:
    """Yield the logs of the compose project's containers, one-off runs left out.

    `most` is in bytes of each log: where it is more, these are fewer of its last lines. `since` is
    in seconds before now; `ends` is when to give up, by time.monotonic. Raises
    ComposeError, EndpointError or EngineError where it isn't even known which containers there are.
    """
    project = context.project()
    if project is None:
        return
    engine = context.engine()
    rows = [
        one
        for one in engine.api.project_containers(project.name)
        if get_label(one, "com.docker.compose.oneoff") != "True"
    ]
    named = [(_name(one), str(one.get("Id"))) for one in rows]
    yield from _each(engine, named, since, lines, ends, most)


def container_logs(
    context: MeasureContext,
    names: Iterable[str],
    since: float | None,
    lines: int,
    ends: float,
    most: int = MOST_BYTES,
) -> Iterator[Log]:
    """Yield the logs of the containers of these names or ids; raises as `project_logs`."""
    engine = context.engine()
    yield from _each(engine, [(name, name) for name in names], since, lines, ends, most)


FAULTS = (ComposeError, EndpointError, EngineError)


def _each(
    engine: Engine,
    containers: list[tuple[str, str]],
    since: float | None,
    lines: int,
    ends: float,
    most: int,
) -> Iterator[Log]:
    for number, (name, id_) in enumerate(sorted(containers)):
        left = ends - time.monotonic()
        if number >= MOST_CONTAINERS:
            yield Log(name, Unknown(f"only {MOST_CONTAINERS} containers are asked", "unsupported"))
        elif left <= 0:
            yield Log(name, Unknown("there was no time left to ask", "timeout"))
        else:
            try:
                yield Log(name, _tail(engine, id_, since, lines, left, most))
            except EngineError as fault:
                yield Log(name, Unknown(str(fault), fault.kind))


def _name(row: dict[str, object]) -> str:
    names = row.get("Names")
    known = [str(one).lstrip("/") for one in names] if isinstance(names, list) else []
    return next((one for one in known if one and "/" not in one), str(row.get("Id"))[:12])


def _tail(
    engine: Engine, id_: str, since: float | None, lines: int, timeout: float, most: int
) -> bytes:
    """Return the last lines; fewer of them where they are more than `most` bytes."""
    ends = time.monotonic() + timeout
    while True:
        data = _asked(engine, id_, since, lines, max(0.1, ends - time.monotonic()), most)
        if len(data) <= most:
            return b"".join(_pieces(data)) if _is_multiplexed(data) else data
        if lines <= 1 or time.monotonic() > ends:
            data = data[:most]
            return b"".join(_pieces(data)) if _is_multiplexed(data) else data
        lines = max(1, lines // 4)


def _asked(
    engine: Engine, id_: str, since: float | None, lines: int, timeout: float, most: int
) -> bytes:
    query = f"stdout=1&stderr=1&timestamps=1&tail={lines}"
    if since is not None:
        query += f"&since={max(0.0, time.time() - since):.6f}"
    path = f"/containers/{quote(id_, safe='')}/logs?{query}"
    where = re.sub(r"//[^/@]*@", "//", engine.endpoint.url)
    try:
        status, data = transport(engine.endpoint, timeout, most).get(path)
    except Exception as fault:  # noqa: BLE001 - ssl, http, SDK, paramiko: each its own
        raise explain_failure(fault, where, timeout) from None
    if status >= 400:
        said = " ".join(data[:300].decode("utf-8", "replace").split())
        raise EngineError(f"{where} does not give its log: {status} {said}", "unavailable")
    return data


def _is_multiplexed(data: bytes) -> bool:
    """Whether pieces have headers; a container with a terminal writes as it is."""
    return len(data) >= _HEADER and data[0] in (0, 1, 2) and data[1:4] == b"\0\0\0"


def _pieces(data: bytes) -> Iterator[bytes]:
    """Yield what each piece holds. Source: Docker Engine API, ContainerAttach, Stream format."""
    at = 0
    while at + _HEADER <= len(data):
        length = int.from_bytes(data[at + 4 : at + _HEADER], "big")
        yield data[at + _HEADER : at + _HEADER + length]
        at += _HEADER + length
