"""`preflight schema`: the JSON Schemas of rule files, snapshots and reports, of many hosts too."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from preflight.cli.streams import write_json
from preflight.model.problems import InputError, did_you_mean


def schema(
    name: Annotated[str, typer.Argument(metavar="rules|facts|report|fleet")],
) -> None:
    """Print the JSON Schema of rule files, snapshots, reports, or many hosts' reports."""
    builders = schemas()
    if name not in builders:
        hint = did_you_mean(name, builders)
        raise InputError(f"no schema {name!r}{hint}; available: {', '.join(builders)}")
    write_json(builders[name]())


def schemas() -> Mapping[str, Callable[[], dict[str, Any]]]:
    """Return the function that builds each published schema, by name."""
    from preflight.render import json_report
    from preflight.rules.language import json_schema
    from preflight.snapshot import facts_file

    return {
        "rules": json_schema,
        "facts": facts_file.schema,
        "report": json_report.schema,
        "fleet": json_report.fleet_schema,
    }
