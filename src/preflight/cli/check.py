"""`preflight check`: measure or read facts, judge them, write the reports, set the exit code."""

from __future__ import annotations

import os
import time
from math import isfinite
from typing import Annotated

import typer

from preflight.check import check as judge_facts
from preflight.check import select
from preflight.cli import options
from preflight.cli.options import FactsSource, load_rules, rules_file
from preflight.cli.outputs import Outputs
from preflight.cli.streams import complain
from preflight.model.facts import Facts
from preflight.model.problems import InputError
from preflight.model.report import ExitCode, Report
from preflight.model.rules import DEFAULT_RULES
from preflight.render import FORMATS
from preflight.render.sanitize import shorten

# seconds between two measurements: they grow by this factor
_FIRST_PAUSE, _MAX_PAUSE, _PAUSE_FACTOR = 1.0, 30.0, 1.5
_MAX_WAIT_SECONDS = 86400.0


def _formats(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


Formats = Annotated[
    list[str],
    typer.Option(
        "--format",
        "-f",
        metavar="NAME[:FILE]",
        envvar="PREFLIGHT_FORMAT",
        autocompletion=_formats,
        help=f"{', '.join(FORMATS)}; NAME:FILE writes a file. Repeatable.",
    ),
]


def check(
    ctx: typer.Context,
    rules: options.RulesFile = None,
    formats: Formats = ["text"],  # noqa: B006 - Typer copies it
    facts: options.FactsFile = None,
    compose_files: options.ComposeFiles = None,
    path: options.Path = ".",
    docker_host: options.DockerHost = None,
    context: options.Context = None,
    only: options.Only = None,
    skip: options.Skip = None,
    sets: options.Sets = None,
    strict: Annotated[
        bool,
        typer.Option("--strict", envvar="PREFLIGHT_STRICT", help="Treat warnings as failures."),
    ] = False,
    timeout: options.Timeout = 10.0,
    wait: Annotated[
        float,
        typer.Option(
            "--wait",
            metavar="SECONDS",
            envvar="PREFLIGHT_WAIT",
            help="Repeat until the check passes or the time is over. The last verdict counts.",
        ),
    ] = 0.0,
    quiet: Annotated[
        bool,
        typer.Option(
            "--quiet", "-q", envvar="PREFLIGHT_QUIET", help="Show only what needs action."
        ),
    ] = False,
    verbose: Annotated[
        bool,
        typer.Option(
            "--verbose",
            "-v",
            envvar="PREFLIGHT_VERBOSE",
            help="Show every rule with its evidence.",
        ),
    ] = False,
) -> None:
    """Judge this machine, or a snapshot of one, by the rules.

    Exit code: 0 all required rules pass, 1 one fails, 2 usage or bad input, 3 one is undecided.
    Environment variables that set an option separate several values with spaces.
    """
    started = time.perf_counter()
    if not isfinite(wait) or not 0 <= wait <= _MAX_WAIT_SECONDS:
        raise InputError(f"--wait {wait:g}: expected 0 to {_MAX_WAIT_SECONDS:.0f} seconds")
    source = FactsSource(ctx, facts, path, docker_host, context, timeout, compose_files)
    ruleset = load_rules(rules, sets)
    selection = select(ruleset, only or (), skip or (), strict=strict)
    if facts is not None and os.path.isdir(facts):
        from preflight.cli.snapshot_folder import check_folder, list_snapshots

        names = list_snapshots(facts)
        files = [os.path.join(facts, name) for name in names]
        outputs = Outputs(formats, _inputs(rules, *files))
        fleet = check_folder(facts, names, ruleset, selection, started)
        written = outputs.write(fleet, quiet=quiet, verbose=verbose)
        raise typer.Exit(fleet.exit_code if written else ExitCode.USAGE)
    outputs = Outputs(formats, _inputs(rules, facts, *(compose_files or ())))

    def judge(measured: Facts) -> Report:
        report = judge_facts(ruleset, measured, selection, started)
        problem = measured.get(("compose", "problem"))
        if isinstance(problem, str) and any(
            result.verdict == "unknown" and problem in result.reason_or_source
            for result in report.results
        ):
            raise InputError(problem)  # a rule needs what is in the compose file
        return report

    report = judge(source.facts(ruleset))
    pause = _FIRST_PAUSE
    while facts is None and report.exit_code != ExitCode.OK:
        left = started + wait - time.perf_counter()
        if left <= 0:
            break
        _wait(report, min(pause, left), left, quiet=quiet)
        pause = min(pause * _PAUSE_FACTOR, _MAX_PAUSE)
        report = judge(source.measure_again(ruleset))
    written = outputs.write(report, quiet=quiet, verbose=verbose)
    raise typer.Exit(report.exit_code if written else ExitCode.USAGE)


def _inputs(rules: str | None, *files: str | None) -> list[str]:
    """Return the files that are read, which no report may overwrite."""
    named = (rules_file(rules), *files)
    return [name for name in named if name is not None and name not in (DEFAULT_RULES, "-")]


def _wait(report: Report, seconds: float, left: float, *, quiet: bool) -> None:
    """Say what still fails, and wait."""
    if not quiet:
        failing = [result for result in report.results if report.affects_exit_code(result)]
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        complain(
            f"not yet: {shorten(failing[0].message, 200)}{more};"
            f" again in {seconds:.0f} s, {left:.0f} s are left"
        )
    time.sleep(seconds)
