"""The report as JSON, `preflight.report/1`: the same facts and rules give the same bytes.

Objects come from the types of `model.report`: a field there is a key here, under the name that was
released. The schemas are the files beside this one; tests hold the reports against them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

from preflight.model.report import VERDICTS, Report, Result
from preflight.render import RenderOptions
from preflight.render.sanitize import clean_and_shorten, format_safe_json

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

REPORT_SCHEMA_NAME = "preflight.report/1"
FLEET_SCHEMA = "preflight.fleet/1"
_JSON_KEY_BY_FIELD = {
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
    "occurrences": "count",
}
"""The released keys of fields whose names have changed since."""


def render_report(report: Report, _options: RenderOptions) -> str:
    """Return the JSON report; ASCII alone, so that no output encoding can break it."""
    objects = report_as_json(report._replace(results=())) | {
        "summary": _make_summary_object(report),
        "results": [partial(result_as_json, result) for result in report.results],
    }
    return format_safe_json(objects) + "\n"


def render_fleet(fleet: Fleet, _options: RenderOptions) -> str:
    """Return `preflight.fleet/1`, one line per host: its report, or why there is none."""
    lines = []
    for name, report, reason in fleet.hosts:
        host = format_safe_json(
            report_as_json(report) if report else {"unreachable": clean_and_shorten(reason)}, None
        )
        lines.append(f"{format_safe_json(name, None)}: {host}")
    hosts = ",\n".join(lines)
    verdicts = Counter(host.verdict for host in fleet.hosts if host.report is not None)
    summary: dict[str, Any] = {
        "verdict": fleet.verdict,
        "exit_code": fleet.exit_code,
        **{verdict: verdicts[verdict] for verdict in VERDICTS},
        "hosts": len(fleet.hosts),
        "unreachable": len(fleet.hosts) - verdicts.total(),
        "seconds": round(fleet.seconds, 3),
    }
    head = f'{{\n"schema": "{FLEET_SCHEMA}",\n"hosts": {{\n'
    return f'{head}{hosts}\n}},\n"summary": {format_safe_json(summary, None)}\n}}\n'


def report_as_json(report: Report) -> dict[str, Any]:
    """Return the report as the object that its schema describes."""
    ledger = as_plain_data(report.memory)
    if report.memory.tightest is not None:
        ledger["weakest"]["spare"] = report.memory.tightest.spare
    return {
        "schema": REPORT_SCHEMA_NAME,
        "preflight": report.version,
        "measured_at": report.measured_at,
        "rules": {
            "name": report.rules_name,
            "source": report.rules_source,
            "sha256": report.rules_sha256,
            "profile": report.profile or None,
        },
        "host": dict(report.host),
        "engine": dict(report.engine),
        "summary": _make_summary_object(report),
        "results": list(map(result_as_json, report.results)),
        "ledger": ledger,
        "notes": list(report.notes),
    }


def _make_summary_object(report: Report) -> dict[str, Any]:
    counts = report.counts_by_verdict
    return {
        "verdict": report.verdict,
        "exit_code": report.exit_code,
        **{verdict: counts[verdict] for verdict in VERDICTS},
        "seconds": report.seconds,
    }


def result_as_json(result: Result) -> dict[str, Any]:
    """Return a result as an object under the keys that were released."""
    fields: dict[str, Any] = as_plain_data(result._replace(templates=None))
    del fields["templates"]
    fields["rule"] = {"file": fields.pop("rule_file"), "line": fields.pop("rule_line")}
    return fields


def as_plain_data(value: Any) -> Any:
    """Return a value as JSON has it: a named tuple as an object, a date as a string."""
    if value is None or isinstance(value, str | int | float):
        return value
    if hasattr(value, "_asdict"):
        fields = value._asdict().items()
        return {_JSON_KEY_BY_FIELD.get(name, name): as_plain_data(field) for name, field in fields}
    if isinstance(value, list | tuple):
        return [as_plain_data(item) for item in value]
    if isinstance(value, Mapping):
        return {key: as_plain_data(item) for key, item in value.items()}
    return value.isoformat() if isinstance(value, date) else value
