"""`preflight check`: measure or read facts, judge them, write the reports, set the exit code."""

import os
import re
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from preflight.check import add_derived_facts
from preflight.check import check as judge_facts
from preflight.cli import options, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.model.facts import Facts
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import format_count
from preflight.model.report import ExitCode, Report
from preflight.model.rules import BUNDLED_FILE_BY_SET, RuleSet
from preflight.render import FORMATS, Renderer, load_renderer
from preflight.render.sanitize import clean_and_shorten

if TYPE_CHECKING:
    from preflight.evaluate.judge import RuleSelection
    from preflight.facts.collect.measurement import MeasurementOptions
    from preflight.model.fleet import Fleet, HostReport

_SWARM_STACK_FACT_PATH = ("docker", "swarm", "stack")  # stack or compose: what runs the project
_MIN_RETRY_PAUSE_SECONDS, _MAX_RETRY_PAUSE_SECONDS = 1.0, 30.0  # seconds between two measurements
_OPTIONS_COPIED_INTO_COMMAND = (
    "rules", "facts", "compose_file", "docker_host", "context", "path", "profile", "set"
)  # fmt: skip
_STANDARD_OUTPUT_NAMES = ("", "-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")

CHECK_COMMAND = CommandSyntax(
    """\
Exit code: 0 if no requirement fails; 1 if one does; 2 for wrong usage or unusable input; 3 if
none fails but at least one is unknown. Warnings count as failures only with --strict.

You can set most options with the environment variable listed after them. For a repeatable
option, separate the values with spaces.

Example: preflight check -f text -f json:report.json""",
    (
        options.RULES_OPTION,
        options.REPORT_FORMAT_OPTION,
        options.FACTS_OPTION,
        *options.MEASURING_OPTIONS,
        *options.JUDGING_OPTIONS,
        Argument(
            ("--wait",),
            "SECONDS",
            variable="PREFLIGHT_WAIT",
            default="0",
            limits=(0, 86400),
            help="Repeat the check until it passes or this time has elapsed. The last verdict "
            "counts.",
        ),
        options.QUIET_OPTION,
        Argument(
            ("--verbose", "-v"),
            variable="PREFLIGHT_VERBOSE",
            help="Show every rule, with its value and the source of that value.",
        ),
    ),
)


def run_check(arguments: ParsedArguments) -> int:
    """Run `preflight check`; return the exit code."""
    started = time.perf_counter()
    source = options.FactsSource(arguments)
    rule_files: dict[str, bytes] = {}
    ruleset = source.start_and_load_rules(rule_files=rule_files)
    selection = options.select_rules(ruleset, arguments)
    facts = source.snapshot
    names, inputs = [], [facts or "-"]
    if facts is not None and os.path.isdir(facts):
        names = options.list_snapshots(facts)
        inputs = [os.path.join(facts, name) for name in names]
    inputs += [*rule_files, *source.options.compose_files]
    outputs = parse_format_options(
        arguments.format, [name for name in inputs if name not in (*BUNDLED_FILE_BY_SET, "-")]
    )
    if facts is not None and names:
        fleet = _judge_snapshot_folder(facts, names, ruleset, selection, started)
        return write_reports(outputs, fleet, arguments)

    def judge(measured: Facts) -> Report:
        report = judge_facts(ruleset, measured, selection, started)
        problem = measured.text("compose", "problem")
        if problem and any(
            result.verdict == "unknown" and problem in result.reason_or_source
            for result in report.results
        ):
            raise InputError(problem)  # a rule needs what is in the compose file
        next_command = _find_next_command(report, measured, source.options.compose_files)
        report = report._replace(is_snapshot=facts is not None, next=next_command)
        return _add_options_to_docker_commands(report, source.options)

    report = judge(source.collect_facts(ruleset))
    while facts is None and report.exit_code != ExitCode.OK:
        elapsed = time.perf_counter() - started
        if elapsed >= arguments.wait:
            break
        left = arguments.wait - elapsed
        pause = min(max(_MIN_RETRY_PAUSE_SECONDS, elapsed / 2), _MAX_RETRY_PAUSE_SECONDS, left)
        _announce_retry_and_wait(report, pause, left, quiet=arguments.quiet)
        report = judge(source.collect_facts(ruleset))
    return write_reports(outputs, report, arguments)


def _announce_retry_and_wait(report: Report, seconds: float, left: float, *, quiet: bool) -> None:
    if not quiet:
        failing = [result for result in report.results if report.affects_exit_code(result)]
        more = f" and {len(failing) - 1} more" if len(failing) > 1 else ""
        streams.write_message(
            f"not yet: {clean_and_shorten(failing[0].message, 200)}{more};"
            f" again in {seconds:.0f} s, {left:.0f} s are left"
        )
    time.sleep(seconds)


def _judge_snapshot_folder(
    folder: str, names: Sequence[str], ruleset: RuleSet, selection: "RuleSelection", started: float
) -> "Fleet":
    """Judge the snapshots of a folder."""
    from preflight.model.fleet import Fleet, format_rule_set_names

    hosts = tuple(
        judge_facts_of_host(
            name, partial(options.read_snapshot_facts, path), ruleset, selection, path
        )
        for name, path in ((name, os.path.join(folder, name)) for name in names)
    )
    files = format_count(len(names), "snapshot")
    title = f"{files} of {folder} · {format_rule_set_names(hosts, ruleset.name)}"
    return Fleet(title, hosts, time.perf_counter() - started)


def format_project_start_command(facts: Facts, files: Sequence[str]) -> str:
    """Return the command that starts the project, or deploys it where a Swarm runs it."""
    from preflight.facts.compose.load import format_file_path  # most checks don't need it

    is_stack = facts.get(_SWARM_STACK_FACT_PATH) == "stack"
    option = "-c" if is_stack else "-f"
    named = [part for file in files for part in (option, format_file_path(file))]
    if is_stack:
        project = str(facts.get(("compose", "project")))
        return shlex.join(["docker", "stack", "deploy", *named, project])
    return shlex.join(["docker", "compose", *named, "up", "-d"])


def _find_next_command(report: Report, facts: Facts, files: Sequence[str]) -> str:
    """Return what to run next: what starts the project, or "" without a compose file."""
    if not report.next.startswith("docker compose "):
        return report.next
    if report.compose_files and facts.get(_SWARM_STACK_FACT_PATH) == "stack":
        return format_project_start_command(facts, files or report.compose_files)
    return report.next if report.compose_files else ""


def _add_options_to_docker_commands(report: Report, options: "MeasurementOptions") -> Report:
    """Add the engine and the compose files of the command line to the commands of a report."""
    engine = (("--host", options.docker_host), ("--context", options.context))
    docker = "docker" + "".join(f" {name} {shlex.quote(text)}" for name, text in engine if text)
    files = "".join(f" -f {shlex.quote(file)}" for file in options.compose_files)
    if docker == "docker" and not files:
        return report

    def complete(command: str | None) -> str:
        names = (docker, f"{docker} compose{files}")
        return re.sub("(?m)^docker( compose)?(?= )", lambda m: names[bool(m[1])], command or "")

    return report._replace(
        next=complete(report.next),
        results=tuple(
            result._replace(
                fixes=tuple(
                    fix._replace(command=complete(fix.command) or None) for fix in result.fixes
                )
            )
            for result in report.results
        ),
    )


def judge_facts_of_host(
    name: str,
    read: Callable[[], Facts],
    ruleset: RuleSet,
    selection: "RuleSelection",
    file: str = "",
) -> "HostReport":
    """Judge a host's facts; if they can't be used, the reason without the file stands for them."""
    from preflight.model.fleet import HostReport

    started = time.perf_counter()
    try:
        facts = add_derived_facts(read(), ruleset)
        return HostReport(name, judge_facts(ruleset, facts, selection, started))
    except InputError as error:
        return HostReport(name, None, str(error.problems[0]).removeprefix(f"{file}: "))


# --- reports: where they go -----------------------------------------------------------------------


class ReportOutput(NamedTuple):
    """One report to write, into a file, or to standard output if that is None."""

    render: Renderer
    file: str | None
    append: bool = False


def parse_format_options(formats: Sequence[str], inputs: Iterable[str]) -> list[ReportOutput]:
    """Read `--format` options, and import their renderers, while the machine is measured.

    Raises InputError if two reports have one destination, or a report would replace one of
    `inputs`, the files that are read.
    """
    used = {streams.get_file_identity(name): f"also an input ({name})" for name in inputs}
    outputs = []
    for text in formats or ["text"]:
        name, colon, file = text.partition(":")
        if colon and not file:
            raise InputError(f"--format {text} has no file name: expected {name}:FILE")
        if name not in FORMATS:
            hint = did_you_mean(name, FORMATS) or "."
            raise InputError(
                f"--format {text}: unknown format {name!r}{hint} Formats: {', '.join(FORMATS)}"
            )
        destination = None if file in _STANDARD_OUTPUT_NAMES else file
        streams.check_filesystems_respond(destination)
        identity = destination and streams.get_file_identity(destination)
        if identity in used:
            raise InputError(
                f"--format {name}: {destination or 'standard output'} is {used[identity]}"
            )
        used[identity] = "already used by another format"
        outputs.append(ReportOutput(load_renderer(name), destination))
    summary_file = os.environ.get("GITHUB_STEP_SUMMARY")
    if summary_file and any(text.partition(":")[0] == "github" for text in formats):
        outputs.append(ReportOutput(load_renderer("markdown"), summary_file, append=True))
    return outputs


def write_reports(
    outputs: Iterable[ReportOutput], subject: "Report | Fleet", arguments: ParsedArguments
) -> int:
    """Write them all as --quiet and --verbose say; return the exit code.

    Each that can't be written is an error of its own.
    """
    errors = []
    repeated = _format_options_for_rerun(arguments)
    for output in outputs:
        make_options = (
            streams.make_terminal_render_options
            if output.file is None
            else streams.make_file_render_options
        )
        render_options = make_options(quiet=arguments.quiet, verbose=arguments.verbose)
        text = output.render(subject, render_options._replace(repeated=repeated))
        try:
            streams.write_file(output.file, text, append=output.append)
        except InputError as error:
            errors.append(str(error))
    streams.write_message(*errors)
    return ExitCode.USAGE if errors else subject.exit_code


def _format_options_for_rerun(arguments: ParsedArguments) -> str:
    """Return the options that decide what is judged, as a command line has them."""
    words = []
    for name in _OPTIONS_COPIED_INTO_COMMAND:
        if name in arguments.given:
            values = getattr(arguments, name)
            for value in values if isinstance(values, list) else [values]:
                words += [f"--{name.replace('_', '-')}", value]
    return "".join(f" {shlex.quote(word)}" for word in words)
