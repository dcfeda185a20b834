"""`preflight models`: the models that fit this machine, the largest first."""

from __future__ import annotations

import json

import typer

from preflight.cli.options import (
    ComposeFiles,
    Context,
    DockerHost,
    FactsFile,
    Format,
    Path,
    RulesFile,
    Sets,
    Subject,
    Timeout,
    load_rules,
)
from preflight.cli.streams import terminal_options, write


def models(
    ctx: typer.Context,
    rules: RulesFile = None,
    format_: Format = "text",
    facts: FactsFile = None,
    compose_files: ComposeFiles = None,
    path: Path = ".",
    docker_host: DockerHost = None,
    context: Context = None,
    sets: Sets = None,
    timeout: Timeout = 10.0,
) -> None:
    """Show which models of the rule file fit here, and which one is configured."""
    from preflight.evaluate.models import list_models
    from preflight.render import models as render

    subject = Subject(ctx, facts, path, docker_host, context, timeout, compose_files)
    ruleset = load_rules(rules, sets)
    listing = list_models(ruleset.models, subject.facts(ruleset))
    as_json = json.dumps(render.json_object(listing), indent=2) + "\n"
    write(as_json if format_ == "json" else render.text(listing, terminal_options()))
