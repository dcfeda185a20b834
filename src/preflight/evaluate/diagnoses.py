"""What known errors mean here: the figures of a log joined with the facts and the models.

Without facts only what the log and the rule file say can be advised.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.evaluate.conditions import Scope, typed
from preflight.evaluate.judge import advise
from preflight.evaluate.sentences import brief, fact_word, figure, fill, is_number
from preflight.model.diagnosis import CONFIDENCES, Diagnosed, Finding, Hit, Scanned
from preflight.model.facts import (
    Catalogue,
    Facts,
    Measured,
    Path,
    Unknown,
    replace_facts,
    split_path,
)
from preflight.model.quantities import format_bytes
from preflight.model.rules import (
    DERIVED_VALUES,
    LOG_NAMESPACE,
    VALUE_TYPES,
    Diagnosis,
    Model,
    RuleSet,
)

STATES: Path = ("stack", "containers")
_MANY_RESTARTS = 3  # of which nobody meant each
_LOG_NAME = re.compile(r"(?:\.(?:log|txt|gz|[0-9]{1,8}))+\Z")


def diagnose(ruleset: RuleSet, scanned: Scanned, facts: Facts, catalogue: Catalogue) -> Diagnosed:
    """Return the findings, worst first; one that another explains is left out."""
    known = {one.id: one for one in ruleset.diagnoses}
    order = {id_: number for number, id_ in enumerate(known)}
    met = {hit.id for hit in scanned.hits}
    findings = [
        _finding(known[hit.id], hit, ruleset.models, facts, catalogue)
        for hit in scanned.hits
        if not met & set(known[hit.id].unless)
    ]
    findings.sort(key=lambda one: (CONFIDENCES.index(one.confidence), order[one.id]))
    return Diagnosed(scanned.files, scanned.lines, tuple(findings))


def states(facts: Facts) -> Iterator[tuple[str, bytes]]:
    """Yield a name and a line for each container: what its engine says of it, as a log would.

    A container that was killed has no last words; this says them.
    """
    containers = facts.get(STATES)
    for name in containers if isinstance(containers, Mapping) else ():
        words = list(_words({key: facts.get((*STATES, name, key)) for key in _TOLD}))
        if words:
            line = f"{name} {', '.join(words)}\n"
            yield ".".join((*STATES, str(name))), line.encode(errors="replace")


_TOLD = ("exit_code", "oom_killed", "oom_certainty", "restarts")


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    if is_number(told["exit_code"]) and told["exit_code"] > 0:
        yield f"exited with code {told['exit_code']}"
    if told["oom_killed"] is True:
        sure = told["oom_certainty"]
        if sure not in ("likely", "possible"):
            yield "OOMKilled: true"
        elif sure == "likely":
            yield "probably killed for memory"
    if is_number(told["restarts"]) and told["restarts"] >= _MANY_RESTARTS:
        yield f"restarted {told['restarts']} times by the engine"


def _finding(
    diagnosis: Diagnosis, hit: Hit, models: Sequence[Model], facts: Facts, catalogue: Catalogue
) -> Finding:
    numbers = {name: _read(diagnosis, name, text) for name, text in hit.values.items()}
    said = {
        name: _said(text, numbers[name], diagnosis.values.get(name, "string"))
        for name, text in hit.values.items()
    }
    derived = {
        **dict.fromkeys(DERIVED_VALUES),
        **_memory(numbers, models),
        **_place(diagnosis, hit, facts),
    }
    for name, value in derived.items():
        if value is not None:
            said[name] = _shown(name, value)
    known = {**numbers, **derived}.items()
    scope = Scope(
        replace_facts(facts, (Measured((LOG_NAMESPACE, name), value) for name, value in known))
    )

    def word(name: str) -> str | None:
        if name in said:
            return brief(said[name])
        return fact_word(facts, catalogue, split_path(name))

    figures = (fill(text, word) for text in diagnosis.figures)
    return Finding(
        id=diagnosis.id,
        title=diagnosis.title,
        cause=diagnosis.cause,
        confidence=diagnosis.confidence,
        times=hit.times,
        first=hit.first,
        last=hit.last,
        values={name: said[name] for name in hit.values},
        said=hit.said,
        figures=next((text for text in figures if text), None),
        fixes=tuple(advise(diagnosis.fixes, scope, word)),
    )


def _shown(name: str, value: Any) -> str:
    """Return what was worked out, as people read it: what lacks is rounded up, as logs write it."""
    if name == "lacking":
        return format_bytes(value, binary=True, up=True)
    return figure(value, DERIVED_VALUES[name])


def _read(diagnosis: Diagnosis, name: str, text: str) -> Any:
    """Return a captured text as its type says; an Unknown where it can't be read so."""
    type_ = diagnosis.values.get(name, "string")
    return typed(f"{text}KiB" if type_ == "KiB" else text, VALUE_TYPES[type_])


def _said(text: str, value: Any, type_: str) -> str:
    """Return a figure as the log writes it; a bare number of bytes as people do."""
    if VALUE_TYPES[type_] == "bytes" and is_number(value) and re.fullmatch("[0-9.]+", text):
        return format_bytes(value, binary=True)
    return text


def _memory(numbers: Mapping[str, Any], models: Sequence[Model]) -> dict[str, Any]:
    """What lacks of what is required, and the largest model that fits in what is available."""
    required, available = numbers.get("required"), numbers.get("available")
    found: dict[str, Any] = {}
    if not is_number(available):
        return found
    if is_number(required) and required > available:
        found["lacking"] = required - available
    fitting = [model for model in models if model.memory <= available]
    if fitting:
        best = max(fitting, key=lambda model: model.memory)
        found |= {"fitting": best.name, "fitting_memory": best.memory}
    return found


def _place(diagnosis: Diagnosis, hit: Hit, facts: Facts) -> dict[str, Any]:
    """The container and service it is about, by the log's name or by the diagnosis; their limit."""
    stem = hit.last.file.removeprefix(".".join((*STATES, "")))
    stem = _LOG_NAME.sub("", re.split(r"[/\\]", stem)[-1])
    containers, services = facts.get(STATES), facts.get(("compose", "services"))
    service: Any = None
    found: dict[str, Any] = {}
    if isinstance(containers, Mapping) and stem in containers:
        found["container"], service = stem, facts.get((*STATES, stem, "service"))
    elif isinstance(services, Mapping) and stem in services:
        service = stem
    elif diagnosis.service is not None:
        service = facts.get(diagnosis.service)
    if not isinstance(service, str):
        return found
    found["service"] = service
    limit = facts.get(("compose", "services", service, "limits", "memory"))
    if "container" in found and is_number(own := facts.get((*STATES, stem, "memory", "limit"))):
        limit = own
    if not isinstance(limit, Unknown):
        found["limit"] = limit
    return found
