"""`preflight check`: measure or read facts, judge them, write the reports, set the exit code."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Sequence
from functools import partial
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from preflight.check import add_model_facts, select
from preflight.check import check as judge_facts
from preflight.cli import options, streams
from preflight.cli.options import FactsSource, declare_option, with_source_options
from preflight.cli.outputs import parse_format_options, write_reports
from preflight.model.facts import Facts
from preflight.model.problems import InputError
from preflight.model.quantities import format_count
from preflight.model.report import ExitCode, Report
from preflight.model.rules import BUNDLED_FILE_BY_SET, RuleSet
from preflight.render import FORMATS
from preflight.render.sanitize import shorten

if TYPE_CHECKING:
    from preflight.evaluate.judge import RuleSelection
    from preflight.model.fleet import Fleet, HostReport

_MIN_PAUSE_SECONDS, _MAX_PAUSE_SECONDS = 1.0, 30.0  # seconds between two measurements
_MAX_WAIT_SECONDS = 86400.0


def _complete_format_option(incomplete: str) -> list[str]:
    return [name for name in FORMATS if name.startswith(incomplete)]


Formats = Annotated[
    list[str],
    declare_option(
        "--format -f NAME[:FILE] $PREFLIGHT_FORMAT",
        f"{', '.join(FORMATS)}. NAME:FILE writes to a file. Repeatable.",
        autocompletion=_complete_format_option,
    ),
]
Wait = Annotated[
    float,
    declare_option(
        "--wait SECONDS $PREFLIGHT_WAIT",
        "Check again until it passes or this time is over. The last verdict counts.",
    ),
]
Verbose = Annotated[
    bool,
    declare_option(
        "--verbose -v $PREFLIGHT_VERBOSE",
        "Show every rule, with its value and where that comes from.",
    ),
]


@with_source_options()
def check(
    *,
    rules: options.RulesFile = None,
    formats: Formats = ["text"],  # noqa: B006 - Typer copies it
    source: FactsSource,
    only: options.Only = None,
    skip: options.Skip = None,
    sets: options.Sets = None,
    profile: options.Profile = None,
    strict: options.Strict = False,
    wait: Wait = 0.0,
    quiet: options.Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Judge this machine, or a snapshot of one, by the rules.

    Exit code: 0 if no requirement fails; 1 if one does; 2 for wrong usage or input that can't be
    used; 3 if none fails but one can't be decided. Warnings count as failures only with --strict.

    Most options can be set by the environment variable beside them. For an option that is
    repeatable, separate the values with spaces.
    """
    started = time.perf_counter()
    if not isfinite(wait) or not 0 <= wait <= _MAX_WAIT_SECONDS:
        raise InputError(f"--wait {wait:g}: expected 0 to {_MAX_WAIT_SECONDS:.0f} seconds")
    rule_files: dict[str, bytes] = {}
    ruleset = source.start(rules, sets, profile, rule_files=rule_files)
    selection = select(ruleset, only or (), skip or (), strict=strict, suggest=options.suggest_set)
    facts = source.snapshot
    names, inputs = [], [facts or "-"]
    if facts is not None and os.path.isdir(facts):
        names = options.list_snapshots(facts)
        inputs = [os.path.join(facts, name) for name in names]
    inputs += [*rule_files, *source.options.compose_files]
    outputs = parse_format_options(
        formats, [name for name in inputs if name not in (*BUNDLED_FILE_BY_SET, "-")]
    )
    if facts is not None and names:
        fleet = _check_snapshot_folder(facts, names, ruleset, selection, started)
        written = write_reports(outputs, fleet, quiet=quiet, verbose=verbose)
        raise typer.Exit(fleet.exit_code if written else ExitCode.USAGE)

    def judge(measured: Facts) -> Report:
        report = judge_facts(ruleset, measured, selection, started)
        problem = measured.get(("compose", "problem"))
        if isinstance(problem, str) and any(
            result.verdict == "unknown" and problem in result.reason_or_source
            for result in report.results
        ):
            raise InputError(problem)  # a rule needs what is in the compose file
        next_command = _add_compose_files(report, source.options.compose_files)
        return report._replace(is_snapshot=facts is not None, next=next_command)

    report = judge(source.facts(ruleset))
    while facts is None and report.exit_code != ExitCode.OK:
        elapsed = time.perf_counter() - started
        if elapsed >= wait:
            break
        pause = min(max(_MIN_PAUSE_SECONDS, elapsed / 2), _MAX_PAUSE_SECONDS, wait - elapsed)
        _announce_retry_and_wait(report, pause, wait - elapsed, quiet=quiet)
        report = judge(source.facts(ruleset))
    written = write_reports(outputs, report, quiet=quiet, verbose=verbose)
    raise typer.Exit(report.exit_code if written else ExitCode.USAGE)


def _announce_retry_and_wait(report: Report, seconds: float, left: float, *, quiet: bool) -> None:
    if not quiet:
        failing = [result for result in report.results if report.affects_exit_code(result)]
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        streams.write_message(
            f"not yet: {shorten(failing[0].message, 200)}{more};"
            f" again in {seconds:.0f} s, {left:.0f} s are left"
        )
    time.sleep(seconds)


def _check_snapshot_folder(
    folder: str, names: Sequence[str], ruleset: RuleSet, selection: RuleSelection, started: float
) -> Fleet:
    """Judge the snapshots of a folder."""
    from preflight.model.fleet import Fleet

    hosts = tuple(
        judge_host_facts(name, partial(options.read_snapshot_facts, path), ruleset, selection, path)
        for name, path in ((name, os.path.join(folder, name)) for name in names)
    )
    files = format_count(len(names), "snapshot")
    title = f"{files} of {folder} · {ruleset.name}"
    return Fleet(title, hosts, time.perf_counter() - started)


def _add_compose_files(report: Report, files: Sequence[str]) -> str:
    """Return what to run next: a command of Docker Compose with its files, "" where it has none."""
    compose, command = "docker compose", report.next
    if not command.startswith(f"{compose} "):
        return command
    if not report.compose_files:
        return ""
    return compose + "".join(f" -f {shlex.quote(file)}" for file in files) + command[len(compose) :]


def judge_host_facts(
    name: str, read: Callable[[], Facts], ruleset: RuleSet, selection: RuleSelection, file: str = ""
) -> HostReport:
    """Judge a host's facts; if they can't be used, the reason without the file stands for them."""
    from preflight.model.fleet import HostReport

    started = time.perf_counter()
    try:
        facts = add_model_facts(read(), ruleset)
        return HostReport(name, judge_facts(ruleset, facts, selection, started))
    except InputError as error:
        return HostReport(name, None, str(error.problems[0]).removeprefix(f"{file}: "))
