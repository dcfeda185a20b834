"""One Ollama: what it makes of its environment variables, where it is asked, and what it answers.

What Ollama can't parse it silently treats as not set. Whatever listens at its address may be
hostile: answers are bounded in size and time, and names are checked. Sources: ollama's
envconfig/config.go (`Var`, `KeepAlive`, `Uint`, `Host`, `ConnectableHost`), docs/api.md and
api/types.go; Go's time.ParseDuration and strconv.ParseUint.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.model.facts import Unknown, Value
from preflight.model.quantities import format_duration

DEFAULT_PORT = 11434
DEFAULT_URL = f"http://127.0.0.1:{DEFAULT_PORT}"
MAX_SECONDS = 2**63 / 10**9  # Go counts nanoseconds in 64 bits
MAX_VALUE_CHARS = 60
MAX_NAME_CHARS = 200  # of a model's or a version's name
MAX_MODELS = 1000
WILDCARD_TO_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # and what dials them
GO_UNITS = {"h": 3600, "m": 60, "s": 1, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ns": 1e-9}
GO_DURATION_PART = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
HOST = re.compile(
    r"(?:(https?)://)?(?:\[([\w:.%-]*)\]|([\w.%-]*)|([\w:.%-]*))(?::([\w-]*))?(/(?!/)[!-~]*)?",
    re.ASCII,
)


class Setting(NamedTuple):
    """A setting: its variable, the value as Ollama understands it, and a sentence about that."""

    name: str
    variable: str
    value: Value
    description: str


def read_variable(environment: Mapping[str, Value], variable: str) -> str:
    """Return a variable as Ollama sees it: without spaces and then quotes around it."""
    value = environment.get(variable)
    return "" if value is None else str(value).strip().strip("\"'")


def shorten(text: str) -> str:
    """Return a value fit to be shown: on one line, its beginning where it is long."""
    plain = "".join(char for char in text if char.isprintable())
    return plain if len(plain) <= MAX_VALUE_CHARS else plain[: MAX_VALUE_CHARS - 1] + "…"


def parse_keep_alive(text: str) -> float:
    """Read a duration of Go, or whole seconds, in seconds; -1 is for ever. Raises ValueError."""
    number = text[1:] if text[:1] in ("+", "-") else text
    if re.fullmatch("[0-9]+", number):
        number += "s"
    parts = GO_DURATION_PART.findall(number) if len(number) <= MAX_VALUE_CHARS else []
    seconds = round(sum(float(count) * GO_UNITS[unit] for count, unit in parts), 9)
    if not parts or GO_DURATION_PART.sub("", number) or seconds > MAX_SECONDS:
        raise ValueError("not a duration of Go in 64 bits of nanoseconds")
    if text.startswith("-") and seconds:
        return -1
    return int(seconds) if seconds.is_integer() else seconds


def parse_uint(text: str) -> int:
    """Read a whole number without a sign, of 64 bits; raises ValueError."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**64:
        raise ValueError("not an unsigned 64-bit integer")
    return int(text)


SETTINGS: tuple[tuple[str, Callable[[str], float], float | None, str], ...] = (
    # variable, how it is read, its value and a sentence where it isn't set
    ("OLLAMA_KEEP_ALIVE", parse_keep_alive, 300, ": Ollama uses 5m"),
    ("OLLAMA_NUM_PARALLEL", parse_uint, None,
     ". Ollama decides: 1 request at a time since 0.13, automatically up to 4 before"),
    ("OLLAMA_MAX_LOADED_MODELS", parse_uint, None,
     ". Ollama decides: 3 models on a CPU, 3 for each GPU"),
    ("OLLAMA_CONTEXT_LENGTH", parse_uint, None,
     ". Ollama decides: 4096 tokens, by version and VRAM also others"),
    # of these it is only said that Ollama ignores them
    ("OLLAMA_LOAD_TIMEOUT", parse_keep_alive, None, ""),
    ("OLLAMA_MAX_QUEUE", parse_uint, None, ""),
    ("OLLAMA_GPU_OVERHEAD", parse_uint, None, ""),
)  # fmt: skip


def read_settings(environment: Mapping[str, Value]) -> Iterator[Setting]:
    """Yield what Ollama makes of a container's environment; None is a variable that isn't set.

    `keep_alive` is in seconds, -1 for ever.
    """
    ignored = []
    for variable, parse, default, default_description in SETTINGS:
        text = read_variable(environment, variable)
        description = f"{variable}={shorten(text)}" if text else f"{variable} is not set"
        value = None
        try:
            value = parse(text) if text else None
        except ValueError:
            ignored.append(description)
            description += f" isn't a valid {'number' if parse is parse_uint else 'duration'}"
        if value is None or (value == 0 and parse is parse_uint):
            value, description = default, description + default_description
        elif parse is parse_keep_alive:
            uses = f"Ollama uses {format_duration(value, 9)}"
            description += ": a model stays loaded for ever" if value < 0 else f": {uses}"
        if default_description:
            name = variable.removeprefix("OLLAMA_").lower()
            yield Setting(name, variable, value, description)
    yield Setting("ignored", "", ignored or None, "Ollama treats what it can't parse as not set")


def parse_host(text: str) -> str:
    """Return the URL that OLLAMA_HOST means to Ollama's client: an invalid port is the default.

    Raises ValueError where it can't be dialled at all.
    """
    match = HOST.fullmatch(text)
    if match is None:
        raise ValueError("not a host and a path")
    scheme, bracketed, name, bare, port, path = match.groups(default="")
    host = bracketed or name or bare
    host = WILDCARD_TO_LOOPBACK.get(host, host)
    number = int(port) if re.fullmatch("[0-9]{1,5}", port) else 0
    if not 0 < number < 65536:
        number = {"http": 80, "https": 443}.get(scheme, DEFAULT_PORT)
    shown_host = f"[{host}]" if ":" in host else host
    url = f"{scheme or 'http'}://{shown_host}:{number}{path.rstrip('/')}"
    urlsplit(url)  # it refuses what isn't an IPv6 address in brackets
    return url


def locate_api(
    environ: Mapping[str, str], local: bool, service: Mapping[str, Any] | None
) -> tuple[str | Unknown | None, str]:
    """Return the URL where Ollama is asked, and what decided it; None if no port leads to it.

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
        return DEFAULT_URL, "Ollama's default address"
    inside: int | None = DEFAULT_PORT
    with suppress(ValueError):
        inside = urlsplit(parse_host(read_variable(get_environment(service), "OLLAMA_HOST"))).port
    if service.get("network_mode") == "host":
        return f"http://127.0.0.1:{inside}", "the service uses the host's network"
    ports = [
        port
        for port in service.get("ports") or ()
        if port.get("target") == inside and port.get("protocol") in (None, "tcp")
    ]
    if not ports:
        return None, f"the service publishes no port for {inside}; set OLLAMA_HOST"
    for port in ports:
        with suppress(ValueError):
            url = parse_host(f"[{port.get('host_ip') or ''}]:{port.get('published')}")
            if Endpoint(url, "", "").loopback and url.endswith(f":{port.get('published')}"):
                return url, "the port that the service publishes"
    reason = "the service publishes no fixed port on loopback; set OLLAMA_HOST to its address"
    return Unknown(reason, "unsupported"), ""


def get_environment(service: Mapping[str, Any]) -> Mapping[str, Value]:
    """Return the environment of a compose service."""
    return service.get("environment") or {}


def get_models(api: EngineApi, path: str) -> dict[str, Mapping[str, Any]]:
    """GET a list of models, by name; Go writes an empty list as null."""
    models = api.get_object(path).get("models", False)
    if models is not None and not isinstance(models, list):
        raise EngineError(f"{api.address}: GET {path} returned no list of models")
    rows = [row for row in models or () if isinstance(row, dict)][:MAX_MODELS]
    named: list[tuple[Any, Any]] = [(row.get("name") or row.get("model"), row) for row in rows]
    return {name: row for name, row in named if is_valid_name(name)}


def is_valid_name(value: Any) -> bool:
    """Whether it can be the name of a model or a version."""
    return isinstance(value, str) and 0 < len(value) <= MAX_NAME_CHARS and value.isprintable()
