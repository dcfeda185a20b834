"""What `explain` says: a rule in words, with its result here."""

from __future__ import annotations

from datetime import date

from preflight.evaluate.conditions import FactLookup
from preflight.evaluate.judge import RuleEvaluator, explain_why_rules_dont_apply
from preflight.evaluate.sentences import describe_condition, describe_when
from preflight.model.explanations import RuleConditionsText, RuleExplanation
from preflight.model.facts import FactCatalogue, Facts, join_path
from preflight.model.rules import Rule, RuleSet


def explain(
    ruleset: RuleSet, facts: Facts, catalogue: FactCatalogue, rule: Rule, today: date = date.min
) -> RuleExplanation:
    """Return what a rule requires, why, and its result on these facts with its fixes."""
    evaluation = RuleEvaluator(ruleset, facts, catalogue, today)
    if explain_why_rules_dont_apply(ruleset, evaluation.scope):  # what the file extends is judged
        rule = next((general for general in ruleset.extended if general.id == rule.id), rule)
    return RuleExplanation(
        rule=rule,
        text=describe_rule_conditions(rule, FactLookup(facts)),
        source=ruleset.get_document_name_of_rule(rule),
        results=evaluation.judge_rule(rule),
        profile=ruleset.profile,
    )


def describe_rule_conditions(rule: Rule, scope: FactLookup | None = None) -> RuleConditionsText:
    """Return a rule's conditions in words; without a scope other facts are written by name."""
    return RuleConditionsText(
        fact=join_path(rule.fact),
        requires=rule.require and describe_condition(rule.require, scope).phrase,
        recommends=rule.recommend and describe_condition(rule.recommend, scope).phrase,
        applies_if=tuple(describe_when(line, scope) for line in rule.when),
    )
