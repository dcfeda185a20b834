"""What `explain` and `models` say: a rule in words, with its result here, and which models fit."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from preflight.evaluate.conditions import FactScope
from preflight.evaluate.judge import RuleEvaluation, explain_why_rules_dont_apply
from preflight.evaluate.notes_and_memory import get_number_or_none
from preflight.evaluate.sentences import describe_condition, describe_when
from preflight.model.explanations import ModelFit, ModelListing, RuleConditionsText, RuleExplanation
from preflight.model.facts import Catalogue, Facts, Unknown, join_path
from preflight.model.rules import LanguageModel, Rule, RuleSet


def explain(
    ruleset: RuleSet, facts: Facts, catalogue: Catalogue, rule: Rule, today: date = date.min
) -> RuleExplanation:
    """Return what a rule requires, why, and its result on these facts with its fixes."""
    evaluation = RuleEvaluation(ruleset, facts, catalogue, today)
    if explain_why_rules_dont_apply(ruleset, evaluation.scope):  # what the file extends is judged
        rule = next((general for general in ruleset.extended if general.id == rule.id), rule)
    return RuleExplanation(
        rule=rule,
        text=describe_rule(rule, FactScope(facts)),
        source=ruleset.document_name(rule),
        results=evaluation.judge_rule(rule),
        profile=ruleset.profile,
    )


def describe_rule(rule: Rule, scope: FactScope | None = None) -> RuleConditionsText:
    """Return a rule's conditions in words; without a scope other facts are written by name."""
    return RuleConditionsText(
        fact=join_path(rule.fact),
        requires=rule.require and describe_condition(rule.require, scope).phrase,
        recommends=rule.recommend and describe_condition(rule.recommend, scope).phrase,
        applies_if=tuple(describe_when(line, scope) for line in rule.when),
    )


def list_models_by_fit(models: Sequence[LanguageModel], facts: Facts) -> ModelListing:
    """Return the models, the largest that fits first, then those that don't fit."""
    path = ("model", "budget")
    value, budget = facts.get(path), get_number_or_none(facts, *path)
    source = value.reason if isinstance(value, Unknown) else facts.source(path)

    def fit(name: str, memory: float | None, note: str, *, configured: bool) -> ModelFit:
        fits = None if memory is None or budget is None else memory <= budget
        return ModelFit(name, memory, fits, configured, note)

    listed_name = facts.get(("model", "listed"))  # the configured model's name in the list
    fits = [
        fit(model.name, model.memory, model.note, configured=model.name == listed_name)
        for model in models
    ]
    name = facts.text("model", "name")
    if name is not None and not any(model.configured for model in fits):
        memory = get_number_or_none(facts, "model", "memory")
        is_estimated = facts.get(("model", "estimated")) is True
        note = "estimated" if is_estimated else "size unknown" if memory is None else ""
        fits.append(fit(name, memory, note, configured=True))
    fits.sort(key=lambda model: (model.fits is False, model.memory is None, -(model.memory or 0)))
    return ModelListing(budget, source, tuple(fits))
