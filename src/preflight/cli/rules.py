"""`preflight rules`: list, validate and test rules, write their requirements document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from itertools import zip_longest
from typing import Annotated, Literal

import typer

from preflight.check import add_model_facts, select, today
from preflight.check import check as judge_facts
from preflight.cli import options, streams
from preflight.cli.options import RulesFile, choose_rule_file, declare_option, load_rules
from preflight.cli.pull import pull
from preflight.model.cases import CaseExpectation, CaseOutcome, VerdictMismatch, exit_code
from preflight.model.facts import Facts
from preflight.model.problems import InputError, Problem
from preflight.model.quantities import format_count
from preflight.model.report import ExitCode
from preflight.model.rules import IMAGES_BY_PACK, RuleSet
from preflight.render.sanitize import clean

MAX_DOCUMENT_BYTES = 4 * 2**20

app = typer.Typer(
    help="List, check, test and document rules.",
    rich_markup_mode=None,
    add_completion=False,
    no_args_is_help=True,
)

app.command("pull", epilog="Example: preflight rules pull git::https://github.com/acme/rules@v1")(
    pull
)


@app.command("list", epilog="Example: preflight rules list -f json")
def list_rules(rules: RulesFile = None, format_: options.Format = "text") -> None:
    """List the rules of a set."""
    from preflight.render import listings

    ruleset = load_rules(rules)
    if format_ == "json":
        streams.write_json(listings.rules_as_json(ruleset))
    else:
        streams.write_output(listings.render_rules(ruleset, streams.terminal_options()))


@app.command("packs", epilog="Example: preflight rules packs -f json")
def list_packs(format_: options.Format = "text") -> None:
    """List the bundled rules for well-known stacks.

    Each states a requirements document. Use one with --rules NAME, or in your own rule file with
    extends: [NAME].
    """
    from preflight.render import listings

    packs = [load_rules(name) for name in IMAGES_BY_PACK]
    if format_ == "json":
        streams.write_json(listings.packs_as_json(packs))
    else:
        streams.write_output(listings.render_packs(packs, streams.terminal_options()))


@app.command("document", epilog="Example: preflight rules document -o REQUIREMENTS.md")
def write_requirements_document(
    rules: RulesFile = None,
    profile: options.Profile = None,
    output: Annotated[
        str | None, declare_option("--output -o FILE", "Write the document to this file.")
    ] = None,
    check: Annotated[
        str | None,
        declare_option(
            "--check FILE", "Compare the document with this file instead of writing it."
        ),
    ] = None,
) -> None:
    """Write the requirements document from the rules, as Markdown.

    Each section lists what its rules require or recommend, and why. The profiles and the models
    follow. With --profile, the figures are those of that profile.

    Exit code: 0 if it was written, or is the same as the file of --check; 1 if that file differs; 2
    if a file can't be read or written.
    """
    from preflight.evaluate.explain import describe_rule
    from preflight.evaluate.sentences import describe_when
    from preflight.render import listings

    if output is not None and check is not None:
        raise InputError("--output and --check can't be used together")
    ruleset = load_rules(rules, profile=profile)
    text = listings.render_requirements_document(
        ruleset,
        [describe_rule(rule) for rule in ruleset.rules],
        [[describe_when(line, None) for line in other.when or ()] for other in ruleset.profiles],
    )
    if check is not None:
        difference = _describe_first_difference(check, text)
        streams.write_output(clean(difference) + "\n" if difference else "")
        raise typer.Exit(ExitCode.FAILED if difference else ExitCode.OK)
    streams.write_file(output, text)


def _describe_first_difference(file: str, expected: str) -> str:
    """Return where a file begins to differ from the expected text, or nothing."""
    try:
        lines = streams.read_input(file, MAX_DOCUMENT_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file}: not UTF-8 text") from None
    end = "the end of the file"
    for number, pair in enumerate(zip_longest(lines, expected.splitlines()), start=1):
        if pair[0] != pair[1]:
            actual, wanted = (end if line is None else repr(line) for line in pair)
            return f"{file}:{number}:1: expected {wanted}, found {actual}"
    return ""


@app.command("validate", epilog="Example: preflight rules validate preflight.yaml")
def validate_files(
    files: Annotated[
        list[str] | None, options.declare_file_argument("[FILE]...", "Rule files.")
    ] = None,
    rules: RulesFile = None,
    facts: Annotated[
        str | None,
        declare_option(
            "--facts FILE",
            "Also find waivers that this snapshot doesn't need. - is standard input.",
        ),
    ] = None,
) -> None:
    """Find all problems in rule files, each with its line.

    With --facts, a waiver of a rule that passes on that snapshot is a problem too. Notes, such as
    on waivers that end soon, go to standard error and don't change the exit code.

    Exit code: 0 if there are no problems; 1 if there are; 2 if a file can't be read.
    """
    snapshot = None if facts is None else options.read_snapshot_facts(facts)
    valid = [_validate_file(name, snapshot) for name in files or [choose_rule_file(rules)]]
    raise typer.Exit(ExitCode.OK if all(valid) else ExitCode.FAILED)


def _validate_file(name: str, snapshot: Facts | None) -> bool:
    """Print the problems of one rule file, or that there are none."""
    try:
        ruleset = load_rules(name)
    except InputError as error:
        if not any(isinstance(problem, Problem) for problem in error.problems):
            raise
        problems, summary = error.problems, ""
    else:
        problems, remarks = find_rule_problems_and_remarks(ruleset, snapshot)
        streams.write_message(*(f"note: {remark}" for remark in remarks))
        counted = format_count(len(ruleset.rules), "rule")
        if ruleset.extends:
            counted += f" with those of {', '.join(ruleset.extends)}"
        summary = f"{ruleset.origin}: {counted}, no problems"
    lines = [*map(str, problems)] or [summary]
    streams.write_output("".join(f"{clean(line)}\n" for line in lines))
    return not problems


def find_rule_problems_and_remarks(
    ruleset: RuleSet, facts: Facts | None = None
) -> tuple[tuple[Problem | str, ...], list[Problem]]:
    """Return the problems of rules that can be used, on the given facts too, and remarks."""
    from preflight.evaluate import waivers
    from preflight.evaluate.judge import RuleSelection

    problems: list[Problem] = []
    if facts is not None:
        waived = RuleSelection(only=[waiver.rule for waiver in ruleset.waivers])  # disabled too
        report = judge_facts(ruleset, add_model_facts(facts, ruleset), waived)
        problems += (
            waivers.problem_at_waiver(
                waiver, f"the waiver of {waiver.rule} isn't needed on these facts"
            )
            for waiver in waivers.find_unneeded_waivers(ruleset.waivers, report.results)
        )
    return tuple(sorted(problems)), list(waivers.find_ending_waivers(ruleset.waivers, today()))


@app.command("test", epilog="Example: preflight rules test tests/cases --rules preflight.yaml")
def run_rule_tests(
    ctx: typer.Context,
    folder: Annotated[
        str,
        options.declare_file_argument("DIR", "The folder of a case, or a folder of such folders."),
    ],
    rules: RulesFile = None,
    only: Annotated[
        list[str] | None,
        declare_option(
            "--only ID|TAG", "Compare only these rules: ids, tags or globs. Repeatable."
        ),
    ] = None,
    exact: Annotated[
        bool,
        declare_option(
            "--exact",
            "Every rule must have an expected verdict. Default: the others aren't compared.",
        ),
    ] = False,
    format_: Annotated[
        Literal["text", "json", "junit"],
        declare_option("--format -f text|json|junit", "Output format."),
    ] = "text",
    quiet: Annotated[
        bool, declare_option("--quiet -q", "Show only the cases that differ.")
    ] = False,
) -> None:
    """Test rules against snapshots of machines.

    A case is a folder with two files. facts.json is a snapshot, saved with preflight facts -o
    facts.json. expected.json has the verdicts that you expect:

    \b
    {"host-memory": "fail", "port-free/8000": "pass"}

    A rule that is judged for several items, such as port-free for every port, may be named as a
    whole or by item. Rules that aren't named aren't compared, except with --exact.

    expected.json may also say how the case is judged. Every key but verdicts is
    optional; vars, profile, only and strict are as for check, and today is the date for waivers, by
    default the day of the snapshot:

    \b
    {"verdicts": {"host-memory": "fail"}, "exit_code": 1,
     "today": "2026-11-23", "vars": {"system_overhead": "1GB"},
     "only": ["memory"], "strict": true}

    The rules are those of --rules; else of a rules.yaml in the case's folder or beside it; else
    those that check would use.

    Exit code: 0 if all verdicts are as expected; 1 if one differs; 2 for wrong usage or a case that
    can't be judged.
    """
    from preflight.render import cases as render
    from preflight.snapshot.cases import find_cases

    named = rules if options.is_given_on_command_line(ctx, "rules") else None
    outcomes = [
        _judge_case_folder(
            case,
            named or _find_rule_file_of_case(case) or choose_rule_file(rules),
            only or [],
            exact,
        )
        for case in find_cases(folder)
    ]
    streams.write_output(render.FORMATS[format_](outcomes, streams.terminal_options(quiet=quiet)))
    raise typer.Exit(exit_code(outcomes))


def _find_rule_file_of_case(folder: str) -> str | None:
    """Return the rule file in the case's folder or beside it."""
    parent = os.path.normpath(os.path.join(folder, os.pardir))
    files = (os.path.join(place, "rules.yaml") for place in (folder, parent))
    return next(filter(os.path.lexists, files), None)


@cache
def _load_rules_for_cases(file: str, profile: str | None, *sets: str) -> RuleSet:
    return load_rules(file, list(sets), profile=profile)


def _judge_case_folder(folder: str, file: str, only: Sequence[str], exact: bool) -> CaseOutcome:
    """Judge one case; problems of its files are part of the outcome."""
    from preflight.rules.load import display_name
    from preflight.snapshot import cases

    name = os.path.basename(os.path.abspath(folder))
    try:
        expected_file = os.path.join(folder, cases.EXPECTED_FILE)
        data = streams.read_input(expected_file, cases.MAX_EXPECTED_BYTES)
        expected = cases.read_expected(data, expected_file)
        facts = options.read_snapshot_facts(os.path.join(folder, cases.FACTS_FILE))
        known = _load_rules_for_cases(file, None).vars
        sets = sorted(f"{key}={value}" for key, value in expected.vars.items() if key in known)
        ruleset = _load_rules_for_cases(file, expected.profile, *sets)
        compared, differences = judge_case(ruleset, facts, expected, only, exact=exact)
    except InputError as error:
        problems = tuple(map(str, error.problems))
        return CaseOutcome(name, folder, display_name(file), problems=problems)
    return CaseOutcome(name, folder, ruleset.origin, compared, differences)


def judge_case(
    ruleset: RuleSet, facts: Facts, expected: CaseExpectation, only: Sequence[str], *, exact: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Judge a case; return the number of compared verdicts, and those that differ.

    `only` narrows what is compared. A case without a day of its own is judged on the day of its
    measurement, so that waivers don't expire in it. Raises InputError for unknown names.
    """
    from preflight.evaluate import cases

    unknown = list(cases.find_unknown_names(expected, ruleset))
    if unknown:
        raise InputError(*(f"{expected.file}: {message}" for message in unknown))
    selection = select(ruleset, only or expected.only, (), strict=expected.strict)
    day = expected.today
    if day is None:
        with suppress(ValueError):  # today's, where the snapshot has no time
            day = date.fromisoformat(facts.measured_at[:10])
    report = judge_facts(ruleset, add_model_facts(facts, ruleset), selection, day=day)
    return cases.compare_verdicts(report, expected, exact=exact, part=bool(only))
