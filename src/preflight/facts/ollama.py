"""Ollama: its settings, whether it is reachable, its models, and the one that is configured.

One Ollama is asked. What it can't parse of its environment it silently treats as not set. Whatever
listens at its address may be hostile: names are checked. An estimate of memory is never a measured
figure. Sources: ollama's envconfig/config.go (`Var`, `KeepAlive`, `Uint`, `Host`,
`ConnectableHost`), docs/api.md and api/types.go; Go's time.ParseDuration.
"""

import os
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from preflight.facts.collect.context import MeasurementContext
from preflight.facts.compose.project import (
    Project,
    find_setting_source,
    list_service_and_image_names,
)
from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.facts.engine.host_visibility import is_in_container
from preflight.facts.language_model import normalize_model_name
from preflight.facts.nested_values import (
    get_nested_object,
    get_nested_whole_number,
    whole_number_or_none,
)
from preflight.facts.table import NO_COMPOSE_FILE_REASON
from preflight.model.facts import Measured, NotMeasuredError, Source, Unknown, Value, make_fact
from preflight.model.quantities import format_bytes, format_duration, parse_duration

MAX_OLLAMA_ANSWER_SECONDS = 2.0
OLLAMA_RUNTIME_OVERHEAD_BYTES = 2**29  # besides weights and KV cache
DEFAULT_OLLAMA_CONTEXT_TOKENS = 4096
MAX_MODEL_DIMENSION = 2**24  # layers, heads or numbers of a head: no model has as many
DEFAULT_OLLAMA_PORT = 11434
DEFAULT_OLLAMA_URL = f"http://127.0.0.1:{DEFAULT_OLLAMA_PORT}"
MAX_GO_DURATION_SECONDS = 2**63 / 10**9  # Go counts nanoseconds in 64 bits
MAX_SHOWN_VALUE_CHARS = 60
MAX_MODEL_NAME_CHARS = 200  # of a model's or a version's name
MAX_OLLAMA_MODELS_READ = 1000
LOOPBACK_BY_WILDCARD = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}  # and what dials them
OLLAMA_DURATION_PATTERN = r"(?a)[-+]?(?:[0-9]+|(?:[0-9]+(?:\.[0-9]+)?(?:ns|us|ms|s|m|h))+)"


def measure_ollama(
    context: MeasurementContext, environ: Mapping[str, str] = os.environ
) -> Iterator[Measured]:
    """Yield the facts: `reachable` is false without an answer, unknown if Ollama wasn't asked.

    Raises NotMeasuredError with why the others aren't known.
    """
    project = context.project_or_unknown()
    services = find_ollama_services(project)
    yield from _measure_ollama_settings(project, services)
    name, source = find_configured_model(project, environ)
    yield make_fact("model.name", name, source)
    if not isinstance(name, str):
        for fact in ("size", "resident", "estimate"):
            yield make_fact(f"model.{fact}", name, "no model is configured")
    service = next(iter(services.values()), None)
    local = bool(read_ollama_variable(environ, "OLLAMA_HOST")) or _is_engine_local(context)
    url, source = locate_ollama_api(environ, local, service)
    yield make_fact("ollama.endpoint", url, source)
    reachable: bool | Unknown = False
    try:
        if not isinstance(url, str):
            reachable, reason = url or False, url or Unknown(source)
            raise NotMeasuredError(*reason)
        seconds = min(MAX_OLLAMA_ANSWER_SECONDS, context.options.timeout / 2)
        api = EngineApi(Endpoint(url, "", ""), seconds, server="Ollama")
        environment = (service or {}).get("environment") or {}
        yield from _measure_ollama_api(api, name, environment)
    except NotMeasuredError as error:
        reason = error.unknown
        is_own_loopback = isinstance(url, str) and Endpoint(url, "", "").is_loopback
        is_hideable = is_own_loopback and is_in_container()[0]  # no answer may mean nothing then
        if is_hideable and (hidden := context.find_visibility().network_hidden):
            reachable = reason = Unknown(f"{reason.reason}; {hidden.reason}", hidden.kind)
        yield make_fact("ollama.reachable", reachable, reason.reason)
        yield make_fact("ollama.problem", reachable or reason.reason, reason.reason)
        raise NotMeasuredError(*reason) from None  # the worker makes all others unknown


def find_ollama_services(project: Project | Unknown | None) -> dict[str, Mapping[str, Any]]:
    """Return the services that run Ollama, by name."""
    services = project.services.items() if isinstance(project, Project) else ()
    return {
        name: own for name, own in services if "ollama" in list_service_and_image_names(name, own)
    }


def _measure_ollama_settings(
    project: Project | Unknown | None, services: Mapping[str, Mapping[str, Any]]
) -> Iterator[Measured]:
    """Yield which service runs Ollama, and the settings of each that does."""
    if not isinstance(project, Project):
        for fact in ("service", "settings"):
            yield make_fact(f"ollama.{fact}", project, NO_COMPOSE_FILE_REASON)
        return
    first = next(iter(services), None)
    source = f"the names and images of the services: {', '.join(services) or 'none is Ollama'}"
    yield make_fact("ollama.service", first, source)
    yield make_fact("ollama.settings", {}, "the environment of the services that run Ollama")
    for service, config in services.items():
        for setting in read_ollama_settings(config.get("environment") or {}):
            path = ("ollama", "settings", service, setting.name)
            key = ("services", service, "environment", setting.variable)
            yield Measured(
                path, setting.value, find_setting_source(project, key, setting.description)
            )


def _is_engine_local(context: MeasurementContext) -> bool:
    try:
        return context.is_engine_local()[0]
    except EngineError:
        return True  # nothing that exists names another host


def find_configured_model(
    project: Project | Unknown | None, environ: Mapping[str, str]
) -> tuple[str | Unknown | None, str | Source]:
    """Return OLLAMA_MODEL of the service that asks Ollama, else of Ollama's own, else of here.

    The source names the service, and others with another model.
    """
    if isinstance(project, Unknown):
        return project, ""
    services = project.services if project else {}
    models = {
        service: text
        for service in sorted(services, key=find_ollama_services(project).__contains__)
        if (text := read_service_variable(services[service], "OLLAMA_MODEL"))
    }
    if project is None or not models:
        text = read_ollama_variable(environ, "OLLAMA_MODEL")
        source: str | Source = f"OLLAMA_MODEL {'of the environment' if text else 'is not set'}"
    else:
        first, text = next(iter(models.items()))  # those that ask come first
        detail = f"OLLAMA_MODEL of {first}"
        for other, model in models.items():
            if normalize_model_name(model) != normalize_model_name(text):
                detail += f"; {other} has {shorten_setting_value(model)}"
        source = find_setting_source(
            project, ("services", first, "environment", "OLLAMA_MODEL"), detail
        )
    if text and not is_valid_model_name(text):
        reason = f"OLLAMA_MODEL={shorten_setting_value(text)} isn't a valid model name"
        return Unknown(reason, "invalid"), source
    return text or None, source


def _measure_ollama_api(
    api: EngineApi, name: str | Unknown | None, environment: Mapping[str, Value]
) -> Iterator[Measured]:
    """Yield what Ollama answers. Raises EngineError at the first call that fails."""
    version: Any = api.get_object("/api/version").get("version")
    if not is_valid_model_name(version):
        raise EngineError(f"{api.address} doesn't respond like Ollama: it returned no version")
    yield make_fact("ollama.reachable", True, "GET /api/version")
    if not re.match("v?[0-9]", version):  # a build of somebody's own
        version = Unknown(f"{version!r} isn't a valid version", "invalid")
    yield make_fact("ollama.version", version, "GET /api/version")
    models = get_ollama_models(api, "/api/tags")
    for model, row in models.items():
        path = ("ollama", "models", model, "size")
        yield Measured(path, _read_model_size_bytes(row), "GET /api/tags size")
    yield make_fact("ollama.models", {}, "GET /api/tags")
    loaded = get_ollama_models(api, "/api/ps")
    for model, row in loaded.items():
        top, source = ("ollama", "loaded", model), "GET /api/ps size"
        yield Measured(
            (*top, "memory"), _read_loaded_model_ram_bytes(row), f"{source} less size_vram"
        )
        yield Measured((*top, "total"), _read_model_size_bytes(row), source)
    yield make_fact("ollama.loaded", {}, "GET /api/ps")
    yield make_fact("ollama.problem", None, "it answers")
    if not isinstance(name, str):
        return
    wanted = normalize_model_name(name)
    installed, running = (
        next((model for model in rows if normalize_model_name(model) == wanted), None)
        for rows in (models, loaded)
    )
    size = _read_model_size_bytes(models[installed]) if installed else None
    yield make_fact("model.size", size, f"GET /api/tags{'' if installed else ': not there'}")
    resident = _read_loaded_model_ram_bytes(loaded[running]) if running else None
    source = f"GET /api/ps{'' if running else ': not loaded'}"
    yield make_fact("model.resident", resident, source)
    reason = "Ollama doesn't have the configured model, so its dimensions are unknown"
    estimate = size or Unknown(reason)
    if isinstance(estimate, int):
        shown = api.post_object("/api/show", {"model": installed})
        per_token = compute_kv_cache_bytes_per_token(get_nested_object(shown, "model_info"))
        estimate, source = estimate_model_memory(estimate, per_token, environment)
    yield make_fact("model.estimate", estimate, source)


def _read_model_size_bytes(row: Mapping[str, Any]) -> int | Unknown:
    return get_nested_whole_number(row, "size") or Unknown("Ollama doesn't report the model's size")


def _read_loaded_model_ram_bytes(row: Mapping[str, Any]) -> int | Unknown:
    """Return the bytes of a loaded model that no GPU holds."""
    total, on_gpus = _read_model_size_bytes(row), get_nested_whole_number(row, "size_vram")
    if isinstance(total, int) and on_gpus is None:
        return Unknown("Ollama doesn't report size_vram for the model")
    return max(0, total - (on_gpus or 0)) if isinstance(total, int) else total


def estimate_model_memory(
    weights: int, bytes_per_token: int, environment: Mapping[str, Value]
) -> tuple[int | Unknown, str]:
    """Return the bytes that a model will need, and how they come together.

    `weights` is its size on disk, `bytes_per_token` the KV cache for each token of context.
    """
    settings = {setting.name: setting.value for setting in read_ollama_settings(environment)}
    context = settings["context_length"] or DEFAULT_OLLAMA_CONTEXT_TOKENS
    tokens = context * (settings["num_parallel"] or 1)
    need = weights + bytes_per_token * tokens + OLLAMA_RUNTIME_OVERHEAD_BYTES
    if need >= 2**63:
        reason = f"{tokens} tokens of context need more memory than any machine has"
        return Unknown(reason, "invalid"), ""
    cache = format_bytes(bytes_per_token * tokens, binary=True)
    parts = f"weights {format_bytes(weights, binary=False)} + KV cache {cache} + 0.5 GiB"
    return need, f"an estimate: {parts}, for {tokens} tokens of context"


def compute_kv_cache_bytes_per_token(info: Mapping[str, Any]) -> int:
    """Return the bytes of KV cache for a token: keys and values of two bytes each.

    `info` is model_info of POST /api/show. Raises EngineError where a figure is missing.
    """
    architecture = info.get("general.architecture")

    def shape(name: str) -> int:
        value = whole_number_or_none(info.get(f"{architecture}.{name}"))
        if not value or value > MAX_MODEL_DIMENSION:
            raise EngineError(f"Ollama doesn't report the model's {name}", "unsupported")
        return value

    lengths = [
        shape("embedding_length") // shape("attention.head_count")
        if info.get(f"{architecture}.{name}") is None
        else shape(name)
        for name in ("attention.key_length", "attention.value_length")
    ]
    size = 2 * shape("block_count") * shape("attention.head_count_kv") * sum(lengths)
    if size == 0:
        raise EngineError("Ollama reports invalid model dimensions", "invalid")
    return size


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


def read_service_variable(service: Mapping[str, Any], variable: str) -> str:
    """Return a variable of a compose service as Ollama sees it."""
    return read_ollama_variable(service.get("environment") or {}, variable)


def shorten_setting_value(text: str) -> str:
    """Return a value fit to be shown: on one line, its beginning where it is long."""
    plain = "".join(filter(str.isprintable, text))
    is_short = len(plain) <= MAX_SHOWN_VALUE_CHARS
    return plain if is_short else plain[: MAX_SHOWN_VALUE_CHARS - 1] + "…"


def parse_keep_alive(text: str) -> float:
    """Read a duration of Go, or whole seconds, in seconds; -1 is for ever. Raises ValueError."""
    is_duration = re.fullmatch(OLLAMA_DURATION_PATTERN, text) is not None
    if not is_duration or abs(parse_duration(text)) > MAX_GO_DURATION_SECONDS:
        raise ValueError(
            "not a valid Go duration: expected a value such as 5m or 1h30m (days aren't supported)"
        )
    seconds = round(parse_duration(text), 9)
    return -1 if seconds < 0 else int(seconds) if seconds == int(seconds) else seconds


def parse_whole_number_setting(text: str) -> int:
    """Read a whole number without a sign, of 64 bits; raises ValueError."""
    if not re.fullmatch("[0-9]+", text) or int(text) >= 2**64:
        raise ValueError("expected an unsigned 64-bit integer")
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
        description = f"{variable} is not set"
        if text:
            description = f"{variable}={shorten_setting_value(text)}"
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
    host = LOOPBACK_BY_WILDCARD.get(parts.hostname or "", parts.hostname or "")
    plain = re.fullmatch(r"[\w.:%-]+", host, re.ASCII) and re.fullmatch("[!-~]*", parts.path)
    if default is None or not plain or parts.username is not None or parts.query:
        raise ValueError("expected HOST, HOST:PORT, or a URL")
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
            reason = "OLLAMA_HOST isn't a valid address: use HOST, HOST:PORT, or http://HOST:PORT"
            return Unknown(reason, "invalid"), ""
    if not local:
        reason = "Ollama runs on another host; set OLLAMA_HOST to its address"
        return Unknown(reason, "unsupported"), ""
    if service is None:
        return DEFAULT_OLLAMA_URL, "Ollama's default address"
    inside: int | None = DEFAULT_OLLAMA_PORT
    with suppress(ValueError):
        inside = urlsplit(parse_ollama_host(read_service_variable(service, "OLLAMA_HOST"))).port
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


def get_ollama_models(api: EngineApi, path: str) -> dict[str, Mapping[str, Any]]:
    """GET a list of models, by name; Go writes an empty list as null."""
    models = api.get_object(path).get("models", False)
    if models is not None and not isinstance(models, list):
        raise EngineError(f"{api.address}: GET {path} didn't return a list of models")
    rows = [row for row in models or () if isinstance(row, dict)][:MAX_OLLAMA_MODELS_READ]
    named: list[tuple[Any, Any]] = [(row.get("name") or row.get("model"), row) for row in rows]
    return {name: row for name, row in named if is_valid_model_name(name)}


def is_valid_model_name(value: Any) -> bool:
    """Whether it can be the name of a model or a version."""
    return isinstance(value, str) and 0 < len(value) <= MAX_MODEL_NAME_CHARS and value.isprintable()
