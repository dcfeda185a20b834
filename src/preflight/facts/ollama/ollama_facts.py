"""Ollama: its settings, whether it answers, its models, and the one that is configured.

Owns what its answers mean. An estimate of memory is one: it is told apart from what was measured.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from preflight.facts.collect.context import MeasureContext
from preflight.facts.compose.project import Project, known_as
from preflight.facts.engine.endpoint import EndpointError
from preflight.facts.engine.locality import in_container
from preflight.facts.ollama.api import MOST_NAME, Loaded, OllamaApi, OllamaError, figure
from preflight.facts.ollama.model import canonical
from preflight.facts.ollama.settings import (
    Address,
    Where,
    choose,
    environment_of,
    settings,
    shown,
    trimmed,
)
from preflight.facts.table import NO_FILE
from preflight.model.facts import Measured, Source, Unknown, Value
from preflight.model.quantities import format_bytes, parse_version

T = TypeVar("T")

_MOST_SECONDS = 2.0  # for one answer, whole
_OVERHEAD = 2**29  # bytes beside weights and KV cache
_CONTEXT = 4096  # tokens, where the settings don't say
_LARGEST = 2**24  # layers, heads or numbers a head: no model has as many


Models: TypeAlias = Mapping[str, "int | Unknown"] | Unknown
AllLoaded: TypeAlias = Mapping[str, Loaded] | Unknown


class Known(NamedTuple):
    """What Ollama told: sizes on disk, what is loaded, the configured model's KV bytes a token."""

    models: Models
    loaded: AllLoaded
    token: int | Unknown


def measure(context: MeasureContext, environ: Mapping[str, str] = os.environ) -> Iterator[Measured]:
    """Yield what is Ollama's own; one that doesn't answer is a finding, not asked is unknown."""
    project = context.project_or_unknown()
    service, why = _service(project)
    yield Measured(("ollama", "service"), service, why)
    yield from _settings(project)
    name, name_source = configured(project, environ)
    yield Measured(("model", "name"), name, name_source)
    running = service if isinstance(service, str) else None
    config = project.services[running] if isinstance(project, Project) and running else None
    named = bool(trimmed(environ.get("OLLAMA_HOST")))
    where = choose(environ, named or _local(context), config)
    address = where.address
    shown_address = address.url if isinstance(address, Address) else address
    yield Measured(("ollama", "endpoint"), shown_address, where.source)
    seconds = min(_MOST_SECONDS, context.options.timeout / 2)
    yield from _asked(where, seconds, name, config, lambda: _apart(context))


def _apart(context: MeasureContext) -> Unknown | None:
    return context.engine_locality().network_hidden if in_container()[0] else None


def _local(context: MeasureContext) -> bool:
    try:
        return context.is_engine_local()[0]
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


def _placed(project: Project, service: str, variable: str, words: str) -> str | Source:
    where = project.positions.get(("services", service, "environment", variable))
    return Source.in_file(where.file, where.line, words) if where else words


def configured(
    project: Project | Unknown | None, environ: Mapping[str, str]
) -> tuple[str | Unknown | None, str | Source]:
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
    if text and (len(text) > MOST_NAME or not text.isprintable()):
        return Unknown(f"OLLAMA_MODEL={shown(text)} is no model's name", "invalid")
    return text or None


def _asked(
    where: Where,
    seconds: float,
    name: str | Unknown | None,
    service: Mapping[str, Any] | None,
    apart: Callable[[], Unknown | None],
) -> Iterator[Measured]:
    """Ask, and stop at the first that fails: its reason is that of all that comes after.

    `apart` tells why loopback here isn't known to be the machine's: silence there says nothing.
    """
    if not isinstance(where.address, Address):
        yield from _not_asked(where, name, service)
        return
    api = OllamaApi(where.address, seconds)
    version = _attempt(api.version)
    hidden = apart() if isinstance(version, Unknown) and where.address.loopback else None
    if isinstance(version, Unknown) and hidden is not None:
        why = Unknown(f"{version.reason}; {hidden.reason}", hidden.kind)
        yield from _not_asked(Where(why, where.source), name, service)
        return
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


def _not_asked(
    where: Where, name: str | Unknown | None, service: Mapping[str, Any] | None
) -> Iterator[Measured]:
    """No port leads to it: not reachable. Nobody knows where it is: unknown."""
    nowhere = where.address is None
    why = where.address if isinstance(where.address, Unknown) else Unknown(where.source)
    yield Measured(("ollama", "reachable"), False if nowhere else why, where.source)
    yield Measured(("ollama", "problem"), why.reason if nowhere else why, where.source)
    for fact in ("version", "models", "loaded"):
        yield Measured(("ollama", fact), why)
    yield from _model(name, Known(why, why, why), service)


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

    def shape(name: str) -> int:
        value = figure(info.get(f"{kind}.{name}"))
        if value is None or value > _LARGEST:
            raise OllamaError(f"Ollama does not say the model's {name}", "unsupported")
        return value

    lengths = []
    for name in ("attention.key_length", "attention.value_length"):
        if info.get(f"{kind}.{name}") is None:
            lengths.append(shape("embedding_length") // shape("attention.head_count"))
        else:
            lengths.append(shape(name))
    heads = shape("block_count") * shape("attention.head_count_kv")
    token = figure(2 * heads * sum(lengths))
    if token is None:
        raise OllamaError("Ollama does not say a shape that a model can have", "invalid")
    return token
