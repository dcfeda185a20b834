"""`preflight explain`: what one rule requires and why, its value here, how to fix it."""

from __future__ import annotations

import typer

from preflight.check import catalogue, find_secrets, today
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
from preflight.model.facts import Facts
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import Explanation
from preflight.model.rules import Rule, RuleSet


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
    by_id = {candidate.id: candidate for candidate in ruleset.rules}
    if rule not in by_id:
        hint = did_you_mean(rule, by_id)
        raise InputError(f"no rule {rule!r}{hint}; see them with: preflight rules list")
    explanation = explain_rule(ruleset, subject.facts(ruleset), by_id[rule])
    write(listings.explanation(explanation, terminal_options()))


def explain_rule(ruleset: RuleSet, facts: Facts, rule: Rule) -> Explanation:
    """Return what a rule requires, why, and its result on these facts, without secrets."""
    from preflight.evaluate.explain import explain as explain_with_secrets

    explanation = explain_with_secrets(ruleset, facts, catalogue(), rule, today())
    secrets = find_secrets(facts)
    return explanation if secrets is None else secrets.redact_known(explanation)
