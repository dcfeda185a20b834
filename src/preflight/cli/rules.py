"""`preflight rules`: list a rule set, find what is wrong with a rule file, test its verdicts."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from preflight import check as pipeline
from preflight.cli import cases
from preflight.cli.facts import Format, text_or_json
from preflight.cli.options import RulesFile, load_rules, rules_file
from preflight.cli.streams import complain, read_input, terminal_options, write
from preflight.model.facts import MAX_SNAPSHOT_BYTES, Facts
from preflight.model.problems import InputError, Problem, Review
from preflight.model.report import ExitCode
from preflight.render.sanitize import clean

app = typer.Typer(
    help="List rules, validate rule files, test them.", rich_markup_mode=None, no_args_is_help=True
)
app.command("test", epilog="Example: preflight rules test tests/cases --rules preflight.yaml")(
    cases.try_cases
)


@app.command("list", epilog="Example: preflight rules list -f json")
def list_(rules: RulesFile = None, format_: Format = "text") -> None:
    """List the rules of a set."""
    from preflight.render import listings

    chosen = text_or_json(format_)
    ruleset = load_rules(rules)
    if chosen == "json":
        write(json.dumps(listings.rules_json(ruleset), indent=2) + "\n")
    else:
        write(listings.rules(ruleset, terminal_options()))


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
        review = pipeline.review(ruleset, snapshot)
    except InputError as fault:
        if not any(isinstance(problem, Problem) for problem in fault.problems):
            raise
        review = Review(fault.problems)
    complain(*(f"note: {remark}" for remark in review.remarks))
    lines = [str(problem) for problem in review.problems]
    if not lines:
        lines = [f"{display_name(name)}: {len(ruleset.rules)} rules, no problems"]
    write("".join(f"{clean(line)}\n" for line in lines))
    return not review.problems
