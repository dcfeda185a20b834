"""The HTTP API of a container engine: bounded responses, and failures in plain words.

What listens at an engine's address may be anything: it may send 300 MB, half a JSON or a web page.
"""

from __future__ import annotations

import errno
import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any
from urllib.parse import quote

from preflight.facts.engine.endpoint import Endpoint
from preflight.facts.http_client import Get, open_transport
from preflight.facts.lazy import Lazy
from preflight.model.facts import UnknownKind

MAX_RESPONSE_BYTES = 32 * 2**20
MAX_EVENTS_BYTES = 2**20
OLDEST_API = (1, 24)  # of the SDK and of Podman
_PROJECT_LABEL = "com.docker.compose.project"
_MANY_CONTAINERS = 200  # from here on several short lists cost less than one of all
_PAGE_CONTAINERS = 20
_MAX_PAGES = 5
_NEEDS_TLS = b"HTTP request to an HTTPS server"  # Go's net/http, to a client without TLS

_FAILURES: tuple[tuple[set[int], str, UnknownKind], ...] = (
    ({errno.ENOENT, errno.ENOTDIR}, "no socket at {}: is the engine running?", "unavailable"),
    ({errno.EACCES, errno.EPERM}, "permission denied on {}", "permission"),
    ({errno.ECONNREFUSED}, "connection refused on {}: no daemon listens there", "refused"),
    ({errno.EHOSTUNREACH, errno.ENETUNREACH}, "no route to {}", "unavailable"),
    ({errno.EAGAIN, errno.ETIMEDOUT}, "no answer from {} within {:.3g} s", "timeout"),
    (
        {errno.ENOTSOCK, errno.ECONNRESET, errno.EPIPE},
        "{} answers, but not as a container engine",
        "invalid",
    ),
)
# what is in the name of an exception that has no number, and the number that it stands for
_TIMEOUT_NAME = re.compile("[Tt]imeout")
_NOT_HTTP_NAME = re.compile("HTTPException|BadStatus|Disconnected|LineTooLong|ProtocolError")


class EngineError(Exception):
    """Why there is no answer of an engine; `kind` is that of an Unknown."""

    def __init__(self, reason: str, kind: UnknownKind) -> None:
        super().__init__(reason)
        self.kind: UnknownKind = kind


class NotFoundError(EngineError):
    """What was asked for isn't there, or not any more."""


class EngineApi:
    """One engine. Every call raises EngineError and nothing else.

    Probes share it: each path is requested once, and whoever needs it meanwhile waits.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self._timeout = timeout
        self._transport: Lazy[Get] = Lazy(lambda: open_transport(endpoint))
        self._version_prefix = ""
        self._has_many_containers = False
        self._lock = threading.Lock()
        self._responses: dict[str, Lazy[Any]] = {}

    @property
    def address(self) -> str:
        """The engine's address as it may be shown, without a user name."""
        return re.sub(r"//[^/@]*@", "//", self.endpoint.url)

    def version(self) -> dict[str, Any]:
        """GET /version, without a version in the path, so that every engine understands it."""
        answer = self._object("/version")
        version = str(answer.get("ApiVersion") or "")
        if not re.fullmatch("[0-9]{1,4}[.][0-9]{1,4}", version):
            raise self._not_an_engine()
        if tuple(map(int, version.split("."))) < OLDEST_API:
            oldest = ".".join(map(str, OLDEST_API))
            reason = f"{self.address} has API {version}, older than {oldest}: update the engine"
            raise EngineError(reason, "unsupported")
        self._version_prefix = f"/v{version}"
        return answer

    def info(self) -> dict[str, Any]:
        """GET /info."""
        answer = self._object("/info")
        count = answer.get("Containers")
        self._has_many_containers = isinstance(count, int) and count > _MANY_CONTAINERS
        return answer

    def images(self) -> list[dict[str, Any]]:
        """GET /images/json."""
        return self._list("/images/json")

    def containers(self) -> list[dict[str, Any]]:
        """GET /containers/json, with stopped ones: dockerd takes 60 ms for a thousand."""
        return self._list("/containers/json?all=1")

    def running_containers(self) -> list[dict[str, Any]]:
        """Return the containers that run, without listing all if there are many."""
        many = self._has_many_containers
        rows = self._list("/containers/json") if many else self.containers()
        return [row for row in rows if row.get("State") == "running"]

    def project_containers(self, project: str) -> list[dict[str, Any]]:
        """Return a compose project's containers, with stopped ones and one-off runs."""
        if self._has_many_containers:
            filters = _filters(label=[f"{_PROJECT_LABEL}={project}"])
            rows = self._list(f"/containers/json?all=1&{filters}")
        else:
            rows = self.containers()
        return [row for row in rows if get_label(row, _PROJECT_LABEL) == project]

    def images_in_use(self, images: Collection[str]) -> set[str]:
        """Return those of `images`, given by their ids, that some container uses.

        If there are many containers, a few at a time are asked for that use one of the images that
        are left. An engine that doesn't know this filter is asked for all containers.
        """
        left = set(images)
        for page in range(_MAX_PAGES if self._has_many_containers else 0):
            filters = _filters(ancestor=sorted(left))
            path = f"/containers/json?all=1&limit={_PAGE_CONTAINERS}&{filters}"
            rows = self._list(path) if left else []
            if not rows and page:
                return set(images) - left
            in_use = {str(row.get("ImageID")) for row in rows} & left
            if not in_use:
                break
            left -= in_use
        return {str(row.get("ImageID")) for row in self.containers()} & set(images)

    def inspect(self, container: str) -> dict[str, Any]:
        """GET /containers/ID/json; raises NotFoundError if the container is gone."""
        return self._object(f"/containers/{_quote_id(container)}/json")

    def stats(self, container: str) -> dict[str, Any]:
        """GET /containers/ID/stats, one sample: the engine doesn't wait for a second one."""
        return self._object(f"/containers/{_quote_id(container)}/stats?stream=false&one-shot=true")

    def pid_and_cgroup_parent(self, container: str) -> tuple[int, str]:
        """Return a container's process id (0 if it isn't running) and the cgroup it asks for."""
        try:
            inspected = self.inspect(container)
        except NotFoundError:
            return 0, ""
        state, config = inspected.get("State"), inspected.get("HostConfig")
        pid = state.get("Pid") if isinstance(state, dict) else 0
        parent = config.get("CgroupParent") if isinstance(config, dict) else ""
        return pid if isinstance(pid, int) else 0, str(parent or "")

    def memory_in_use(self, container: str) -> int:
        """Return the bytes a container uses without its page cache; 0 if it is gone."""
        try:
            return memory_used(self.stats(container)) or 0
        except NotFoundError:
            return 0
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise EngineError(f"{self.address}: stats without numbers", "invalid") from None

    def swarm_nodes(self) -> list[dict[str, Any]]:
        """GET /nodes, of a Swarm manager."""
        return self._list("/nodes")

    def swarm_services(self) -> list[dict[str, Any]]:
        """GET /services, of a Swarm manager."""
        return self._list("/services")

    def swarm_tasks(self) -> list[dict[str, Any]]:
        """GET /tasks, of a Swarm manager: those that should run, without the history."""
        filters = _filters(**{"desired-state": ["ready", "running", "complete"]})
        return self._list(f"/tasks?{filters}")

    def events(
        self, since: int, until: int, timeout: float, **filters: list[str]
    ) -> list[dict[str, Any]]:
        """GET /events between two seconds of the engine's clock, within `timeout` seconds.

        An engine that doesn't know `until` goes on sending, which ends in a timeout.
        """
        path = f"/events?since={since}&until={until}&{_filters(**filters)}"
        status, data = self.get_bytes(path, timeout, MAX_EVENTS_BYTES)
        if status >= 400 or len(data) > MAX_EVENTS_BYTES:
            raise EngineError(f"{self.address}: GET {path} failed", "error")
        events = map(_parse_json_or_none, data.splitlines())
        return [event for event in events if isinstance(event, dict)]

    def get_bytes(self, path: str, timeout: float, max_bytes: int) -> tuple[int, bytes]:
        """GET any path; returns the status and the body, cut one byte beyond `max_bytes`."""
        try:
            return self._transport()(self._version_prefix + path, timeout, max_bytes)
        except Exception as error:  # noqa: BLE001 - ssl, http, SDK, paramiko: each its own
            raise explain_failure(error, self.address, timeout) from None

    def _object(self, path: str) -> dict[str, Any]:
        answer = self._get_json_once(path)
        if not isinstance(answer, dict):
            raise EngineError(f"{self.address}: GET {path} returned no JSON object", "invalid")
        return answer

    def _list(self, path: str) -> list[dict[str, Any]]:
        answer = self._get_json_once(path)
        if not isinstance(answer, list):
            raise EngineError(f"{self.address}: GET {path} returned no JSON list", "invalid")
        return [row for row in answer if isinstance(row, dict)]

    def _get_json_once(self, path: str) -> Any:
        with self._lock:
            response = self._responses.setdefault(path, Lazy(lambda: self._get_json(path)))
        return response()

    def _get_json(self, path: str) -> Any:
        status, data = self.get_bytes(path, self._timeout, MAX_RESPONSE_BYTES)
        if len(data) > MAX_RESPONSE_BYTES:
            limit = f"{MAX_RESPONSE_BYTES // 2**20} MiB"
            raise EngineError(f"{self.address}: GET {path} returned more than {limit}", "invalid")
        if status in (401, 403):
            message = _error_message(data) or f"status {status}"
            raise EngineError(f"{self.address} denies access: {message}", "permission")
        if status == 400 and _NEEDS_TLS in data:
            reason = f"{self.address} accepts only TLS: set DOCKER_TLS_VERIFY=1"
            raise EngineError(reason, "invalid")
        if status >= 400:
            message = f"status {status} {_error_message(data)}".strip()
            error = NotFoundError if status == 404 else EngineError
            raise error(f"{self.address}: GET {path} failed with {message}", "error")
        try:
            return json.loads(data, parse_int=_parse_int)
        except (ValueError, RecursionError):
            web_page = b"<html" in data[:1000].lower()
        raise self._not_an_engine(": a web page" if web_page else ": no JSON")

    def _not_an_engine(self, detail: str = "") -> EngineError:
        reason = f"{self.address} answers, but not as a container engine{detail}"
        return EngineError(reason, "invalid")


def get_label(container: Mapping[str, Any], name: str) -> str | None:
    """Return a label of a row of /containers/json, None if it has no such label."""
    labels = container.get("Labels")
    value = labels.get(name) if isinstance(labels, dict) else None
    return value if isinstance(value, str) else None


def memory_used(stats: Mapping[str, Any]) -> int | None:
    """Return the bytes in use by a sample of stats, without page cache, as `docker stats` does.

    None if it doesn't say; Podman doesn't state the cache, so there it counts. Source: docker/cli,
    stats_helpers.go `calculateMemUsageUnixNoCache`. Raises what garbage raises: AttributeError,
    TypeError, ValueError, OverflowError.
    """
    memory = stats.get("memory_stats") or {}
    parts = memory.get("stats") or {}
    usage = int(memory.get("usage") or 0)
    cache = int(parts.get("total_inactive_file") or parts.get("inactive_file") or 0)
    used = usage - cache if 0 < cache < usage else usage
    return used if used > 0 else None


def _quote_id(container: str) -> str:
    return quote(container, errors="replace")  # the engine may call anything an id


def _filters(**filters: list[str]) -> str:
    return f"filters={quote(json.dumps(filters))}"


def _parse_int(digits: str) -> int | None:
    """Read a whole number; engines have 64 bits at most, so that a longer one means nothing."""
    return int(digits) if len(digits) <= 20 else None


def _parse_json_or_none(data: bytes) -> Any:
    try:
        return json.loads(data, parse_int=_parse_int)
    except (ValueError, RecursionError):
        return None


def _error_message(data: bytes) -> str:
    """Return the message of an error response, or its text unless that is a web page."""
    answer = _parse_json_or_none(data)
    if isinstance(answer, dict) and "message" in answer:
        message = str(answer["message"])
    else:
        message = "" if b"<" in data[:1000] else data[:1000].decode("utf-8", "replace")
    return " ".join(message.split())[:200]


def explain_failure(error: BaseException, address: str, timeout: float) -> EngineError:
    """Turn what a client library raised into a reason and its kind, by the causes it wraps."""
    chain = list(_causes(error))
    names = " ".join(type(cause).__name__ for cause in chain)
    text = " ".join(str(cause) for cause in chain)
    if isinstance(error, MemoryError):
        return EngineError(f"{address}: the response doesn't fit into memory", "invalid")
    if "paramiko" in text:
        hint = "needs the package paramiko: pip install 'preflight[ssh]'"
        return EngineError(f"{address} {hint}", "unsupported")
    if (tls_failure := _explain_tls_failure(chain, names, text)) is not None:
        return EngineError(f"TLS with {address} fails: {tls_failure}", "invalid")
    if "gaierror" in names or "NameResolutionError" in names:
        return EngineError(f"the host of {address} is not found", "unavailable")
    number = next((c.errno for c in chain if isinstance(c, OSError) and c.errno), None)
    if number is None and _TIMEOUT_NAME.search(names):
        number = errno.ETIMEDOUT
    elif number is None and _NOT_HTTP_NAME.search(names):
        number = errno.EPIPE
    for numbers, reason, kind in _FAILURES:
        if number in numbers:
            return EngineError(reason.format(address, timeout), kind)
    first_line = text.splitlines()[0][:200] if text.strip() else type(error).__name__
    return EngineError(f"{address}: {first_line}", "error")


def _explain_tls_failure(chain: list[BaseException], names: str, text: str) -> str | None:
    if "TLSParameterError" in names:
        return "its certificate files are missing or incomplete"
    for cause in reversed(chain):
        if type(cause).__name__.startswith("SSL") and cause.args:
            message = getattr(cause, "verify_message", "") or getattr(cause, "reason", "") or cause
            if re.search("ALERT.*(CERTIFICATE|CA$)", str(message)):
                return "the engine requires a certificate that it trusts: cert.pem with key.pem"
            return " ".join(str(message).split())[:200]
    if "invalid path:" in text and "certificate" in text:
        return text[:200]
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error and all that it wraps: causes, contexts, and errors among its arguments."""
    seen: set[int] = set()
    waiting: list[BaseException] = [error]
    while waiting:
        current = waiting.pop(0)
        if id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        reason = getattr(current, "reason", None)
        inner = [current.__cause__, current.__context__, reason, *current.args]
        waiting += [part for part in inner if isinstance(part, BaseException)]
