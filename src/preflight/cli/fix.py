"""`preflight fix`: a compose override with which failing rules pass. It changes nothing else."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence

from preflight.check import add_derived_facts, check
from preflight.cli import options, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.facts.compose.load import format_file_path
from preflight.model.facts import Facts
from preflight.model.problems import InputError
from preflight.model.report import ExitCode, Report

SUGGESTED_OVERRIDE_FILE = "compose.fix.yaml"

FIX_COMMAND = CommandSyntax(
    """\
The override sets limits, reservations, environment variables and published ports to the
nearest values that pass. It is checked before it is shown. preflight doesn't change your files
and doesn't run any commands. Problems that an override can't fix are listed on standard error,
with what to do about them.

Exit code: 0 if no check fails, or none fails with the override; 1 if one still does; 2 for
wrong usage or unusable input.

Example: preflight fix -o compose.fix.yaml""",
    (
        Argument(("--output", "-o"), "FILE", is_file=True, help="Write the override to this file."),
        Argument(("--force",), help="Replace FILE if it already exists."),
        options.RULES_OPTION,
        options.FACTS_OPTION,
        *options.MEASURING_OPTIONS,
        *options.JUDGING_OPTIONS,
    ),
)


def run_fix(arguments: ParsedArguments) -> int:
    """Run `preflight fix`; return the exit code."""
    from preflight.cli.check import format_project_start_command
    from preflight.evaluate.override import compute_compose_override, list_replacement_port_facts
    from preflight.render import override as render

    output: str | None = None if arguments.output == "-" else arguments.output
    source = options.FactsSource(arguments)
    ruleset = source.start_and_load_rules()
    selection = options.select_rules(ruleset, arguments)
    facts = source.collect_facts(ruleset)
    if problem := facts.text("compose", "problem"):
        raise InputError(problem)
    files = facts.texts("compose", "files")
    if output is not None:
        _check_output_overwrite_allowed(output, files, force=arguments.force)

    def judge(changed: Facts) -> Report:
        return check(ruleset, add_derived_facts(changed, ruleset), selection)

    ports = set() if source.snapshot else {*list_replacement_port_facts(judge(facts))}
    if ports:
        ruleset = ruleset._replace(required_facts=ruleset.required_facts | ports)
        facts = source.collect_facts(ruleset)
    override = compute_compose_override(facts, judge)
    terminal = streams.make_terminal_render_options()
    if override.edits:
        start = format_project_start_command(facts, [*files, output or "FILE"])
        streams.write_file(output, render.format_override_file(override, start))
        if output is None:
            streams.write_message(f"to write it, add: -o {SUGGESTED_OVERRIDE_FILE}")
        else:
            named = [f"--compose-file={file}" for file in map(format_file_path, [*files, output])]
            commands = (shlex.join(["preflight", "check", *named]), start)
            streams.write_stdout(
                render.format_written_message(override, output, commands, terminal)
            )
    elif not override.failing:
        streams.write_message("no check fails: nothing to fix")
    streams.write_stderr(*render.format_still_failing_results(override, terminal).splitlines())
    return ExitCode.FAILED if override.failing else ExitCode.OK


def _check_output_overwrite_allowed(output: str, files: Sequence[str], *, force: bool) -> None:
    """Raise InputError if the file is one of the project's, or exists and `force` isn't given."""
    if not os.path.lexists(output):
        return
    if streams.get_file_identity(output) in map(streams.get_file_identity, files):
        raise InputError(
            f"--output {output}: this file belongs to the project, and fix never changes it"
        )
    if not force:
        raise InputError(
            f"{output} already exists: choose another name, or replace it with --force"
        )
