"""`preflight rules test`: judge cases of facts, and compare with the expected verdicts."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import date
from functools import cache
from typing import Annotated, TypeAlias

import typer

from preflight.check import check, select, with_model
from preflight.cli.options import (
    RulesFile,
    check_format,
    is_on_command_line,
    load_rules,
    rules_file,
)
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
from preflight.model.problems import InputError, Problem
from preflight.model.rules import RuleSet

FORMATS = ("text", "json", "junit")
_Load: TypeAlias = Callable[[str, tuple[str, ...]], RuleSet]


def try_cases(
    ctx: typer.Context,
    folder: Annotated[
        str, typer.Argument(metavar="DIR", help="A case folder, or a folder of them.")
    ],
    rules: RulesFile = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--only", metavar="ID|TAG", help="Compare only these rules in all cases. Repeatable."
        ),
    ] = None,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Require every verdict to be named. Default: compare only those named."
        ),
    ] = False,
    format_: Annotated[
        str, typer.Option("--format", "-f", metavar="|".join(FORMATS), help="Output format.")
    ] = "text",
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show only what differs.")] = False,
) -> None:
    """Test rules: judge the facts of each case, and compare the verdicts with the expected ones.

    A case is a folder with facts.json (made by: preflight facts -o facts.json) and expected.json:
    verdicts by rule, {"host-memory": "fail", "port-free/8000": "pass"}. A rule's id stands for
    all its items that are not named.

    The longer form is {"verdicts": {...}, "exit_code": 1, "today": "2026-11-23", "vars": {...},
    "only": [...], "strict": true}; all but the verdicts as in check. Without today, the day of the
    measurement decides which waivers hold.

    The rules are those of --rules, or of rules.yaml in the case's folder or beside it, or those
    that check uses.

    Exit code: 0 as expected, 1 a case differs, 2 usage, or a case that cannot be judged.
    """
    from preflight.render import cases as render
    from preflight.snapshot.cases import find_cases

    check_format(format_, FORMATS)
    named = rules if is_on_command_line(ctx, "rules") else None
    load = cache(lambda file, sets: load_rules(file, list(sets)))
    outcomes = [
        _try_case(case, named or _case_rules(case) or rules_file(rules), load, only or (), exact)
        for case in find_cases(folder)
    ]
    write(render.FORMATS[format_](tuple(outcomes), terminal_options(quiet=quiet)))
    raise typer.Exit(exit_code(outcomes))


def _case_rules(folder: str) -> str | None:
    """Return the rule file in the case's folder or beside it."""
    parent = os.path.normpath(os.path.join(folder, os.pardir))
    files = (os.path.join(place, RULES_FILE) for place in (folder, parent))
    return next(filter(os.path.lexists, files), None)


def _try_case(folder: str, file: str, load: _Load, only: Iterable[str], exact: bool) -> CaseOutcome:
    """Judge one case; problems of its files are part of the outcome."""
    from preflight.rules.load import display_name

    name = os.path.basename(os.path.abspath(folder))
    try:
        expected, facts = _read_case(folder)
        ruleset = load(file, ())
        sets = [f"{name}={value}" for name, value in expected.vars.items() if name in ruleset.vars]
        ruleset = load(file, tuple(sorted(sets)))
        compared, differences = judge_case(ruleset, facts, expected, only, exact=exact)
    except InputError as error:
        problems = tuple(map(str, error.problems))
        return CaseOutcome(name, folder, display_name(file), problems=problems)
    return CaseOutcome(name, folder, ruleset.origin, compared, differences)


def judge_case(
    ruleset: RuleSet, facts: Facts, expected: CaseExpectation, only: Iterable[str], *, exact: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Judge a case; return the number of compared verdicts, and those that differ.

    `only` narrows what is compared. A case without a day of its own is judged on the day of its
    measurement, so that waivers don't expire in it. Raises InputError for unknown names.
    """
    from preflight.evaluate import cases

    unknown = list(cases.unknown_names(expected, ruleset))
    if unknown:
        raise InputError(*(Problem(expected.file, 0, 0, message) for message in unknown))
    only = tuple(only)
    selection = select(ruleset, only or expected.only, (), strict=expected.strict)
    day = expected.today
    if day is None:
        with suppress(ValueError):  # today's, where the snapshot has no time
            day = date.fromisoformat(facts.measured_at[:10])
    report = check(ruleset, with_model(facts, ruleset), selection, day=day)
    return cases.compare_verdicts(report, expected, exact=exact, part=bool(only))


def _read_case(folder: str) -> tuple[CaseExpectation, Facts]:
    from preflight.snapshot.cases import read_expected
    from preflight.snapshot.facts_file import read_snapshot

    expected, facts = (os.path.join(folder, name) for name in (EXPECTED_FILE, FACTS_FILE))
    return (
        read_expected(read_input(expected, MAX_EXPECTED_BYTES), expected),
        read_snapshot(read_input(facts, MAX_SNAPSHOT_BYTES), facts),
    )
