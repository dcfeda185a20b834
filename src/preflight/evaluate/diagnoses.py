"""What known errors mean here: the values of a log joined with the facts and the models.

Without facts, only what the log and the rule file say can be recommended.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.evaluate.conditions import FactLookup, convert_value
from preflight.evaluate.sentences import (
    MAX_SHOWN_TEXT_CHARS,
    fill_placeholders,
    format_fact,
    format_value,
    is_number,
    list_os_and_distribution,
    resolve_fixes,
)
from preflight.model.diagnosis import (
    DiagnosisFinding,
    KnownErrorFinding,
    LogReport,
    LogSearchResult,
)
from preflight.model.facts import (
    CONTAINERS_FACT_PATH,
    SERVICES_FACT_PATH,
    FactCatalogue,
    Facts,
    Measured,
    Unknown,
    replace_facts,
    split_fact_path,
)
from preflight.model.quantities import format_bytes, shorten_text
from preflight.model.rules import (
    CONFIDENCES,
    LOG_FACT_NAMESPACE,
    UNIT_BY_COMPUTED_PLACEHOLDER,
    UNIT_BY_VALUE_TYPE,
    DiagnosisRule,
    LanguageModel,
    RuleSet,
)

_MIN_REPORTED_RESTARTS = 3  # fewer may have been intended
_LOG_FILE_SUFFIX_PATTERN = re.compile(r"(?:\.(?:log|txt|gz|[0-9]{1,8}))+\Z")


def diagnose(
    ruleset: RuleSet, logs: LogSearchResult, facts: Facts, catalogue: FactCatalogue
) -> LogReport:
    """Return the findings, worst first; one that another explains is left out."""
    diagnoses = {diagnosis.id: diagnosis for diagnosis in ruleset.diagnoses}
    order = {id_: number for number, id_ in enumerate(diagnoses)}
    ids = {error.id for error in logs.errors}
    findings = [
        _make_finding(diagnoses[error.id], error, ruleset.models, facts, catalogue)
        for error in logs.errors
        if diagnoses[error.id].report
        and not any(other.id in ids and not other.same for other in diagnoses[error.id].unless)
    ]
    findings.sort(key=lambda finding: (CONFIDENCES.index(finding.confidence), order[finding.id]))
    return LogReport(logs.files, logs.line_count, tuple(findings))


def describe_container_states(facts: Facts) -> Iterator[tuple[str, bytes]]:
    """Yield a name and a line for each container: what the engine says of it, as a log would.

    A container that was killed can't log it itself.
    """
    for name in facts.collection(*CONTAINERS_FACT_PATH):
        exit_code, oom_killed, oom_certainty, restarts, error = (
            facts.get((*CONTAINERS_FACT_PATH, name, key))
            for key in ("exit_code", "oom_killed", "oom_certainty", "restarts", "error")
        )
        states = []
        if isinstance(error, str):
            states.append(f"could not be started: {error}")
        if is_number(exit_code) and exit_code > 0:
            states.append(f"exited with code {exit_code}")
        if oom_killed is True and oom_certainty == "likely":
            states.append("probably killed for memory")
        elif oom_killed is True and oom_certainty != "possible":
            states.append("OOMKilled: true")
        if is_number(restarts) and restarts >= _MIN_REPORTED_RESTARTS:
            states.append(f"restarted {restarts} times by the engine")
        if states:
            line = f"{name} {', '.join(states)}\n"
            yield ".".join((*CONTAINERS_FACT_PATH, str(name))), line.encode(errors="replace")


def _make_finding(
    diagnosis: DiagnosisRule,
    error: KnownErrorFinding,
    models: Sequence[LanguageModel],
    facts: Facts,
    catalogue: FactCatalogue,
) -> DiagnosisFinding:
    values: dict[str, Any] = {}
    captured = dict(error.values)
    for name, text in error.values.items():
        type_ = diagnosis.values.get(name, "string")
        unit = UNIT_BY_VALUE_TYPE[type_]
        values[name] = value = convert_value(f"{text}KiB" if type_ == "KiB" else text, unit)
        is_bare = unit == "bytes" and re.fullmatch("[0-9.]+", text)
        if is_bare and not isinstance(value, Unknown):
            captured[name] = format_bytes(value, binary=True)
    texts = dict(captured)
    derived = {
        **_compute_shortfall_and_fitting_model(values, models, facts.get(("model", "name"))),
        **_find_error_service_and_container(diagnosis, error, facts),
    }
    for name, value in derived.items():
        if name == "lacking":  # rounded up, so that it is enough
            texts[name] = format_bytes(value, binary=True, round_up=True)
        elif value is not None:
            texts[name] = format_value(value, UNIT_BY_COMPUTED_PLACEHOLDER[name])
    known = {**dict.fromkeys(UNIT_BY_COMPUTED_PLACEHOLDER), **values, **derived}
    scope = FactLookup(
        replace_facts(facts, (Measured((LOG_FACT_NAMESPACE, name), known[name]) for name in known))
    )

    def format_placeholder(name: str) -> str | None:
        if name in texts:
            return shorten_text(texts[name], MAX_SHOWN_TEXT_CHARS)
        return format_fact(facts, catalogue, split_fact_path(name))

    figures = (fill_placeholders(text, format_placeholder) for text in diagnosis.figures)
    return DiagnosisFinding(
        id=diagnosis.id,
        title=diagnosis.title,
        cause=diagnosis.cause,
        confidence=diagnosis.confidence,
        occurrences=error.occurrences,
        first=error.first,
        last=error.last,
        values=captured,
        excerpt=error.excerpt,
        figures=next((text for text in figures if text), None),
        fixes=tuple(
            resolve_fixes(
                diagnosis.fixes, scope, format_placeholder, list_os_and_distribution(facts)
            )
        ),
    )


def _compute_shortfall_and_fitting_model(
    values: Mapping[str, Any], models: Sequence[LanguageModel], configured: object
) -> dict[str, Any]:
    """Return how much memory is lacking, and the largest other model that fits in what is there."""
    required, available = values.get("required"), values.get("available")
    if not is_number(available):
        return {}
    derived: dict[str, Any] = {}
    if is_number(required) and required > available:
        derived["lacking"] = required - available
    fitting = [model for model in models if model.memory <= available and model.name != configured]
    if fitting:
        largest = max(fitting, key=lambda model: model.memory)
        derived |= {"fitting": largest.name, "fitting_memory": largest.memory}
    return derived


def _find_error_service_and_container(
    diagnosis: DiagnosisRule, error: KnownErrorFinding, facts: Facts
) -> dict[str, Any]:
    """Return the service that the error is about, its container, and the memory limit there.

    That is the service of the diagnosis, as other programs repeat its errors in their own logs;
    where the diagnosis has none, it is the one that Compose names in the line, or that the log is
    named after.
    """
    stem = error.last.file.removeprefix(".".join((*CONTAINERS_FACT_PATH, "")))
    stem = _LOG_FILE_SUFFIX_PATTERN.sub("", re.split(r"[/\\]", stem)[-1])
    service_by_container = {
        str(name): facts.text(*CONTAINERS_FACT_PATH, name, "service")
        for name in facts.collection(*CONTAINERS_FACT_PATH)
    }
    service = service_by_container.get(stem)
    if stem not in service_by_container and stem in facts.collection(*SERVICES_FACT_PATH):
        service = stem
    if diagnosis.service is not None:
        usual = facts.text(*diagnosis.service)
        if usual is not None and not _share_name_or_image(service, usual, facts):
            service = usual
    elif error.service is not None:
        service = error.service
    if service is None:
        return {"container": stem} if stem in service_by_container else {}
    derived: dict[str, Any] = {"service": service}
    limit = facts.get((*SERVICES_FACT_PATH, service, "limits", "memory"))
    own = [name for name, value in service_by_container.items() if value == service]
    if own:
        derived["container"] = container = stem if stem in own else own[0]
        own_limit = facts.get((*CONTAINERS_FACT_PATH, container, "memory", "limit"))
        limit = own_limit if is_number(own_limit) else limit
    if not isinstance(limit, Unknown):
        derived["limit"] = limit
    return derived


def _share_name_or_image(service: str | None, other: str, facts: Facts) -> bool:
    """Return whether two services have the same name or image."""
    aliases, others = (
        facts.texts(*SERVICES_FACT_PATH, str(name), "known_as") for name in (service, other)
    )
    return not {*aliases}.isdisjoint(others)
