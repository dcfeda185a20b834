"""Ollama: its settings, whether it answers, its models, and the one that is configured.

Owns what Ollama is asked, and what its answers mean. Whatever listens there may be hostile: answers
are bounded in size and time, nothing is followed elsewhere. Sources: ollama's docs/api.md,
api/types.go. An estimate of memory is one: it is told apart from what was measured.
"""

from __future__ import annotations

import io
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, TypeVar

from preflight.model.facts import Kind, Measured, Unknown, Value, placed
from preflight.model.quantities import format_bytes, parse_version
from preflight.probes.compose.project import ComposeError, Project, known_as
from preflight.probes.endpoint import EndpointError
from preflight.probes.machine import Machine
from preflight.probes.model import canonical
from preflight.probes.ollama_settings import (
    Address,
    Where,
    choose,
    environment_of,
    settings,
    shown,
    trimmed,
)
from preflight.probes.table import NO_FILE

if TYPE_CHECKING:
    import socket

T = TypeVar("T")

_SERVICE = "ollama.settings.*"

MOST_BYTES = 8 * 2**20  # of one answer
_MOST_SECONDS = 2.0  # for one answer, whole
_MOST_MODELS = 1000
_MOST_NAME = 200  # characters of a model's or a version's name
_OVERHEAD = 2**29  # bytes beside weights and KV cache
_CONTEXT = 4096  # tokens, where the settings don't say
_LARGEST = 2**24  # layers, heads or numbers a head: no model has as many


class Loaded(NamedTuple):
    """What a loaded model holds, in bytes: RAM alone, and with GPUs' memory."""

    memory: int | Unknown
    total: int | Unknown


Models: TypeAlias = Mapping[str, "int | Unknown"] | Unknown
AllLoaded: TypeAlias = Mapping[str, Loaded] | Unknown


class Known(NamedTuple):
    """What Ollama told: sizes on disk, what is loaded, the configured model's KV bytes a token."""

    models: Models
    loaded: AllLoaded
    token: int | Unknown


def measure(machine: Machine, environ: Mapping[str, str] = os.environ) -> Iterator[Measured]:
    """Yield what is Ollama's own; one that doesn't answer is a finding, not asked is unknown."""
    project = _project(machine)
    service, why = _service(project)
    yield Measured(("ollama", "service"), service, why)
    yield from _settings(project)
    name, why = configured(project, environ)
    yield Measured(("model", "name"), name, why)
    running = service if isinstance(service, str) else None
    config = project.services[running] if isinstance(project, Project) and running else None
    where = choose(environ, _local(machine), config)
    address = where.address
    shown_address = address.url if isinstance(address, Address) else address
    yield Measured(("ollama", "endpoint"), shown_address, where.source)
    seconds = min(_MOST_SECONDS, machine.options.timeout / 2)
    yield from _asked(where, seconds, name, config)


def _project(machine: Machine) -> Project | Unknown | None:
    try:
        return machine.project()
    except ComposeError as fault:
        return Unknown(str(fault), "invalid")


def _local(machine: Machine) -> bool:
    try:
        return machine.endpoint().local
    except EndpointError:
        return True  # nothing that is there names another host


def _running(project: Project) -> list[str]:
    """Return the services that run Ollama."""
    return [
        name for name, service in project.services.items() if "ollama" in known_as(name, service)
    ]


def _service(project: Project | Unknown | None) -> tuple[str | Unknown | None, str]:
    if not isinstance(project, Project):
        return project, NO_FILE
    running = _running(project)
    if not running:
        return None, "no service has Ollama's name or image"
    others = f"; also {', '.join(running[1:])}" if running[1:] else ""
    return running[0], f"its name or image{others}"


def _settings(project: Project | Unknown | None) -> Iterator[Measured]:
    if not isinstance(project, Project):
        yield Measured(("ollama", "settings"), project, NO_FILE)
        return
    yield Measured(("ollama", "settings"), {}, "the environment of the services that run Ollama")
    for service in _running(project):
        for one in settings(environment_of(project.services[service])):
            source = _placed(project, service, one.variable, one.words)
            yield Measured(("ollama", "settings", service, one.name), one.value, source)


def _placed(project: Project, service: str, variable: str, words: str) -> str:
    where = project.reading.places.get(("services", service, "environment", variable))
    return placed(where.file, where.line, words) if where else words


def configured(
    project: Project | Unknown | None, environ: Mapping[str, str]
) -> tuple[str | Unknown | None, str]:
    """Return the configured model: what asks Ollama decides, then Ollama's own service, then here.

    The source names the service, and others that say otherwise.
    """
    if isinstance(project, Unknown):
        return project, ""
    said: dict[str, str] = {}
    if project is not None:
        own = _running(project)
        for service in sorted(project.services, key=own.__contains__):  # those that ask come first
            text = trimmed(environment_of(project.services[service]).get("OLLAMA_MODEL"))
            if text:
                said[service] = text
    if project is None or not said:
        here = trimmed(environ.get("OLLAMA_MODEL"))
        return _name(here), "OLLAMA_MODEL of the environment" if here else "OLLAMA_MODEL is not set"
    first, *others = said
    differ = [one for one in others if canonical(said[one]) != canonical(said[first])]
    words = f"OLLAMA_MODEL of {first}" + "".join(
        f"; {one} has {shown(said[one])}" for one in differ
    )
    return _name(said[first]), _placed(project, first, "OLLAMA_MODEL", words)


def _name(text: str) -> str | Unknown | None:
    if text and (len(text) > _MOST_NAME or not text.isprintable()):
        return Unknown(f"OLLAMA_MODEL={shown(text)} is no model's name", "invalid")
    return text or None


def _asked(
    where: Where, seconds: float, name: str | Unknown | None, service: Mapping[str, Any] | None
) -> Iterator[Measured]:
    """Ask, and stop at the first that fails: its reason is that of all that comes after."""
    if not isinstance(where.address, Address):
        why = where.address or Unknown(where.source)
        yield from _not_asked(where, why)
        yield from _model(name, Known(why, why, why), service)
        return
    api = OllamaApi(where.address, seconds)
    version = _attempt(api.version)
    reason = version.reason if isinstance(version, Unknown) else "GET /api/version"
    yield Measured(("ollama", "reachable"), not isinstance(version, Unknown), reason)
    yield Measured(("ollama", "version"), _version(version), "GET /api/version")
    models = version if isinstance(version, Unknown) else _attempt(api.models)
    yield from _models(models)
    loaded = models if isinstance(models, Unknown) else _attempt(api.loaded)
    yield from _loaded(loaded)
    problem = loaded.reason if isinstance(loaded, Unknown) else None
    yield Measured(("ollama", "problem"), problem, "the attempt" if problem else "it answers")
    token = loaded if isinstance(loaded, Unknown) else _token(api, name, models)
    yield from _model(name, Known(models, loaded, token), service)


def _not_asked(where: Where, why: Unknown) -> Iterator[Measured]:
    """No port leads to it: not reachable. Nobody knows where it is: unknown."""
    nowhere = where.address is None
    yield Measured(("ollama", "reachable"), False if nowhere else why, where.source)
    yield Measured(("ollama", "problem"), why.reason if nowhere else why, where.source)
    for fact in ("version", "models", "loaded"):
        yield Measured(("ollama", fact), why)


def _attempt(ask: Callable[[], T]) -> T | Unknown:
    try:
        return ask()
    except OllamaError as fault:
        return Unknown(str(fault), fault.kind)


def _version(version: str | Unknown) -> str | Unknown:
    if isinstance(version, str):
        try:
            parse_version(version)
        except ValueError as fault:
            return Unknown(str(fault), "invalid")
    return version


def _models(models: Models) -> Iterator[Measured]:
    source = "GET /api/tags"
    yield Measured(("ollama", "models"), {} if isinstance(models, Mapping) else models, source)
    if isinstance(models, Mapping):
        for name, size in models.items():
            yield Measured(("ollama", "models", name, "size"), size, f"{source} size")


def _loaded(loaded: AllLoaded) -> Iterator[Measured]:
    source = "GET /api/ps"
    yield Measured(("ollama", "loaded"), {} if isinstance(loaded, Mapping) else loaded, source)
    if isinstance(loaded, Mapping):
        for name, one in loaded.items():
            top = ("ollama", "loaded", name)
            yield Measured((*top, "memory"), one.memory, f"{source} size less size_vram")
            yield Measured((*top, "total"), one.total, f"{source} size")


def _token(api: OllamaApi, name: str | Unknown | None, models: Models) -> int | Unknown:
    """Ask for the KV cache of one token, where the configured model is there."""
    found = _find(name, models) if isinstance(name, str) else None
    if found is None:
        return Unknown("Ollama doesn't have the configured model: its shape is not known")
    return _attempt(lambda: token_bytes(api.show(found)))


def _find(name: str, models: Mapping[str, Any] | Unknown) -> str | None:
    """Return what Ollama calls a model, None where it doesn't have it."""
    names = () if isinstance(models, Unknown) else models
    return next((one for one in names if canonical(one) == canonical(name)), None)


def _model(
    name: str | Unknown | None, known: Known, service: Mapping[str, Any] | None
) -> Iterator[Measured]:
    if not isinstance(name, str):
        for fact in ("size", "resident", "estimate"):
            yield Measured(("model", fact), name, "no model is configured")
        return
    size: int | Unknown | None = None
    resident: int | Unknown | None = None
    if isinstance(known.models, Unknown):
        size = known.models
    elif found := _find(name, known.models):
        size = known.models[found]
    yield Measured(("model", "size"), size, "GET /api/tags" + ("" if size else ": not there"))
    if isinstance(known.loaded, Unknown):
        resident = known.loaded
    elif found := _find(name, known.loaded):
        resident = known.loaded[found].memory
    absent = ": not loaded" if resident is None else ""
    yield Measured(("model", "resident"), resident, f"GET /api/ps{absent}")
    value, source = estimate(size, known.token, environment_of(service or {}))
    yield Measured(("model", "estimate"), value, source)


def estimate(
    weights: int | Unknown | None, token: int | Unknown, environment: Mapping[str, Value]
) -> tuple[int | Unknown, str]:
    """Return the bytes that a model will need, and how they come together.

    `weights` is its size on disk, `token` the bytes of KV cache for each token of context.
    """
    if isinstance(token, Unknown):
        return token, ""
    if not isinstance(weights, int):
        return weights or Unknown("Ollama doesn't have the configured model"), ""
    asked = {one.name: one.value for one in settings(environment)}
    tokens = (asked["context_length"] or _CONTEXT) * (asked["num_parallel"] or 1)
    need = weights + token * tokens + _OVERHEAD
    if need >= 2**63:
        return Unknown(f"{tokens} tokens of context are more than any machine holds", "invalid"), ""
    cache = format_bytes(token * tokens, binary=True)
    parts = f"weights {format_bytes(weights, binary=False)} + KV cache {cache} + 0.5 GiB"
    return need, f"an estimate: {parts}, for {tokens} tokens of context"


def token_bytes(info: Mapping[str, Any]) -> int:
    """Return the bytes of KV cache a token takes, keys and values of two bytes each.

    `info` is model_info of POST /api/show. Raises OllamaError where it lacks a figure.
    """
    kind = info.get("general.architecture")

    def figure(name: str) -> int:
        value = _count(info.get(f"{kind}.{name}"))
        if value is None or value > _LARGEST:
            raise OllamaError(f"Ollama does not say the model's {name}", "unsupported")
        return value

    lengths = []
    for name in ("attention.key_length", "attention.value_length"):
        if info.get(f"{kind}.{name}") is None:
            lengths.append(figure("embedding_length") // figure("attention.head_count"))
        else:
            lengths.append(figure(name))
    heads = figure("block_count") * figure("attention.head_count_kv")
    token = _count(2 * heads * sum(lengths))
    if token is None:
        raise OllamaError("Ollama does not say a shape that a model can have", "invalid")
    return token


class OllamaError(Exception):
    """Why Ollama did not answer as it does; `kind` as under `unknown` in a snapshot."""

    def __init__(self, reason: str, kind: Kind) -> None:
        super().__init__(reason)
        self.kind: Kind = kind


class OllamaApi:
    """One Ollama. Every call takes `seconds` at most, and raises OllamaError and nothing else."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._seconds = seconds

    def version(self) -> str:
        """GET /api/version."""
        version = self._ask("GET", "/api/version").get("version")
        if not isinstance(version, str) or not _is_name(version):
            raise self._not_ollama("no version")
        return version

    def models(self) -> Mapping[str, int | Unknown]:
        """GET /api/tags: bytes on disk by name."""
        return {name: _size(one, "size") for name, one in self._list("/api/tags")}

    def loaded(self) -> Mapping[str, Loaded]:
        """GET /api/ps; nothing there just means that all are unloaded."""
        return {name: _held(one) for name, one in self._list("/api/ps")}

    def show(self, name: str) -> Mapping[str, Any]:
        """POST /api/show: model_info, which tells the model's shape."""
        info = self._ask("POST", "/api/show", {"model": name}).get("model_info")
        return info if isinstance(info, dict) else {}

    def _list(self, path: str) -> list[tuple[str, dict[str, Any]]]:
        listed = self._ask("GET", path).get("models", False)
        if listed is not None and not isinstance(listed, list):  # Go writes an empty one as null
            raise self._not_ollama(f"no list of models in {path}")
        entries = [one for one in (listed or ())[:_MOST_MODELS] if isinstance(one, dict)]
        named = [(one.get("name") or one.get("model"), one) for one in entries]
        return [(name, one) for name, one in named if isinstance(name, str) and _is_name(name)]

    def _ask(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            status, data = self._exchange(method, path, body)
        except Exception as fault:  # noqa: BLE001 - sockets, ssl, http, encodings: each its own
            raise self._explain(fault) from None
        if len(data) > MOST_BYTES:
            raise self._not_ollama(f"more than {MOST_BYTES // 2**20} MiB")
        if status in (401, 403):
            raise OllamaError(f"{self._address.url} refuses: status {status}", "permission")
        try:
            answer = json.loads(data, parse_int=_figure)
        except (ValueError, RecursionError):
            answer = None
        if status >= 500 or (status >= 400 and isinstance(answer, dict)):
            said = answer.get("error") if isinstance(answer, dict) else None
            words = f"{status} {shown(said) if isinstance(said, str) else ''}".strip()
            raise OllamaError(f"{self._address.url} answers {path} with the error {words}", "error")
        if status != 200 or not isinstance(answer, dict):
            web = "a web page" if b"<html" in data[:1000].lower() else "no JSON object"
            raise self._not_ollama(web if status == 200 else f"status {status}")
        return answer

    def _exchange(
        self, method: str, path: str, body: Mapping[str, Any] | None
    ) -> tuple[int, bytes]:
        """Return the status and the body, one byte more than is allowed where there is more."""
        import http.client

        ends = time.monotonic() + self._seconds
        scheme, host, port, prefix = self._address
        secure = scheme == "https"
        maker = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = maker(host, port, timeout=self._seconds)
        try:
            connection.connect()
            connection.sock = _Hurried(connection.sock, ends)
            headers = {"Accept": "application/json", "Connection": "close"}
            data = None if body is None else json.dumps(body).encode("ascii")
            if data is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, (f"/{prefix}" if prefix else "") + path, data, headers)
            response = connection.getresponse()
            return response.status, response.read(MOST_BYTES + 1)
        finally:
            connection.close()

    def _explain(self, fault: Exception) -> OllamaError:
        import socket
        import ssl

        url = self._address.url
        if isinstance(fault, TimeoutError):
            return OllamaError(f"no answer from {url} within {self._seconds:.3g} s", "timeout")
        if isinstance(fault, ConnectionRefusedError):
            return OllamaError(f"nothing listens at {url}", "refused")
        if isinstance(fault, ssl.SSLError):
            return OllamaError(f"TLS with {url} fails: {shown(str(fault))}", "invalid")
        if isinstance(fault, socket.gaierror):
            return OllamaError(f"the host of {url} is not found", "unavailable")
        if isinstance(fault, OSError) and not isinstance(fault, ConnectionError):
            return OllamaError(f"{url}: {fault.strerror or fault}", "unavailable")
        return self._not_ollama("no HTTP")

    def _not_ollama(self, what: str) -> OllamaError:
        return OllamaError(f"{self._address.url} answers, but not as Ollama: {what}", "invalid")


class _Hurried:
    """What http.client needs of a socket; all its waiting ends at one time, however it drips."""

    def __init__(self, connected: socket.socket, ends: float) -> None:
        self._socket = connected
        self._ends = ends

    def sendall(self, data: bytes) -> None:
        self._socket.settimeout(self.left())
        self._socket.sendall(data)

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(_Reading(self._socket, self.left))

    def left(self) -> float:
        left = self._ends - time.monotonic()
        if left <= 0:
            raise TimeoutError
        return left

    def close(self) -> None:
        self._socket.close()


class _Reading(io.RawIOBase):
    """The reading side of it."""

    def __init__(self, connected: socket.socket, left: Callable[[], float]) -> None:
        self._socket = connected
        self._left = left

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        self._socket.settimeout(self._left())
        return self._socket.recv_into(buffer)


def _figure(digits: str) -> int | None:
    """Read a whole number; one of more than 64 bits says nothing."""
    return int(digits) if len(digits) <= 20 else None


def _count(value: Any) -> int | None:
    """Return a figure that is one: zero is no measurement."""
    whole = isinstance(value, int) and not isinstance(value, bool)
    return value if whole and 0 < value < 2**63 else None


def _is_name(text: str) -> bool:
    return 0 < len(text) <= _MOST_NAME and text.isprintable()


def _size(entry: Mapping[str, Any], key: str) -> int | Unknown:
    return _count(entry.get(key)) or Unknown(f"Ollama does not say its {key}")


def _held(entry: Mapping[str, Any]) -> Loaded:
    total, graphics = _size(entry, "size"), entry.get("size_vram")
    if isinstance(total, Unknown):
        return Loaded(total, total)
    if graphics == 0:
        return Loaded(total, total)
    of_gpus = _size(entry, "size_vram")
    return Loaded(of_gpus if isinstance(of_gpus, Unknown) else max(0, total - of_gpus), total)
