"""The whole program on one screen: load rules, collect facts, evaluate."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, TypeVar

from preflight import __version__
from preflight.model.facts import Catalogue, Facts, Measured, build_facts, join_path, replace_facts
from preflight.model.report import Report
from preflight.model.rules import RuleSet
from preflight.model.secrets import secret_variables

if TYPE_CHECKING:
    from preflight.evaluate.judge import Selection
    from preflight.facts.collect.measurement import Measurement

T = TypeVar("T")


def catalogue() -> Catalogue:
    """Return the declaration of every fact: the names that rules may use."""
    from preflight.facts.table import FACTS

    return Catalogue(FACTS)


def load(
    name: str,
    read: Callable[[str], bytes],
    overrides: Mapping[str, str] | None = None,
    *,
    known_errors: bool = False,
) -> RuleSet:
    """Load a rule file, with the bundled diagnoses too; raises InputError with every problem."""
    from preflight.rules.load import load as load_rules

    return load_rules(name, read, catalogue(), overrides, known_errors=known_errors)


def select(
    ruleset: RuleSet, only: Iterable[str], skip: Iterable[str], *, strict: bool
) -> Selection:
    """Return which rules to report; raises InputError for an id or tag that no rule has."""
    from preflight.evaluate import judge

    selection = judge.Selection(tuple(only), tuple(skip), strict)
    judge.select(ruleset, selection)
    return selection


def collect_facts(
    measurement: Measurement,
    ruleset: RuleSet,
    on_wait: Callable[[float], None] | None = None,
) -> Facts:
    """Return all facts, with the environment variables that the rules ask for.

    `on_wait` is called with the seconds gone by while nothing comes.
    """
    from preflight.facts.table import FACTS

    order = {fact.path: number for number, fact in enumerate(FACTS)}
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


def with_model(facts: Facts, ruleset: RuleSet) -> Facts:
    """Add what follows from the rule file's models: of a snapshot too, by today's rules."""
    from preflight.facts.model import derive_model_facts

    return replace_facts(facts, derive_model_facts(facts, ruleset.models, ruleset.overhead or 0))


def check(
    ruleset: RuleSet,
    facts: Facts,
    selection: Selection | None = None,
    started: float | None = None,
    day: date | None = None,
) -> Report:
    """Judge facts, without showing secrets.

    `started` is the time.perf_counter() of the start, `day` the one that decides which waivers
    hold: today if it isn't given.
    """
    from preflight.evaluate.judge import evaluate

    report = evaluate(ruleset, facts, catalogue(), selection, day or today())
    seconds = None if started is None else round(time.perf_counter() - started, 3)
    results = hide_secrets(report.results, facts)
    return report._replace(results=results, version=__version__, seconds=seconds)


def hide_secrets(shown: T, facts: Facts) -> T:
    """Return what will be shown without the values of variables that are named like secrets.

    A rule file may come from anybody, and anybody may read a CI job's log. Rules can show a
    variable in several ways: as the fact, as a bound, in a `when`, in a fix.
    """
    secrets = list(secret_variables(facts.values))
    if not secrets:
        return shown
    from preflight.evaluate.sentences import MAX_TEXT_CHARS
    from preflight.model.quantities import MAX_QUOTED_CHARS
    from preflight.snapshot.redact import Redactor

    redactor = Redactor()
    for kind, value in secrets:  # sentences may show only the beginning of a long one
        for length in (len(value), MAX_TEXT_CHARS - 1, MAX_QUOTED_CHARS - 1):
            redactor.add_secret(kind, value.strip()[:length])
    return redactor.redact_known(shown)


def today() -> date:
    """Return the day in UTC, by which waivers end."""
    return datetime.now(timezone.utc).date()
