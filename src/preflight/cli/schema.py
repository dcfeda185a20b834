"""`preflight schema`: the JSON Schemas of rule files, snapshots and reports, of many hosts too."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from preflight import check as pipeline
from preflight.cli.streams import write
from preflight.model.problems import InputError, did_you_mean


def schema(
    name: Annotated[str, typer.Argument(metavar="rules|facts|report|fleet")],
) -> None:
    """Print the JSON Schema of rule files, snapshots, reports, or many hosts' reports."""
    schemas = pipeline.schemas()
    if name not in schemas:
        raise InputError(
            f"no schema {name!r}{did_you_mean(name, schemas)}; there is {', '.join(schemas)}"
        )
    write(json.dumps(schemas[name](), indent=2) + "\n")
