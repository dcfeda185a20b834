"""`preflight bundle`: one redacted file for a ticket, its contents shown before it is written."""

from __future__ import annotations

import json
import platform
import re
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from preflight import __version__
from preflight import check as pipeline
from preflight.cli.options import (
    ComposeFiles,
    Context,
    DockerHost,
    NoRedact,
    Path,
    RulesFile,
    Sets,
    Subject,
    Timeout,
    load_rules,
)
from preflight.cli.redacting import (
    PRIVATE,
    build_redactor,
    counted,
    kinds,
    redact_facts,
    refuse_leftovers,
    say_undecided,
)
from preflight.cli.streams import ask, complain, file_options, talk, write_file
from preflight.model.bundle import COMPOSE, FACTS, LOGS, PAGE, REPORT, VERSIONS, Part
from preflight.model.facts import Facts, Unknown
from preflight.model.problems import InputError
from preflight.model.quantities import format_bytes, parse_duration
from preflight.model.report import ExitCode, Report, Verdict
from preflight.model.rules import RuleSet
from preflight.render import FORMATS, renderer

if TYPE_CHECKING:
    from preflight.facts.stack.support_data import SupportData
    from preflight.snapshot.redact import Redactor

_MOST_LINES = 100_000
_COUNTED: Mapping[Verdict, str] = {
    "fail": "failed",
    "unknown": "undecided",
    "warn": "warned",
    "pass": "passed",
}
_VERSIONS: Mapping[str, tuple[str, ...]] = {
    "engine": ("docker", "engine"),
    "engine_version": ("docker", "version"),
    "engine_api": ("docker", "api"),
    "compose": ("docker", "compose", "version"),
    "ollama": ("ollama", "version"),
}


def bundle(
    ctx: typer.Context,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="FILE", help="The file to write.")
    ] = "preflight-bundle.zip",
    rules: RulesFile = None,
    compose_files: ComposeFiles = None,
    path: Path = ".",
    docker_host: DockerHost = None,
    context: Context = None,
    sets: Sets = None,
    timeout: Timeout = 10.0,
    since: Annotated[
        str | None,
        typer.Option("--since", metavar="DURATION", help="Logs no older than this, such as 2h."),
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", metavar="N", help="The last lines of each container's log.")
    ] = 500,
    no_redact: NoRedact = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Write it without asking.")] = False,
) -> None:
    """Write one file to attach to a ticket: it says what it will hold, then asks.

    It holds the snapshot, the report, the effective compose configuration and the last of the
    containers' logs, without secrets. Whoever gets it judges it with --facts.
    """
    from preflight.facts.stack.support_data import SupportDataCollector
    from preflight.snapshot.bundle import make

    if not 0 <= lines <= _MOST_LINES:
        raise InputError(f"--lines {lines}: expected 0 to {_MOST_LINES}")
    oldest = _seconds(since)
    subject = Subject(ctx, None, path, docker_host, context, timeout, compose_files)
    gathering = SupportDataCollector(subject.options, oldest, lines)
    ruleset = load_rules(rules, sets)
    facts = subject.facts(ruleset)
    found = gathering.finish()
    redactor = build_redactor(ruleset, facts, subject.hidden)
    clean = _redacted_parts(redactor, ruleset, facts, found)
    parts = list(_parts(ruleset, facts, found)) if no_redact else clean
    texts = [part.data.decode("utf-8", "replace") for part in clean]
    missing = [redactor.text(why) for why in found.missing]
    counts = None if no_redact else kinds(*texts)
    made = make(parts, __version__, facts.measured_at, counts, missing)
    if not no_redact:
        _refuse_unclean(output, redactor, made)
    hidden = counted(*texts)
    said = f"NOT redacted: it shows {hidden}" if no_redact else f"redacted: {hidden}"
    _show(f"{output} will hold, {said}", parts, missing)
    _confirm(yes=yes)
    if (fault := write_file(output, made, PRIVATE)) is not None:
        raise InputError(fault)
    complain(f"{output}: {len(parts) + 1} files, {format_bytes(len(made))}")


def _seconds(since: str | None) -> float | None:
    try:
        seconds = None if since is None else parse_duration(since)
    except ValueError as fault:
        raise InputError(f"--since {fault}") from None
    if seconds is not None and seconds <= 0:
        raise InputError(f"--since {since}: expected a time that has gone by, such as 2h")
    return seconds


def _redacted_parts(
    redactor: Redactor, ruleset: RuleSet, facts: Facts, found: SupportData
) -> list[Part]:
    """Return the members without secrets, made twice: what one teaches holds for those before."""
    for _ in range(2):
        found = found._replace(
            config=None if found.config is None else redactor.compose(found.config),
            logs=[(redactor.text(name), _redacted(redactor, log)) for name, log in found.logs],
        )
    clean, undecided = redact_facts(redactor, ruleset, facts)
    say_undecided(undecided)
    return list(_parts(ruleset, clean, found, redactor.report))


def _redacted(redactor: Redactor, log: bytes) -> bytes:
    return redactor.text(log.decode("utf-8", "replace")).encode("utf-8", "replace")


def _parts(
    ruleset: RuleSet,
    facts: Facts,
    found: SupportData,
    tidy: Callable[[Report], Report] = lambda report: report,
) -> Iterator[Part]:
    """Yield the members in their order; `tidy` is applied to the report before it is written."""
    from preflight.snapshot.facts_file import write_snapshot

    selection = pipeline.select(ruleset, (), (), strict=False)
    report = pipeline.check(ruleset, facts, selection, time.perf_counter())
    report = tidy(report._replace(seconds=None))  # the same facts, the same bytes
    yield Part(FACTS, "what was measured", write_snapshot(facts).encode("ascii"))
    pages = {REPORT: ("json", _summary(report)), PAGE: ("html", "the same as a page")}
    for name, (format_, what) in pages.items():
        if format_ in FORMATS:
            text = renderer(format_)(report, file_options(verbose=True))
            yield Part(name, what, text.encode("utf-8", "replace"))
    if found.config is not None:
        services = len(found.config.get("services") or ())
        what = f"the effective configuration of {services} services, by {found.config_source}"
        yield Part(COMPOSE, what, _as_json(found.config))
    yield Part(VERSIONS, "of preflight, Python, the engine", _as_json(_versions(facts)))
    names = _log_names(name for name, _ in found.logs)
    for name, (_, log) in zip(names, found.logs, strict=True):
        yield Part(name, f"the last {log.count(10):,} lines", log)


def _summary(report: Report) -> str:
    counts = [
        f"{report.counts[verdict]} {word}"
        for verdict, word in _COUNTED.items()
        if report.counts[verdict]
    ]
    return "the report: " + ", ".join(counts)


def _versions(facts: Facts) -> dict[str, Any]:
    known = {name: facts.get(path) for name, path in _VERSIONS.items()}
    return {
        "preflight": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: None if isinstance(v, Unknown) else v for name, v in known.items()},
    }


def _as_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode("ascii")


def _log_names(containers: Iterable[str]) -> list[str]:
    """Return a member's name for each container's log; no two are the same."""
    names: list[str] = []
    for container in containers:
        stem = re.sub(r"[^A-Za-z0-9._-]+", "-", container).strip("-._")[:100] or "container"
        number, name = 1, f"{LOGS}{stem}.log"
        while name.lower() in map(str.lower, names):
            number += 1
            name = f"{LOGS}{stem}-{number}.log"
        names.append(name)
    return names


def _refuse_unclean(output: str, redactor: Redactor, made: bytes) -> None:
    """RenderOptions through the finished file once more, as whoever gets it would read it."""
    from preflight.snapshot.bundle import open_bundle

    opened = open_bundle(made, output)
    refuse_leftovers(output, redactor, dict(opened.members()))
    refuse_leftovers(output, redactor, {"its names": "\n".join(opened.names()).encode()})


def _show(head: str, parts: Iterable[Part], missing: Iterable[str]) -> None:
    talk(f"{head}:")
    rows = [(part.name, format_bytes(len(part.data)), part.what) for part in parts]
    width = max(len(name) for name, _, _ in rows)
    talk(*(f"  {name:<{width}}  {size:>9}  {what}" for name, size, what in rows))
    talk(*(f"  not in it: {one}" for one in missing))


def _confirm(*, yes: bool) -> None:
    """Go on where that is wanted; raises typer.Exit or InputError where it is not."""
    if yes:
        return
    answer = ask("Write it?")
    if answer is None:
        raise InputError("not written: there is no terminal to ask at; write it with --yes")
    if not answer:
        complain("not written")
        raise typer.Exit(ExitCode.FAILED)
