"""`preflight check`: measure or read facts, judge them, write the reports, say it by exit code."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from typing import Annotated

import typer

from preflight import pipeline
from preflight.cli.options import (
    Context,
    DockerHost,
    FactsFile,
    Only,
    Path,
    RulesFile,
    Sets,
    Skip,
    Timeout,
    load_rules,
    read_facts,
)
from preflight.cli.streams import complain, file_look, look, write, write_file
from preflight.evaluate.judge import Selection, select
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import Exit, Report
from preflight.render import RENDERERS

Formats = Annotated[
    list[str],
    typer.Option(
        "--format",
        "-f",
        metavar="NAME[:FILE]",
        envvar="PREFLIGHT_FORMAT",
        help=f"{', '.join(RENDERERS)}; with :FILE into a file. Repeatable.",
    ),
]


@dataclass(frozen=True)
class Output:
    """One report to write: its format, and its file or None for standard output."""

    format: str
    file: str | None


def check(
    ctx: typer.Context,
    rules: RulesFile = None,
    formats: Formats = ["text"],  # noqa: B006 - Typer copies it
    facts: FactsFile = None,
    path: Path = ".",
    docker_host: DockerHost = None,
    context: Context = None,
    only: Only = None,
    skip: Skip = None,
    sets: Sets = None,
    strict: Annotated[
        bool, typer.Option("--strict", envvar="PREFLIGHT_STRICT", help="Warnings gate too.")
    ] = False,
    timeout: Timeout = 10.0,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Show only what needs action.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Show every rule with its evidence.")
    ] = False,
) -> None:
    """Judge this machine, or a snapshot of one, by the rules.

    Exit code: 0 all required rules pass, 1 one fails, 2 usage or bad input, 3 one is undecided.
    """
    started = time.perf_counter()
    outputs = [_output(one) for one in formats]
    _refuse_clashes(outputs)
    ruleset = load_rules(rules, sets)
    selection = Selection(tuple(only or ()), tuple(skip or ()), strict)
    select(ruleset, selection)  # a mistyped id is told before anything is measured
    measured = read_facts(ctx, ruleset, facts, path, docker_host, context, timeout)
    report = pipeline.check(ruleset, measured, selection, started)
    written = _write_all(report, outputs, quiet=quiet, verbose=verbose)
    raise typer.Exit(report.exit_code if written else Exit.USAGE)


def _output(text: str) -> Output:
    name, _, file = text.partition(":")
    if name not in RENDERERS:
        known = ", ".join(RENDERERS)
        hint = did_you_mean(name, RENDERERS)
        raise InputError(f"--format {text}: no format {name!r}{hint}; there is {known}")
    return Output(name, file or None)


def _refuse_clashes(outputs: list[Output]) -> None:
    """Two reports can't go to one place: each would spoil the other."""
    places = [os.path.realpath(one.file) if one.file else None for one in outputs]
    for number, (output, place) in enumerate(zip(outputs, places, strict=True)):
        if place in places[:number]:
            shown = output.file or "standard output"
            raise InputError(f"--format {output.format}: {shown} is taken by another format")


def _write_all(report: Report, outputs: list[Output], *, quiet: bool, verbose: bool) -> bool:
    """Write every report that can be written; says which could not, and whether all could."""
    good = True
    for output in outputs:
        render = RENDERERS[output.format]
        if output.file is None:
            write(render(report, look(quiet=quiet, verbose=verbose)))
            continue
        text = render(report, file_look(quiet=quiet, verbose=verbose))
        if (fault := write_file(output.file, text)) is not None:
            complain(fault)
            good = False
    return good
