"""`preflight rules`: list, validate and test rules, write their requirements document."""

from __future__ import annotations

from itertools import zip_longest
from typing import Annotated

import typer

from preflight.check import check as judge_facts
from preflight.check import today, with_model
from preflight.cli import cases
from preflight.cli.options import Format, RulesFile, load_rules, rules_file
from preflight.cli.streams import (
    complain,
    read_input,
    terminal_options,
    write,
    write_file,
    write_json,
)
from preflight.model.facts import MAX_SNAPSHOT_BYTES, Facts
from preflight.model.problems import InputError, Problem, Review
from preflight.model.report import ExitCode
from preflight.model.rules import RuleSet
from preflight.render.sanitize import clean

MAX_DOCUMENT_BYTES = 4 * 2**20

app = typer.Typer(
    help="List, validate and test rules, write their document.",
    rich_markup_mode=None,
    no_args_is_help=True,
)
app.command("test", epilog="Example: preflight rules test tests/cases --rules preflight.yaml")(
    cases.try_cases
)


@app.command("list", epilog="Example: preflight rules list -f json")
def list_(rules: RulesFile = None, format_: Format = "text") -> None:
    """List the rules of a set."""
    from preflight.render import listings

    ruleset = load_rules(rules)
    if format_ == "json":
        write_json(listings.rules_json(ruleset))
    else:
        write(listings.rules(ruleset, terminal_options()))


@app.command("document", epilog="Example: preflight rules document -o REQUIREMENTS.md")
def document(
    rules: RulesFile = None,
    output: Annotated[
        str | None, typer.Option("--output", "-o", metavar="FILE", help="Write it to this file.")
    ] = None,
    check: Annotated[
        str | None,
        typer.Option("--check", metavar="FILE", help="Compare this file with it; write nothing."),
    ] = None,
) -> None:
    """Write the requirements document, in Markdown, from the rules.

    It has a section for each section that the rules name, with what each rule requires or
    recommends and why, then the models and the known errors.

    Exit code: 0 done, 1 the file of --check differs, 2 a file cannot be read or written.
    """
    from preflight.evaluate.explain import describe_rule
    from preflight.render import requirements

    if output is not None and check is not None:
        raise InputError("--output and --check exclude each other")
    ruleset = load_rules(rules)
    text = requirements.render(ruleset, [describe_rule(rule) for rule in ruleset.rules])
    if check is not None:
        difference = _first_difference(check, text)
        write(f"{clean(str(difference))}\n" if difference else "")
        raise typer.Exit(ExitCode.FAILED if difference else ExitCode.OK)
    if output is None:
        write(text)
    elif (fault := write_file(output, text)) is not None:
        raise InputError(fault)


def _first_difference(name: str, expected: str) -> Problem | None:
    """Return the first line of a file that differs from the expected text."""
    try:
        actual = read_input(name, MAX_DOCUMENT_BYTES).decode()
    except UnicodeDecodeError:
        raise InputError(f"{name}: not UTF-8 text") from None
    lines = zip_longest(actual.splitlines(), expected.splitlines())
    for number, (line, expected_line) in enumerate(lines, start=1):
        if line != expected_line:
            found, wanted = (
                "the end of the file" if text is None else repr(text)
                for text in (line, expected_line)
            )
            return Problem(name, number, 1, f"expected {wanted}, found {found}")
    return None


@app.command("validate", epilog="Example: preflight rules validate preflight.yaml")
def validate(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Rule files.")
    ] = None,
    rules: RulesFile = None,
    facts: Annotated[
        str | None,
        typer.Option("--facts", metavar="FILE", help="A snapshot; - is standard input."),
    ] = None,
) -> None:
    """Find every problem of rule files, each with its line.

    With --facts, waivers of rules that pass on that snapshot are problems too.

    Notes, for example on waivers that end soon, go to standard error and don't change the exit
    code.

    Exit code: 0 no problems, 1 problems, 2 a file cannot be read.
    """
    from preflight.snapshot.facts_file import read_snapshot

    snapshot = None
    if facts is not None:
        snapshot = read_snapshot(read_input(facts, MAX_SNAPSHOT_BYTES), facts)
    valid = [_validate(name, snapshot) for name in files or [rules_file(rules)]]
    raise typer.Exit(ExitCode.OK if all(valid) else ExitCode.FAILED)


def _validate(name: str, snapshot: Facts | None) -> bool:
    """Print the problems of one rule file, or that there are none."""
    from preflight.rules.load import display_name

    try:
        ruleset = load_rules(name)
        result = review_rules(ruleset, snapshot)
    except InputError as error:
        if not any(isinstance(problem, Problem) for problem in error.problems):
            raise
        result = Review(error.problems)
    complain(*(f"note: {remark}" for remark in result.remarks))
    lines = [str(problem) for problem in result.problems]
    if not lines:
        lines = [f"{display_name(name)}: {len(ruleset.rules)} rules, no problems"]
    write("".join(f"{clean(line)}\n" for line in lines))
    return not result.problems


def review_rules(ruleset: RuleSet, facts: Facts | None = None) -> Review:
    """Return the problems of rules that can be used: by themselves, and on the given facts."""
    from preflight.evaluate.judge import Selection, find_unneeded_waivers
    from preflight.rules import waivers

    problems = set(waivers.find_ineffective(ruleset))
    if facts is not None:
        waived = Selection(only=[waiver.rule for waiver in ruleset.waivers])  # disabled too
        report = judge_facts(ruleset, with_model(facts, ruleset), waived)
        problems.update(
            waivers.problem_of(waiver, f"the waiver of {waiver.rule} isn't needed on these facts")
            for waiver in find_unneeded_waivers(ruleset.waivers, report.results)
        )
    return Review(tuple(sorted(problems)), tuple(waivers.find_ending(ruleset, today())))
