"""What support wants beside the facts: the effective configuration and the last lines of logs.

Logs are read over the engine's API, bounded in lines, bytes and time. What a container writes may
be anything; it is handed on as bytes, each line as it was written.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import quote

from preflight.facts.collect.context import MeasureContext
from preflight.facts.collect.measurement import Options
from preflight.facts.compose.project import ComposeError
from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.stack.containers import list_containers
from preflight.model.facts import Unknown

LOG_ERRORS = (ComposeError, EngineError)
MAX_CONTAINERS = 50
_HEADER_BYTES = 8  # before each frame: stream, three zeros, length
_CONFIG_SOURCES = {"cli": "docker compose config", "fallback": "preflight's own compose reader"}


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


def read_logs(
    context: MeasureContext, names: Iterable[str], limits: LogLimits, *, of_project: bool = False
) -> Iterator[ContainerLog]:
    """Yield the logs of the compose project's containers, then of those of these names or ids.

    One-off runs are left out. Raises one of LOG_ERRORS where it isn't even known which containers
    there are.
    """
    containers: list[tuple[str, str]] = []  # name and id
    project = context.project() if of_project else None
    if project is not None:
        listed = list_containers(context.engine().api, project.name)
        containers += [(container.name, container.id) for container in listed]
    containers += [(name, name) for name in sorted(names)]
    for number, (name, container) in enumerate(containers):
        text: bytes | Unknown
        if number >= MAX_CONTAINERS:
            text = Unknown(f"only {MAX_CONTAINERS} containers are asked", "unsupported")
        elif time.monotonic() >= limits.ends:
            text = Unknown("there was no time left to ask", "timeout")
        else:
            api = context.engine().api
            try:
                text = _read_last_lines(api, container, limits)
            except EngineError as error:
                text = error.unknown
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


class SupportData(NamedTuple):
    """What was collected, secrets included: it must be redacted before it leaves the machine.

    `config` is the effective compose configuration, None where there is none; `logs` are name and
    text of each container; `missing` says what couldn't be collected and why.
    """

    config: Mapping[str, Any] | None
    config_source: str
    logs: list[tuple[str, bytes]]
    missing: list[str]


class SupportDataCollector:
    """Collects support data in a thread while the machine is measured, with the same deadline."""

    def __init__(self, options: Options, since: float | None, lines: int) -> None:
        self._data = SupportData(None, "", [], [])
        self._limits = LogLimits(since, lines, time.monotonic() + options.timeout)
        arguments = (MeasureContext(options),)
        self._thread = threading.Thread(target=self._collect, args=arguments, daemon=True)
        self._thread.start()

    def finish(self) -> SupportData:
        """Return what there is by the deadline."""
        self._thread.join(max(0.0, self._limits.ends - time.monotonic()))
        data = self._data._replace(logs=list(self._data.logs), missing=list(self._data.missing))
        if self._thread.is_alive():
            absent = "the rest of the logs" if data.config else "configuration and logs"
            data.missing.append(f"{absent}: no answer in time")
        return data

    def _collect(self, context: MeasureContext) -> None:
        _, _, logs, missing = self._data
        try:
            project = context.project()
            if project is None:
                missing.append("compose configuration and logs: no compose file here")
                return
            config = {**project.config, "services": project.services}
            self._data = SupportData(config, _CONFIG_SOURCES[project.source], logs, missing)
            for log in read_logs(context, (), self._limits, of_project=True):
                if isinstance(log.text, Unknown):
                    missing.append(f"the log of {log.container}: {log.text.reason}")
                else:
                    logs.append((log.container, log.text))
        except LOG_ERRORS as error:
            absent = "logs" if self._data.config else "the compose configuration"
            missing.append(f"{absent}: {error}")
