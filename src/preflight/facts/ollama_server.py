"""One Ollama: what it makes of its environment variables, where it is asked, and what it answers.

What Ollama can't parse it silently treats as not set. Whatever listens at its address may be
hostile: answers are bounded in size and time, and names are checked. Sources: ollama's
envconfig/config.go (`Var`, `KeepAlive`, `Uint`, `Host`, `ConnectableHost`), docs/api.md and
api/types.go; Go's time.ParseDuration and strconv.ParseUint.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

from preflight.facts.engine.api import count_or_none
from preflight.facts.http_client import request
from preflight.model.facts import Unknown, UnknownKind, Value
from preflight.model.quantities import format_duration, parse_duration

DEFAULT_PORT = 11434
DEFAULT_KEEP_ALIVE_SECONDS = 300
MAX_SECONDS = 2**63 / 10**9  # Go counts nanoseconds in 64 bits
MAX_VALUE_CHARS = 60
WILDCARD_TO_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # and what dials them
GO_DURATION = re.compile(
    r"[-+]?(?:(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:ns|us|\u00b5s|\u03bcs|ms|s|m|h))+", re.ASCII
)
HOST_PORT = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*)):([^:\[\]]*)")
MAX_ANSWER_BYTES = 8 * 2**20  # of one answer
MAX_NAME_CHARS = 200  # of a model's or a version's name
MAX_MODELS = 1000


class Setting(NamedTuple):
    """A setting: its variable, the value as Ollama understands it, and a sentence about that."""

    name: str
    variable: str
    value: Value
    description: str


class Address(NamedTuple):
    """Where Ollama is asked; `path` is a prefix without a slash in front."""

    scheme: str
    host: str
    port: int
    path: str = ""

    @property
    def url(self) -> str:
        """The address as it is shown."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}" + (f"/{self.path}" if self.path else "")

    @property
    def loopback(self) -> bool:
        """Whether it is this machine's own."""
        numeric = self.host.startswith("127.") and self.host.replace(".", "").isdecimal()
        return numeric or self.host in ("localhost", "::1")


def read_settings(environment: Mapping[str, Value]) -> Iterator[Setting]:
    """Yield what Ollama makes of a container's environment; None is a variable that isn't set.

    `keep_alive` is in seconds, -1 for ever.
    """
    ignored = []
    for name, variable, parse, default in SETTINGS:
        text = read_variable(environment, variable)
        description = f"{variable}={shorten(text)}" if text else f"{variable} is not set"
        value = None
        try:
            value = parse(text) if text else None
        except ValueError:
            ignored.append(description)
            description += f" isn't a valid {'number' if parse is parse_uint else 'duration'}"
        if name == "keep_alive":
            description += default if value is None else _describe_keep_alive(value)
            value = DEFAULT_KEEP_ALIVE_SECONDS if value is None else -1 if value < 0 else value
        elif not value:
            value, description = None, description + default
        if name:
            number = int(value) if value is not None and value == int(value) else value
            yield Setting(name, variable, number, description)
    yield Setting("ignored", "", ignored or None, "Ollama treats what it can't parse as not set")


def _describe_keep_alive(seconds: float) -> str:
    uses = f"Ollama uses {format_duration(seconds, 9)}"
    return ": a model stays loaded for ever" if seconds < 0 else f": {uses}"


def read_variable(environment: Mapping[str, Value], variable: str) -> str:
    """Return a variable as Ollama sees it: without spaces and then quotes around it."""
    value = environment.get(variable)
    return "" if value is None else str(value).strip().strip("\"'")


def shorten(text: str) -> str:
    """Return a value fit to be shown: on one line, its beginning where it is long."""
    plain = "".join(char for char in text if char.isprintable())
    return plain if len(plain) <= MAX_VALUE_CHARS else plain[: MAX_VALUE_CHARS - 1] + "…"


def parse_keep_alive(text: str) -> float:
    """Read a duration of Go, or whole seconds, in seconds; raises ValueError.

    Go writes `.5m` and `5.m` too and has no days; otherwise it is the rules' grammar.
    """
    if re.fullmatch("[-+]?[0-9]+", text):
        seconds: float = int(text)
        if not -(2**63) <= seconds < 2**63:
            raise ValueError("more than 64 bits")
        return seconds
    if GO_DURATION.fullmatch(text) is None:
        raise ValueError("not a duration of Go")
    plain = re.sub("[\u00b5\u03bc]", "u", text)
    plain = re.sub(r"(?<![0-9])\.", "0.", re.sub(r"\.(?![0-9])", "", plain))
    seconds = round(parse_duration(plain), 9)
    if abs(seconds) > MAX_SECONDS:
        raise ValueError("more than 64 bits of nanoseconds")
    return seconds


def parse_uint(text: str) -> int:
    """Read a whole number without a sign, of 64 bits; raises ValueError."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**64:
        raise ValueError("not an unsigned 64-bit integer")
    return int(text)


SETTINGS: tuple[tuple[str, str, Callable[[str], float], str], ...] = (
    # name (none: only whether Ollama ignores it), variable, how it is read, what holds without it
    ("keep_alive", "OLLAMA_KEEP_ALIVE", parse_keep_alive, ": Ollama uses 5m"),
    ("num_parallel", "OLLAMA_NUM_PARALLEL", parse_uint,
     ". Ollama decides: 1 request at a time since 0.13, automatically up to 4 before"),
    ("max_loaded_models", "OLLAMA_MAX_LOADED_MODELS", parse_uint,
     ". Ollama decides: 3 models on a CPU, 3 for each GPU"),
    ("context_length", "OLLAMA_CONTEXT_LENGTH", parse_uint,
     ". Ollama decides: 4096 tokens, by version and VRAM also others"),
    ("", "OLLAMA_LOAD_TIMEOUT", parse_keep_alive, ""),
    ("", "OLLAMA_MAX_QUEUE", parse_uint, ""),
    ("", "OLLAMA_GPU_OVERHEAD", parse_uint, ""),
)  # fmt: skip


def parse_host(text: str) -> Address:
    """Read OLLAMA_HOST as Ollama's client does: an invalid port becomes the default.

    Raises ValueError where it can't be dialled at all.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        scheme, rest = "http", scheme
    default = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT) if separator else DEFAULT_PORT
    host_port, _, path = rest.partition("/")
    match = HOST_PORT.fullmatch(host_port)
    host, port = (match[1] or match[2] or "", match[3]) if match else (host_port.strip("[]"), "")
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else default
    if scheme not in ("http", "https"):
        raise ValueError("neither http nor https")
    plain = re.fullmatch(r"[\w.:%-]*", host, re.ASCII) and re.fullmatch("[!-~]*", path)
    if not plain or "@" in host_port:
        raise ValueError("not a host and a path")
    host = WILDCARD_TO_LOOPBACK.get(host, host)
    return Address(scheme, host, number if number <= 65535 else default, path.rstrip("/"))


def locate_api(
    environ: Mapping[str, str], local: bool, service: Mapping[str, Any] | None
) -> tuple[Address | Unknown | None, str]:
    """Return where Ollama is asked, and what decided it; None if no port leads to it.

    OLLAMA_HOST, else the service's published port, else 11434. `local` is whether the engine is on
    this machine, `service` the one that runs Ollama. Only the user's OLLAMA_HOST leads off this
    machine.
    """
    if text := read_variable(environ, "OLLAMA_HOST"):
        try:
            return parse_host(text), "OLLAMA_HOST"
        except ValueError:
            reason = "OLLAMA_HOST isn't a valid address: use HOST, HOST:PORT or http://HOST:PORT"
            return Unknown(reason, "invalid"), ""
    if not local:
        reason = "Ollama runs on another host; set OLLAMA_HOST to its address"
        return Unknown(reason, "unsupported"), ""
    if service is None:
        return Address("http", "127.0.0.1", DEFAULT_PORT), "Ollama's default address"
    try:
        inside = parse_host(read_variable(get_environment(service), "OLLAMA_HOST")).port
    except ValueError:
        inside = DEFAULT_PORT
    if service.get("network_mode") == "host":
        return Address("http", "127.0.0.1", inside), "the service uses the host's network"
    return _locate_published(service, inside)


def _locate_published(
    service: Mapping[str, Any], inside: int
) -> tuple[Address | Unknown | None, str]:
    """Return the port on loopback that leads to a port inside a service."""
    ports = [
        port
        for port in service.get("ports") or ()
        if str(port.get("target")) == str(inside) and port.get("protocol") in (None, "tcp")
    ]
    if not ports:
        return None, f"the service publishes no port for {inside}; set OLLAMA_HOST"
    for port in ports:
        host, published = str(port.get("host_ip") or ""), str(port.get("published") or "")
        number = int(published) if published.isdecimal() else 0
        address = Address("http", WILDCARD_TO_LOOPBACK.get(host, host), number)
        if 0 < number < 65536 and address.loopback:
            return address, "the port that the service publishes"
    reason = "the service publishes no fixed port on loopback; set OLLAMA_HOST to its address"
    return Unknown(reason, "unsupported"), ""


def get_environment(service: Mapping[str, Any]) -> Mapping[str, Value]:
    """Return the environment of a compose service."""
    return service.get("environment") or {}


class OllamaError(Exception):
    """Why Ollama can't be used; `kind` as under `unknown` in a snapshot."""

    def __init__(self, reason: str, kind: UnknownKind) -> None:
        super().__init__(reason)
        self.kind: UnknownKind = kind


class OllamaApi:
    """One Ollama. Every call takes `seconds` at most, and raises OllamaError and nothing else."""

    def __init__(self, address: Address, seconds: float) -> None:
        self._address = address
        self._seconds = seconds

    def version(self) -> str:
        """GET /api/version."""
        version = self._request("/api/version").get("version")
        if not is_valid_name(version):
            raise self._not_ollama("no version")
        return str(version)

    def models(self) -> Mapping[str, int | Unknown]:
        """GET /api/tags: bytes on disk by name."""
        return {name: _read_size(model, "size") for name, model in self._models("/api/tags")}

    def loaded(self) -> Mapping[str, tuple[int | Unknown, int | Unknown]]:
        """GET /api/ps: bytes of RAM, and with the memory of GPUs, by name of a loaded model."""
        return {name: _parse_loaded(model) for name, model in self._models("/api/ps")}

    def model_info(self, name: str) -> Mapping[str, Any]:
        """POST /api/show: what describes the shape of a model."""
        info = self._request("/api/show", {"model": name}).get("model_info")
        return info if isinstance(info, dict) else {}

    def _models(self, path: str) -> Iterator[tuple[str, dict[str, Any]]]:
        models = self._request(path).get("models", False)
        if models is not None and not isinstance(models, list):  # Go writes an empty list as null
            raise self._not_ollama(f"no list of models in {path}")
        for model in (models or ())[:MAX_MODELS]:
            name = (model.get("name") or model.get("model")) if isinstance(model, dict) else None
            if is_valid_name(name):
                yield str(name), model

    def _request(self, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
        prefix, url = self._address.path, self._address.url
        json_type = "application/json"
        try:
            status, data = request(
                url,
                (f"/{prefix}" if prefix else "") + path,
                timeout=self._seconds,
                max_bytes=MAX_ANSWER_BYTES,
                method="GET" if content is None else "POST",
                headers={"Accept": json_type, "Content-Type": json_type, "Connection": "close"},
                body=None if content is None else json.dumps(content).encode("ascii"),
            )
        except Exception as error:  # noqa: BLE001 - sockets, ssl, http, encodings: each its own
            raise self._describe_failure(error) from None
        if len(data) > MAX_ANSWER_BYTES:
            raise self._not_ollama(f"more than {MAX_ANSWER_BYTES // 2**20} MiB")
        if status in (401, 403):
            raise OllamaError(f"{url} refuses: status {status}", "permission")
        try:
            answer = json.loads(data, parse_int=_parse_integer)
        except (ValueError, RecursionError):
            answer = None
        if status >= 500 or (status >= 400 and isinstance(answer, dict)):
            message = answer.get("error") if isinstance(answer, dict) else None
            words = f"{status} {shorten(message) if isinstance(message, str) else ''}".strip()
            raise OllamaError(f"{url} answers {path} with the error {words}", "error")
        if status != 200 or not isinstance(answer, dict):
            body = "a web page" if b"<html" in data[:1000].lower() else "no JSON object"
            raise self._not_ollama(body if status == 200 else f"status {status}")
        return answer

    def _describe_failure(self, error: Exception) -> OllamaError:
        import socket
        import ssl

        url = self._address.url
        if isinstance(error, TimeoutError):
            return OllamaError(f"no answer from {url} within {self._seconds:.3g} s", "timeout")
        if isinstance(error, ConnectionRefusedError):
            return OllamaError(f"nothing listens at {url}", "refused")
        if isinstance(error, ssl.SSLError):
            return OllamaError(f"TLS with {url} fails: {shorten(str(error))}", "invalid")
        if isinstance(error, socket.gaierror):
            return OllamaError(f"the host of {url} is not found", "unavailable")
        if isinstance(error, OSError) and not isinstance(error, ConnectionError):
            return OllamaError(f"{url}: {error.strerror or error}", "unavailable")
        return self._not_ollama("no HTTP")

    def _not_ollama(self, reason: str) -> OllamaError:
        return OllamaError(f"{self._address.url} answers, but not as Ollama: {reason}", "invalid")


def _parse_integer(digits: str) -> int | None:
    """Read an integer of JSON, None for one of more than 64 bits."""
    return int(digits) if len(digits) <= 20 else None


def positive_or_none(value: Any) -> int | None:
    """Return the value if it is an integer that measures something: zero doesn't."""
    number = count_or_none(value) or 0
    return number if 0 < number < 2**63 else None


def is_valid_name(value: Any) -> bool:
    """Whether it can be the name of a model or a version."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()


def _read_size(model: Mapping[str, Any], key: str) -> int | Unknown:
    return positive_or_none(model.get(key)) or Unknown(f"Ollama does not report its {key}")


def _parse_loaded(model: Mapping[str, Any]) -> tuple[int | Unknown, int | Unknown]:
    total, of_gpus = _read_size(model, "size"), _read_size(model, "size_vram")
    if isinstance(total, Unknown) or model.get("size_vram") == 0:
        return total, total
    return (of_gpus if isinstance(of_gpus, Unknown) else max(0, total - of_gpus)), total
