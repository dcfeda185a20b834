"""`preflight explain`: one rule, what it asks, why, its value here, how to fix it."""

from __future__ import annotations

import typer

from preflight import check as pipeline
from preflight.cli.options import (
    ComposeFiles,
    Context,
    DockerHost,
    FactsFile,
    Path,
    RuleId,
    RulesFile,
    Sets,
    Subject,
    Timeout,
    load_rules,
)
from preflight.cli.streams import terminal_options, write
from preflight.model.problems import InputError, did_you_mean


def explain(
    ctx: typer.Context,
    rule: RuleId,
    rules: RulesFile = None,
    facts: FactsFile = None,
    compose_files: ComposeFiles = None,
    path: Path = ".",
    docker_host: DockerHost = None,
    context: Context = None,
    sets: Sets = None,
    timeout: Timeout = 10.0,
) -> None:
    """Explain one rule, with its value on this machine."""
    from preflight.render import listings

    subject = Subject(ctx, facts, path, docker_host, context, timeout, compose_files)
    ruleset = load_rules(rules, sets)
    chosen = next((one for one in ruleset.rules if one.id == rule), None)
    if chosen is None:
        hint = did_you_mean(rule, [one.id for one in ruleset.rules])
        raise InputError(f"no rule {rule!r}{hint}; see them with: preflight rules list")
    told = pipeline.explain(ruleset, subject.facts(ruleset), chosen)
    write(listings.explanation(told, terminal_options()))
