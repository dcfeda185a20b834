"""`preflight diff A B`: facts and verdicts that changed between two measurings, worst first."""

from __future__ import annotations

import json
from functools import cache
from typing import Annotated

import typer

from preflight import pipeline
from preflight.cli.facts import Format, text_or_json
from preflight.cli.options import RulesFile, Sets, load_rules
from preflight.cli.streams import complain, look, read_input, write
from preflight.model.facts import MAX_BUNDLE, MAX_SNAPSHOT
from preflight.model.problems import InputError
from preflight.model.report import Exit
from preflight.model.rules import RuleSet


def diff(
    before: Annotated[str, typer.Argument(metavar="A", help="A snapshot, bundle or JSON report.")],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one; - is standard input.")],
    rules: RulesFile = None,
    format_: Format = "text",
    sets: Sets = None,
) -> None:
    """Show what changed from A to B: verdicts and facts, the worst first.

    Snapshots and bundles are judged by today's rules, reports are taken as they are. Free memory
    and disk within 5 %, times and ids are no change.

    Exit code: 0 nothing changed, 1 something did, 2 an input cannot be used.
    """
    from preflight.render import diff as render

    chosen = text_or_json(format_)
    if before == after == "-":
        raise InputError("A and B are both standard input: name a file for one of them")

    @cache
    def ruleset() -> RuleSet:
        return load_rules(rules, sets)

    sides = [
        pipeline.read_side(read_input(name, max(MAX_SNAPSHOT, MAX_BUNDLE)), name, ruleset)
        for name in (before, after)
    ]
    told = pipeline.compare(*sides)
    complain(*told.notes)
    if chosen == "json":
        write(json.dumps(render.to_json(told), indent=2) + "\n")
    else:
        write(render.text(told, pipeline.catalogue(), (before, after), look()))
    raise typer.Exit(Exit.FAILED if told.facts or told.verdicts else Exit.OK)
