"""`preflight rules`: list a rule set, find what is wrong with a rule file, test its verdicts."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from preflight import check as pipeline
from preflight.cli import cases
from preflight.cli.facts import Format, text_or_json
from preflight.cli.options import RulesFile, load_rules, rules_file
from preflight.cli.streams import complain, read_input, terminal_options, write
from preflight.model.facts import MAX_SNAPSHOT_BYTES, Facts
from preflight.model.problems import InputError, Problem
from preflight.model.report import ExitCode
from preflight.render.sanitize import clean

if TYPE_CHECKING:
    from preflight.rules.markdown import Document

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


@app.command(
    "validate", epilog="Example: preflight rules validate rules.yaml --document requirements.md"
)
def validate(
    files: Annotated[
        list[str] | None, typer.Argument(metavar="[FILE]...", help="Rule files.")
    ] = None,
    rules: RulesFile = None,
    document: Annotated[
        str | None,
        typer.Option("--document", metavar="FILE", help="The requirements document, in Markdown."),
    ] = None,
    facts: Annotated[
        str | None,
        typer.Option("--facts", metavar="FILE", help="A snapshot; - is standard input."),
    ] = None,
) -> None:
    """Say everything that is wrong with rule files, each with its line.

    With --document: each rule's section must be in it, and the rule's figures in that section; a
    model's memory must stand beside its name. Sizes in code blocks are compose's, so 8G is 8GiB;
    elsewhere 8GB is decimal. Rules with document: false, and those of extended files with another
    source, are left out. Figures that no rule states are only remarked.

    With --facts: waivers of rules that pass on that snapshot are problems.

    Remarks, those on waivers that end soon among them, go to standard error and change no code.

    Exit code: 0 nothing is wrong, 1 there are problems, 2 a file cannot be read.
    """
    text = None if document is None else _document(document)
    snapshot = None if facts is None else _snapshot(facts)
    found = [_is_good(name, text, snapshot) for name in files or [rules_file(rules)]]
    raise typer.Exit(ExitCode.OK if all(found) else ExitCode.FAILED)


def _document(name: str) -> Document:
    from preflight.rules.markdown import MAX_DOCUMENT

    return pipeline.read_document(read_input(name, MAX_DOCUMENT), name)


def _snapshot(name: str) -> Facts:
    from preflight.snapshot.facts_file import read_snapshot

    return read_snapshot(read_input(name, MAX_SNAPSHOT_BYTES), name)


def _is_good(name: str, document: Document | None, snapshot: Facts | None) -> bool:
    """Say what is wrong with one rule file, or that nothing is."""
    from preflight.rules.load import display_name

    try:
        ruleset = load_rules(name)
    except InputError as fault:
        if not any(isinstance(problem, Problem) for problem in fault.problems):
            raise
        return _told(fault.problems)
    review = pipeline.review(ruleset, document, snapshot)
    complain(*(f"note: {remark}" for remark in review.remarks))
    if review.problems:
        return _told(review.problems)
    agrees = f"; {review.agrees}" if review.agrees else ""
    write(clean(f"{display_name(name)}: {len(ruleset.rules)} rules, nothing wrong{agrees}") + "\n")
    return True


def _told(problems: tuple[Problem | str, ...]) -> bool:
    write("".join(f"{clean(str(problem))}\n" for problem in problems))
    return not problems
