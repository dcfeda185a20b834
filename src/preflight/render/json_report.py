"""The report as JSON, `preflight.report/1`: the same facts and rules give the same bytes.

Objects and their schemas come from the types of `model.report`: a field there is a key here,
under the name that was released.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from datetime import date
from types import UnionType
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin, get_type_hints

from preflight.model.report import VERDICTS, MemoryBreakdown, MemoryConstraint, Report, Result
from preflight.render import RenderOptions
from preflight.render.sanitize import short

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet, HostReport

SCHEMA = "preflight.report/1"
FLEET_SCHEMA = "preflight.fleet/1"
_SCALARS: Mapping[Any, Mapping[str, Any]] = {
    Any: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    date: {"type": "string", "format": "date"},
}
_RELEASED_KEYS = {
    "actual_text": "found",
    "expected_text": "asked",
    "reason_or_source": "evidence",
    "blocked_by": "held_by",
    "model_memory": "memory",
    "model_budget": "budget",
    "tightest": "weakest",
    "available": "has",
    "required": "asked",
    "required_by": "what",
    "budget_source": "why",
}
"""The released keys of fields whose names have changed since."""
_COUNT = {"type": "integer", "minimum": 0}
_VERDICT = {"enum": ["pass", "warn", "fail", "unknown"]}


def render(report: Report, _options: RenderOptions) -> str:
    """Return the JSON report; ASCII alone, so that no output encoding can break it."""
    return _defuse_command(json.dumps(report_object(report), indent=2)) + "\n"


def render_fleet(fleet: Fleet, _options: RenderOptions) -> str:
    """Return `preflight.fleet/1`, one line per host: its report, or why there is none."""
    hosts = ",\n".join(
        f"{json.dumps(host.name)}: {json.dumps(_host_object(host))}" for host in fleet.hosts
    )
    head = f'{{\n"schema": "{FLEET_SCHEMA}",\n"hosts": {{\n'
    summary = f'\n}},\n"summary": {json.dumps(_fleet_summary(fleet))}\n}}\n'
    return "".join((head, _defuse_command(hosts), summary))


def _defuse_command(text: str) -> str:
    """Return the same JSON without `##[`, a command to the CI system whose log it may come to."""
    return text.replace("##[", "##\\u005b")


def report_object(report: Report) -> dict[str, Any]:
    """Return the report as the object that its schema describes."""
    return {
        "schema": SCHEMA,
        "preflight": report.version,
        "measured_at": report.measured_at,
        "rules": {
            "name": report.rules_name,
            "source": report.rules_source,
            "sha256": report.rules_sha256,
        },
        "host": dict(report.host),
        "engine": dict(report.engine),
        "summary": {
            "verdict": report.verdict,
            "exit_code": report.exit_code,
            **{verdict: report.counts[verdict] for verdict in VERDICTS},
            "seconds": report.seconds,
        },
        "results": [_result_object(result) for result in report.results],
        "ledger": _ledger_object(report.memory),
        "notes": list(report.notes),
    }


def _result_object(result: Result) -> dict[str, Any]:
    fields: dict[str, Any] = as_plain_data(result)
    fields["rule"] = {"file": fields.pop("rule_file"), "line": fields.pop("rule_line")}
    return fields


def _ledger_object(ledger: MemoryBreakdown) -> dict[str, Any]:
    tightest = ledger.tightest
    return {
        **as_plain_data(ledger),
        "weakest": tightest and {**as_plain_data(tightest), "spare": tightest.spare},
    }


def as_plain_data(value: Any) -> Any:
    """Return a value as JSON has it: a named tuple as an object, a date as a string."""
    if hasattr(value, "_asdict"):
        return {
            _RELEASED_KEYS.get(name, name): as_plain_data(field)
            for name, field in value._asdict().items()
        }
    if isinstance(value, list | tuple):
        return [as_plain_data(item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_plain_data(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, date) else value


def _host_object(host: HostReport) -> dict[str, Any]:
    if host.report is None:
        return {"unreachable": short(host.reason)}
    return report_object(host.report)


def _fleet_summary(fleet: Fleet) -> dict[str, Any]:
    """Return a summary as check's that counts hosts by the verdict of each."""
    counter = Counter(host.verdict for host in fleet.hosts if host.report is not None)
    return {
        "verdict": fleet.verdict,
        "exit_code": fleet.exit_code,
        **{verdict: counter[verdict] for verdict in VERDICTS},
        "hosts": len(fleet.hosts),
        "unreachable": len(fleet.hosts) - counter.total(),
        "seconds": round(fleet.seconds, 3),
    }


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report.

    Within `/1` no key goes and none changes its meaning; new ones may come, so it allows others.
    """
    text, maybe_text = _schema_of(str), _schema_of(str | None)
    result, ledger, link = map(_schema_of, (Result, MemoryBreakdown, MemoryConstraint))
    rule = _object(
        file=result["properties"].pop("rule_file"), line=result["properties"].pop("rule_line")
    )
    ledger["properties"]["weakest"] = _or_null(
        _object(**link["properties"], spare=_schema_of(float))
    )
    return _document(
        SCHEMA,
        schema={"const": SCHEMA},
        preflight=text,
        measured_at=text,
        rules=_object(
            name=text, source=text, sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"}
        ),
        host=_object(**dict.fromkeys(("hostname", "os", "arch"), maybe_text)),
        engine=_object(
            reachable=_schema_of(bool | None),
            **dict.fromkeys(("engine", "version", "endpoint", "context"), maybe_text),
        ),
        summary=_object(
            verdict=_VERDICT,
            exit_code={"enum": [0, 1, 3]},
            **dict.fromkeys(VERDICTS, _COUNT),
            seconds=_schema_of(float | None),
        ),
        results={"type": "array", "items": _object(**result["properties"], rule=rule)},
        ledger=ledger,
        notes=_schema_of(tuple[str, ...]),
    )


def fleet_schema() -> dict[str, Any]:
    """Return the JSON Schema of the reports of many hosts, as open as that of one."""
    report = {key: value for key, value in schema().items() if key in _object()}
    unreachable = _object(unreachable=_schema_of(str))
    return _document(
        FLEET_SCHEMA,
        schema={"const": FLEET_SCHEMA},
        hosts={"type": "object", "additionalProperties": {"anyOf": [report, unreachable]}},
        summary=_object(
            verdict=_VERDICT,
            exit_code={"enum": [0, 1, 2, 3]},
            **dict.fromkeys((*VERDICTS, "hosts", "unreachable"), _COUNT),
            seconds=_schema_of(float),
        ),
    )


def _schema_of(type_: Any) -> dict[str, Any]:
    """Return the schema of a type of the model, as `plain` writes its values."""
    if type_ in _SCALARS:
        return dict(_SCALARS[type_])
    if hasattr(type_, "_fields"):
        hints = get_type_hints(type_)
        return _object(
            **{_RELEASED_KEYS.get(name, name): _schema_of(hints[name]) for name in type_._fields}
        )
    arguments = get_args(type_)
    origin = get_origin(type_)
    if origin is Literal:
        return {"enum": list(arguments)}
    if origin is tuple:
        return {"type": "array", "items": _schema_of(arguments[0])}
    if origin is UnionType:  # the model has no other unions than `X | None`
        return _or_null(_schema_of(arguments[0]))
    return {"type": "object"}


def _document(name: str, **properties: Any) -> dict[str, Any]:
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{name.replace('/', ':')}",
        "title": name,
        **_object(**properties),
    }


def _or_null(schema_: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [schema_, {"type": "null"}]}


def _object(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these keys, each of them required."""
    return {"type": "object", "required": list(properties), "properties": properties}
