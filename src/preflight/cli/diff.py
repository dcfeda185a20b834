"""`preflight diff A B`: facts and verdicts that changed between two measurings, worst first.

Of two folders each machine is compared with itself: with the file of the same name.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer

from preflight import check as pipeline
from preflight.cli.facts import Format, text_or_json
from preflight.cli.options import RulesFile, Sets, load_rules
from preflight.cli.streams import complain, read_input, terminal_options, write
from preflight.model.difference import Difference, Differences
from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES
from preflight.model.problems import InputError
from preflight.model.report import ExitCode
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.snapshot.compare import Side


def diff(
    before: Annotated[
        str,
        typer.Argument(metavar="A", help="A snapshot, bundle or JSON report; a folder of them."),
    ],
    after: Annotated[str, typer.Argument(metavar="B", help="Another one; - is standard input.")],
    rules: RulesFile = None,
    format_: Format = "text",
    sets: Sets = None,
) -> None:
    """Show what changed from A to B: verdicts and facts, the worst first.

    Snapshots and bundles are judged by today's rules, reports are taken as they are. Free memory
    and disk within 5 %, times and ids are no change. Of two folders, each file is compared with
    that of the same name.

    Exit code: 0 nothing changed, 1 something did, 2 an input cannot be used.
    """
    chosen = text_or_json(format_)
    if before == after == "-":
        raise InputError("A and B are both standard input: name a file for one of them")

    @cache
    def ruleset() -> RuleSet:
        return load_rules(rules, sets)

    names = (before, after)
    folders = [os.path.isdir(name) for name in names]
    if any(folders) and not all(folders):
        raise InputError("A and B are a folder and a file: name two of a kind")
    if all(folders):
        raise typer.Exit(_folders(names, ruleset(), chosen))
    raise typer.Exit(_files(names, ruleset, chosen))


def _files(names: tuple[str, str], ruleset: Callable[[], RuleSet], chosen: str) -> int:
    """Compare two measurings of one machine; return the exit code."""
    from preflight.render import diff as render

    told = _compared(*names, ruleset)
    complain(*told.notes)
    if chosen == "json":
        write(json.dumps(render.to_json(told), indent=2) + "\n")
    else:
        write(render.text(told, pipeline.catalogue(), names, terminal_options()))
    return ExitCode.FAILED if told else ExitCode.OK


def _folders(names: tuple[str, str], ruleset: RuleSet, chosen: str) -> int:
    """Compare many machines, each with itself; return the exit code."""
    from preflight.render import diff as render

    told = _machines(*names, ruleset)
    complain(*told.unusable.values())
    if chosen == "json":
        write(json.dumps(render.fleet_to_json(told), indent=2) + "\n")
    else:
        write(render.fleet_text(told, pipeline.catalogue(), names, terminal_options()))
    if told.unusable:
        return ExitCode.USAGE
    return ExitCode.FAILED if told else ExitCode.OK


def _machines(before: str, after: str, ruleset: RuleSet) -> Differences:
    """Compare the files of two folders by name; a file that can't be used is told by itself."""
    from preflight.cli.folder import snapshots

    was, now = snapshots(before), snapshots(after)
    both = sorted({*was} & {*now})
    changed, unusable = {}, {}
    for name in both:
        sides = (os.path.join(before, name), os.path.join(after, name))
        try:
            told = _compared(*sides, lambda: ruleset)
        except InputError as fault:
            unusable[name] = str(fault.problems[0])
            continue
        if told:
            changed[name] = told
    return Differences(
        dict(sorted(changed.items(), key=lambda one: -one[1].worse)),
        gone=tuple(name for name in was if name not in both),
        new=tuple(name for name in now if name not in both),
        same=len(both) - len(changed) - len(unusable),
        unusable=unusable,
    )


def _compared(before: str, after: str, ruleset: Callable[[], RuleSet]) -> Difference:
    from preflight.snapshot.compare import compare

    most = max(MAX_SNAPSHOT_BYTES, MAX_BUNDLE_BYTES)
    return compare(*(read_side(read_input(file, most), file, ruleset) for file in (before, after)))


def read_side(data: bytes, name: str, ruleset: Callable[[], RuleSet]) -> Side:
    """Read a snapshot or a bundle, judged by today's rules, or a JSON report as it is."""
    from preflight.snapshot import report_file
    from preflight.snapshot.compare import Side
    from preflight.snapshot.facts_file import read_snapshot

    if report_file.is_report(data):
        return Side(report_file.judged(report_file.load(data, name)))
    rules = ruleset()
    facts = pipeline.with_model(read_snapshot(data, name), rules)
    selection = pipeline.select(rules, (), (), strict=False)
    results = pipeline.check(rules, facts, selection, 0).results
    judged = (
        report_file.Judged(r.id, r.item, r.title, r.verdict, r.fact, r.actual, r.message)
        for r in results
    )
    return Side(tuple(judged), facts)
