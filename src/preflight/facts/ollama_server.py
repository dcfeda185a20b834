"""One Ollama: what it makes of its environment variables, and where it is asked.

What Ollama can't parse it silently treats as not set. Whatever listens at its address may be
hostile: names are checked. Sources: ollama's envconfig/config.go (`Var`, `KeepAlive`, `Uint`,
`Host`, `ConnectableHost`), docs/api.md and api/types.go; Go's time.ParseDuration.
"""

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.model.facts import Unknown, Value
from preflight.model.quantities import format_duration, parse_duration

DEFAULT_OLLAMA_PORT = 11434
DEFAULT_OLLAMA_URL = f"http://127.0.0.1:{DEFAULT_OLLAMA_PORT}"
MAX_DURATION_SECONDS = 2**63 / 10**9  # Go counts nanoseconds in 64 bits
MAX_SHOWN_VALUE_CHARS = 60
MAX_MODEL_NAME_CHARS = 200  # of a model's or a version's name
MAX_LISTED_MODELS = 1000
WILDCARD_TO_LOOPBACK = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # and what dials them
GO_DURATION_PATTERN = re.compile(
    r"[-+]?(?:[0-9]+|(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+)", re.ASCII
)


class OllamaSetting(NamedTuple):
    """A setting: its variable, the value as Ollama understands it, and a sentence about that."""

    name: str
    variable: str
    value: Value
    description: str


def read_ollama_variable(environment: Mapping[str, Value], variable: str) -> str:
    """Return a variable as Ollama sees it: without spaces and then quotes around it."""
    value = environment.get(variable)
    return "" if value is None else str(value).strip().strip("\"'")


def shorten_setting_value(text: str) -> str:
    """Return a value fit to be shown: on one line, its beginning where it is long."""
    plain = "".join(char for char in text if char.isprintable())
    return (
        plain if len(plain) <= MAX_SHOWN_VALUE_CHARS else plain[: MAX_SHOWN_VALUE_CHARS - 1] + "…"
    )


def parse_keep_alive(text: str) -> float:
    """Read a duration of Go, or whole seconds, in seconds; -1 is for ever. Raises ValueError."""
    if (
        GO_DURATION_PATTERN.fullmatch(text) is None
        or abs(parse_duration(text)) > MAX_DURATION_SECONDS
    ):
        raise ValueError("not a valid Go duration: expected one such as 5m or 1h30m, without days")
    seconds = round(parse_duration(text), 9)
    return -1 if seconds < 0 else int(seconds) if seconds == int(seconds) else seconds


def parse_whole_number_setting(text: str) -> int:
    """Read a whole number without a sign, of 64 bits; raises ValueError."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**64:
        raise ValueError("not an unsigned 64-bit integer")
    return int(text)


OLLAMA_SETTING_PARSERS: tuple[tuple[str, Callable[[str], float], float | None, str], ...] = (
    # name, how it is read, its value and a sentence where it isn't set
    ("keep_alive", parse_keep_alive, 300, ": Ollama uses 5m"),
    ("num_parallel", parse_whole_number_setting, None,
     ". Ollama decides: 1 request at a time since 0.13, automatically up to 4 before"),
    ("max_loaded_models", parse_whole_number_setting, None,
     ". Ollama decides: 3 models on a CPU, 3 for each GPU"),
    ("context_length", parse_whole_number_setting, None,
     ". Ollama decides: 4096 tokens, by version and VRAM also others"),
)  # fmt: skip


def read_ollama_settings(environment: Mapping[str, Value]) -> Iterator[OllamaSetting]:
    """Yield what Ollama makes of a container's environment; None is a variable that isn't set.

    `keep_alive` is in seconds, -1 for ever.
    """
    ignored = []
    for name, parse, default, default_description in OLLAMA_SETTING_PARSERS:
        variable = f"OLLAMA_{name.upper()}"
        text = read_ollama_variable(environment, variable)
        description = (
            f"{variable}={shorten_setting_value(text)}" if text else f"{variable} is not set"
        )
        value = None
        try:
            value = parse(text) if text else None
        except ValueError:
            ignored.append(description)
            expected = "number" if parse is parse_whole_number_setting else "duration"
            description += f" isn't a valid {expected}"
        if value is None or (value == 0 and parse is parse_whole_number_setting):
            value, description = default, description + default_description
        elif parse is parse_keep_alive:
            uses = f"Ollama uses {format_duration(value, 9)}"
            description += ": a model stays loaded for ever" if value < 0 else f": {uses}"
        yield OllamaSetting(name, variable, value, description)
    yield OllamaSetting(
        "ignored", "", ignored or None, "Ollama treats what it can't parse as not set"
    )


def parse_ollama_host(text: str) -> str:
    """Return the URL that OLLAMA_HOST means to Ollama's client; raises ValueError."""
    scheme, _, rest = text.rpartition("://")
    is_bare_ipv6 = rest.count(":") > 1 and "[" not in rest
    parts = urlsplit(f"{scheme or 'http'}://{f'[{rest}]' if is_bare_ipv6 else rest}")
    default = {"": DEFAULT_OLLAMA_PORT, "http": 80, "https": 443}.get(scheme)
    host = WILDCARD_TO_LOOPBACK.get(parts.hostname or "", parts.hostname or "")
    plain = re.fullmatch(r"[\w.:%-]+", host, re.ASCII) and re.fullmatch("[!-~]*", parts.path)
    if default is None or not plain or parts.username is not None or parts.query:
        raise ValueError("neither HOST, HOST:PORT nor a URL")
    netloc = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{netloc}:{parts.port or default}{parts.path.rstrip('/')}"


def locate_ollama_api(
    environ: Mapping[str, str], local: bool, service: Mapping[str, Any] | None
) -> tuple[str | Unknown | None, str]:
    """Return the URL where Ollama is asked, and what decided it; None if no port leads to it.

    OLLAMA_HOST, else the service's published port, else 11434. `local` is whether the engine is on
    this machine, `service` the one that runs Ollama. Only the user's OLLAMA_HOST leads off this
    machine.
    """
    if text := read_ollama_variable(environ, "OLLAMA_HOST"):
        try:
            return parse_ollama_host(text), "OLLAMA_HOST"
        except ValueError:
            reason = "OLLAMA_HOST isn't a valid address: use HOST, HOST:PORT or http://HOST:PORT"
            return Unknown(reason, "invalid"), ""
    if not local:
        reason = "Ollama runs on another host; set OLLAMA_HOST to its address"
        return Unknown(reason, "unsupported"), ""
    if service is None:
        return DEFAULT_OLLAMA_URL, "Ollama's default address"
    inside: int | None = DEFAULT_OLLAMA_PORT
    with suppress(ValueError):
        inside = urlsplit(
            parse_ollama_host(read_ollama_variable(get_service_environment(service), "OLLAMA_HOST"))
        ).port
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
        host, number = str(port.get("host_ip") or ""), str(port.get("published"))
        with suppress(ValueError):
            url = parse_ollama_host(f"[{host}]:{number}" if ":" in host else f"{host}:{number}")
            if Endpoint(url, "", "").is_loopback and url.endswith(f":{number}"):
                return url, "the port that the service publishes"
    reason = "the service publishes no fixed port on loopback; set OLLAMA_HOST to its address"
    return Unknown(reason, "unsupported"), ""


def get_service_environment(service: Mapping[str, Any]) -> Mapping[str, Value]:
    """Return the environment of a compose service."""
    return service.get("environment") or {}


def get_ollama_models(api: EngineApi, path: str) -> dict[str, Mapping[str, Any]]:
    """GET a list of models, by name; Go writes an empty list as null."""
    models = api.get_object(path).get("models", False)
    if models is not None and not isinstance(models, list):
        raise EngineError(f"{api.address}: GET {path} returned no list of models")
    rows = [row for row in models or () if isinstance(row, dict)][:MAX_LISTED_MODELS]
    named: list[tuple[Any, Any]] = [(row.get("name") or row.get("model"), row) for row in rows]
    return {name: row for name, row in named if is_valid_model_name(name)}


def is_valid_model_name(value: Any) -> bool:
    """Whether it can be the name of a model or a version."""
    return isinstance(value, str) and 0 < len(value) <= MAX_MODEL_NAME_CHARS and value.isprintable()
