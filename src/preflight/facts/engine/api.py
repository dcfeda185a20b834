"""The HTTP API of a container engine: bounded responses, and failures in plain words.

What listens at an engine's address may be anything: it may send 300 MB, half a JSON or a web page.
A value of another type than expected is missing; zero, null and missing count as unknown.
"""

from __future__ import annotations

import errno
import json
import re
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar
from urllib.parse import quote

from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.facts.http_client import SendRequest, make_request_sender
from preflight.facts.nested_values import (
    get_nested_list,
    get_nested_object,
    get_nested_whole_number,
)
from preflight.model.facts import UnknownKind

T = TypeVar("T")

MAX_RESPONSE_BYTES = 32 * 2**20
MAX_EVENTS_BYTES = 2**20
_TLS_REQUIRED_RESPONSE = (
    b"HTTP request to an HTTPS server"  # Go's net/http, to a client without TLS
)

_GENERIC_ENGINE_NAME = "a container engine"
_TLS_FAILURE_MESSAGE = "TLS with {address} fails"
# texts of which one is in the names, error numbers and message of an exception and its causes
_ENGINE_FAILURE_MESSAGES: tuple[tuple[str, str, UnknownKind], ...] = (
    ("MemoryError", "{address}: the response doesn't fit into memory", "invalid"),
    ("ProxyError", "{address}: {message}", "unavailable"),
    (
        # the SDK's NameError where an import of its ssh transport failed
        "No module named 'paramiko|Install paramiko|name 'SSHHTTPAdapter' is not defined",
        "{address} needs the package paramiko: pip install 'preflight[ssh]'",
        "unsupported",
    ),
    (
        # all of OpenSSL's: ssl/ssl_err.c
        "alert certificate|alert bad cert|alert no cert|alert unsupported cert|alert unknown ca",
        _TLS_FAILURE_MESSAGE
        + ": the engine requires a certificate that it trusts (cert.pem with key.pem)",
        "invalid",
    ),
    ("SSL", _TLS_FAILURE_MESSAGE + ": {message}", "invalid"),
    ("gaierror|NameResolutionError", "the host of {address} is not found", "unavailable"),
    ("ENOENT|ENOTDIR", "no socket at {address}: is the engine running?", "unavailable"),
    ("EACCES|EPERM", "permission denied on {address}", "permission"),
    ("ECONNREFUSED", "connection refused on {address}: no daemon listens there", "refused"),
    ("EHOSTUNREACH|ENETUNREACH", "no route to {address}", "unavailable"),
    (
        "EAGAIN|ETIMEDOUT|Timeout|timeout",
        "no answer from {address} within {timeout:.3g} s",
        "timeout",
    ),
    (
        "ENOTSOCK|ECONNRESET|EPIPE|IncompleteRead|BadStatus|Disconnected|LineTooLong|InvalidHttpResponseError",
        "{address} doesn't respond like {server}",
        "invalid",
    ),
)
_SECOND_FRACTION_PATTERN = r"\.\d+"


class NotFoundError(EngineError):
    """What was asked for isn't there, or not any more."""


class EngineApi:
    """One engine. Every call raises EngineError and nothing else.

    Probes share it: each path is requested once, and whoever needs it meanwhile waits. A request
    takes at most `timeout` seconds, and none ends after `deadline`, by time.monotonic.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        timeout: float,
        deadline: float | None = None,
        server: str = _GENERIC_ENGINE_NAME,
    ) -> None:
        self.endpoint, self._server = endpoint, server
        self.address = endpoint.url  # as shown: without a user name
        if "@" in endpoint.url:
            self.address = re.sub(r"//[^/@]*@", "//", endpoint.url)
        self.timeout, self._deadline = timeout, deadline or time.monotonic() + timeout
        self._transport: LazyValue[SendRequest] = LazyValue(lambda: make_request_sender(endpoint))
        self._version_prefix = ""
        self._lock = threading.Lock()
        self._responses: dict[str, LazyValue[Any]] = {}

    def negotiate_version(self) -> dict[str, Any]:
        """GET /version, which every engine answers; the other requests use the API it names."""
        answer = self.get_object("/version")
        version = str(answer.get("ApiVersion") or "")
        if not re.fullmatch("[0-9]{1,4}[.][0-9]{1,4}", version):
            raise EngineError(f"{self.address} doesn't respond like {_GENERIC_ENGINE_NAME}")
        self._version_prefix = f"/v{version}"
        return answer

    def containers(self) -> list[dict[str, Any]]:
        """GET /containers/json, with stopped ones: dockerd takes 60 ms for a thousand."""
        return self.get_object_list("/containers/json?all=1")

    def running_containers(self) -> list[dict[str, Any]]:
        """Return the rows of the containers that run."""
        return [row for row in self.containers() if row.get("State") == "running"]

    def inspect(self, container: str) -> dict[str, Any]:
        """GET /containers/ID/json; raises NotFoundError if the container is gone."""
        return self.get_object(f"{make_container_request_path(container)}/json")

    def inspect_image(self, reference: str) -> dict[str, Any]:
        """GET /images/NAME/json; raises NotFoundError if the engine hasn't the image."""
        try:
            return self.get_object(f"/images/{quote(reference, '/:@', errors='replace')}/json")
        except NotFoundError:
            raise NotFoundError(
                f"the image {reference} hasn't been pulled or built yet", "unavailable"
            ) from None

    def stats(self, container: str) -> dict[str, Any]:
        """GET /containers/ID/stats, one sample: the engine doesn't wait for a second one."""
        return self.get_object(
            f"{make_container_request_path(container)}/stats?stream=false&one-shot=true"
        )

    def events(
        self, since: int, until: int, timeout: float, filters: Mapping[str, list[str]]
    ) -> list[dict[str, Any]]:
        """GET /events between two seconds of the engine's clock, within `timeout` seconds.

        An engine that doesn't know `until` goes on sending, which ends in a timeout.
        """
        path = f"/events?since={since}&until={until}&{encode_filters(filters)}"
        status, data = self.request_bytes(path, timeout, MAX_EVENTS_BYTES)
        if status >= 400 or len(data) > MAX_EVENTS_BYTES:
            raise EngineError(f"{self.address}: GET {path} failed", "error")
        events = map(parse_json_or_none, data.splitlines())
        return [event for event in events if isinstance(event, dict)]

    def get_object(self, path: str) -> dict[str, Any]:
        """GET a path that returns a JSON object."""
        answer: dict[str, Any] = self._get_cached(path, dict, "object")
        return answer

    def get_object_list(self, path: str) -> list[dict[str, Any]]:
        """GET a path that returns a JSON list of objects."""
        return [row for row in self._get_cached(path, list, "list") if isinstance(row, dict)]

    def post_object(self, path: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """POST JSON to a path; returns the JSON object, an empty one for anything else."""
        answer = self._request_json(path, json.dumps(content).encode("ascii"))
        return answer if isinstance(answer, dict) else {}

    def request_bytes(
        self, path: str, timeout: float, max_bytes: int, body: bytes | None = None
    ) -> tuple[int, bytes]:
        """GET a path, or POST to it; returns the status and the body, cut beyond `max_bytes`."""
        seconds_left = max(0.01, min(timeout, self._deadline - time.monotonic()))
        try:
            response = self._transport()(self._version_prefix + path, seconds_left, max_bytes, body)
            return response.status, response.body
        except Exception as error:  # noqa: BLE001 - ssl, SDK, paramiko: each its own
            raise explain_engine_failure(error, self.address, timeout, self._server) from None

    def _get_cached(self, path: str, kind: type, kind_name: str) -> Any:
        with self._lock:
            response = self._responses.setdefault(path, LazyValue(lambda: self._request_json(path)))
        if not isinstance(answer := response(), kind):
            raise EngineError(f"{self.address}: GET {path} didn't return a JSON {kind_name}")
        return answer

    def _request_json(self, path: str, body: bytes | None = None) -> Any:
        status, data = self.request_bytes(path, self.timeout, MAX_RESPONSE_BYTES, body)
        request = f"{self.address}: {'POST' if body else 'GET'} {path}"
        if len(data) > MAX_RESPONSE_BYTES:
            raise EngineError(f"{request} returned more than {MAX_RESPONSE_BYTES // 2**20} MiB")
        if status == 400 and _TLS_REQUIRED_RESPONSE in data:
            raise EngineError(f"{self.address} accepts only TLS: set DOCKER_TLS_VERIFY=1")
        failure = f"{request} failed with status {status} {_extract_error_message(data)}".strip()
        if status == 404 or (status == 400 and b"invalid reference" in data):  # of an image
            raise NotFoundError(failure, "error")
        if status >= 400:
            raise EngineError(failure, "permission" if status in (401, 403) else "error")
        try:
            return json.loads(data)
        except (ValueError, RecursionError):
            problem = "a web page" if b"<html" in data[:1000].lower() else "invalid JSON"
        raise EngineError(
            f"{self.address} doesn't respond like {self._server}: it returned {problem}"
        )


class LazyValue(Generic[T]):
    """A value that is computed once, by the first thread that calls; the others wait for it.

    Every caller gets the same value or the same exception.
    """

    def __init__(self, compute: Callable[[], T]) -> None:
        self._compute = compute
        self._lock = threading.Lock()
        self._outcome: tuple[T] | Exception | None = None

    def __call__(self) -> T:
        with self._lock:
            if self._outcome is None:
                try:
                    self._outcome = (self._compute(),)
                except Exception as error:  # noqa: BLE001 - raised again for every caller
                    self._outcome = error
        if isinstance(self._outcome, Exception):
            raise self._outcome
        return self._outcome[0]


def explain_engine_failure(
    error: BaseException, address: str, timeout: float, server: str = _GENERIC_ENGINE_NAME
) -> EngineError:
    """Turn what a client library raised into a reason and its kind, by the causes it wraps."""
    names, cause = "", error
    while True:
        number = cause.errno if isinstance(cause, OSError) else None
        names += f"{type(cause).__name__} {errno.errorcode.get(number or 0, '')} "
        wrapped = cause.__cause__ or (None if cause.__suppress_context__ else cause.__context__)
        if wrapped is None:
            break
        cause = wrapped
    lines = re.sub(r"^\[[^]]*\] | \(_ssl\.c:\d+\)", "", str(cause)).strip().splitlines()
    message = lines[0][:200] if lines else type(error).__name__
    for texts, template, kind in _ENGINE_FAILURE_MESSAGES:
        if any(text in names + message for text in texts.split("|")):
            fields = {"address": address, "timeout": timeout, "server": server}
            return EngineError(template.format(message=message, **fields), kind)
    return EngineError(f"{address}: {message}", "error")


def _extract_error_message(data: bytes) -> str:
    """Return the message of an error response, or its text unless that is a web page."""
    answer = parse_json_or_none(data)
    message = answer.get("message") or answer.get("error") if isinstance(answer, dict) else None
    if not isinstance(message, str):
        message = "" if b"<" in data[:1000] else data[:1000].decode("utf-8", "replace")
    return " ".join(message.split())[:200]


def parse_json_or_none(data: bytes) -> Any:
    """Return the value of a JSON text, or None if it isn't valid JSON."""
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        return None


def encode_filters(filters: Mapping[str, list[str]]) -> str:
    """Return the query parameter that limits a list to rows that match."""
    return f"filters={quote(json.dumps(filters))}"


def make_container_request_path(container: str) -> str:
    """Return the path of requests about a container; the engine may call anything an id."""
    return f"/containers/{quote(container, safe='', errors='replace')}"


def get_label(container: Mapping[str, Any], name: str) -> str | None:
    """Return a label of a row of /containers/json, or None if it has no such label."""
    value = get_nested_object(container, "Labels").get(name)
    return value if isinstance(value, str) else None


def list_own_container_names(row: Mapping[str, Any]) -> list[str]:
    """Return what a container is called; `/web/db` is what `web` calls it, not its own name."""
    names = (str(name).lstrip("/") for name in get_nested_list(row, "Names"))
    return [name for name in names if name and "/" not in name]


def parse_memory_stats(stats: Mapping[str, Any]) -> tuple[int | None, int, int]:
    """Return the bytes of a sample of stats: as `docker stats` shows them, in all, and of cache.

    The first leaves out page cache that isn't in use, and is None if nothing was counted. Podman
    doesn't state the cache, so there it counts. Source: docker/cli, stats_helpers.go
    `calculateMemUsageUnixNoCache`.
    """
    memory = get_nested_object(stats, "memory_stats")
    parts, usage = get_nested_object(memory, "stats"), get_nested_whole_number(memory, "usage") or 0
    active, inactive = (
        get_nested_whole_number(parts, f"total_{name}") or get_nested_whole_number(parts, name) or 0
        for name in ("active_file", "inactive_file")
    )
    shown = usage - inactive if inactive < usage else usage
    return shown or None, usage, min(usage, active + inactive)


def parse_engine_time(value: Any) -> float | None:
    """Read a time such as 2026-11-23T18:04:24.011350854Z as seconds since 1970, else None."""
    if not isinstance(value, str) or value.startswith("0001-"):  # Go's zero time
        return None
    from datetime import datetime  # a machine without containers doesn't need it

    fraction = re.search(_SECOND_FRACTION_PATTERN, value)
    try:
        parsed = datetime.strptime(
            re.sub(_SECOND_FRACTION_PATTERN, "", value), "%Y-%m-%dT%H:%M:%S%z"
        )
    except ValueError:
        return None
    return parsed.timestamp() + (float(fraction[0]) if fraction else 0.0)
