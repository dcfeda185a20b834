"""`preflight rules test`: cases of facts and expected verdicts, held against a rule file."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from datetime import date
from typing import Annotated

import typer

from preflight.check import catalogue, select, today, with_model
from preflight.cli.options import RulesFile, load_rules, rules_file
from preflight.cli.streams import read_input, terminal_options, write
from preflight.model.cases import (
    EXPECTED_FILE,
    FACTS_FILE,
    MAX_EXPECTED_BYTES,
    RULES_FILE,
    CaseExpectation,
    CaseOutcome,
    VerdictMismatch,
    exit_code,
)
from preflight.model.facts import MAX_SNAPSHOT_BYTES, Facts
from preflight.model.problems import InputError, Problem, did_you_mean
from preflight.model.rules import RuleSet

FORMATS = ("text", "json", "junit")


def try_cases(
    ctx: typer.Context,
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A folder of case folders, or one of these.")
    ],
    rules: RulesFile = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="ID|TAG", help="Compare only these rules, in all cases. Repeatable."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Each verdict must be named; without it, those named are compared."
        ),
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="How to show it.")
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what differs.")] = False,
) -> None:
    """Test rules: judge the facts of each case, and compare the verdicts with the expected ones.

    A case is a folder with facts.json (made by: preflight facts -o facts.json) and expected.json:
    verdicts by rule, {"host-memory": "fail", "port-free/8000": "pass"}. A rule's id stands for
    all its items that are not named.

    The longer form is {"verdicts": {...}, "exit_code": 1, "today": "2026-11-23", "vars": {...},
    "only": [...], "strict": true}; all but the verdicts as in check. Without today the day of the
    measuring decides which waivers hold.

    The rules are those of --rules, else rules.yaml in the case's folder, else beside it, else
    those that check takes.

    Exit code: 0 all is as expected, 1 a case differs, 2 usage, or a case that cannot be judged.
    """
    if format_ not in FORMATS:
        hint = did_you_mean(format_, FORMATS)
        raise InputError(f"--format {format_}: no such format{hint}; there is {', '.join(FORMATS)}")
    from preflight.render import cases as render
    from preflight.snapshot.cases import find_cases

    source = ctx.get_parameter_source("rules")
    typed = source is not None and source.name == "COMMANDLINE"
    bench = _Bench(rules, typed=typed, only=tuple(only or ()), exact=exact)
    outcomes = tuple(bench.outcome(case) for case in find_cases(folder))
    write(render.FORMATS[format_](outcomes, terminal_options(quiet=quiet)))
    raise typer.Exit(exit_code(outcomes))


class _Bench:
    """Judges case after case; a rule file is loaded once."""

    def __init__(
        self, rules: str | None, *, typed: bool, only: tuple[str, ...], exact: bool
    ) -> None:
        self._rules = rules
        self._typed = typed
        self._only = only
        self._exact = exact
        self._loaded: dict[tuple[str, frozenset[tuple[str, str]]], RuleSet | InputError] = {}

    def outcome(self, folder: str) -> CaseOutcome:
        """Judge one case; what is wrong with its files is part of the outcome."""
        from preflight.rules.load import display_name

        name = os.path.basename(os.path.abspath(folder))
        file = self._rule_file(folder)
        try:
            expected, facts = _read(folder)
            ruleset = self._load(file, expected.vars)
            compared, differences = judge_case(
                ruleset, facts, expected, self._only, exact=self._exact
            )
        except InputError as fault:
            problems = tuple(map(str, fault.problems))
            return CaseOutcome(name, folder, display_name(file), problems=problems)
        return CaseOutcome(name, folder, ruleset.origin, compared, differences)

    def _rule_file(self, folder: str) -> str:
        if self._typed and self._rules is not None:
            return self._rules
        above = os.path.normpath(os.path.join(folder, os.pardir))
        own = (os.path.join(place, RULES_FILE) for place in (folder, above))
        return next(filter(os.path.lexists, own), None) or rules_file(self._rules)

    def _load(self, file: str, wanted: Mapping[str, str]) -> RuleSet:
        """Load a rule file with vars of its own replaced; those that it lacks are told later."""
        plain = self._load_once(file, {})
        known = {name: value for name, value in wanted.items() if name in plain.vars}
        return self._load_once(file, known) if known else plain

    def _load_once(self, file: str, overrides: Mapping[str, str]) -> RuleSet:
        key = (file, frozenset(overrides.items()))
        if key not in self._loaded:
            try:
                self._loaded[key] = load_rules(file, [f"{k}={v}" for k, v in overrides.items()])
            except InputError as fault:
                self._loaded[key] = fault
        found = self._loaded[key]
        if isinstance(found, InputError):
            raise found
        return found


def judge_case(
    ruleset: RuleSet, facts: Facts, expected: CaseExpectation, only: Iterable[str], *, exact: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Judge a case; return the number of compared verdicts, and those that differ.

    `only` narrows what is compared. A case without a day of its own is judged on the day of its
    measurement, so that waivers don't expire in it. Raises InputError for unknown names.
    """
    from preflight.evaluate import cases, judge

    unknown = list(cases.unknown_names(expected, ruleset))
    if unknown:
        raise InputError(*(Problem(expected.file, 0, 0, message) for message in unknown))
    only = tuple(only)
    selection = select(ruleset, only or expected.only, (), strict=expected.strict)
    day = expected.today
    if day is None:
        try:
            day = date.fromisoformat(facts.measured_at[:10])
        except ValueError:
            day = today()
    report = judge.evaluate(ruleset, with_model(facts, ruleset), catalogue(), selection, day)
    return cases.compare(report, expected, exact=exact, part=bool(only))


def _read(folder: str) -> tuple[CaseExpectation, Facts]:
    from preflight.snapshot.cases import read_expected
    from preflight.snapshot.facts_file import read_snapshot

    expected, facts = (os.path.join(folder, name) for name in (EXPECTED_FILE, FACTS_FILE))
    for file in (expected, facts):
        if os.path.exists(file) and not os.path.isfile(file):
            raise InputError(f"cannot read {file}: it is no file")  # a pipe would be waited for
    return (
        read_expected(read_input(expected, MAX_EXPECTED_BYTES), expected),
        read_snapshot(read_input(facts, MAX_SNAPSHOT_BYTES), facts),
    )
