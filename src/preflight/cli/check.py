"""`preflight check`: measure or read facts, judge them, write the reports, say it by exit code."""

from __future__ import annotations

import os
import time
from typing import Annotated, NamedTuple

import typer

from preflight import pipeline
from preflight.cli.options import (
    ComposeFiles,
    Context,
    DockerHost,
    FactsFile,
    Only,
    Path,
    RulesFile,
    Sets,
    Skip,
    Subject,
    Timeout,
    load_rules,
)
from preflight.cli.streams import complain, file_look, look, write, write_file
from preflight.model.facts import Facts
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import Exit, Report
from preflight.render import RENDERERS, Renderer, renderer

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


class Output(NamedTuple):
    """One report to write: its format, and its file or None for standard output."""

    format: str
    file: str | None


def check(
    ctx: typer.Context,
    rules: RulesFile = None,
    formats: Formats = ["text"],  # noqa: B006 - Typer copies it
    facts: FactsFile = None,
    compose_files: ComposeFiles = None,
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
    subject = Subject(ctx, facts, path, docker_host, context, timeout, compose_files)
    ruleset = load_rules(rules, sets)
    selection = pipeline.select(ruleset, only or (), skip or (), strict=strict)
    renderers = [renderer(one.format) for one in outputs]  # imported while it measures
    measured = subject.facts(ruleset)
    report = pipeline.check(ruleset, measured, selection, started)
    _refuse_unusable(report, measured)
    written = True
    for output, render in zip(outputs, renderers, strict=True):
        written &= _write(render, report, output, quiet=quiet, verbose=verbose)
    raise typer.Exit(report.exit_code if written else Exit.USAGE)


def _refuse_unusable(report: Report, facts: Facts) -> None:
    """A compose file that can't be used is bad input, where a rule asks for what is in it."""
    problem = facts.get(("compose", "problem"))
    if isinstance(problem, str) and any(
        one.verdict == "unknown" and problem in one.evidence for one in report.results
    ):
        raise InputError(problem)


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


def _write(render: Renderer, report: Report, output: Output, *, quiet: bool, verbose: bool) -> bool:
    """Write one report; says so where it can't be written, and returns whether it was."""
    if output.file is None:
        write(render(report, look(quiet=quiet, verbose=verbose)))
        return True
    fault = write_file(output.file, render(report, file_look(quiet=quiet, verbose=verbose)))
    if fault is not None:
        complain(fault)
    return fault is None
