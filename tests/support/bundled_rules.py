"""The bundled rules, loaded once for all tests of a process: it takes a quarter of a second."""

from __future__ import annotations

from functools import cache

from preflight.check import load_ruleset
from preflight.cli.streams import read_rule_file
from preflight.model.rules import DEFAULT_RULE_SET, RuleSet


@cache
def bundled_rules(name: str = DEFAULT_RULE_SET, *, known_errors: bool = False) -> RuleSet:
    """Return a bundled rule set, with `known_errors` the bundled diagnoses too."""
    return load_ruleset(name, read_rule_file, known_errors=known_errors)
