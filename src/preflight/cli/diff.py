"""`preflight diff A B`: facts and verdicts that changed between two measurements, worst first."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from preflight import check as pipeline
from preflight.cli import options, streams
from preflight.cli.parser import Argument, CommandSyntax, ParsedArguments
from preflight.model.difference import FactAndVerdictChanges, SnapshotFolderDifference
from preflight.model.facts import MAX_BUNDLE_BYTES, MAX_SNAPSHOT_BYTES
from preflight.model.problems import InputError
from preflight.model.report import ExitCode
from preflight.model.rules import RuleSet

if TYPE_CHECKING:
    from preflight.snapshot.compare import ComparisonInput

DIFF_COMMAND = CommandSyntax(
    """\
Snapshots and bundles are checked against the current rules; reports are used as they are.
Changes in times, in ids, and of less than 5 % in free memory or free disk space are ignored. In
two folders, files with the same name are compared.

Exit code: 0 if nothing changed; 1 if something did; 2 if an input can't be used.

Example: preflight diff good.zip ticket.zip""",
    (
        Argument(
            ("before",),
            "A",
            is_file=True,
            help="A snapshot, bundle, or JSON report, or a folder of them.",
        ),
        Argument(
            ("after",),
            "B",
            is_file=True,
            help="The snapshot, bundle, JSON report, or folder to compare with A. Use - for "
            "standard input.",
        ),
        options.RULES_OPTION,
        options.FORMAT_OPTION,
        *options.RULE_VARIABLE_OPTIONS,
    ),
)


def run_diff(arguments: ParsedArguments) -> int:
    """Run `preflight diff`; return the exit code."""
    from preflight.render import diff as render

    before, after = arguments.before, arguments.after
    if before == after == "-":
        raise InputError("A and B are both standard input: use a file for one of them")
    if os.path.isdir(before) != os.path.isdir(after):
        raise InputError("A and B must both be folders or both be files")
    load = cache(  # reports need no rules
        lambda: options.load_rules(arguments.rules, arguments.set, profile=arguments.profile)
    )
    changes: FactAndVerdictChanges | SnapshotFolderDifference
    if os.path.isdir(before):
        load()
        changes = hosts = _compare_snapshot_folders(before, after, load)
        streams.write_message(*hosts.unusable.values())
        code = ExitCode.USAGE if hosts.unusable else ExitCode.FAILED if hosts else ExitCode.OK
    else:
        changes = difference = _compare_files(before, after, load)
        streams.write_message(*difference.notes)
        code = ExitCode.FAILED if difference else ExitCode.OK
    if arguments.format == "json":
        streams.write_json_output(render.diff_as_json(changes))
    else:
        catalogue, terminal = pipeline.build_catalogue(), streams.make_terminal_render_options()
        streams.write_stdout(render.render_diff_text(changes, catalogue, (before, after), terminal))
    return code


def read_comparison_input(data: bytes, file: str, load: Callable[[], RuleSet]) -> ComparisonInput:
    """Judge a snapshot or bundle by the current rules; return a JSON report as it is."""
    from preflight.snapshot.compare import ComparisonInput, is_report, read_report_results
    from preflight.snapshot.facts_file import read_snapshot

    if is_report(data):
        return ComparisonInput(read_report_results(data, file))
    facts = pipeline.add_derived_facts(read_snapshot(data, file), load())
    return ComparisonInput(pipeline.check(load(), facts).results, facts)


def _compare_files(before: str, after: str, load: Callable[[], RuleSet]) -> FactAndVerdictChanges:
    from preflight.snapshot.compare import compare_snapshots_or_reports

    max_bytes = max(MAX_SNAPSHOT_BYTES, MAX_BUNDLE_BYTES)
    files = (before, after)
    return compare_snapshots_or_reports(
        *(read_comparison_input(streams.read_input(f, max_bytes), f, load) for f in files)
    )


def _compare_snapshot_folders(
    before: str, after: str, load: Callable[[], RuleSet]
) -> SnapshotFolderDifference:
    old, new = options.list_snapshots(before), options.list_snapshots(after)
    both = sorted({*old} & {*new})
    changed: dict[str, FactAndVerdictChanges] = {}
    unusable: dict[str, str] = {}
    for name in both:
        try:
            paths = os.path.join(before, name), os.path.join(after, name)
            difference = _compare_files(*paths, load)
        except InputError as error:
            unusable[name] = str(error.problems[0])
        else:
            changed |= {name: difference} if difference else {}
    return SnapshotFolderDifference(
        dict(
            sorted(
                changed.items(),
                key=lambda item: (
                    -item[1].worse_verdict_count,
                    -item[1].newly_judged_problem_count,
                ),
            )
        ),
        gone=tuple(name for name in old if name not in both),
        new=tuple(name for name in new if name not in both),
        same=len(both) - len(changed) - len(unusable),
        unusable=unusable,
    )
