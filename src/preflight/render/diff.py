"""What changed between two measurements: verdicts, then facts, and the same as JSON."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from preflight.model.difference import Difference, FactChange, HostDifferences
from preflight.model.facts import Catalogue, Unknown, split_path
from preflight.render import RenderOptions
from preflight.render.layout import Fill, TextLayout, pad
from preflight.render.listings import value_text
from preflight.render.sanitize import shorten

SCHEMA = "preflight.diff/1"
FLEET_SCHEMA = "preflight.fleet-diff/1"
_MAX_FIGURE = 16  # columns


def text(
    difference: Difference, catalogue: Catalogue, names: tuple[str, str], options: RenderOptions
) -> str:
    """Show the changes of verdicts with their messages, then of facts side by side."""
    layout = TextLayout(options)
    layout.add((f"{names[0]} → {names[1]}", "bold"))
    _add_changes(layout, difference, catalogue)
    layout.blank()
    layout.wrap(_summary(difference), 0)
    return layout.draw()


def fleet_text(
    hosts: HostDifferences, catalogue: Catalogue, names: tuple[str, str], options: RenderOptions
) -> str:
    """Show which hosts are gone or new, then the changes of each, the worst first."""
    layout = TextLayout(options)
    layout.add((f"{names[0]} → {names[1]}", "bold"))
    for word, hostnames in (("gone", hosts.gone), ("new", hosts.new)):
        if hostnames:
            layout.wrap(", ".join(hostnames), 2, prefix=(f"{word}  ", "bold"))
    for name, difference in hosts.changed.items():
        layout.blank()
        layout.add((name, "bold"), "  ", (_summary(difference), "dim"))
        _add_changes(layout, difference, catalogue)
    layout.blank()
    worse = sum(bool(difference.worse) for difference in hosts.changed.values())
    parts = {
        "worse": worse,
        "otherwise changed": len(hosts.changed) - worse,
        "gone": len(hosts.gone),
        "new": len(hosts.new),
        "not to be compared": len(hosts.unusable),
        "as before": hosts.same,
    }
    layout.wrap(" · ".join(f"{count:,} {word}" for word, count in parts.items() if count), 0)
    return layout.draw()


def _add_changes(layout: TextLayout, difference: Difference, catalogue: Catalogue) -> None:
    if difference.verdicts:
        layout.title("Verdicts")
    for change in difference.verdicts:
        sign = layout.options.sign(change.after or "skip")
        verdicts = f"{change.before or 'not there'} → {change.after or 'not there'}"
        right = (verdicts, sign[1] if change.worse else "")
        layout.add("  ", sign, " ", Fill(change.name), "  ", right)
        if change.worse and change.after != "skip":
            layout.wrap(change.message, 6, "dim")
    if difference.facts:
        _add_facts(layout, difference.facts, catalogue)


def _add_facts(layout: TextLayout, changes: Iterable[FactChange], catalogue: Catalogue) -> None:
    """Add the values side by side; paths that are unknown now for one reason share a line."""
    unknown: dict[str, list[str]] = {}
    rows = []
    for change in changes:
        if isinstance(change.after, Unknown):
            unknown.setdefault(change.after.reason, []).append(change.path)
        else:
            rows.append((change.path, *(_fact_text(v, change.path, catalogue) for v in change[1:])))
    layout.blank()
    width = min(_MAX_FIGURE, max((len(value) for row in rows for value in row[1:]), default=0))
    width = max(width, len("before"))
    room = layout.options.columns - 2 * width - 6
    head = f"{pad('before', width, right=True)}  {pad('after', width, right=True)}"
    layout.add(Fill("Facts", "bold"), (head if rows else "", "dim"))
    for path, before, after in rows:
        if len(path) <= room and max(len(before), len(after)) <= width:
            figures = f"{pad(before, width, right=True)}  {pad(after, width, right=True)}"
            layout.add(f"  {pad(path, room)}  {figures}")
        else:  # two paths that are cut may look the same
            layout.wrap(path, 2)
            layout.wrap(f"{before} → {after}", 6)
    for reason, paths in unknown.items():
        layout.wrap(f"{', '.join(paths)}: unknown now", 2)
        layout.wrap(reason, 6, "dim")


def _fact_text(value: Any, path: str, catalogue: Catalogue) -> str:
    if isinstance(value, Unknown):
        return "unknown"
    if isinstance(value, dict):
        return "there"
    try:
        fact = catalogue.find(split_path(path))
    except ValueError:
        fact = None
    return value_text(value, fact.unit if fact else "text").partition(" (")[0]


def _summary(difference: Difference) -> str:
    worse, facts = difference.worse, len(difference.facts)
    parts = {
        "worse": worse,
        "better or gone": len(difference.verdicts) - worse,
        "fact changed" if facts == 1 else "facts changed": facts,
        "within the noise": difference.noise,
    }
    counts = [f"{count} {word}" for word, count in parts.items() if count]
    return " · ".join(counts if difference else ["Nothing changed", *counts])


def json_object(difference: Difference) -> dict[str, Any]:
    """Return `preflight.diff/1`: null is absent, what is unknown an object with the reason."""
    return {"schema": SCHEMA, **_changes_object(difference)}


def fleet_json_object(hosts: HostDifferences) -> dict[str, Any]:
    """Return `preflight.fleet-diff/1`: under `hosts` those that changed, as in a diff of one."""
    return {
        "schema": FLEET_SCHEMA,
        "hosts": {name: _changes_object(change) for name, change in hosts.changed.items()},
        "gone": list(hosts.gone),
        "new": list(hosts.new),
        "unusable": {name: shorten(reason) for name, reason in hosts.unusable.items()},
        "same": hosts.same,
    }


def _changes_object(difference: Difference) -> dict[str, Any]:
    return {
        "facts": [
            {"path": path, "before": _json_value(before), "after": _json_value(after)}
            for path, before, after in difference.facts
        ],
        "verdicts": [
            {key: getattr(change, key) for key in ("id", "item", "before", "after")}
            for change in difference.verdicts
        ],
    }


def _json_value(value: Any) -> Any:
    return {"unknown": value.reason} if isinstance(value, Unknown) else value
