"""The whole program on one screen: load, collect, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from preflight import __version__
from preflight.model.facts import Catalogue, Facts, gather
from preflight.model.report import Explanation, Report
from preflight.model.rules import Rule, RuleSet

if TYPE_CHECKING:
    from preflight.evaluate.judge import Selection
    from preflight.probes.options import Options
    from preflight.probes.spawn import Process, Reader


def catalogue() -> Catalogue:
    """Return every fact that a probe declares: the names that rules may use."""
    from preflight.probes.table import PROBES

    return Catalogue(fact for probe in PROBES for fact in probe.facts)


def load(
    name: str, read: Callable[[str], bytes], overrides: Mapping[str, str] | None = None
) -> RuleSet:
    """Load a rule file; raises InputError with every problem of it."""
    from preflight.rules.load import load as load_rules

    return load_rules(name, read, catalogue(), overrides)


def measure(
    options: Options,
    readers: dict[Reader, Process] | None = None,
    tick: Callable[[float], None] | None = None,
) -> Facts:
    """Measure this machine within `options.timeout` seconds; `readers` may be started already."""
    from preflight.probes.collect import collect
    from preflight.probes.spawn import start_readers

    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    measured = collect(readers or start_readers(), options, tick)
    return gather(measured, measured_at=now, version=__version__)


def check(ruleset: RuleSet, facts: Facts, selection: Selection, started: float) -> Report:
    """Judge facts; `started` (time.perf_counter) is when the work began."""
    from preflight.evaluate.judge import evaluate

    today = datetime.now(timezone.utc).date()
    report = evaluate(ruleset, facts, catalogue(), selection, today)
    return replace(report, version=__version__, seconds=round(time.perf_counter() - started, 3))


def explain(ruleset: RuleSet, facts: Facts, rule: Rule) -> Explanation:
    """Say what a rule asks, why, and what it comes to on these facts."""
    from preflight.evaluate.judge import explain as explain_rule

    return explain_rule(ruleset, facts, catalogue(), rule)


def schemas() -> Mapping[str, Callable[[], dict[str, Any]]]:
    """Return what makes each published JSON Schema, by its name."""
    from preflight.render import json_report
    from preflight.rules import schema
    from preflight.snapshot import facts_file

    return {"rules": schema.schema, "facts": facts_file.schema, "report": json_report.schema}
