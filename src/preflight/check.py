"""The whole program on one screen: load rules, collect facts, evaluate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from functools import cache
from typing import TYPE_CHECKING, Any

from preflight import __version__
from preflight.model.facts import (
    NEEDS_ONLINE_REASON,
    FactCatalogue,
    Facts,
    Measured,
    Unknown,
    build_facts,
    join_path,
    replace_facts,
)
from preflight.model.problems import InputError
from preflight.model.report import Report
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.evaluate.judge import RuleSelection
    from preflight.facts.collect.measurement import RunningMeasurement


@cache
def build_catalogue() -> FactCatalogue:
    """Return the declaration of every fact: the names that rules may use."""
    from preflight.facts.table import ALL_FACTS

    return FactCatalogue(ALL_FACTS)


def load_ruleset(
    name: str,
    read: Callable[[str], bytes],
    overrides: Mapping[str, str] | None = None,
    **options: Any,
) -> RuleSet:
    """Load a rule file by the names of all facts; `options` are those of `rules.load`."""
    from preflight.rules import load

    return load.load_ruleset(name, read, build_catalogue(), overrides, **options)


def make_rule_selection(
    ruleset: RuleSet,
    only: Iterable[str],
    skip: Iterable[str],
    *,
    strict: bool,
    suggest: Callable[[str], str] = lambda _: "",
) -> RuleSelection:
    """Return which rules to report, at least one; raises InputError.

    `only` and `skip` are ids, tags and globs of them, also several with commas. `suggest` says
    where an unknown rule may be.
    """
    from preflight.evaluate import judge

    selection = judge.RuleSelection(_split_names(only), _split_names(skip), strict)
    if not judge.select_rules(ruleset, selection, suggest):
        problem = (
            "no rule is left to judge" if ruleset.rules else "the file contains no rules to judge"
        )
        raise InputError(f"{ruleset.origin}: {problem}")
    return selection


def _split_names(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(part.strip() for name in names for part in name.split(","))


def collect_facts(
    measurement: RunningMeasurement,
    ruleset: RuleSet,
    on_wait: Callable[[float], None] | None = None,
) -> Facts:
    """Return all facts, with the environment variables that the rules ask for.

    `on_wait` is called with the seconds gone by while nothing comes.
    """
    from preflight.facts.table import ALL_FACTS

    order = {fact.path: number for number, fact in enumerate(ALL_FACTS)}
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    measured = [
        *measurement.collect(ruleset.required_facts, on_wait),
        *(  # the worker doesn't know the rules
            Measured(("env", name), os.environ.get(name), "the environment")
            for name in ruleset.environment_variables()
        ),
    ]
    measured.sort(key=lambda fact: order.get(join_path(fact.path), len(order)))  # reproducible
    return build_facts(measured, measured_at=now, version=__version__)


def apply_chosen_profile(ruleset: RuleSet, facts: Facts) -> RuleSet:
    """Return the rules with the vars of the profile that the facts choose, if there is one."""
    if not ruleset.profiles:
        return ruleset
    from preflight.evaluate import profiles

    return profiles.choose_profile(ruleset, facts)


def add_derived_facts(facts: Facts, ruleset: RuleSet) -> Facts:
    """Add what follows from the rule file's models: of a snapshot too, by today's rules.

    Without --online nobody asked registries and names.
    """
    from preflight.facts.language_model import derive_model_facts

    ruleset = apply_chosen_profile(ruleset, facts)
    added = [*derive_model_facts(facts, ruleset.models, ruleset.system_overhead_bytes or 0)]
    if "registry" not in facts.values and "registry.images" not in facts.unknown:
        added.append(Measured(("registry", "images"), None, NEEDS_ONLINE_REASON))
    if any(path[0] == "net" for path in ruleset.required_facts) and not facts.has_group("net"):
        added.append(Measured(("net",), Unknown(NEEDS_ONLINE_REASON)))
    return replace_facts(facts, added)


def check(
    ruleset: RuleSet,
    facts: Facts,
    selection: RuleSelection | None = None,
    started: float | None = None,
    day: date | None = None,
) -> Report:
    """Judge facts; secrets are judged and not shown.

    `started` is the time.perf_counter() of the start, `day` the one that decides which waivers
    hold: today if it isn't given.
    """
    from preflight.evaluate.judge import judge_rules

    ruleset = apply_chosen_profile(ruleset, facts)
    report = judge_rules(ruleset, facts, build_catalogue(), selection, day or get_utc_day())
    seconds = None if started is None else round(time.perf_counter() - started, 3)
    return report._replace(version=__version__, seconds=seconds)


def get_utc_day() -> date:
    """Return the day in UTC, by which waivers end."""
    return datetime.now(timezone.utc).date()
