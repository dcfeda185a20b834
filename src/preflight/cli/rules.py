"""`preflight rules`: list a rule set, or find what is wrong with a rule file."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from preflight.cli.facts import Format, text_or_json
from preflight.cli.options import RulesFile, load_rules, rules_file
from preflight.cli.streams import look, write
from preflight.model.problems import InputError, Problem
from preflight.model.report import Exit

app = typer.Typer(
    help="List rules, or validate rule files.", rich_markup_mode=None, no_args_is_help=True
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
        write(listings.rules(ruleset, look()))


@app.command("validate", epilog="Example: preflight rules validate rules.yaml")
def validate(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Rule files.")
    ] = None,
    rules: RulesFile = None,
) -> None:
    """Say everything that is wrong with rule files, each with its line.

    Exit code: 0 nothing is wrong, 1 there are problems, 2 a file cannot be read.
    """
    from preflight.rules.load import display_name

    code = Exit.OK
    for name in files or [rules_file(rules)]:
        try:
            ruleset = load_rules(name)
            write(f"{display_name(name)}: {len(ruleset.rules)} rules, nothing wrong\n")
        except InputError as fault:
            if not any(isinstance(problem, Problem) for problem in fault.problems):
                raise
            write("".join(f"{problem}\n" for problem in fault.problems))
            code = Exit.FAILED
    raise typer.Exit(code)
