"""Asks a container engine over its HTTP API: bounded answers, faults in plain words.

What listens at an engine's address may be anything: 300 MB, half a JSON, a web page.
"""

from __future__ import annotations

import errno
import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

from preflight.facts.engine.endpoint import Endpoint
from preflight.facts.engine.transport import Transport, transport
from preflight.model.facts import UnknownKind

MOST_BYTES = 32 * 2**20  # of one answer
MOST_EVENTS = 2**20  # bytes of one answer of /events
OLDEST_API = (1, 24)  # the SDK's and Podman's oldest
_FEW = 200  # containers; up to here one list of all costs less than several short ones
_PAGE = 20  # containers of a short list
_MOST_PAGES = 5
_NO_ENGINE = {errno.ENOTSOCK, errno.ECONNRESET, errno.EPIPE}
_NO_HTTP = {"HTTPException", "BadStatusLine", "RemoteDisconnected", "LineTooLong", "ProtocolError"}
_ONLY_TLS = b"HTTP request to an HTTPS server"  # what Go's net/http says to one without TLS
_TIMEOUTS = {errno.EAGAIN, errno.ETIMEDOUT}


class EngineError(Exception):
    """Why the engine did not answer as an engine does; `kind` as under `unknown` in a snapshot."""

    def __init__(self, reason: str, kind: UnknownKind) -> None:
        super().__init__(reason)
        self.kind: UnknownKind = kind


class NotFoundError(EngineError):
    """What was asked for is not there (any more)."""


class EngineApi:
    """One engine. Every call raises EngineError and nothing else.

    Probes share it: lists and what is told of one container are asked for once, and who asks
    meanwhile waits for that answer.
    """

    def __init__(self, endpoint: Endpoint, timeout: float) -> None:
        self.endpoint = endpoint
        self.timeout = timeout
        self._prefix = ""
        self._few = True
        self._lock = threading.Lock()
        self._asking: dict[str, threading.Lock] = {}
        self._answers: dict[str, Any] = {}

    def version(self) -> dict[str, Any]:
        """GET /version, without a version in the path, so that every engine understands it."""
        answer = self._object("/version")
        api = str(answer.get("ApiVersion") or "")
        if not re.fullmatch("[0-9]{1,4}[.][0-9]{1,4}", api):
            raise EngineError(f"{self._where} answers, but not as a container engine", "invalid")
        if tuple(map(int, api.split("."))) < OLDEST_API:
            oldest = ".".join(map(str, OLDEST_API))
            raise EngineError(
                f"{self._where} speaks API {api}, older than {oldest}: update the engine",
                "unsupported",
            )
        self._prefix = f"/v{api}"
        return answer

    def info(self) -> dict[str, Any]:
        """GET /info."""
        answer = self._object("/info")
        count = answer.get("Containers")
        self._few = not isinstance(count, int) or count <= _FEW
        return answer

    def images(self) -> list[dict[str, Any]]:
        """GET /images/json."""
        return self._list("/images/json")

    def containers(self) -> list[dict[str, Any]]:
        """GET /containers/json, stopped ones too: dockerd takes 60 ms for a thousand."""
        return self._list("/containers/json?all=1")

    def running_containers(self) -> list[dict[str, Any]]:
        """Return the containers that run, without a list of all where there are many."""
        rows = self.containers() if self._few else self._list("/containers/json")
        return [one for one in rows if one.get("State") == "running"]

    def project_containers(self, project: str) -> list[dict[str, Any]]:
        """Return a compose project's containers, stopped ones and one-off runs too."""
        key = "com.docker.compose.project"
        if self._few:
            rows = self.containers()
        else:
            rows = self._list(f"/containers/json?all=1&{_filters(label=[f'{key}={project}'])}")
        return [one for one in rows if get_label(one, key) == project]

    def images_in_use(self, images: Collection[str]) -> set[str]:
        """Return those of `images`, by their ids, that some container uses.

        Where there are many containers, a few of them at a time tell their images, until none
        uses what is left. An engine that doesn't understand the question is asked for them all.
        """
        left = set(images)
        pages = 0 if self._few else _MOST_PAGES
        for page in range(pages):
            asked = _filters(ancestor=sorted(left))
            rows = self._list(f"/containers/json?all=1&limit={_PAGE}&{asked}") if left else []
            if not rows and page:
                return set(images) - left
            found = {str(one.get("ImageID")) for one in rows} & left
            if not found:
                break
            left -= found
        return {str(one.get("ImageID")) for one in self.containers()} & set(images)

    def inspect(self, container: str) -> dict[str, Any]:
        """GET /containers/ID/json; raises GoneError where it is gone."""
        return self._object(f"/containers/{_quoted(container)}/json")

    def stats(self, container: str) -> dict[str, Any]:
        """GET /containers/ID/stats, one sample: the engine doesn't wait for a second one."""
        return self._object(f"/containers/{_quoted(container)}/stats?stream=false&one-shot=true")

    def pid_and_cgroup_parent(self, container: str) -> tuple[int, str]:
        """Return a container's process id, 0 where it doesn't run, and the cgroup it asks for."""
        try:
            told = self.inspect(container)
        except NotFoundError:
            return 0, ""
        state, config = told.get("State"), told.get("HostConfig")
        pid = state.get("Pid") if isinstance(state, dict) else 0
        parent = config.get("CgroupParent") if isinstance(config, dict) else ""
        return pid if isinstance(pid, int) else 0, str(parent or "")

    def memory_in_use(self, container: str) -> int:
        """Return the bytes a container uses, page cache taken off; 0 where it is gone."""
        try:
            return memory_used(self.stats(container)) or 0
        except NotFoundError:
            return 0
        except (AttributeError, TypeError, ValueError, OverflowError):
            raise EngineError(f"{self._where} answers with no figures", "invalid") from None

    def swarm_nodes(self) -> list[dict[str, Any]]:
        """GET /nodes, of a Swarm's manager."""
        return self._list("/nodes")

    def swarm_services(self) -> list[dict[str, Any]]:
        """GET /services, of a Swarm's manager."""
        return self._list("/services")

    def swarm_tasks(self) -> list[dict[str, Any]]:
        """GET /tasks, of a Swarm's manager: those that shall run, without the history."""
        wanted = _filters(**{"desired-state": ["ready", "running", "complete"]})
        return self._list(f"/tasks?{wanted}")

    def events(
        self, since: int, until: int, timeout: float, **filters: list[str]
    ) -> list[dict[str, Any]]:
        """GET /events between two seconds of the engine's clock; the last ones where many.

        `timeout` is in seconds an operation: an engine that doesn't know `until` goes on sending.
        """
        path = f"/events?since={since}&until={until}&{_filters(**filters)}"
        try:
            way = transport(self.endpoint, timeout, MOST_EVENTS)
            status, data = way.get(self._prefix + path)
        except Exception as fault:  # noqa: BLE001 - as in _get
            raise explain_failure(fault, self._where, timeout) from None
        if status >= 400 or len(data) > MOST_EVENTS:
            raise EngineError(f"{self._where} does not answer {path}", "error")
        return _parse_events(data)

    def _object(self, path: str) -> dict[str, Any]:
        answer = self._once(path)
        if not isinstance(answer, dict):
            raise EngineError(f"{self._where} answers {path} with no object", "invalid")
        return answer

    def _list(self, path: str) -> list[dict[str, Any]]:
        answer = self._once(path)
        if not isinstance(answer, list):
            raise EngineError(f"{self._where} answers {path} with no list", "invalid")
        return [one for one in answer if isinstance(one, dict)]

    def _once(self, path: str) -> Any:
        with self._lock:
            asking = self._asking.setdefault(path, threading.Lock())
        with asking:
            if path not in self._answers:
                try:
                    self._answers[path] = self._get(path)
                except EngineError as fault:
                    self._answers[path] = fault
        answer = self._answers[path]
        if isinstance(answer, EngineError):
            raise answer
        return answer

    def _get(self, path: str) -> Any:
        try:
            status, data = self._transport.get(self._prefix + path)
        except Exception as fault:  # noqa: BLE001 - ssl, http, SDK, paramiko: each its own
            raise explain_failure(fault, self._where, self.timeout) from None
        if len(data) > MOST_BYTES:
            most = f"{MOST_BYTES // 2**20} MiB"
            raise EngineError(f"{self._where} answers with more than {most}", "invalid")
        if status in (401, 403):
            raise EngineError(f"{self._where} refuses: {_said(data) or status}", "permission")
        if status == 400 and _ONLY_TLS in data:
            asks = "it speaks nothing else; set DOCKER_TLS_VERIFY=1"
            raise EngineError(f"TLS with {self._where} is needed: {asks}", "invalid")
        if status >= 400:
            said = f"{status} {_said(data)}".strip()
            error = NotFoundError if status == 404 else EngineError
            raise error(f"{self._where} answers {path} with the error {said}", "error")
        try:
            return json.loads(data, parse_int=_figure)
        except (ValueError, RecursionError):
            what = "a web page" if b"<html" in data[:1000].lower() else "no JSON"
            raise EngineError(
                f"{self._where} answers, but not as a container engine: {what}", "invalid"
            ) from None

    @cached_property
    def _transport(self) -> Transport:
        return transport(self.endpoint, self.timeout, MOST_BYTES)

    @property
    def _where(self) -> str:
        return re.sub(r"//[^/@]*@", "//", self.endpoint.url)


def get_label(container: Mapping[str, Any], name: str) -> str | None:
    """Return a label of a row of /containers/json, None where it has none of that name."""
    labels = container.get("Labels")
    value = labels.get(name) if isinstance(labels, dict) else None
    return value if isinstance(value, str) else None


def memory_used(stats: Mapping[str, Any]) -> int | None:
    """Return the bytes that a sample says are used, page cache taken off as `docker stats` does.

    None where it doesn't say; Podman doesn't tell the cache, so there it counts. Source:
    docker/cli, stats_helpers.go `calculateMemUsageUnixNoCache`. Raises what garbage raises:
    AttributeError, TypeError, ValueError, OverflowError.
    """
    memory = stats.get("memory_stats") or {}
    parts = memory.get("stats") or {}
    usage = int(memory.get("usage") or 0)
    cache = int(parts.get("total_inactive_file") or parts.get("inactive_file") or 0)
    used = usage - cache if 0 < cache < usage else usage
    return used if used > 0 else None


def _quoted(container: str) -> str:
    return quote(container, errors="replace")  # as an id the engine may say anything


def _filters(**filters: list[str]) -> str:
    return f"filters={quote(json.dumps(filters))}"


def _parse_events(data: bytes) -> list[dict[str, Any]]:
    """Read one event a line; what is no event is left out."""
    events = []
    for line in data.splitlines():
        try:
            event = json.loads(line, parse_int=_figure)
        except (ValueError, RecursionError):
            continue
        if isinstance(event, dict):
            events.append(event)
    return events


def explain_failure(fault: BaseException, where: str, timeout: float) -> EngineError:
    """Turn what a client library raised into a reason and its kind, by the causes it wraps."""
    chain = list(_causes(fault))
    names = {type(one).__name__ for one in chain}
    text = " ".join(str(one) for one in chain)
    system = next((one.errno for one in chain if isinstance(one, OSError) and one.errno), None)
    tls = _tls_said(chain, names)
    if isinstance(fault, MemoryError):
        return EngineError(f"{where} answers with more than memory can take", "invalid")
    if "paramiko" in text:
        hint = "needs the package paramiko: pip install 'preflight[ssh]'"
        return EngineError(f"{where} {hint}", "unsupported")
    if tls is not None:
        return EngineError(f"TLS with {where} fails: {tls}", "invalid")
    if names & {"gaierror", "NameResolutionError"}:
        return EngineError(f"the host of {where} is not found", "unavailable")
    if system in (errno.ENOENT, errno.ENOTDIR):
        return EngineError(
            f"no socket at {where}: is the engine installed and running?", "unavailable"
        )
    if system in (errno.EACCES, errno.EPERM):
        return EngineError(f"permission denied on {where}", "permission")
    if system == errno.ECONNREFUSED:
        return EngineError(f"connection refused on {where}: no daemon listens there", "refused")
    if system in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return EngineError(f"no route to {where}", "unavailable")
    if system in _TIMEOUTS or any("Timeout" in name or name == "timeout" for name in names):
        return EngineError(f"no answer from {where} within {timeout:.3g} s", "timeout")
    if system in _NO_ENGINE or names & _NO_HTTP:
        return EngineError(f"{where} answers, but not as a container engine", "invalid")
    first = text.splitlines()[0][:200] if text.strip() else type(fault).__name__
    return EngineError(f"{where}: {first}", "error")


def _tls_said(chain: list[BaseException], names: set[str]) -> str | None:
    if "TLSParameterError" in names:
        return "its certificate files are missing or incomplete"
    for one in reversed(chain):
        if type(one).__name__.startswith("SSL") and one.args:
            message = getattr(one, "verify_message", "") or getattr(one, "reason", "") or one
            if re.search("ALERT.*(CERTIFICATE|CA$)", str(message)):
                return "the engine wants a certificate that it trusts: cert.pem with key.pem"
            return " ".join(str(message).split())[:200]
    text = " ".join(str(one) for one in chain)
    if "invalid path:" in text and "certificate" in text:
        return text[:200]
    return None


def _causes(fault: BaseException) -> Iterator[BaseException]:
    """Yield a fault and all that it wraps: causes, contexts, and faults among its arguments."""
    seen: set[int] = set()
    waiting: list[BaseException] = [fault]
    while waiting:
        one = waiting.pop(0)
        if id(one) in seen:
            continue
        seen.add(id(one))
        yield one
        inner = [one.__cause__, one.__context__, getattr(one, "reason", None), *one.args]
        waiting += [part for part in inner if isinstance(part, BaseException)]


def _figure(digits: str) -> int | None:
    """Read a whole number; no engine has one of more than 64 bits, so that one says nothing."""
    return int(digits) if len(digits) <= 20 else None


def _said(data: bytes) -> str:
    """Return the message of an error, or its text; a web page has nothing to say."""
    try:
        message = json.loads(data)["message"]
    except (ValueError, KeyError, TypeError, RecursionError):
        message = "" if b"<" in data[:1000] else data[:1000].decode("utf-8", "replace")
    return " ".join(str(message).split())[:200]
