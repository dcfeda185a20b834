"""Chooses the profile of a rule file from the facts, where none was chosen by name."""

from __future__ import annotations

from preflight.evaluate.conditions import FactLookup, all_conditions_hold
from preflight.evaluate.sentences import describe_when
from preflight.model.facts import Facts, Unknown
from preflight.model.rules import RuleSet


def choose_profile(ruleset: RuleSet, facts: Facts) -> RuleSet:
    """Return the rules with the vars of the last profile whose `when` holds; a note says so."""
    scope = FactLookup(facts)
    notes = list(ruleset.notes)
    chosen = ruleset
    for profile in reversed(ruleset.profiles):
        holds = profile.when is not None and all_conditions_hold(profile.when, scope)
        if isinstance(holds, Unknown):
            reason = f"Cannot tell whether profile {profile.name} applies: {holds.reason}"
            end = "" if reason.endswith("?") else "."
            notes.append(f"{reason}{end} --profile NAME chooses one.")
        elif holds:
            when = " and ".join(describe_when(line, scope) for line in profile.when or ())
            notes.append(f"Profile {profile.name}: {when or 'the default'}.")
            chosen = profile.ruleset
            break
    return chosen._replace(
        origin=ruleset.origin,
        required_facts=ruleset.required_facts,
        profiles=(),
        notes=tuple(notes),
    )
