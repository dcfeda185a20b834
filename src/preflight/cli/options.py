"""The options of commands, which options.txt declares, and what they are turned into."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial, wraps
from inspect import Parameter, Signature, signature
from math import isfinite
from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import typer

from preflight.check import add_model_facts, build_catalogue, collect_facts, load_ruleset
from preflight.cli import streams
from preflight.facts.collect.measurement import (
    STANDARD_FILE_NAMES,
    LogRequest,
    Measurement,
    Options,
)
from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES, Facts, Measured
from preflight.model.problems import InputError
from preflight.model.quantities import parse_duration
from preflight.model.rules import (
    DEFAULT_RULE_SET,
    EMBEDDED_RULES_KEY,
    GENERAL_RULE_SET,
    MAX_RULE_FILE_BYTES,
    Rule,
    RuleSet,
)
from preflight.processes import check_filesystem_responds, set_filesystem_timeout
from preflight.render import FORMATS

CommandFunction: TypeAlias = Callable[..., None]
CommandDecorator: TypeAlias = Callable[[CommandFunction], CommandFunction]
Format: TypeAlias = Literal["text", "json"]

LOCAL_RULE_FILE = "preflight.yaml"
_SNAPSHOT_SUFFIXES = (".json", ".zip")
_MEASURING_OPTIONS = (
    "--path",
    "--compose-file",
    "--docker-host",
    "--context",
    "--timeout",
    "--wait",
    "--online",
)


def check_filesystems_respond(names: str | list[str] | None) -> str | list[str] | None:
    """Raise InputError if the filesystem of a named file doesn't answer."""
    for name in [names] if isinstance(names, str) else names or ():
        try:
            check_filesystem_responds(name)
        except OSError as error:
            raise streams.unreadable_input_error(name, error) from None
    return names


def _complete(incomplete: str, names: Iterable[str]) -> list[str]:
    return [name for name in dict.fromkeys(names) if name.startswith(incomplete)]


def _complete_format(incomplete: str) -> list[str]:
    return _complete(incomplete, FORMATS)


def _complete_rule_id(incomplete: str) -> list[str]:
    return _complete(incomplete, (rule.id for rule in _load_rules_to_complete()))


def _complete_rule_id_or_tag(incomplete: str) -> list[str]:
    rules = _load_rules_to_complete()
    return _complete(incomplete, (name for rule in rules for name in (rule.id, *rule.tags)))


def _load_rules_to_complete() -> Iterable[Rule]:
    try:
        return load_rules(None).rules
    except InputError:
        return ()


def _check_timeout(seconds: float) -> float:
    if not isfinite(seconds) or not 0 < seconds <= 3600:
        raise InputError(f"--timeout {seconds:g}: expected more than 0 and at most 3600 seconds")
    set_filesystem_timeout(seconds)
    return seconds


def _parse_since(since: str) -> float:
    """Return the seconds of --since; raises InputError."""
    try:
        seconds = parse_duration(since)
    except ValueError as error:
        raise InputError(f"--since {error}") from None
    if seconds <= 0:
        raise InputError(f"--since {since}: expected a duration above zero, such as 2h")
    return seconds


_SETTINGS_BY_PARAMETER: Mapping[str, Mapping[str, Any]] = {
    "timeout": {"callback": _check_timeout, "is_eager": True},  # before files are looked at
    "since": {"parser": _parse_since},
    "forks": {"min": 1, "max": 1000},
    "formats": {"autocompletion": _complete_format},
    "rule": {"autocompletion": _complete_rule_id},
    "only": {"autocompletion": _complete_rule_id_or_tag},
    "skip": {"autocompletion": _complete_rule_id_or_tag},
}
"""What options.txt doesn't say of an option."""


@cache
def _read_declarations() -> Mapping[tuple[str, str], tuple[str, str]]:
    """Return what options.txt says: by command and parameter the usage and the help."""
    text = Path(__file__).with_suffix(".txt").read_text("utf-8")
    declarations = {}
    for section in text.split("\n\n[")[1:]:
        command, entries = section.split("]\n", 1)
        for name, usage, help in re.findall(r"^(\w+): (.+)((?:\n    .+)+)", entries, re.MULTILINE):
            declarations[command, name] = usage, " ".join(help.split())
    return declarations


def declare_option(usage: str, help: str, **more: Any) -> Any:
    """Declare an option by its names, its value, and its variable: `--rules -r @FILE $VARIABLE`.

    Without a name it is an argument. With `@` the filesystems of the files that it names are asked
    first.
    """
    words = usage.split()
    names = [word for word in words if word.startswith("-")]
    metavar = next((word for word in words if word[0] not in "-$"), None)
    if metavar is not None and metavar.startswith("@"):
        metavar, more["callback"] = metavar[1:], check_filesystems_respond
    if not names:
        return typer.Argument(metavar=metavar, help=help, **more)
    variable = next((word[1:] for word in words if word[0] == "$"), None)
    return typer.Option(*names, metavar=metavar, envvar=variable, help=help, **more)


def _declare_parameter(command: str, parameter: Parameter) -> Parameter:
    """Return a parameter of a command as an option; one that options.txt doesn't have stays."""
    declarations = _read_declarations()
    key = command, parameter.name
    if key not in declarations:
        key = "all", parameter.name
    if key not in declarations:
        return parameter
    usage, help = declarations[key]
    help = help.format(formats=", ".join(FORMATS), sets=f"{DEFAULT_RULE_SET}, {GENERAL_RULE_SET}")
    option = declare_option(usage, help, **_SETTINGS_BY_PARAMETER.get(parameter.name, {}))
    return parameter.replace(annotation=Annotated[parameter.annotation, option])


def with_options(command: str = "", without: Collection[str] = ()) -> CommandDecorator:
    """Make the parameters of a function the options of a command, as options.txt declares them.

    A parameter `source` stands for those of FactsSource, apart from `without`. The command is
    named like the function if `command` doesn't name it.
    """
    shared = dict(signature(FactsSource, eval_str=True).parameters)
    shared = {name: parameter for name, parameter in shared.items() if name not in without}

    def decorate(function: CommandFunction) -> CommandFunction:
        parameters = list(signature(function, eval_str=True).parameters.values())
        has_source = any(parameter.name == "source" for parameter in parameters)

        @wraps(function)
        def run(**values: Any) -> None:
            if has_source:
                values["source"] = FactsSource(**{name: values.pop(name) for name in shared})
            function(**values)

        expanded: list[Parameter] = []
        for parameter in parameters:
            expanded += shared.values() if parameter.name == "source" else [parameter]
        declared = (_declare_parameter(command or function.__name__, p) for p in expanded)
        keywords = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in declared]
        run.__signature__ = Signature(keywords)  # type: ignore[attr-defined]
        return run

    return decorate


def choose_rule_file(name: str | None, compose_files: Sequence[str] = ()) -> str:
    """Return the rule file to use: the one named, the folder's own, or the bundled one.

    Before the bundled one comes a compose file with rules; the last counts, as for Compose.
    """
    if name is not None:
        return name
    check_filesystems_respond(LOCAL_RULE_FILE)
    if os.path.exists(LOCAL_RULE_FILE):
        return LOCAL_RULE_FILE
    with suppress(OSError):  # the current folder was deleted, or one above can't be read
        return _find_embedded_rules(compose_files) or DEFAULT_RULE_SET
    return DEFAULT_RULE_SET


def _find_embedded_rules(compose_files: Sequence[str]) -> str | None:
    """Return the last compose file that holds rules, None if none does."""
    here = Path.cwd()
    standard = (folder / name for folder in (here, *here.parents) for name in STANDARD_FILE_NAMES)
    named = compose_files or os.environ.get("COMPOSE_FILE") or os.path.exists(".env")
    if not named and not any(map(os.path.exists, standard)):
        return None  # what reads compose files needn't be imported
    from preflight.facts.compose import load
    from preflight.facts.compose.project import ComposeError

    with suppress(ComposeError):
        _, files = load.find_compose_files(compose_files, load.compose_environment(os.environ))
        for file in map(load.display_path, reversed(files)):
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
    sets: list[str] | None = None,
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
    from preflight.cli.ready_sets import find_ready_set  # completion and help need no rules

    overrides = {}
    for assignment in sets or ():
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(
                f"--set {assignment}: expected NAME=VALUE, as in --set system_overhead=1GB"
            )
        overrides[key] = value
    file = choose_rule_file(name, compose_files)
    try:
        read = cache(streams.make_rule_file_reader(file, {} if files is None else files))
        ruleset = load_ruleset(
            file,
            read,
            overrides,
            profile=profile,
            known_errors=known_errors,
            find_ready=partial(find_ready_set, read=read),
        )
    except (OSError, ValueError) as error:
        raise streams.unreadable_input_error(streams.RULE_FILE + file, error) from None
    if name is None and file not in (LOCAL_RULE_FILE, DEFAULT_RULE_SET):
        return ruleset._replace(origin=f"x-preflight in {file}")
    return ruleset


def suggest_set(rule: str) -> str:
    """Return which bundled set has a rule that a rule file doesn't, or nothing."""
    from preflight.cli.ready_sets import find_ready_set
    from preflight.rules.load import set_suggester

    read = cache(streams.read_rule_file)
    return set_suggester(read, build_catalogue(), partial(find_ready_set, read=read))(rule)


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
        raise streams.unreadable_input_error(folder, error) from None
    names = [
        name for name in entries if name.endswith(_SNAPSHOT_SUFFIXES) and not name.startswith(".")
    ]
    if not names:
        raise InputError(
            f"{folder} has no snapshots: no file ends with {' or '.join(_SNAPSHOT_SUFFIXES)}"
        )
    return names


def is_given_on_command_line(ctx: typer.Context, parameter: str) -> bool:
    """Return whether an option was given on the command line, not by a variable or default."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


class FactsSource:
    """What is judged: a snapshot, or this machine, as the options of a command say."""

    def __init__(
        self,
        ctx: typer.Context,
        facts: str | None = None,
        compose_files: list[str] | None = None,
        path: str = ".",
        docker_host: str | None = None,
        context: str | None = None,
        timeout: float = 10.0,
        online: bool = False,
    ) -> None:
        if docker_host is not None and context is not None:
            raise InputError("--docker-host and --context contradict each other: use one of them")
        self.ctx = ctx
        self.snapshot = facts
        self.options = Options(
            path, docker_host, context, timeout, compose_files or (), online=online
        )
        self.hidden_variables: list[tuple[str, str]] = []  # of containers, that no rule asks for
        self.support_data: list[Measured] = []
        self._measurement: Measurement | None = None

    def start_measuring(self, logs: LogRequest | None = None) -> None:
        """Start to measure, and to read logs; raises InputError for options without an effect."""
        if self.snapshot is None:
            self.options = self.options._replace(logs=logs)
            self._measurement = Measurement(self.options, self.ctx.obj)
            return
        for parameter in self.ctx.command.params:
            name = parameter.opts[0]
            if name in _MEASURING_OPTIONS and is_given_on_command_line(
                self.ctx, parameter.name or ""
            ):
                raise InputError(
                    f"{name} has no effect with --facts, which measures nothing: leave one out"
                )

    def start(
        self,
        rules: str | None,
        sets: list[str] | None = None,
        profile: str | None = None,
        logs: LogRequest | None = None,
    ) -> RuleSet:
        """Start to measure, and load the rules meanwhile; raises InputError."""
        self.start_measuring(logs)
        return load_rules(rules, sets, profile=profile, compose_files=self.options.compose_files)

    def facts(self, ruleset: RuleSet) -> Facts:
        """Return the facts, with those that follow from the rules; each call measures anew."""
        if self.snapshot is not None:
            return add_model_facts(read_snapshot_facts(self.snapshot), ruleset)
        measurement, self._measurement = self._measurement or Measurement(self.options), None
        with streams.show_status_line() as show:
            facts = collect_facts(
                measurement, ruleset, lambda seconds: show(streams.format_spinner(seconds))
            )
        self.hidden_variables = measurement.hidden_variables
        self.support_data = measurement.support_data
        endpoint = facts.unknown.get("docker.endpoint")
        is_endpoint_given = (self.options.docker_host, self.options.context) != (None, None)
        if is_endpoint_given and endpoint is not None and endpoint.kind == "invalid":
            raise InputError(endpoint.reason)  # a usage error, because it was given here
        problem = facts.get(("compose", "problem"))
        if self.options.compose_files and isinstance(problem, str):
            raise InputError(problem)
        return add_model_facts(facts, ruleset)
