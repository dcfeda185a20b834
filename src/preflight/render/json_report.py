"""The report as JSON, `preflight.report/1`: the same facts and rules give the same bytes."""

from __future__ import annotations

import json
from typing import Any, get_args

from preflight.model.facts import Unit
from preflight.model.report import VERDICTS, MemoryBreakdown, Report, Result, WaiverStatus
from preflight.render.options import RenderOptions

SCHEMA = "preflight.report/1"


def render(report: Report, _options: RenderOptions) -> str:
    """Return the JSON report; ASCII alone, so that no output encoding can break it."""
    return harmless(json.dumps(to_json(report), indent=2)) + "\n"


def harmless(text: str) -> str:
    """Return the same JSON without `##[`, a command to the CI system whose log it may come to."""
    return text.replace("##[", "##\\u005b")


def to_json(report: Report) -> dict[str, Any]:
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
        "results": [_result(result) for result in report.results],
        "ledger": _ledger(report.memory),
        "notes": list(report.notes),
    }


def _result(result: Result) -> dict[str, Any]:
    return {
        "id": result.id,
        "item": result.item,
        "title": result.title,
        "verdict": result.verdict,
        "severity": result.severity,
        "fact": result.fact,
        "unit": result.unit,
        "actual": result.actual,
        "expected": dict(result.expected),
        "found": result.actual_text,
        "asked": result.expected_text,
        "message": result.message,
        "error": result.error,
        "evidence": result.reason_or_source,
        "why": result.why,
        "source": result.source,
        "section": result.section,
        "tags": list(result.tags),
        "held_by": result.blocked_by,
        "file": result.file,
        "line": result.line,
        "fixes": [
            {"text": fix.text, "command": fix.command, "url": fix.url} for fix in result.fixes
        ],
        "change": result.change and result.change._asdict(),
        "waiver": result.waiver and _waiver(result.waiver),
        "rule": {"file": result.rule_file, "line": result.rule_line},
    }


def _waiver(waiver: WaiverStatus) -> dict[str, Any]:
    return {**waiver._asdict(), "until": waiver.until.isoformat()}


def _ledger(memory: MemoryBreakdown) -> dict[str, Any]:
    tightest = memory.tightest
    return {
        "host": memory.host,
        "overhead": memory.overhead,
        "docker": memory.docker,
        "services": [service._asdict() for service in memory.services],
        "model": memory.model,
        "memory": memory.model_memory,
        "budget": memory.model_budget,
        "weakest": tightest
        and {
            "where": tightest.where,
            "has": tightest.available,
            "asked": tightest.required,
            "what": tightest.required_by,
            "spare": tightest.spare,
        },
    }


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a report.

    Within `/1` no key goes and none changes its meaning; new ones may come, so it allows others.
    """
    text, maybe = {"type": "string"}, {"type": ["string", "null"]}
    count = {"type": "integer", "minimum": 0}
    result = object_of(
        id=text,
        item=maybe,
        title=text,
        verdict={"enum": list(VERDICTS)},
        severity={"enum": ["required", "recommended"]},
        fact=text,
        unit={"enum": list(get_args(Unit))},
        actual={},
        expected={"type": "object"},
        found=text,
        asked=text,
        message=text,
        error=maybe,
        evidence=text,
        why=text,
        source=text,
        section=text,
        tags={"type": "array", "items": text},
        held_by=maybe,
        file=maybe,
        line={"type": ["integer", "null"], "minimum": 1},
        fixes={"type": "array", "items": object_of(text=text, command=maybe, url=maybe)},
        change=_or_null(object_of(fact=text, before={}, after={}, text=text)),
        waiver=_or_null(
            object_of(
                reason=text,
                owner=text,
                until={"type": "string", "format": "date"},
                days_left={"type": "integer"},
                holds={"type": "boolean"},
            )
        ),
        rule=object_of(file=text, line={"type": ["integer", "null"], "minimum": 1}),
    )
    size = {"type": ["number", "null"]}
    number = {"type": "number"}
    share = object_of(name=text, replicas=count, reservation=size, limit=size)
    link = object_of(
        where={"enum": ["host", "docker", "model"]},
        has=number,
        asked=number,
        what=text,
        spare=number,
    )
    ledger = object_of(
        host=size,
        overhead=size,
        docker=size,
        services={"type": "array", "items": share},
        model=maybe,
        memory=size,
        budget=size,
        weakest=_or_null(link),
    )
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": SCHEMA,
        **object_of(
            schema={"const": SCHEMA},
            preflight=text,
            measured_at=text,
            rules=object_of(
                name=text, source=text, sha256={"type": "string", "pattern": "^[0-9a-f]{64}$"}
            ),
            host=object_of(hostname=maybe, os=maybe, arch=maybe),
            engine=object_of(
                reachable={"type": ["boolean", "null"]},
                engine=maybe,
                version=maybe,
                endpoint=maybe,
                context=maybe,
            ),
            summary=object_of(
                verdict={"enum": ["pass", "warn", "fail", "unknown"]},
                exit_code={"enum": [0, 1, 3]},
                **dict.fromkeys(VERDICTS, count),
                seconds={"type": ["number", "null"], "minimum": 0},
            ),
            results={"type": "array", "items": result},
            ledger=ledger,
            notes={"type": "array", "items": text},
        ),
    }


def _or_null(shape: dict[str, Any]) -> dict[str, Any]:
    return {"anyOf": [shape, {"type": "null"}]}


def object_of(**properties: Any) -> dict[str, Any]:
    """Return the schema of an object with these keys, each of them required."""
    return {
        "type": "object",
        "required": list(properties),
        "properties": properties,
    }
