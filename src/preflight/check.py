"""The whole program on one screen: load, collect, evaluate."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, timezone
from typing import TYPE_CHECKING, Any

from preflight import __version__
from preflight.model.facts import (
    Catalogue,
    Facts,
    build_facts,
    join_path,
    replace_facts,
)
from preflight.model.problems import InputError, Problem, Review
from preflight.model.report import Explanation, ModelListing, Report
from preflight.model.rules import Rule, RuleSet, Waiver
from preflight.model.secrets import secret_variables

if TYPE_CHECKING:
    from preflight.evaluate.judge import Selection as Selection  # noqa: PLC0414 - for cli too
    from preflight.facts.collect.measurement import Measurement
    from preflight.logs.log_reader import LogReader as LogReader  # noqa: PLC0414 - for cli too
    from preflight.model.cases import CaseExpectation, VerdictMismatch
    from preflight.model.diagnosis import LogReport
    from preflight.rules.markdown import Document
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

    report = evaluate(ruleset, facts, catalogue(), selection, _today())
    secrets = _secrets(facts)
    if secrets is not None:
        report = report._replace(results=secrets.redact_known(report.results))
    return report._replace(version=__version__, seconds=round(time.perf_counter() - started, 3))


def _secrets(facts: Facts) -> Redactor | None:
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


def without_secrets(facts: Facts) -> Facts:
    """Return facts as they are shown to whoever may read a CI job's log."""
    secrets = _secrets(facts)
    return facts if secrets is None else secrets.redact_known(facts)


def explain(ruleset: RuleSet, facts: Facts, rule: Rule) -> Explanation:
    """Say what a rule asks, why, and what it comes to on these facts."""
    from preflight.evaluate.judge import explain as explain_rule

    told = explain_rule(ruleset, facts, catalogue(), rule, _today())
    secrets = _secrets(facts)
    if secrets is None:
        return told
    return secrets.redact_known(told)


def _today() -> date:
    """Return the day in UTC, by which waivers end."""
    return datetime.now(timezone.utc).date()


def models(ruleset: RuleSet, facts: Facts) -> ModelListing:
    """Hold the rule file's models against what a model may use here."""
    from preflight.evaluate.models import fitting

    return fitting(ruleset.models, facts)


def try_case(
    ruleset: RuleSet, facts: Facts, expected: CaseExpectation, only: Iterable[str], *, exact: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Judge a case and compare; raises InputError for an id, tag or var that isn't there.

    `only` narrows what is compared. Without a day of its own a case is judged on the day when
    its facts were measured, so that waivers don't end in it.
    """
    from preflight.evaluate import cases, judge

    unknown = list(cases.unknown_names(expected, ruleset))
    if unknown:
        raise InputError(*(Problem(expected.file, 0, 0, one) for one in unknown))
    part = tuple(only)
    selection = select(ruleset, part or expected.only, (), strict=expected.strict)
    day = expected.today or _day(facts.measured_at) or _today()
    whole = with_model(facts, ruleset)
    report = judge.evaluate(ruleset, whole, catalogue(), selection, day)
    return cases.compare(report, expected, exact=exact, part=bool(part))


def _day(moment: str) -> date | None:
    try:
        return date.fromisoformat(moment[:10])
    except ValueError:
        return None


def read_document(data: bytes, name: str) -> Document:
    """Read a requirements document; raises InputError where it is none."""
    from preflight.rules import markdown

    return markdown.read(data, name)


def review(
    ruleset: RuleSet, document: Document | None = None, facts: Facts | None = None
) -> Review:
    """Say what is wrong with rules that can be used: by themselves, their document, a snapshot."""
    from preflight.rules import waivers

    problems = list(waivers.idle(ruleset))
    remarks, agrees = list(waivers.ending(ruleset, _today())), ""
    if facts is not None:
        problems += [
            waivers.at(one, f"the waiver of {one.rule} waives what passes on these facts")
            for one in _idle_on(facts, ruleset)
        ]
    if document is not None:
        from preflight.rules.agreement import compare

        found = compare(ruleset, document)
        problems += found.problems
        remarks += found.remarks
        agrees = f"{found.rules} rules and {found.figures} figures stand in {document.name}"
    return Review(tuple(sorted(set(problems))), tuple(remarks), agrees)


def _idle_on(facts: Facts, ruleset: RuleSet) -> Iterable[Waiver]:
    """Return the waivers of what passes on these facts, those of rules that are off too."""
    from preflight.evaluate import judge, waivers

    waived = judge.Selection(only=[waiver.rule for waiver in ruleset.waivers])
    report = judge.evaluate(ruleset, with_model(facts, ruleset), catalogue(), waived)
    return waivers.idle(ruleset.waivers, report.results)


def diagnose(ruleset: RuleSet, reader: LogReader, facts: Facts | None = None) -> LogReport:
    """Say what the known errors that were read mean; joined with facts where there are any."""
    from preflight.evaluate import diagnoses

    if facts is not None:
        for name, line in diagnoses.container_states(facts):
            reader.add_state(name, line)
    told = diagnoses.diagnose(ruleset, reader.result(), facts or Facts({}), catalogue())
    secrets = None if facts is None else _secrets(facts)
    if secrets is None:
        return told
    findings = (
        one._replace(
            figures=secrets.redact_known(one.figures), fixes=secrets.redact_known(one.fixes)
        )
        for one in told.findings
    )
    return told._replace(findings=tuple(findings))


def schemas() -> Mapping[str, Callable[[], dict[str, Any]]]:
    """Return what makes each published JSON Schema, by its name."""
    from preflight.render import json_report
    from preflight.rules import schema
    from preflight.snapshot import facts_file

    return {
        "rules": schema.schema,
        "facts": facts_file.schema,
        "report": json_report.schema,
        "fleet": json_report.fleet_schema,
    }
