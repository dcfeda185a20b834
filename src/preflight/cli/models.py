"""`preflight models`: the models that fit this machine, the largest first."""

from __future__ import annotations

import typer

from preflight.cli import options
from preflight.cli.options import FactsSource, load_rules
from preflight.cli.streams import terminal_options, write, write_json


def models(
    ctx: typer.Context,
    rules: options.RulesFile = None,
    format_: options.Format = "text",
    facts: options.FactsFile = None,
    compose_files: options.ComposeFiles = None,
    path: options.Path = ".",
    docker_host: options.DockerHost = None,
    context: options.Context = None,
    sets: options.Sets = None,
    timeout: options.Timeout = 10.0,
) -> None:
    """Show which models of the rule file fit here, and which one is configured."""
    from preflight.evaluate.memory import list_models
    from preflight.render import models as render

    source = FactsSource(ctx, facts, path, docker_host, context, timeout, compose_files)
    ruleset = load_rules(rules, sets)
    listing = list_models(ruleset.models, source.facts(ruleset))
    if format_ == "json":
        write_json(render.json_object(listing))
    else:
        write(render.text(listing, terminal_options()))
