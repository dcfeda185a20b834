"""`preflight bundle`: one redacted file for a ticket, its contents shown before it is written."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from preflight import __version__
from preflight import check as pipeline
from preflight.cli import options, redacting, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.facts.collect.measurement import ContainerLogRequest
from preflight.model.facts import Facts, Unknown, split_fact_path
from preflight.model.problems import InputError
from preflight.model.quantities import format_bytes
from preflight.model.report import ExitCode, Verdict
from preflight.model.rules import RuleSet
from preflight.render import load_renderer

if TYPE_CHECKING:
    from preflight.facts.stack.config_and_logs import ComposeConfigAndLogs
    from preflight.snapshot.bundle import BundleMember
    from preflight.snapshot.redact import Redactor

_WORD_BY_VERDICT: Mapping[Verdict, str] = {
    "fail": "failed", "unknown": "undecided", "warn": "warned", "pass": "passed",
}  # fmt: skip
_FACT_BY_BUNDLE_MANIFEST_KEY = {
    "engine": "docker.engine", "engine_version": "docker.version", "engine_api": "docker.api",
    "compose": "docker.compose.version", "ollama": "ollama.version",
}  # fmt: skip

BUNDLE_COMMAND = CommandSyntax(
    """\
The bundle contains a snapshot, the report, the effective compose configuration and the last
lines of the containers' logs. preflight lists the contents and asks for confirmation before it
writes the file. Whoever receives the bundle can check it with 'preflight check --facts'.

Example: preflight bundle -o ticket.zip""",
    (
        Argument(
            ("--output", "-o"),
            "FILE",
            default="preflight-bundle.zip",
            is_file=True,
            help="Write the bundle to this file.",
        ),
        options.RULES_OPTION,
        *options.MEASURING_OPTIONS,
        *options.RULE_VARIABLE_OPTIONS,
        Argument(
            ("--since",),
            "DURATION",
            help="Include only log lines from the last DURATION, such as 2h.",
        ),
        Argument(
            ("--lines",),
            "N",
            default="500",
            limits=(0, 100000),
            help="Include the last N lines of each container's log.",
        ),
        options.NO_REDACT_OPTION,
        Argument(("--yes", "-y"), help="Write the bundle without asking for confirmation."),
    ),
)


def run_bundle(arguments: ParsedArguments) -> int:
    """Run `preflight bundle`; return the exit code."""
    from preflight.facts.stack import config_and_logs
    from preflight.snapshot.bundle import build_bundle, read_bundle

    output = arguments.output
    source = options.FactsSource(arguments)
    ruleset = source.start_and_load_rules(
        ContainerLogRequest(since=arguments.since, lines=arguments.lines)
    )
    facts = source.collect_facts(ruleset)
    data = config_and_logs.build_config_and_logs(source.support_data)
    redactor = redacting.build_redactor(ruleset, facts, source.hidden_variables)
    members = _redact_members(redactor, ruleset, facts, data)
    counts = redacting.count_secrets_by_kind(m.data.decode("utf-8", "replace") for m in members)
    missing = [redactor.redact_text(reason) for reason in _explain_parts_missing_in_bundle(data)]
    if arguments.no_redact:
        members = list(_build_members(ruleset, facts, data))
        archive = build_bundle(members, __version__, facts.measured_at, None, missing)
    else:
        archive = build_bundle(members, __version__, facts.measured_at, counts, missing)
        written = read_bundle(archive, output)  # as whoever gets it will read it
        redacting.refuse_remaining_secrets(output, redactor, written)
    redaction = "NOT redacted: it shows" if arguments.no_redact else "redacted:"
    streams.write_stderr(
        f"{output} will hold, {redaction} {redacting.format_redaction_counts(counts)}:"
    )
    width = max(len(member.name) for member in members)
    for member in members:
        size = format_bytes(len(member.data))
        streams.write_stderr(f"  {member.name:<{width}}  {size:>9}  {member.description}")
    streams.write_stderr(*(f"  not in it: {reason}" for reason in missing))
    answer = arguments.yes or streams.ask_for_confirmation("Write it?")
    if answer is None:
        raise InputError(
            "not written: no terminal is available to ask for confirmation; use --yes to write "
            "it anyway"
        )
    if not answer:
        streams.write_message("not written")
        return ExitCode.FAILED
    streams.write_file(output, archive, redacting.PRIVATE_FILE_MODE)
    streams.write_message(f"{output}: {len(members) + 1} files, {format_bytes(len(archive))}")
    return ExitCode.OK


def _redact_members(
    redactor: Redactor, ruleset: RuleSet, facts: Facts, data: ComposeConfigAndLogs
) -> list[BundleMember]:
    """Return the members without secrets; what one shows to be secret is redacted in all."""
    for _ in range(2):
        known_value_count = redactor.known_value_count
        config = None if data.config is None else redactor.redact_config(data.config)
        logs = [(name, log.decode("utf-8", "replace")) for name, log in _list_readable_logs(data)]
        data = data._replace(
            config=config,
            logs=[
                (name, log.encode("utf-8", "replace")) for name, log in redactor.redact_tree(logs)
            ],
        )
        if redactor.known_value_count == known_value_count:
            break  # nothing was learned that the first texts could have
    clean, undecided = redacting.redact_facts_keeping_verdicts(redactor, ruleset, facts)
    redacting.report_rules_undecided_by_redaction(undecided)
    return list(_build_members(ruleset, clean, data, redactor))


def _list_readable_logs(data: ComposeConfigAndLogs) -> Iterator[tuple[str, bytes]]:
    return ((name, log) for name, log in data.logs if isinstance(log, bytes))


def _explain_parts_missing_in_bundle(data: ComposeConfigAndLogs) -> Iterator[str]:
    """Yield what couldn't be collected, and why."""
    if data.problem is not None:
        parts = "logs" if data.config else "compose configuration and logs"
        yield f"{parts}: {data.problem}"
    for name, log in data.logs:
        if isinstance(log, Unknown):
            yield f"the log of {name}: {log.reason}"


def _build_members(
    ruleset: RuleSet, facts: Facts, data: ComposeConfigAndLogs, redactor: Redactor | None = None
) -> Iterator[BundleMember]:
    """Yield the members in their order; a rule file may name hosts, so the report is redacted."""
    from preflight.snapshot.bundle import FACTS_FILE, BundleMember, make_log_member_names
    from preflight.snapshot.facts_file import format_snapshot

    report = pipeline.check(ruleset, facts)
    report = report if redactor is None else redactor.redact_tree(report)
    counts = {word: report.counts_by_verdict[verdict] for verdict, word in _WORD_BY_VERDICT.items()}
    summary = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    yield BundleMember(FACTS_FILE, "what was measured", format_snapshot(facts).encode("ascii"))
    for name, format_, description in (
        ("report.json", "json", f"the report: {summary}"),
        ("report.html", "html", "the same as a page"),
    ):
        text = load_renderer(format_)(report, streams.make_file_render_options(verbose=True))
        yield BundleMember(name, description, text.encode("utf-8", "replace"))
    if data.config is not None:
        count = len(data.config.get("services") or ())
        description = f"the effective configuration of {count} services, by {data.config_source}"
        yield BundleMember("compose.json", description, _encode_json(data.config))
    values = (
        (name, facts.get(split_fact_path(path)))
        for name, path in _FACT_BY_BUNDLE_MANIFEST_KEY.items()
    )
    versions = {
        **{name: None if isinstance(value, Unknown) else value for name, value in values},
        "preflight": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }
    yield BundleMember("versions.json", "of preflight, Python, the engine", _encode_json(versions))
    names = make_log_member_names(name for name, _ in _list_readable_logs(data))
    for name, (_, log) in zip(names, _list_readable_logs(data), strict=True):
        yield BundleMember(name, f"the last {log.count(10):,} lines", log)


def _encode_json(value: Any) -> bytes:
    return (json.dumps(value, indent=2) + "\n").encode("ascii")
