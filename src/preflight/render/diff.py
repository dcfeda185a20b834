"""What changed between two measurements: verdicts, then facts, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from preflight.model.difference import (
    FactAndVerdictChanges,
    FactChange,
    SnapshotFolderDifference,
    VerdictChange,
)
from preflight.model.facts import FactCatalogue, Unknown, split_fact_path
from preflight.model.quantities import format_shortened_list
from preflight.render import RenderOptions
from preflight.render.layout import FillingPart, TextLayout
from preflight.render.listings import format_fact_value
from preflight.render.sanitize import clean_and_shorten

_MAX_NAMES_IN_SUMMARY = 8  # of rules or facts that changed in the same way


def render_diff_text(
    changes: FactAndVerdictChanges | SnapshotFolderDifference,
    catalogue: FactCatalogue,
    names: tuple[str, str],
    options: RenderOptions,
) -> str:
    """Show the changes of verdicts with their messages, then of facts; of many, host by host."""
    layout = TextLayout(options)
    layout.add_line((" → ".join(names), "bold"))
    if isinstance(changes, FactAndVerdictChanges):
        _add_changes(layout, changes, catalogue)
        counts = _format_change_counts(changes)
    else:
        for word, hostnames in (("gone", changes.gone), ("new", changes.new)):
            if hostnames:
                layout.add_wrapped(", ".join(hostnames), 2, prefix=(f"{word}  ", "bold"))
        for name, difference in changes.changed.items():
            layout.add_blank_line()
            layout.add_line((name, "bold"), "  ", (_format_change_counts(difference), "dim"))
            _add_changes(layout, difference, catalogue)
        counts = _format_changed_host_counts(changes)
    layout.add_blank_line()
    layout.add_wrapped(counts, 0)
    return layout.to_text()


def _add_changes(
    layout: TextLayout, difference: FactAndVerdictChanges, catalogue: FactCatalogue
) -> None:
    if difference.verdicts:
        layout.add_title("Verdicts")
        _add_verdict_changes(layout, difference.verdicts)
    if difference.facts:
        layout.add_title("Facts")
        _add_fact_change_lines(layout, difference.facts, catalogue)


def _add_verdict_changes(layout: TextLayout, changes: Iterable[VerdictChange]) -> None:
    """Add a line for each change, and one line for all that weren't a problem and aren't now."""
    names: dict[str, list[str]] = {}
    for change in changes:
        sign = layout.options.sign(change.after or "skip")
        verdicts = f"{change.before or 'not there'} → {change.after or 'not there'}"
        if {change.before, change.after} == {"skip", None}:
            continue
        if {change.before, change.after} <= {"skip", "pass", None}:
            names.setdefault(verdicts, []).append(change.result.name)
            continue
        is_bad = change.is_worse or change.is_newly_judged_problem
        right = (verdicts, sign[1] if is_bad else "")
        layout.add_line("  ", sign, " ", FillingPart(change.result.name), "  ", right)
        if is_bad:
            layout.add_wrapped(change.result.message, 6, "dim")
    for verdicts, rules in names.items():
        layout.add_wrapped(f"{verdicts}: {format_shortened_list(rules, _MAX_NAMES_IN_SUMMARY)}", 4)


def _add_fact_change_lines(
    layout: TextLayout, changes: Iterable[FactChange], catalogue: FactCatalogue
) -> None:
    unknown: dict[str, list[str]] = {}  # paths that are unknown now, by the reason
    absent = []  # paths that were unknown and aren't set
    for path, before, after in changes:
        if isinstance(after, Unknown):
            unknown.setdefault(after.reason, []).append(path)
            continue
        if isinstance(before, Unknown) and after is None:
            absent.append(path)
            continue
        figures = " → ".join(
            _format_fact_value(value, path, catalogue) for value in (before, after)
        )
        if len(path) + len(figures) + 4 <= layout.options.columns:
            layout.add_line("  ", FillingPart(path), "  ", figures)
        else:  # two paths that are cut may look the same
            layout.add_wrapped(path, 2)
            layout.add_wrapped(figures, 6)
    if absent:
        layout.add_wrapped(
            f"unknown → not set: {format_shortened_list(absent, _MAX_NAMES_IN_SUMMARY)}", 2
        )
    for reason, paths in unknown.items():
        layout.add_wrapped(f"{format_shortened_list(paths, _MAX_NAMES_IN_SUMMARY)}: unknown now", 2)
        layout.add_wrapped(reason, 6, "dim")


def _format_fact_value(value: Any, path: str, catalogue: FactCatalogue) -> str:
    if isinstance(value, Unknown | dict):
        return "there" if isinstance(value, dict) else "unknown"
    try:
        fact = catalogue.find(split_fact_path(path))
    except ValueError:
        fact = None
    return format_fact_value(value, fact.unit if fact else "text").partition(" (")[0]


def _format_change_counts(difference: FactAndVerdictChanges) -> str:
    worse, facts = difference.worse_verdict_count, len(difference.facts)
    new = difference.newly_judged_problem_count
    pairs = [(change.before, change.after) for change in difference.verdicts]
    gone = sum(after in (None, "skip") for _, after in pairs)
    counts = {
        "worse": worse,
        "new problem" if new == 1 else "new problems": new,
        "better": len(pairs) - worse - new - gone,
        "no longer judged": gone - pairs.count((None, "skip")) - pairs.count(("skip", None)),
        "fact changed" if facts == 1 else "facts changed": facts,
        "within the noise": difference.noise,
    }
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    return " · ".join(parts if difference else ["Nothing changed", *parts])


def _format_changed_host_counts(hosts: SnapshotFolderDifference) -> str:
    worse = sum(bool(host.worse_verdict_count) for host in hosts.changed.values())
    new = sum(
        bool(h.newly_judged_problem_count) and not h.worse_verdict_count
        for h in hosts.changed.values()
    )
    counts = {
        "worse": worse,
        "with new problems": new,
        "otherwise changed": len(hosts.changed) - worse - new,
        "gone": len(hosts.gone),
        "new": len(hosts.new),
        "not to be compared": len(hosts.unusable),
        "as before": hosts.same,
    }
    return " · ".join(f"{count:,} {word}" for word, count in counts.items() if count)


def diff_as_json(changes: FactAndVerdictChanges | SnapshotFolderDifference) -> dict[str, Any]:
    """Return `preflight.diff/1`, or `preflight.fleet-diff/1` with the hosts that changed.

    Null is absent, what is unknown an object with the reason.
    """
    if isinstance(changes, FactAndVerdictChanges):
        return {"schema": "preflight.diff/1", **_difference_as_json(changes)}
    return {
        "schema": "preflight.fleet-diff/1",
        "hosts": {name: _difference_as_json(change) for name, change in changes.changed.items()},
        "gone": list(changes.gone),
        "new": list(changes.new),
        "unusable": {name: clean_and_shorten(reason) for name, reason in changes.unusable.items()},
        "same": changes.same,
    }


def _difference_as_json(difference: FactAndVerdictChanges) -> dict[str, Any]:
    def value_object(value: Any) -> Any:
        return {"unknown": value.reason} if isinstance(value, Unknown) else value

    return {
        "facts": [
            {"path": path, "before": value_object(before), "after": value_object(after)}
            for path, before, after in difference.facts
        ],
        "verdicts": [
            {"id": result.id, "item": result.item, "before": before, "after": after}
            for result, before, after in difference.verdicts
        ],
    }
