"""What the options that commands share are turned into: rules, and facts to judge."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import cache, partial
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli import streams
from preflight.cli.parser import Argument, ParsedArguments
from preflight.facts.collect.measurement import (
    STANDARD_COMPOSE_FILE_NAMES,
    ContainerLogRequest,
    MeasurementOptions,
    RunningMeasurement,
)
from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES, Facts, Measured
from preflight.model.problems import InputError
from preflight.model.rules import DEFAULT_RULE_SET, EMBEDDED_RULES_KEY, MAX_RULE_FILE_BYTES, RuleSet
from preflight.render import FORMATS

if TYPE_CHECKING:
    from preflight.evaluate.judge import RuleSelection

LOCAL_RULE_FILE = "preflight.yaml"
_SNAPSHOT_OR_BUNDLE_SUFFIXES = (".json", ".zip")

# --- options that several commands have ---------------------------------------------------------

RULES_OPTION = Argument(
    ("--rules", "-r"),
    "FILE",
    variable="PREFLIGHT_RULES",
    is_file=True,
    help="The rule file or bundled set to use: a path, default, general, or any name that "
    "'preflight rules packs' lists. Default: the first of preflight.yaml in the "
    "current folder, x-preflight in the compose file, and default.",
)
FACTS_OPTION = Argument(
    ("--facts",),
    "FILE",
    variable="PREFLIGHT_FACTS",
    is_file=True,
    help="Use this snapshot or bundle instead of measuring this machine. 'preflight check' also "
    "accepts a folder of them. Use - for standard input.",
)
COMPOSE_FILE_OPTION = Argument(
    ("--compose-file",),
    "FILE",
    is_file=True,
    is_repeatable=True,
    help="The compose file, as with docker compose -f. Default: COMPOSE_FILE, or the standard "
    "file names.",
)
PATH_OPTION = Argument(
    ("--path",),
    "DIR",
    variable="PREFLIGHT_PATH",
    default=".",
    help="The folder where models and data will be stored. Its disk is measured as host.disk.*.",
)
DOCKER_HOST_OPTION = Argument(
    ("--docker-host",),
    "URL",
    help="The address of the engine, in the form that docker --host takes.",
)
CONTEXT_OPTION = Argument(("--context",), "NAME", help="The Docker context to use.")
TIMEOUT_OPTION = Argument(
    ("--timeout",),
    "SECONDS",
    variable="PREFLIGHT_TIMEOUT",
    default="10",
    help="Total time limit for all measurements. Anything not measured by then is unknown.",
)
ONLINE_OPTION = Argument(
    ("--online",),
    variable="PREFLIGHT_ONLINE",
    help="Also run the checks that need network access: whether hosts in rules can be reached, and "
    "whether images can be pulled. A registry might count an image check as a pull.",
)
ONLY_OPTION = Argument(
    ("--only",),
    "ID|TAG",
    variable="PREFLIGHT_ONLY",
    is_repeatable=True,
    help="Check only these rules: ids, tags, or globs such as 'ollama-*', separated by commas.",
)
SKIP_OPTION = Argument(
    ("--skip",),
    "ID|TAG",
    variable="PREFLIGHT_SKIP",
    is_repeatable=True,
    help="Skip these rules: ids, tags, or globs, separated by commas.",
)
SET_VARIABLE_OPTION = Argument(
    ("--set",),
    "NAME=VALUE",
    variable="PREFLIGHT_SET",
    is_repeatable=True,
    help="Override a variable that the rule file defines, such as system_overhead=1GB.",
)
PROFILE_OPTION = Argument(
    ("--profile",),
    "NAME",
    variable="PREFLIGHT_PROFILE",
    help="Use this profile from the rule file. Default: the last profile that applies to the "
    "machine and the project, if any. Variables set with --set take precedence.",
)
STRICT_OPTION = Argument(
    ("--strict",), variable="PREFLIGHT_STRICT", help="Treat warnings as failures."
)
QUIET_OPTION = Argument(
    ("--quiet", "-q"), variable="PREFLIGHT_QUIET", help="Show only what needs action."
)
FORMAT_OPTION = Argument(("--format", "-f"), "text|json", default="text", help="The output format.")
REPORT_FORMAT_OPTION = Argument(
    ("--format", "-f"),
    "FORMAT[:FILE]",
    variable="PREFLIGHT_FORMAT",
    is_repeatable=True,
    help=f"Report format: {', '.join(FORMATS)}. Default: text. "
    "Use FORMAT:FILE to write the report to a file.",
)
NO_REDACT_OPTION = Argument(
    ("--no-redact",),
    help="Keep secrets and names instead of redacting them, and list what was kept.",
)
MEASURING_OPTIONS = (
    COMPOSE_FILE_OPTION,
    PATH_OPTION,
    DOCKER_HOST_OPTION,
    CONTEXT_OPTION,
    TIMEOUT_OPTION,
    ONLINE_OPTION,
)
RULE_VARIABLE_OPTIONS = (SET_VARIABLE_OPTION, PROFILE_OPTION)
JUDGING_OPTIONS = (ONLY_OPTION, SKIP_OPTION, *RULE_VARIABLE_OPTIONS, STRICT_OPTION)


def is_given_on_command_line(arguments: ParsedArguments, option: str) -> bool:
    """Return whether an option was given on the command line, not by a variable or default."""
    return option.strip("-").replace("-", "_") in arguments.given


# --- rules, and what they judge -----------------------------------------------------------------


def choose_rule_file(name: str | None, compose_files: Sequence[str] = ()) -> str:
    """Return the rule file to use: the one named, the folder's own, or the bundled one.

    Before the bundled one comes a compose file with rules; the last counts, as for Compose.
    """
    if name is not None:
        return name
    streams.check_filesystems_respond(LOCAL_RULE_FILE)
    if os.path.exists(LOCAL_RULE_FILE):
        return LOCAL_RULE_FILE
    with suppress(OSError):  # the current folder was deleted, or one above can't be read
        return _find_file_with_embedded_rules(compose_files) or DEFAULT_RULE_SET
    return DEFAULT_RULE_SET


def _find_file_with_embedded_rules(compose_files: Sequence[str]) -> str | None:
    """Return the last compose file that holds rules, or None if none does."""
    folders = [os.getcwd()]
    while (parent := os.path.dirname(folders[-1])) != folders[-1]:
        folders.append(parent)
    standard = (
        os.path.join(folder, name) for folder in folders for name in STANDARD_COMPOSE_FILE_NAMES
    )
    named = compose_files or os.environ.get("COMPOSE_FILE") or os.path.exists(".env")
    if not named and not any(map(os.path.exists, standard)):
        return None  # what reads compose files needn't be imported
    from preflight.facts.compose import load
    from preflight.facts.compose.project import ComposeError

    with suppress(ComposeError):
        _, files = load.find_compose_files(compose_files, load.make_compose_environment(os.environ))
        for file in map(load.format_file_path, reversed(files)):
            if _has_embedded_rules(file):
                return file
    return None


def _has_embedded_rules(compose_file: str) -> bool:
    try:
        data = streams.read_input(compose_file, MAX_RULE_FILE_BYTES)
    except InputError:
        return False  # the measurement says why the file can't be used
    if EMBEDDED_RULES_KEY not in data:
        return False
    from preflight.rules.embedded import extract_embedded_rules

    try:
        return extract_embedded_rules(data, compose_file) is not None
    except InputError:
        return True  # loading them shows the problem


def load_rules(
    name: str | None,
    sets: Iterable[str] = (),
    files: dict[str, bytes] | None = None,
    *,
    profile: str | None = None,
    compose_files: Sequence[str] = (),
    known_errors: bool = False,
) -> RuleSet:
    """Load the rule file; raises InputError with what is wrong with it or can't be read.

    `profile` is one of the rule file's, None to choose one by the facts. `files` gets the contents
    of all files that were read, by name. `compose_files` are those of the command line, which may
    hold the rules. `known_errors` are the bundled diagnoses.
    """
    from preflight.cli.precompiled_sets import (
        find_or_precompile_set,  # completion and help need no rules
    )

    overrides = {}
    for assignment in sets:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(
                f"--set {assignment}: expected NAME=VALUE, as in --set system_overhead=1GB"
            )
        overrides[key] = value
    file = choose_rule_file(name, compose_files)
    try:
        read = cache(streams.make_rule_file_reader(file, {} if files is None else files))
        ruleset = pipeline.load_ruleset(
            file,
            read,
            overrides,
            profile=profile,
            known_errors=known_errors,
            find_precompiled=partial(find_or_precompile_set, read=read),
        )
    except (OSError, ValueError) as error:
        raise streams.make_unreadable_input_error(
            streams.RULE_FILE_MESSAGE_PREFIX + file, error
        ) from None
    if name is None and file not in (LOCAL_RULE_FILE, DEFAULT_RULE_SET):
        return ruleset._replace(origin=f"x-preflight in {file}")
    return ruleset


def suggest_set_with_rule(rule: str) -> str:
    """Return which bundled set has a rule that a rule file doesn't, or nothing."""
    from preflight.cli.precompiled_sets import find_or_precompile_set
    from preflight.rules.load import make_bundled_set_suggester

    read = cache(streams.read_rule_file)
    return make_bundled_set_suggester(
        read, pipeline.build_catalogue(), partial(find_or_precompile_set, read=read)
    )(rule)


def read_snapshot_facts(name: str) -> Facts:
    """Read a snapshot, or that of a bundle; raises InputError."""
    from preflight.snapshot.facts_file import read_snapshot

    return read_snapshot(streams.read_input(name, max(MAX_SNAPSHOT_BYTES, MAX_BUNDLE_BYTES)), name)


def list_snapshots(folder: str) -> list[str]:
    """Return the names of a folder's snapshots and bundles; raises InputError if it has none.

    Hidden files are left out: a file that is still being written has such a name.
    """
    try:
        entries = sorted(os.listdir(folder))
    except OSError as error:
        raise streams.make_unreadable_input_error(folder, error) from None
    names = [
        name
        for name in entries
        if name.endswith(_SNAPSHOT_OR_BUNDLE_SUFFIXES) and not name.startswith(".")
    ]
    if not names:
        suffixes = " or ".join(_SNAPSHOT_OR_BUNDLE_SUFFIXES)
        raise InputError(f"{folder} contains no snapshots: expected names that end in {suffixes}")
    return names


def select_rules(ruleset: RuleSet, arguments: ParsedArguments) -> RuleSelection:
    """Return what --only, --skip and --strict select; raises InputError."""
    return pipeline.make_rule_selection(
        ruleset,
        arguments.only,
        arguments.skip,
        strict=arguments.strict,
        suggest=suggest_set_with_rule,
    )


class FactsSource:
    """What is judged: a snapshot, or this machine, as the options of a command say."""

    def __init__(self, arguments: ParsedArguments) -> None:
        if arguments.docker_host is not None and arguments.context is not None:
            raise InputError("--docker-host and --context can't be used together")
        self.arguments = arguments
        self.snapshot: str | None = getattr(arguments, "facts", None)  # some commands only measure
        self.options = MeasurementOptions(
            arguments.path,
            arguments.docker_host,
            arguments.context,
            arguments.timeout,
            arguments.compose_file,
            online=arguments.online,
        )
        self.hidden_variables: list[tuple[str, str]] = []  # of containers, that no rule asks for
        self.support_data: list[Measured] = []
        self._measurement: RunningMeasurement | None = None

    def start_measuring(self, logs: ContainerLogRequest | None = None) -> None:
        """Start to measure, and to read logs; raises InputError for options without an effect."""
        if self.snapshot is None:
            self.options = self.options._replace(logs=logs)
            self._measurement = RunningMeasurement(self.options, self.arguments.worker)
            return
        for name in (*(option.names[0] for option in MEASURING_OPTIONS), "--wait"):
            if is_given_on_command_line(self.arguments, name):
                raise InputError(f"{name} can't be used with --facts: nothing is measured then")

    def start_and_load_rules(
        self, logs: ContainerLogRequest | None = None, rule_files: dict[str, bytes] | None = None
    ) -> RuleSet:
        """Start to measure, and load the rules meanwhile; raises InputError.

        `rule_files` gets the contents of all rule files that were read, by name.
        """
        self.start_measuring(logs)
        return load_rules(
            self.arguments.rules,
            getattr(self.arguments, "set", ()),
            rule_files,
            profile=getattr(self.arguments, "profile", None),
            compose_files=self.options.compose_files,
        )

    def collect_facts(self, ruleset: RuleSet) -> Facts:
        """Return the facts, with those that follow from the rules; each call measures again."""
        if self.snapshot is not None:
            return pipeline.add_derived_facts(read_snapshot_facts(self.snapshot), ruleset)
        measurement, self._measurement = self._measurement or RunningMeasurement(self.options), None
        with streams.show_status_line() as show:
            facts = pipeline.collect_facts(
                measurement, ruleset, lambda seconds: show(streams.format_spinner(seconds))
            )
        self.hidden_variables = measurement.hidden_variables
        self.support_data = measurement.support_data
        endpoint = facts.unknown.get("docker.endpoint")
        is_endpoint_given = (self.options.docker_host, self.options.context) != (None, None)
        if is_endpoint_given and endpoint is not None and endpoint.kind == "invalid":
            raise InputError(endpoint.reason)  # a usage error, because it was given here
        problem = facts.text("compose", "problem")
        if problem and self.options.compose_files:
            raise InputError(problem)
        return pipeline.add_derived_facts(facts, ruleset)
