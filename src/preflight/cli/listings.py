"""`preflight facts`, `explain`, `models` and `schema`: commands that only show something."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from fnmatch import fnmatchcase
from typing import Any

from preflight.check import apply_chosen_profile, build_catalogue, get_utc_day
from preflight.cli import options, redacting, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.model.explanations import RuleExplanation
from preflight.model.facts import Facts, Measured, join_path, replace_facts, split_fact_path
from preflight.model.problems import InputError, did_you_mean
from preflight.model.report import ExitCode
from preflight.model.rules import Rule, RuleSet

_SCHEMA_FILE_BY_NAME = {
    "facts": "snapshot/facts.schema.json",
    "report": "render/report.schema.json",
    "fleet": "render/fleet.schema.json",
}

FACTS_COMMAND = CommandSyntax(
    """\
With --output, the facts are saved as a snapshot, which check and other commands can read with
--facts. In JSON and in snapshots, placeholders replace secrets.

Example: preflight facts -o facts.json""",
    (
        Argument(
            ("patterns",),
            "[NAME]...",
            is_repeatable=True,
            help="Show only these facts: names, prefixes such as docker.memory, or globs.",
        ),
        Argument(("--output", "-o"), "FILE", is_file=True, help="Save a snapshot to this file."),
        options.FORMAT_OPTION,
        options.RULES_OPTION,
        options.FACTS_OPTION,
        *options.MEASURING_OPTIONS,
        options.NO_REDACT_OPTION,
    ),
)

EXPLAIN_COMMAND = CommandSyntax(
    "Example: preflight explain host-memory",
    (
        Argument(("rule",), "ID", help="The id of a rule, as shown by 'preflight rules list'."),
        options.RULES_OPTION,
        options.FACTS_OPTION,
        *options.MEASURING_OPTIONS,
        *options.RULE_VARIABLE_OPTIONS,
    ),
)

MODELS_COMMAND = CommandSyntax(
    """\
The rule file lists the models and the memory that each needs.

Example: preflight models""",
    (
        options.RULES_OPTION,
        options.FORMAT_OPTION,
        options.FACTS_OPTION,
        *options.MEASURING_OPTIONS,
        *options.RULE_VARIABLE_OPTIONS,
    ),
)

SCHEMA_COMMAND = CommandSyntax(
    "Example: preflight schema rules > rules.schema.json",
    (
        Argument(
            ("name",),
            "rules|facts|report|fleet",
            help="The schema to print: for rule files, snapshots, JSON reports, or fleet reports.",
        ),
    ),
)


def run_facts(arguments: ParsedArguments) -> int:
    """Run `preflight facts`; return the exit code."""
    from preflight.render import listings
    from preflight.render.sanitize import hide_ci_commands
    from preflight.snapshot.facts_file import format_snapshot

    output, no_redact = arguments.output, arguments.no_redact
    source = options.FactsSource(arguments)
    ruleset = source.start_and_load_rules()
    measured = everything = source.collect_facts(_require_named_facts(ruleset, arguments.patterns))
    if arguments.patterns:
        measured = select_facts(measured, arguments.patterns)
    if output is None and arguments.format == "text":
        text = listings.render_facts(
            measured,
            build_catalogue(),
            streams.make_terminal_render_options(),
            show_secrets=no_redact,
        )
        streams.write_stdout(text)
        return ExitCode.OK
    redactor = redacting.build_redactor(ruleset, everything, source.hidden_variables)
    clean, undecided = redacting.redact_facts_keeping_verdicts(redactor, ruleset, measured)
    as_json = format_snapshot(clean)
    if no_redact:
        counts = redacting.count_secrets_by_kind([as_json])
        streams.write_message(f"not redacted: it shows {redacting.format_redaction_counts(counts)}")
        as_json = format_snapshot(measured)
    else:
        redacting.report_rules_undecided_by_redaction(undecided)
        redacting.refuse_remaining_secrets(
            output or "the snapshot", redactor, {"facts.json": as_json.encode()}
        )
    streams.write_file(
        output, hide_ci_commands(as_json), redacting.PRIVATE_FILE_MODE if no_redact else None
    )
    return ExitCode.OK


def _require_named_facts(ruleset: RuleSet, names: Iterable[str]) -> RuleSet:
    """Return the rules with further facts to measure: those that are named in full.

    What is only measured if a rule asks, and has one name, is measured here too.
    """
    catalogue = build_catalogue()
    paths = {split_fact_path(name) for name in catalogue.names() if "*" not in name}
    for name in names:
        with suppress(ValueError):  # a pattern need not be a path
            paths.add(split_fact_path(name))
    declared = {path for path in paths if catalogue.find(path)}
    return ruleset._replace(required_facts=ruleset.required_facts | declared)


def select_facts(facts: Facts, patterns: Sequence[str]) -> Facts:
    """Return the facts that match; raises InputError for a pattern that none matches."""
    from preflight.render.listings import iterate_paths_and_values

    values = {
        join_path(path): (path, value) for path, value in iterate_paths_and_values(facts.values)
    }
    names = [*values, *facts.unknown]
    selected: set[str] = set()
    for pattern in patterns:
        start = pattern.rstrip(".") + "."
        matches = {
            name
            for name in names
            if f"{name}.".startswith(start)
            or fnmatchcase(name, pattern)
            or (name in facts.unknown and start.startswith(f"{name}."))  # a whole collection
        }
        matches = matches or {name for name in names if pattern and name.startswith(pattern)}
        if not matches:
            parts = [name.split(".") for name in (*names, *build_catalogue().names())]
            known = {".".join(part[:end]) for part in parts for end in range(1, len(part) + 1)}
            hint = did_you_mean(pattern, known) or "."
            raise InputError(
                f"no fact matches {pattern!r}{hint} To list the facts, run: preflight facts"
            )
        selected |= matches
    chosen = [
        Measured(path, value, facts.sources.get(name, ""))
        for name, (path, value) in values.items()
        if name in selected
    ]
    unknown = {name: reason for name, reason in facts.unknown.items() if name in selected}
    empty = facts._replace(values={}, sources={}, unknown=unknown, places={})
    return replace_facts(empty, chosen)


def run_explain(arguments: ParsedArguments) -> int:
    """Run `preflight explain`; return the exit code."""
    from preflight.render import listings

    rule = arguments.rule
    source = options.FactsSource(arguments)
    ruleset = source.start_and_load_rules()
    by_id = {candidate.id: candidate for candidate in ruleset.rules}
    if rule not in by_id:
        hint = options.suggest_set_with_rule(rule)
        hint = f"{hint}." if hint else did_you_mean(rule, by_id) or "."
        raise InputError(
            f"no rule has the id {rule!r}{hint} To list the rules, run: preflight rules list"
        )
    explanation = explain_rule(ruleset, source.collect_facts(ruleset), by_id[rule])
    streams.write_stdout(
        listings.render_explanation(explanation, streams.make_terminal_render_options())
    )
    return ExitCode.OK


def explain_rule(ruleset: RuleSet, facts: Facts, rule: Rule) -> RuleExplanation:
    """Return what a rule requires, why, and its result on these facts, without secrets."""
    from preflight.evaluate.explain import explain as evaluate_rule

    ruleset = apply_chosen_profile(ruleset, facts)
    rule = next(candidate for candidate in ruleset.rules if candidate.id == rule.id)
    return evaluate_rule(ruleset, facts, build_catalogue(), rule, get_utc_day())


def run_models(arguments: ParsedArguments) -> int:
    """Run `preflight models`; return the exit code."""
    from preflight.evaluate.models import list_models_by_fit
    from preflight.render import listings

    source = options.FactsSource(arguments)
    ruleset = source.start_and_load_rules()
    facts = source.collect_facts(ruleset)
    listing = list_models_by_fit(apply_chosen_profile(ruleset, facts).models, facts)
    if arguments.format == "json":
        streams.write_json_output(listings.models_as_json(listing))
    else:
        streams.write_stdout(
            listings.render_models(listing, streams.make_terminal_render_options())
        )
    return ExitCode.OK


def run_schema(arguments: ParsedArguments) -> int:
    """Run `preflight schema`; return the exit code."""
    streams.write_json_output(load_json_schema(arguments.name))
    return ExitCode.OK


def load_json_schema(name: str) -> dict[str, Any]:
    """Return a published JSON Schema (draft 2020-12).

    Within `/1` no key goes and none changes its meaning; new ones may come, so it allows others.
    """
    from importlib.resources import files

    from preflight.rules.schema_decoding import build_json_schema

    if name == "rules":
        return build_json_schema()
    text = files("preflight").joinpath(_SCHEMA_FILE_BY_NAME[name]).read_text("utf-8")
    schema: dict[str, Any] = json.loads(text)
    if name == "fleet":
        report = load_json_schema("report")
        one_host = {key: report[key] for key in ("type", "required", "properties")}
        schema["properties"]["hosts"]["additionalProperties"]["anyOf"].insert(0, one_host)
    return schema
