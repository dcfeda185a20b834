"""`preflight diagnose`: known errors in logs, what they mean and what to do."""

from __future__ import annotations

import io
import json
import time
from typing import Annotated

import typer

from preflight import check as pipeline
from preflight.cli.facts import Format, text_or_json
from preflight.cli.options import (
    ComposeFiles,
    Context,
    DockerHost,
    FactsFile,
    Path,
    RulesFile,
    Sets,
    Subject,
    Timeout,
    load_rules,
    read_facts,
)
from preflight.cli.streams import complain, read_input, standard_input, terminal_options, write
from preflight.model.facts import MAX_BUNDLE_BYTES, Facts, Unknown
from preflight.model.problems import InputError
from preflight.model.quantities import parse_duration
from preflight.model.report import ExitCode
from preflight.model.rules import RuleSet

_MOST_LINES = 1_000_000
_MOST_BYTES = 16 * 2**20  # of one container's log


def diagnose(
    ctx: typer.Context,
    logs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[LOG]...",
            help="Log files with what was rotated away from them, folders, bundles; - is"
            " standard input.",
        ),
    ] = None,
    containers: Annotated[
        list[str] | None,
        typer.Option("--container", metavar="NAME", help="The log of a container. Repeatable."),
    ] = None,
    compose: Annotated[
        bool, typer.Option("--compose", help="The logs of the compose project's containers.")
    ] = False,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DURATION", help="Of containers: no older than this, 2h."),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", metavar="N", help="Of containers: the last lines of each.")
    ] = 100_000,
    rules: RulesFile = None,
    format_: Format = "text",
    facts: FactsFile = None,
    compose_files: ComposeFiles = None,
    path: Path = ".",
    docker_host: DockerHost = None,
    context: Context = None,
    sets: Sets = None,
    timeout: Timeout = 10.0,
) -> None:
    """Find known errors in logs: what they mean, how sure that is, and what to do.

    With --facts or a bundle the fixes are for that machine, with --container or --compose for this
    one. Logs may be packed with gzip; docker's json-file and journals are read too.

    Exit code: 0 no known error, 1 a known error was found, 2 usage or a log that cannot be read.
    """
    from preflight.render import diagnosis as render

    chosen = text_or_json(format_)
    started = time.perf_counter()
    live = bool(containers) or compose
    _check(logs or [], live=live, facts=facts, lines=lines)
    reading = _Reading(load_rules(rules, sets))
    for name in logs or ():
        reading.named(name)
    if live:
        subject = Subject(ctx, None, path, docker_host, context, timeout, compose_files)
        reading.of_containers(subject, containers or [], compose, _seconds(since), lines)
    if facts is not None:
        reading.facts = pipeline.with_model(read_facts(facts), reading.ruleset)
    told = pipeline.diagnose(reading.ruleset, reading.reader, reading.facts)
    notes = reading.reader.result().notes
    if notes and not told.lines and not told.findings:
        raise InputError(*notes)  # nothing of it could be read, which is not that it is clean
    complain(*notes)
    if chosen == "json":
        write(json.dumps(render.to_json(told), indent=2) + "\n")
    else:
        write(render.text(told, time.perf_counter() - started, terminal_options()))
    raise typer.Exit(ExitCode.FAILED if told.findings else ExitCode.OK)


def _check(logs: list[str], *, live: bool, facts: str | None, lines: int) -> None:
    """Raise InputError where the options say nothing, or two things."""
    if not logs and not live:
        raise InputError(
            "no log: name files, - for standard input, a bundle, --container NAME or --compose"
        )
    if live and facts is not None:
        raise InputError(
            "--facts is about another machine, --container and --compose about this one:"
            " leave one out"
        )
    if [*logs, facts].count("-") > 1:
        raise InputError("standard input is named twice: name a file for one of them")
    if not 1 <= lines <= _MOST_LINES:
        raise InputError(f"--lines {lines}: expected 1 to {_MOST_LINES}")


def _seconds(since: str | None) -> float | None:
    try:
        seconds = None if since is None else parse_duration(since)
    except ValueError as fault:
        raise InputError(f"--since {fault}") from None
    if seconds is not None and seconds <= 0:
        raise InputError(f"--since {since}: expected a time that has gone by, such as 2h")
    return seconds


class _Reading:
    """The logs that were read so far, and the facts that came with them."""

    def __init__(self, ruleset: RuleSet) -> None:
        self.ruleset = ruleset
        self.reader = pipeline.log_reader(ruleset)
        self.facts: Facts | None = None
        self._files: set[tuple[int, int]] = set()

    def named(self, name: str) -> None:
        """Read what is named on the command line."""
        from preflight.cli import log_files

        if name == "-":
            self.reader.add("standard input", standard_input())
        elif log_files.is_zip(name):
            self._bundle(name)
        else:
            found = log_files.unread(log_files.find(name), self._files)
            log_files.announce(name, found)
            for log in found:
                log_files.read(log, self.reader)

    def _bundle(self, name: str) -> None:
        from preflight.snapshot.bundle import open_bundle

        opened = open_bundle(read_input(name, MAX_BUNDLE_BYTES), name)
        logs = list(opened.logs())
        for log, stream in logs:
            self.reader.add(f"{name}:{log}", stream)
        if not logs:
            complain(f"{name} holds no logs: only what its snapshot says of the containers")
        self.facts = pipeline.with_model(opened.facts(), self.ruleset)

    def of_containers(
        self,
        subject: Subject,
        names: list[str],
        compose: bool,
        since: float | None,
        lines: int,
    ) -> None:
        """Read the logs of containers here, while the machine is measured."""
        from preflight.facts.collect.context import MeasureContext
        from preflight.facts.stack.container_logs import LOG_ERRORS, container_logs, project_logs

        context, ends = MeasureContext(subject.options), time.monotonic() + subject.options.timeout
        try:
            found = list(project_logs(context, since, lines, ends, _MOST_BYTES)) if compose else []
            if names:
                found += container_logs(context, names, since, lines, ends, _MOST_BYTES)
        except LOG_ERRORS as fault:
            raise InputError(str(fault)) from None
        if compose and not found:
            raise InputError("no containers: there is no compose file here, or nothing was started")
        for log in found:
            if isinstance(log.text, Unknown):
                complain(f"the log of {log.container}: {log.text.reason}")
            else:
                self.reader.add(log.container, io.BytesIO(log.text))
        if all(isinstance(log.text, Unknown) for log in found):
            raise InputError("none of these logs could be read")
        self.facts = subject.facts(self.ruleset)
