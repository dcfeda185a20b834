"""Many machines as JSON, `preflight.fleet/1`: the report of each, or why there is none."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from typing import Any

from preflight.model.fleet import Fleet
from preflight.model.report import VERDICTS, Report
from preflight.render import json_report
from preflight.render.json_report import harmless, object_of, to_json
from preflight.render.options import RenderOptions, short

SCHEMA = "preflight.fleet/1"


class Hosts:
    """Writes each machine as it comes."""

    def __init__(self, _name: str, _options: RenderOptions) -> None:
        self._before = f'{{\n"schema": "{SCHEMA}",\n"hosts": {{\n'

    def host(self, name: str, one: Report | str) -> str:
        """Return its member of `hosts`."""
        told = {"unreachable": short(one)} if isinstance(one, str) else to_json(one)
        before, self._before = self._before, ",\n"
        return before + harmless(f"{json.dumps(name)}: {json.dumps(told)}")

    def end(self, fleet: Fleet) -> Iterator[str]:
        """Yield the summary."""
        begin = "" if fleet.standings else self._before
        yield f'{begin}\n}},\n"summary": {json.dumps(_summary(fleet))}\n}}\n'


def schema() -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12), open for keys that may come, as a report's is."""
    count = {"type": "integer", "minimum": 0}
    whole = json_report.schema()
    report = {key: whole[key] for key in ("type", "required", "properties")}
    lost = object_of(unreachable={"type": "string"})
    return {
        "$schema": whole["$schema"],
        "$id": f"urn:{SCHEMA.replace('/', ':')}",
        "title": SCHEMA,
        **object_of(
            schema={"const": SCHEMA},
            hosts={"type": "object", "additionalProperties": {"anyOf": [report, lost]}},
            summary=object_of(
                verdict={"enum": ["pass", "warn", "fail", "unknown"]},
                exit_code={"enum": [0, 1, 2, 3]},
                **dict.fromkeys(VERDICTS, count),
                hosts=count,
                unreachable=count,
                seconds={"type": "number", "minimum": 0},
            ),
        ),
    }


def _summary(fleet: Fleet) -> dict[str, Any]:
    """Return the summary as check's, counting machines: by the verdict of each."""
    found = Counter(one.verdict for one in fleet.standings if not one.unusable)
    return {
        "verdict": fleet.verdict,
        "exit_code": fleet.exit_code,
        **{one: found[one] for one in VERDICTS},
        "hosts": len(fleet.standings),
        "unreachable": sum(bool(one.unusable) for one in fleet.standings),
        "seconds": round(fleet.seconds, 3),
    }
