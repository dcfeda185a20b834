"""Ollama: its settings, whether it is reachable, its models, and the one that is configured.

Asks one Ollama and says what its answers mean. An estimate of memory is never a measured figure.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, known_as
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.locality import in_container
from preflight.facts.model import canonical_name
from preflight.facts.ollama_server import (
    Address,
    OllamaApi,
    OllamaError,
    get_environment,
    is_valid_name,
    locate_api,
    positive_or_none,
    read_settings,
    read_variable,
    shorten,
)
from preflight.facts.table import NO_COMPOSE_FILE
from preflight.model.facts import Measured, Source, Unknown, Value
from preflight.model.quantities import format_bytes, parse_version

MAX_ANSWER_SECONDS = 2.0
RUNTIME_OVERHEAD_BYTES = 2**29  # besides weights and KV cache
DEFAULT_CONTEXT_TOKENS = 4096
MAX_MODEL_DIMENSION = 2**24  # layers, heads or numbers of a head: no model has as many


def measure(context: MeasureContext, environ: Mapping[str, str] = os.environ) -> Iterator[Measured]:
    """Yield the facts: `reachable` is false without an answer, unknown if Ollama wasn't asked."""
    project = context.project_or_unknown()
    services = _ollama_services(project) if isinstance(project, Project) else []
    yield from _configuration_facts(project, services)
    config = project.services[services[0]] if isinstance(project, Project) and services else None
    name, source = configured_model(project, environ)
    yield Measured(("model", "name"), name, source)
    local = bool(read_variable(environ, "OLLAMA_HOST")) or _is_engine_local(context)
    address, source = locate_api(environ, local, config)
    shown = address.url if isinstance(address, Address) else address
    yield Measured(("ollama", "endpoint"), shown, source)
    if not isinstance(address, Address):
        reason = address or Unknown(source)
        yield from _facts_without_answer(reason, name, is_unreachable=address is None)
        return
    api = OllamaApi(address, min(MAX_ANSWER_SECONDS, context.options.timeout / 2))
    known: set[tuple[str, ...]] = set()
    try:
        for fact in _api_facts(api, name, get_environment(config or {})):
            known.add(fact.path)
            yield fact
    except OllamaError as error:
        reason, hidden = Unknown(str(error), error.kind), None
        if not known and address.loopback and in_container()[0]:
            hidden = context.visibility().network_hidden
        if hidden is not None:  # this container's own loopback: no answer there means nothing
            reason = Unknown(f"{reason.reason}; {hidden.reason}", hidden.kind)
        facts = _facts_without_answer(reason, name, is_unreachable=hidden is None)
        yield from (fact for fact in facts if fact.path not in known)


def _configuration_facts(
    project: Project | Unknown | None, services: Sequence[str]
) -> Iterator[Measured]:
    """Yield which service runs Ollama, and the settings of each that does."""
    if not isinstance(project, Project):
        yield Measured(("ollama", "service"), project, NO_COMPOSE_FILE)
        yield Measured(("ollama", "settings"), project, NO_COMPOSE_FILE)
        return
    others = f"; also {', '.join(services[1:])}" if services[1:] else ""
    source = f"its name or image{others}" if services else "no service has Ollama's name or image"
    yield Measured(("ollama", "service"), services[0] if services else None, source)
    source = "the environment of the services that run Ollama"
    yield Measured(("ollama", "settings"), {}, source)
    for service in services:
        for setting in read_settings(get_environment(project.services[service])):
            path = ("ollama", "settings", service, setting.name)
            where = _variable_source(project, service, setting.variable, setting.description)
            yield Measured(path, setting.value, where)


def _is_engine_local(context: MeasureContext) -> bool:
    try:
        return context.is_engine_local()[0]
    except EndpointError:
        return True  # nothing that exists names another host


def _ollama_services(project: Project) -> list[str]:
    """Return the services that run Ollama."""
    return [
        name for name, service in project.services.items() if "ollama" in known_as(name, service)
    ]


def _variable_source(project: Project, service: str, variable: str, words: str) -> str | Source:
    position = project.positions.get(("services", service, "environment", variable))
    return Source.in_file(position.file, position.line, words) if position else words


def configured_model(
    project: Project | Unknown | None, environ: Mapping[str, str]
) -> tuple[str | Unknown | None, str | Source]:
    """Return OLLAMA_MODEL of the service that asks Ollama, else of Ollama's own, else of here.

    The source names the service, and others with another model.
    """
    if isinstance(project, Unknown):
        return project, ""
    services = {} if project is None else project.services
    own = [] if project is None else _ollama_services(project)
    models = {
        service: text
        for service in sorted(services, key=own.__contains__)  # those that ask come first
        if (text := read_variable(get_environment(services[service]), "OLLAMA_MODEL"))
    }
    if project is None or not models:
        text = read_variable(environ, "OLLAMA_MODEL")
        return _model_name(text), f"OLLAMA_MODEL {'of the environment' if text else 'is not set'}"
    first, *others = models
    differing = [
        name for name in others if canonical_name(models[name]) != canonical_name(models[first])
    ]
    words = f"OLLAMA_MODEL of {first}"
    words += "".join(f"; {name} has {shorten(models[name])}" for name in differing)
    return _model_name(models[first]), _variable_source(project, first, "OLLAMA_MODEL", words)


def _model_name(text: str) -> str | Unknown | None:
    if text and not is_valid_name(text):
        return Unknown(f"OLLAMA_MODEL={shorten(text)} isn't a valid model name", "invalid")
    return text or None


def _facts_without_answer(
    reason: Unknown, name: str | Unknown | None, *, is_unreachable: bool
) -> Iterator[Measured]:
    """Yield the facts where Ollama didn't answer, or wasn't asked."""
    reachable = False if is_unreachable else reason
    problem = reason.reason if is_unreachable else reason
    yield Measured(("ollama", "reachable"), reachable, reason.reason)
    yield Measured(("ollama", "problem"), problem, "the attempt")
    for fact in ("version", "models", "loaded"):
        yield Measured(("ollama", fact), reason)
    for fact in ("size", "resident", "estimate"):
        value = reason if isinstance(name, str) else name
        yield Measured(("model", fact), value, "no model is configured")


def _api_facts(
    api: OllamaApi, name: str | Unknown | None, environment: Mapping[str, Value]
) -> Iterator[Measured]:
    """Yield what Ollama answers. Raises OllamaError at the first call that fails."""
    version = api.version()
    yield Measured(("ollama", "reachable"), True, "GET /api/version")
    yield Measured(("ollama", "version"), _valid_version(version), "GET /api/version")
    models = api.models()
    for model, on_disk in models.items():
        yield Measured(("ollama", "models", model, "size"), on_disk, "GET /api/tags size")
    yield Measured(("ollama", "models"), {}, "GET /api/tags")
    loaded = api.loaded()
    for model, (memory, total) in loaded.items():
        top = ("ollama", "loaded", model)
        yield Measured((*top, "memory"), memory, "GET /api/ps size less size_vram")
        yield Measured((*top, "total"), total, "GET /api/ps size")
    yield Measured(("ollama", "loaded"), {}, "GET /api/ps")
    yield Measured(("ollama", "problem"), None, "it answers")
    if not isinstance(name, str):
        for fact in ("size", "resident", "estimate"):
            yield Measured(("model", fact), name, "no model is configured")
        return
    own_name = _find_installed_name(name, models)
    size = models.get(own_name)
    yield Measured(("model", "size"), size, "GET /api/tags" + ("" if own_name else ": not there"))
    resident, _ = loaded.get(loaded_name := _find_installed_name(name, loaded), (None, None))
    source = "GET /api/ps" + ("" if loaded_name else ": not loaded")
    yield Measured(("model", "resident"), resident, source)
    value: int | Unknown
    if isinstance(size, int):
        value, source = estimate_memory(
            size, kv_bytes_per_token(api.model_info(own_name)), environment
        )
    else:
        value = size or Unknown("Ollama doesn't have the configured model: no shape is known")
    yield Measured(("model", "estimate"), value, source)


def _valid_version(version: str) -> str | Unknown:
    try:
        parse_version(version)
    except ValueError as error:
        return Unknown(str(error), "invalid")
    return version


def _find_installed_name(name: str, models: Iterable[str]) -> str:
    """Return the name under which Ollama has a model, empty if it doesn't have it."""
    return next((model for model in models if canonical_name(model) == canonical_name(name)), "")


def estimate_memory(
    weights: int, token: int, environment: Mapping[str, Value]
) -> tuple[int | Unknown, str]:
    """Return the bytes that a model will need, and how they come together.

    `weights` is its size on disk, `token` the bytes of KV cache for each token of context.
    """
    settings = {setting.name: setting.value for setting in read_settings(environment)}
    context = settings["context_length"] or DEFAULT_CONTEXT_TOKENS
    tokens = context * (settings["num_parallel"] or 1)
    need = weights + token * tokens + RUNTIME_OVERHEAD_BYTES
    if need >= 2**63:
        return Unknown(f"{tokens} tokens of context are more than any machine has", "invalid"), ""
    cache = format_bytes(token * tokens, binary=True)
    parts = f"weights {format_bytes(weights, binary=False)} + KV cache {cache} + 0.5 GiB"
    return need, f"an estimate: {parts}, for {tokens} tokens of context"


def kv_bytes_per_token(info: Mapping[str, Any]) -> int:
    """Return the bytes of KV cache for a token: keys and values of two bytes each.

    `info` is model_info of POST /api/show. Raises OllamaError where a figure is missing.
    """
    architecture = info.get("general.architecture")

    def shape(name: str) -> int:
        value = positive_or_none(info.get(f"{architecture}.{name}"))
        if value is None or value > MAX_MODEL_DIMENSION:
            raise OllamaError(f"Ollama does not report the model's {name}", "unsupported")
        return value

    lengths = [
        shape("embedding_length") // shape("attention.head_count")
        if info.get(f"{architecture}.{name}") is None
        else shape(name)
        for name in ("attention.key_length", "attention.value_length")
    ]
    heads = shape("block_count") * shape("attention.head_count_kv")
    size = positive_or_none(2 * heads * sum(lengths))
    if size is None:
        raise OllamaError("Ollama does not report a shape that a model can have", "invalid")
    return size
