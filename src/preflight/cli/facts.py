"""`preflight facts`: measured values, their sources, and the reasons for what is missing."""

from __future__ import annotations

from typing import Annotated

import typer

from preflight.check import catalogue, hide_secrets
from preflight.cli import options
from preflight.cli.options import FactsSource, load_rules
from preflight.cli.redacting import (
    PRIVATE_MODE,
    build_redactor,
    count_placeholders,
    format_counts,
    redact_facts,
    refuse_leftovers,
    report_undecided,
)
from preflight.cli.streams import complain, terminal_options, write, write_file


def facts(
    ctx: typer.Context,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write a snapshot to this file."),
    ] = None,
    format_: options.Format = "text",
    rules: options.RulesFile = None,
    snapshot: options.FactsFile = None,
    compose_files: options.ComposeFiles = None,
    path: options.Path = ".",
    docker_host: options.DockerHost = None,
    context: options.Context = None,
    timeout: options.Timeout = 10.0,
    no_redact: options.NoRedact = False,
) -> None:
    """Print what was measured here, with the source of each figure.

    In a snapshot (a file, or JSON), placeholders replace secrets.
    """
    from preflight.render import listings
    from preflight.snapshot.facts_file import write_snapshot

    source = FactsSource(ctx, snapshot, path, docker_host, context, timeout, compose_files)
    ruleset = load_rules(rules)
    measured = source.facts(ruleset)
    if output is None and format_ == "text":
        shown = measured if no_redact else hide_secrets(measured, measured)
        write(listings.facts(shown, catalogue(), terminal_options()))
        return
    redactor = build_redactor(ruleset, measured, source.hidden_variables)
    clean, undecided = redact_facts(redactor, ruleset, measured)
    as_json = write_snapshot(measured if no_redact else clean)
    if no_redact:
        complain(
            f"not redacted: it shows {format_counts(count_placeholders([write_snapshot(clean)]))}"
        )
    else:
        report_undecided(undecided)
        refuse_leftovers(output or "the snapshot", redactor, {"facts.json": as_json.encode()})
    if output is None:
        write(as_json)
    else:
        write_file(output, as_json, PRIVATE_MODE if no_redact else None)
