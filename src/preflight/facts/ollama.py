"""Ollama: its settings, whether it is reachable, its models, and the one that is configured.

Asks one Ollama and says what its answers mean. An estimate of memory is never a measured figure.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, find_source, list_service_aliases
from preflight.facts.engine.api import EngineApi
from preflight.facts.engine.endpoint import Endpoint, EngineError
from preflight.facts.engine.host_visibility import is_in_container
from preflight.facts.language_model import normalize_model_name
from preflight.facts.nested_values import count_or_none, get_nested_count
from preflight.facts.ollama_server import (
    get_ollama_models,
    get_service_environment,
    is_valid_model_name,
    locate_ollama_api,
    read_ollama_settings,
    read_ollama_variable,
    shorten_setting_value,
)
from preflight.facts.table import NO_COMPOSE_FILE_REASON
from preflight.model.facts import Measured, NotMeasuredError, Source, Unknown, Value
from preflight.model.quantities import format_bytes

MAX_OLLAMA_ANSWER_SECONDS = 2.0
OLLAMA_RUNTIME_OVERHEAD_BYTES = 2**29  # besides weights and KV cache
DEFAULT_OLLAMA_CONTEXT_TOKENS = 4096
MAX_MODEL_DIMENSION = 2**24  # layers, heads or numbers of a head: no model has as many


def measure(context: MeasureContext, environ: Mapping[str, str] = os.environ) -> Iterator[Measured]:
    """Yield the facts: `reachable` is false without an answer, unknown if Ollama wasn't asked.

    Raises NotMeasuredError with why the others aren't known.
    """
    project = context.project_or_unknown()
    services = find_ollama_services(project)
    yield from _ollama_settings_facts(project, services)
    name, source = find_configured_model(project, environ)
    yield Measured(("model", "name"), name, source)
    if not isinstance(name, str):
        for fact in ("size", "resident", "estimate"):
            yield Measured(("model", fact), name, "no model is configured")
    service = next(iter(services.values()), None)
    local = bool(read_ollama_variable(environ, "OLLAMA_HOST")) or _is_engine_local(context)
    url, source = locate_ollama_api(environ, local, service)
    yield Measured(("ollama", "endpoint"), url, source)
    reachable: bool | Unknown = False
    try:
        if not isinstance(url, str):
            reachable, reason = url or False, url or Unknown(source)
            raise NotMeasuredError(*reason)
        seconds = min(MAX_OLLAMA_ANSWER_SECONDS, context.options.timeout / 2)
        api = EngineApi(Endpoint(url, "", ""), seconds, server="Ollama")
        yield from _ollama_api_facts(api, name, get_service_environment(service or {}))
    except NotMeasuredError as error:
        reason = error.unknown
        is_own_loopback = isinstance(url, str) and Endpoint(url, "", "").is_loopback
        is_hideable = is_own_loopback and is_in_container()[0]  # no answer may mean nothing then
        if is_hideable and (hidden := context.find_visibility().network_hidden):
            reachable = reason = Unknown(f"{reason.reason}; {hidden.reason}", hidden.kind)
        yield Measured(("ollama", "reachable"), reachable, reason.reason)
        yield Measured(("ollama", "problem"), reachable or reason.reason, reason.reason)
        raise NotMeasuredError(*reason) from None  # the worker makes all others unknown


def find_ollama_services(project: Project | Unknown | None) -> dict[str, Mapping[str, Any]]:
    """Return the services that run Ollama, by name."""
    services = project.services if isinstance(project, Project) else {}
    return {
        name: services[name]
        for name in services
        if "ollama" in list_service_aliases(name, services[name])
    }


def _ollama_settings_facts(
    project: Project | Unknown | None, services: Mapping[str, Mapping[str, Any]]
) -> Iterator[Measured]:
    """Yield which service runs Ollama, and the settings of each that does."""
    if not isinstance(project, Project):
        yield Measured(("ollama", "service"), project, NO_COMPOSE_FILE_REASON)
        yield Measured(("ollama", "settings"), project, NO_COMPOSE_FILE_REASON)
        return
    first = next(iter(services), None)
    source = f"the names and images of the services: {', '.join(services) or 'none is Ollama'}"
    yield Measured(("ollama", "service"), first, source)
    yield Measured(("ollama", "settings"), {}, "the environment of the services that run Ollama")
    for service, config in services.items():
        for setting in read_ollama_settings(get_service_environment(config)):
            path = ("ollama", "settings", service, setting.name)
            key = ("services", service, "environment", setting.variable)
            yield Measured(path, setting.value, find_source(project, key, setting.description))


def _is_engine_local(context: MeasureContext) -> bool:
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
        if (
            text := read_ollama_variable(get_service_environment(services[service]), "OLLAMA_MODEL")
        )
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
        source = find_source(project, ("services", first, "environment", "OLLAMA_MODEL"), detail)
    if text and not is_valid_model_name(text):
        return Unknown(
            f"OLLAMA_MODEL={shorten_setting_value(text)} isn't a valid model name", "invalid"
        ), source
    return text or None, source


def _ollama_api_facts(
    api: EngineApi, name: str | Unknown | None, environment: Mapping[str, Value]
) -> Iterator[Measured]:
    """Yield what Ollama answers. Raises EngineError at the first call that fails."""
    version: Any = api.get_object("/api/version").get("version")
    if not is_valid_model_name(version):
        raise EngineError(f"{api.address} answers, but not as Ollama: no version")
    yield Measured(("ollama", "reachable"), True, "GET /api/version")
    if not re.match("v?[0-9]", version):  # a build of somebody's own
        version = Unknown(f"{version!r} isn't a valid version", "invalid")
    yield Measured(("ollama", "version"), version, "GET /api/version")
    models = get_ollama_models(api, "/api/tags")
    for model, row in models.items():
        path = ("ollama", "models", model, "size")
        yield Measured(path, _read_model_size(row, "size"), "GET /api/tags size")
    yield Measured(("ollama", "models"), {}, "GET /api/tags")
    loaded = get_ollama_models(api, "/api/ps")
    for model, row in loaded.items():
        top = ("ollama", "loaded", model)
        yield Measured(
            (*top, "memory"), _read_model_ram_bytes(row), "GET /api/ps size less size_vram"
        )
        yield Measured((*top, "total"), _read_model_size(row, "size"), "GET /api/ps size")
    yield Measured(("ollama", "loaded"), {}, "GET /api/ps")
    yield Measured(("ollama", "problem"), None, "it answers")
    if not isinstance(name, str):
        return
    installed = _find_ollama_model(name, models)
    size = _read_model_size(models[installed], "size") if installed else None
    source = "GET /api/tags" + ("" if installed else ": not there")
    yield Measured(("model", "size"), size, source)
    running = _find_ollama_model(name, loaded)
    resident = _read_model_ram_bytes(loaded[running]) if running else None
    source = "GET /api/ps" + ("" if running else ": not loaded")
    yield Measured(("model", "resident"), resident, source)
    estimate = size or Unknown(
        "Ollama doesn't have the configured model, so its dimensions are unknown"
    )
    if isinstance(estimate, int):
        info = api.post_object("/api/show", {"model": installed}).get("model_info")
        per_token = kv_bytes_per_token(info if isinstance(info, dict) else {})
        estimate, source = estimate_model_memory(estimate, per_token, environment)
    yield Measured(("model", "estimate"), estimate, source)


def _find_ollama_model(name: str, models: Iterable[str]) -> str:
    """Return the name under which Ollama has a model, empty if it doesn't have it."""
    return next(
        (model for model in models if normalize_model_name(model) == normalize_model_name(name)), ""
    )


def _read_model_size(row: Mapping[str, Any], key: str) -> int | Unknown:
    return get_nested_count(row, key) or Unknown(f"Ollama doesn't report its {key}")


def _read_model_ram_bytes(row: Mapping[str, Any]) -> int | Unknown:
    """Return the bytes of a loaded model that no GPU holds."""
    total, on_gpus = _read_model_size(row, "size"), get_nested_count(row, "size_vram")
    if isinstance(total, Unknown):
        return total
    if on_gpus is None:
        return Unknown("Ollama doesn't report its size_vram")
    return max(0, total - on_gpus)


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
        return Unknown(
            f"{tokens} tokens of context need more memory than any machine has", "invalid"
        ), ""
    cache = format_bytes(bytes_per_token * tokens, binary=True)
    parts = f"weights {format_bytes(weights, binary=False)} + KV cache {cache} + 0.5 GiB"
    return need, f"an estimate: {parts}, for {tokens} tokens of context"


def kv_bytes_per_token(info: Mapping[str, Any]) -> int:
    """Return the bytes of KV cache for a token: keys and values of two bytes each.

    `info` is model_info of POST /api/show. Raises EngineError where a figure is missing.
    """
    architecture = info.get("general.architecture")

    def shape(name: str) -> int:
        value = count_or_none(info.get(f"{architecture}.{name}"))
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
        raise EngineError("Ollama reports model dimensions that can't be right", "invalid")
    return size
