"""What support wants beside the facts: the effective configuration and the last lines of logs.

Logs are read over the engine's API, bounded in lines, bytes and time. What a container writes may
be anything; it is handed on as bytes, each line as it was written.
"""

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.collect.measurement import SUPPORT_DATA_PATH_PREFIX, ContainerLogRequest
from preflight.facts.compose.project import ComposeError
from preflight.facts.engine.api import EngineApi, make_container_request_path
from preflight.facts.engine.endpoint import EngineError
from preflight.facts.stack.containers import list_project_containers
from preflight.model.facts import Measured, Unknown, read_or_unknown

MAX_CONTAINERS_WITH_LOGS = 50
_LOG_FRAME_HEADER_BYTES = 8  # before each frame: stream, three zeros, length
_CONFIG_SOURCE_BY_READER = {
    "cli": "docker compose config",
    "fallback": "preflight's own compose reader",
}
_BYTES_AS_TEXT_ENCODING = "latin-1"  # has a character for every byte


class ComposeConfigAndLogs(NamedTuple):
    """What was collected, secrets included: it must be redacted before it leaves the machine.

    `config` is the effective compose configuration, or None; `logs` are name and
    text of each container, an Unknown for one that couldn't be read. `problem` says why the rest
    is missing.
    """

    config: Mapping[str, Any] | None
    config_source: str
    logs: list[tuple[str, bytes | Unknown]]
    problem: str | None


def measure_config_and_logs(
    context: MeasurementContext, request: ContainerLogRequest
) -> Iterator[Measured]:
    """Yield the configuration, logs and the problem, in the worker, as facts for `read`.

    Logs are first those of the project's containers, without one-off runs, then those of the named
    ones.
    """
    problem = None
    try:
        project = context.project() if request.of_project else None
        containers = [(name, name) for name in sorted(request.containers)]  # name and id
        if project is not None:
            config = {**project.config, "services": project.services}
            yield Measured(
                (SUPPORT_DATA_PATH_PREFIX, "config"),
                config,
                _CONFIG_SOURCE_BY_READER[project.source],
            )
            listed = list_project_containers(context.engine().api, project.name)
            containers = [*((row.name, row.id) for row in listed), *containers]
        elif request.of_project:
            problem = "no compose file found"
        share = request.max_total_bytes // max(1, min(len(containers), MAX_CONTAINERS_WITH_LOGS))
        request = request._replace(max_bytes=min(request.max_bytes, share))
        reason = f"only {MAX_CONTAINERS_WITH_LOGS} containers' logs are read; there are more"
        for number, (name, container) in enumerate(containers):
            text: str | Unknown = Unknown(reason, "unsupported")
            if number < MAX_CONTAINERS_WITH_LOGS:
                api = context.engine().api
                text = read_or_unknown(_read_last_log_lines, api, container, request)
            yield Measured((SUPPORT_DATA_PATH_PREFIX, "log", name), text)
    except (ComposeError, EngineError) as error:
        problem = str(error)
    yield Measured((SUPPORT_DATA_PATH_PREFIX, "problem"), problem)


def build_config_and_logs(measured: Iterable[Measured]) -> ComposeConfigAndLogs:
    """Return what `measure` has yielded by the deadline, in the program."""
    data = ComposeConfigAndLogs(None, "", [], "no answer in time")
    for path, fact_value, source in measured:
        value: Any = fact_value
        if path[1] == "config":
            data = data._replace(config=value, config_source=str(source))
        elif path[1] == "problem":
            data = data._replace(problem=value)
        else:
            log = value if isinstance(value, Unknown) else value.encode(_BYTES_AS_TEXT_ENCODING)
            data.logs.append((path[2], log))
    return data


def _read_last_log_lines(api: EngineApi, container: str, request: ContainerLogRequest) -> str:
    """Return the last lines, a character a byte; where they take `max_bytes`, fewer of them."""
    query = "stdout=1&stderr=1&timestamps=1"
    if request.since is not None:
        query += f"&since={max(0.0, time.time() - request.since):.6f}"
    lines = request.lines
    while True:
        path = f"{make_container_request_path(container)}/logs?{query}&tail={lines}"
        status, data = api.request_bytes(path, api.timeout, request.max_bytes)
        if status >= 400:
            message = " ".join(data[:300].decode("utf-8", "replace").split())
            reason = f"{api.address} doesn't return the log: {status} {message}"
            raise EngineError(reason, "unavailable")
        if len(data) <= request.max_bytes or lines <= 1:
            break
        lines = max(1, lines // 4)
    data = data[: request.max_bytes]
    # the log of a container with a terminal isn't in frames with headers
    has_frames = (
        len(data) >= _LOG_FRAME_HEADER_BYTES and data[0] in (0, 1, 2) and data[1:4] == b"\0\0\0"
    )
    text = b"".join(_parse_log_frames(data)) if has_frames else data
    return text.decode(_BYTES_AS_TEXT_ENCODING)


def _parse_log_frames(data: bytes) -> Iterator[bytes]:
    """Yield what each frame holds. Source: Docker Engine API, ContainerAttach, Stream format."""
    start = 0
    while start + _LOG_FRAME_HEADER_BYTES <= len(data):
        text = start + _LOG_FRAME_HEADER_BYTES
        start = text + int.from_bytes(data[text - 4 : text], "big")
        yield data[text:start]
