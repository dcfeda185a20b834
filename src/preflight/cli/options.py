"""Options that commands share, and what they are turned into."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from math import isfinite
from typing import TYPE_CHECKING, Annotated

import typer

from preflight.check import collect_facts, load, with_model
from preflight.cli.streams import StatusLine, cannot_read, read_input, rules_reader
from preflight.facts.collect.measurement import Options
from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES, Facts
from preflight.model.problems import InputError, did_you_mean
from preflight.model.quantities import parse_duration
from preflight.model.rules import DEFAULT_RULES, Rule, RuleSet

if TYPE_CHECKING:
    from preflight.facts.collect.measurement import Measurement, Worker

LOCAL_RULES = "preflight.yaml"
_MEASURING = ("--path", "--compose-file", "--docker-host", "--context", "--timeout", "--wait")


def _rule_ids(incomplete: str) -> list[str]:
    return [rule.id for rule in _completed_rules() if rule.id.startswith(incomplete)]


def _ids_and_tags(incomplete: str) -> list[str]:
    rules = _completed_rules()
    names = dict.fromkeys(
        [*(rule.id for rule in rules), *(tag for rule in rules for tag in rule.tags)]
    )
    return [name for name in names if name.startswith(incomplete)]


def _completed_rules() -> Iterable[Rule]:
    try:
        return load_rules(None).rules
    except (InputError, OSError):
        return ()


def check_format(name: str, formats: Collection[str]) -> str:
    """Return the name of a format; raises InputError where it isn't one of these."""
    if name not in formats:
        hint = did_you_mean(name, formats)
        raise InputError(f"--format {name}: unknown format{hint}; available: {', '.join(formats)}")
    return name


def _check_text_or_json(name: str) -> str:
    return check_format(name, ("text", "json"))


def parse_since(since: str | None) -> float | None:
    """Return the seconds of --since; raises InputError."""
    try:
        seconds = None if since is None else parse_duration(since)
    except ValueError as error:
        raise InputError(f"--since {error}") from None
    if seconds is not None and seconds <= 0:
        raise InputError(f"--since {since}: expected a duration above zero, such as 2h")
    return seconds


Format = Annotated[
    str,
    typer.Option(
        "--format", "-f", metavar="text|json", callback=_check_text_or_json, help="Output format."
    ),
]
RulesFile = Annotated[
    str | None,
    typer.Option(
        "--rules",
        "-r",
        metavar="FILE",
        envvar="PREFLIGHT_RULES",
        help=f"Rule file. Default: {LOCAL_RULES} in the current folder, or the bundled rules.",
    ),
]
FactsFile = Annotated[
    str | None,
    typer.Option(
        "--facts",
        metavar="FILE",
        envvar="PREFLIGHT_FACTS",
        help="Judge a snapshot or bundle instead of this machine (check: or a folder of them)."
        " - is standard input.",
    ),
]
NoRedact = Annotated[
    bool,
    typer.Option("--no-redact", help="Keep secrets and names, and list them."),
]
Path = Annotated[
    str,
    typer.Option(
        "--path",
        metavar="DIR",
        envvar="PREFLIGHT_PATH",
        help="Where models and data will be stored. Its disk is measured as host.disk.*.",
    ),
]
DockerHost = Annotated[
    str | None,
    typer.Option(
        "--docker-host", metavar="URL", help="The address of the engine, as in docker --host."
    ),
]
Context = Annotated[
    str | None, typer.Option("--context", metavar="NAME", help="The Docker context to use.")
]
ComposeFiles = Annotated[
    list[str] | None,
    typer.Option(
        "--compose-file",
        metavar="FILE",
        help="Compose file, as in docker compose -f. Default: COMPOSE_FILE, or the standard names."
        " Repeatable.",
    ),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout",
        metavar="SECONDS",
        envvar="PREFLIGHT_TIMEOUT",
        help="Time limit for all measurements. What is missing then is unknown.",
    ),
]
Sets = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="NAME=VALUE",
        envvar="PREFLIGHT_SET",
        help="Override a variable of the rule file. Repeatable.",
    ),
]
RuleId = Annotated[str, typer.Argument(metavar="ID", autocompletion=_rule_ids)]
Only = Annotated[
    list[str] | None,
    typer.Option(
        "--only",
        metavar="ID|TAG",
        envvar="PREFLIGHT_ONLY",
        autocompletion=_ids_and_tags,
        help="Judge only these rules. Repeatable.",
    ),
]
Skip = Annotated[
    list[str] | None,
    typer.Option(
        "--skip",
        metavar="ID|TAG",
        envvar="PREFLIGHT_SKIP",
        autocompletion=_ids_and_tags,
        help="Leave these rules out. Repeatable.",
    ),
]


def rules_file(name: str | None) -> str:
    """Return the rule file to use: the one named, the folder's own, or the bundled one."""
    if name is not None:
        return name
    return LOCAL_RULES if os.path.exists(LOCAL_RULES) else DEFAULT_RULES


def load_rules(
    name: str | None, sets: list[str] | None = None, files: dict[str, bytes] | None = None
) -> RuleSet:
    """Load the rule file; raises InputError with what is wrong with it or can't be read.

    `files` gets the contents of all files that were read, by name.
    """
    file = rules_file(name)
    read = rules_reader(file)
    overrides = {}
    for assignment in sets or ():
        key, equals, value = assignment.partition("=")
        if not equals:
            raise InputError(
                f"--set {assignment}: expected NAME=VALUE, as in --set system_overhead=1GB"
            )
        overrides[key] = value

    def read_and_keep(name: str) -> bytes:
        data = read(name)
        if files is not None:
            files[name] = data
        return data

    try:
        return load(file, read_and_keep, overrides)
    except (OSError, ValueError) as error:
        raise cannot_read(f"the rule file {file}", error) from None


def read_facts(name: str) -> Facts:
    """Read a snapshot, or that of a bundle; raises InputError."""
    from preflight.snapshot.facts_file import read_snapshot

    return read_snapshot(read_input(name, max(MAX_SNAPSHOT_BYTES, MAX_BUNDLE_BYTES)), name)


def check_timeout(seconds: float) -> None:
    """Raise InputError for a --timeout that can't be used."""
    if not isfinite(seconds) or not 0 < seconds <= 3600:
        raise InputError(f"--timeout {seconds:g}: expected more than 0 and at most 3600 seconds")


def is_on_command_line(ctx: typer.Context, parameter: str) -> bool:
    """Return whether an option was given as such, not by a variable or as its default."""
    source = ctx.get_parameter_source(parameter)
    return source is not None and source.name == "COMMANDLINE"


class FactsSource:
    """What is judged: a snapshot, or this machine, whose measurement starts immediately.

    Raises InputError where options contradict each other.
    """

    def __init__(
        self,
        ctx: typer.Context,
        snapshot: str | None,
        path: str,
        docker_host: str | None,
        context: str | None,
        timeout: float,
        compose_files: list[str] | None,
    ) -> None:
        if docker_host is not None and context is not None:
            raise InputError("--docker-host and --context contradict each other: use one of them")
        check_timeout(timeout)
        self.options = Options(path, docker_host, context, timeout, compose_files or ())
        self.hidden_variables: list[
            tuple[str, str]
        ] = []  # variables of containers that no rule asks for
        self._snapshot = snapshot
        self._worker: Worker | None = ctx.obj
        if snapshot is None:
            self._measurement = self._start_measurement()
            return
        for parameter in ctx.command.params:
            option = parameter.opts[0]
            if option in _MEASURING and is_on_command_line(ctx, parameter.name or ""):
                raise InputError(
                    f"{option} has no effect with --facts, which measures nothing: leave one out"
                )

    def facts(self, ruleset: RuleSet) -> Facts:
        """Return the facts, with those that follow from the rules: environment and model."""
        facts = self._measure(ruleset) if self._snapshot is None else read_facts(self._snapshot)
        return with_model(facts, ruleset)

    def measure_again(self, ruleset: RuleSet) -> Facts:
        """Repeat the measurement and return its facts."""
        self._measurement = self._start_measurement()
        return self.facts(ruleset)

    def _start_measurement(self) -> Measurement:
        from preflight.facts.collect.measurement import Measurement  # not for --help

        worker, self._worker = self._worker, None  # it measures once
        return Measurement(self.options, worker)

    def _measure(self, ruleset: RuleSet) -> Facts:
        with StatusLine() as status:
            facts = collect_facts(
                self._measurement, ruleset, status.show_measuring, self.hidden_variables
            )
        endpoint = facts.unknown.get("docker.endpoint")
        is_endpoint_given = (self.options.docker_host, self.options.context) != (None, None)
        if is_endpoint_given and endpoint is not None and endpoint.kind == "invalid":
            raise InputError(endpoint.reason)  # a usage error, because it was given here
        problem = facts.get(("compose", "problem"))
        if self.options.compose_files and isinstance(problem, str):
            raise InputError(problem)
        return facts
