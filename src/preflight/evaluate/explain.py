"""Rules in words: one with its value here, or all of them for the requirements document."""

from __future__ import annotations

from datetime import date
from functools import partial

from preflight.evaluate.conditions import Scope
from preflight.evaluate.judge import Evaluation, conditions_of, describe_when
from preflight.evaluate.sentences import ComparisonText, describe_condition, resolve_fixes
from preflight.model.facts import Catalogue, Facts, join_path
from preflight.model.report import Explanation, RuleText
from preflight.model.rules import Rule, RuleSet


def explain(
    ruleset: RuleSet, facts: Facts, catalogue: Catalogue, rule: Rule, today: date = date.min
) -> Explanation:
    """Return what a rule requires, why, and its result on these facts with its fixes."""
    scope = Scope(facts)
    comparison = ComparisonText(scope.get(rule.fact), conditions_of(rule)[0][0], scope)
    placeholder = partial(comparison.format_placeholder, catalogue)
    return Explanation(
        rule=rule,
        text=describe_rule(rule, scope),
        source=ruleset.document_name(rule),
        results=Evaluation(ruleset, facts, catalogue, today).judge_rule(rule),
        fixes=tuple(resolve_fixes(rule.fixes, scope, placeholder)),
    )


def describe_rule(rule: Rule, scope: Scope | None = None) -> RuleText:
    """Return a rule's conditions in words; without a scope other facts are written by name."""
    texts = {
        severity: describe_condition(condition, scope)
        for condition, severity, _ in conditions_of(rule)
    }
    return RuleText(
        fact=join_path(rule.fact),
        requires=texts.get("required"),
        recommends=texts.get("recommended"),
        applies_if=tuple(describe_when(line, scope) for line in rule.when),
    )
