"""`preflight rules`: list, validate and test rules, write their requirements document."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import date
from functools import cache
from itertools import zip_longest

from preflight.check import add_derived_facts, get_utc_day, make_rule_selection
from preflight.check import check as judge_facts
from preflight.cli import options, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.model.cases import (
    CaseExpectations,
    CaseOutcome,
    VerdictMismatch,
    compute_cases_exit_code,
)
from preflight.model.facts import Facts
from preflight.model.problems import InputError, Problem
from preflight.model.quantities import format_count
from preflight.model.report import ExitCode
from preflight.model.rules import IMAGES_BY_PACK, RuleSet
from preflight.render.sanitize import clean_text

MAX_REQUIREMENTS_BYTES = 4 * 2**20

RULES_LIST_COMMAND = CommandSyntax(
    "Example: preflight rules list -f json", (options.RULES_OPTION, options.FORMAT_OPTION)
)

RULES_PACKS_COMMAND = CommandSyntax(
    """\
Each set contains the rules from one requirements document. To use a set, pass --rules NAME, or
add extends: [NAME] to your own rule file.

Example: preflight rules packs -f json""",
    (options.FORMAT_OPTION,),
)

RULES_DOCUMENT_COMMAND = CommandSyntax(
    """\
Each section lists what its rules require or recommend, and why. The profiles and the models
follow. With --profile, the values of that profile are used.

Exit code: 0 if the document was written, or matches the file given with --check; 1 if that file
differs; 2 if a file can't be read or written.

Example: preflight rules document -o REQUIREMENTS.md""",
    (
        options.RULES_OPTION,
        options.PROFILE_OPTION,
        Argument(("--output", "-o"), "FILE", is_file=True, help="Write the document to this file."),
        Argument(
            ("--check",),
            "FILE",
            is_file=True,
            help="Compare the document with this file instead of writing it.",
        ),
    ),
)

RULES_VALIDATE_COMMAND = CommandSyntax(
    """\
With --facts, a waiver of a rule that passes on that snapshot is a problem too. Notes, such as
those about waivers that expire soon, go to standard error and don't change the exit code.

Exit code: 0 if there are no problems; 1 if there are; 2 if a file can't be read.

Example: preflight rules validate preflight.yaml""",
    (
        Argument(
            ("files",),
            "[FILE]...",
            is_file=True,
            is_repeatable=True,
            help="The rule files to validate.",
        ),
        options.RULES_OPTION,
        Argument(
            ("--facts",),
            "FILE",
            is_file=True,
            help="Also report waivers that aren't needed for this snapshot. "
            "Use - for standard input.",
        ),
    ),
)

RULES_TEST_COMMAND = CommandSyntax(
    """\
A case is a folder with two files: facts.json, a snapshot saved with 'preflight facts -o
facts.json', and expected.json, which contains the expected verdicts:

    {"host-memory": "fail", "port-free/8000": "pass"}

For a rule that has several items, such as port-free with one for each port, give a verdict for
the rule or for single items. Rules that aren't listed are compared only with --exact.

expected.json can also contain options. All keys except verdicts are optional: vars, profile,
only and strict work as in check, and today is the date for waivers. It defaults to the day of
the snapshot:

    {"verdicts": {"host-memory": "fail"}, "exit_code": 1,
     "today": "2026-11-23", "vars": {"system_overhead": "1GB"},
     "only": ["memory"], "strict": true}

The rules come from --rules, else from rules.yaml in the case folder or its parent folder, else
from the rule file that check would use.

Exit code: 0 if all verdicts are as expected; 1 if one differs; 2 for wrong usage or an unusable
case.

Example: preflight rules test tests/cases --rules preflight.yaml""",
    (
        Argument(
            ("folder",),
            "DIR",
            is_file=True,
            help="A case folder, or a folder of case folders.",
        ),
        options.RULES_OPTION,
        Argument(
            ("--only",),
            "ID|TAG",
            is_repeatable=True,
            help="Compare only the verdicts of these rules: ids, tags, or globs.",
        ),
        Argument(
            ("--exact",),
            help="Treat rules without an expected verdict as differences. Default: ignore them.",
        ),
        Argument(("--format", "-f"), "text|json|junit", default="text", help="The output format."),
        Argument(("--quiet", "-q"), help="Show only the cases whose verdicts differ."),
    ),
)


def run_rules_list(arguments: ParsedArguments) -> int:
    """Run `preflight rules list`; return the exit code."""
    from preflight.render import listings

    ruleset = options.load_rules(arguments.rules)
    if arguments.format == "json":
        streams.write_json_output(listings.rules_as_json(ruleset))
    else:
        streams.write_stdout(listings.render_rules(ruleset, streams.make_terminal_render_options()))
    return ExitCode.OK


def run_rules_packs(arguments: ParsedArguments) -> int:
    """Run `preflight rules packs`; return the exit code."""
    from preflight.render import listings

    packs = [options.load_rules(name) for name in IMAGES_BY_PACK]
    if arguments.format == "json":
        streams.write_json_output(listings.packs_as_json(packs))
    else:
        streams.write_stdout(listings.render_packs(packs, streams.make_terminal_render_options()))
    return ExitCode.OK


def run_rules_document(arguments: ParsedArguments) -> int:
    """Run `preflight rules document`; return the exit code."""
    from preflight.evaluate.explain import describe_rule_conditions
    from preflight.evaluate.sentences import describe_when
    from preflight.render import listings

    output, check = arguments.output, arguments.check
    if output is not None and check is not None:
        raise InputError("--output and --check can't be used together")
    ruleset = options.load_rules(arguments.rules, profile=arguments.profile)
    text = listings.render_requirements_document(
        ruleset,
        [describe_rule_conditions(rule) for rule in ruleset.rules],
        [[describe_when(line, None) for line in other.when or ()] for other in ruleset.profiles],
    )
    if check is not None:
        difference = _describe_first_difference(check, text)
        streams.write_stdout(clean_text(difference) + "\n" if difference else "")
        return ExitCode.FAILED if difference else ExitCode.OK
    streams.write_file(output, text)
    return ExitCode.OK


def _describe_first_difference(file: str, expected: str) -> str:
    """Return where a file begins to differ from the expected text, or nothing."""
    try:
        lines = streams.read_input(file, MAX_REQUIREMENTS_BYTES).decode().splitlines()
    except UnicodeDecodeError:
        raise InputError(f"{file} isn't UTF-8 text") from None
    end = "the end of the file"
    for number, pair in enumerate(zip_longest(lines, expected.splitlines()), start=1):
        if pair[0] != pair[1]:
            actual, wanted = (end if line is None else repr(line) for line in pair)
            return f"{file}:{number}:1: expected {wanted}, found {actual}"
    return ""


def run_rules_validate(arguments: ParsedArguments) -> int:
    """Run `preflight rules validate`; return the exit code."""
    snapshot = None if arguments.facts is None else options.read_snapshot_facts(arguments.facts)
    files = arguments.files or [options.choose_rule_file(arguments.rules)]
    valid = [_validate_file(name, snapshot) for name in files]
    return ExitCode.OK if all(valid) else ExitCode.FAILED


def _validate_file(name: str, snapshot: Facts | None) -> bool:
    """Print the problems of one rule file, or that there are none."""
    try:
        ruleset = options.load_rules(name)
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
    streams.write_stdout("".join(f"{clean_text(line)}\n" for line in lines))
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
        report = judge_facts(ruleset, add_derived_facts(facts, ruleset), waived)
        problems += (
            waivers.make_waiver_problem(
                waiver, f"the waiver of {waiver.rule} isn't needed on these facts"
            )
            for waiver in waivers.find_unneeded_waivers(ruleset.waivers, report.results)
        )
    return tuple(sorted(problems)), list(
        waivers.find_waiver_expiry_problems(ruleset.waivers, get_utc_day())
    )


def run_rules_test(arguments: ParsedArguments) -> int:
    """Run `preflight rules test`; return the exit code."""
    from preflight.render import cases as render
    from preflight.snapshot.cases import find_case_folders

    rules = arguments.rules
    named = rules if options.is_given_on_command_line(arguments, "--rules") else None
    outcomes = [
        _judge_case_in_folder(
            case,
            named or _find_rule_file_of_case(case) or options.choose_rule_file(rules),
            arguments.only,
            arguments.exact,
        )
        for case in find_case_folders(arguments.folder)
    ]
    terminal = streams.make_terminal_render_options(quiet=arguments.quiet)
    streams.write_stdout(render.FORMATS[arguments.format](outcomes, terminal))
    return compute_cases_exit_code(outcomes)


def _find_rule_file_of_case(folder: str) -> str | None:
    """Return the rule file in the case's folder or beside it."""
    parent = os.path.normpath(os.path.join(folder, os.pardir))
    files = (os.path.join(place, "rules.yaml") for place in (folder, parent))
    return next(filter(os.path.lexists, files), None)


@cache
def _load_rules_for_cases(file: str, profile: str | None, *sets: str) -> RuleSet:
    return options.load_rules(file, list(sets), profile=profile)


def _judge_case_in_folder(folder: str, file: str, only: Sequence[str], exact: bool) -> CaseOutcome:
    """Judge one case; problems of its files are part of the outcome."""
    from preflight.rules.load import get_rule_file_display_name
    from preflight.snapshot import cases

    name = os.path.basename(os.path.abspath(folder))
    try:
        expected_file = os.path.join(folder, cases.EXPECTED_VERDICTS_FILE)
        data = streams.read_input(expected_file, cases.MAX_EXPECTED_BYTES)
        expected = cases.parse_case_expectations(data, expected_file)
        facts = options.read_snapshot_facts(os.path.join(folder, cases.FACTS_FILE))
        known = _load_rules_for_cases(file, None).vars
        sets = sorted(f"{key}={value}" for key, value in expected.vars.items() if key in known)
        ruleset = _load_rules_for_cases(file, expected.profile, *sets)
        compared, differences = judge_case(ruleset, facts, expected, only, exact=exact)
    except InputError as error:
        problems = tuple(map(str, error.problems))
        return CaseOutcome(name, folder, get_rule_file_display_name(file), problems=problems)
    return CaseOutcome(name, folder, ruleset.origin, compared, differences)


def judge_case(
    ruleset: RuleSet, facts: Facts, expected: CaseExpectations, only: Sequence[str], *, exact: bool
) -> tuple[int, tuple[VerdictMismatch, ...]]:
    """Judge a case; return the number of compared verdicts, and those that differ.

    `only` narrows what is compared. A case without a day of its own is judged on the day of its
    measurement, so that waivers don't expire in it. Raises InputError for unknown names.
    """
    from preflight.evaluate import case_comparison

    unknown = list(case_comparison.find_unknown_names_in_case(expected, ruleset))
    if unknown:
        raise InputError(*(f"{expected.file}: {message}" for message in unknown))
    selection = make_rule_selection(ruleset, only or expected.only, (), strict=expected.strict)
    day = expected.today
    if day is None:
        with suppress(ValueError):  # today's, where the snapshot has no time
            day = date.fromisoformat(facts.measured_at[:10])
    report = judge_facts(ruleset, add_derived_facts(facts, ruleset), selection, day=day)
    return case_comparison.compare_with_expected_verdicts(
        report, expected, exact=exact, part=bool(only)
    )
