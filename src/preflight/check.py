"""The whole program on one screen: load, collect, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING

from preflight import __version__
from preflight.model.facts import (
    Catalogue,
    Facts,
    build_facts,
    join_path,
    replace_facts,
)
from preflight.model.report import Report
from preflight.model.rules import RuleSet
from preflight.model.secrets import secret_variables

if TYPE_CHECKING:
    from preflight.evaluate.judge import Selection as Selection  # noqa: PLC0414 - for cli too
    from preflight.facts.collect.measurement import Measurement
    from preflight.snapshot.redact import Redactor


def catalogue() -> Catalogue:
    """Return every fact that a probe declares: the names that rules may use."""
    from preflight.facts.table import FACTS

    return Catalogue(FACTS)


def load(
    name: str, read: Callable[[str], bytes], overrides: Mapping[str, str] | None = None
) -> RuleSet:
    """Load a rule file; raises InputError with every problem of it."""
    from preflight.rules.load import load as load_rules

    return load_rules(name, read, catalogue(), overrides)


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
    hidden: list[tuple[str, str]] | None = None,
) -> Facts:
    """Return all facts, with the environment variables that the rules ask for.

    `on_wait` is called with the seconds gone by while nothing comes. `hidden` gets the variables
    of containers that are left out, for redaction.
    """
    from preflight.facts.host import environment as env
    from preflight.facts.table import FACTS

    order = {fact.path: number for number, fact in enumerate(FACTS)}
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    measured = [
        *env.drop_unused_variables(measurement.results(on_wait), ruleset.required_facts, hidden),
        *env.read_variables(ruleset.environment()),
    ]
    measured.sort(key=lambda one: order.get(join_path(one.path), len(order)))  # not as they came
    return build_facts(measured, measured_at=now, version=__version__)


def with_model(facts: Facts, ruleset: RuleSet) -> Facts:
    """Add what follows from the rule file's models: of a snapshot too, by today's rules."""
    from preflight.facts.model import derive

    return replace_facts(facts, derive(facts, ruleset.models, ruleset.overhead or 0))


def check(ruleset: RuleSet, facts: Facts, selection: Selection, started: float) -> Report:
    """Judge facts; `started` (time.perf_counter) is when the work began."""
    from preflight.evaluate.judge import evaluate

    report = evaluate(ruleset, facts, catalogue(), selection, today())
    secrets = find_secrets(facts)
    if secrets is not None:
        report = report._replace(results=secrets.redact_known(report.results))
    return report._replace(version=__version__, seconds=round(time.perf_counter() - started, 3))


def find_secrets(facts: Facts) -> Redactor | None:
    """Return what knows the values of variables named like secrets, if there are any.

    A rule file may come from anybody, and a CI job's log be read by everybody. The facts hold the
    variables that rules ask for, whichever way: as the fact, as a bound, in a `when`, in a fix.
    """
    secrets = secret_variables(facts.values)
    if not secrets:
        return None
    from preflight.evaluate.sentences import MAX_TEXT_CHARS
    from preflight.model.quantities import MAX_QUOTED_CHARS
    from preflight.snapshot.redact import Redactor

    redact = Redactor()
    for kind, value in secrets:  # what sentences cut a long one to is as secret as all of it
        for most in (len(value), MAX_TEXT_CHARS - 1, MAX_QUOTED_CHARS - 1):
            redact.add_secret(kind, value.strip()[:most])
    return redact


def today() -> date:
    """Return the day in UTC, by which waivers end."""
    return datetime.now(timezone.utc).date()
