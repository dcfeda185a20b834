"""What changed between two measurements: verdicts, then facts, and the same as JSON."""

from __future__ import annotations

from typing import Any

from preflight.model.difference import Difference, HostDifferences
from preflight.model.facts import Catalogue, Unknown, split_path
from preflight.render import RenderOptions
from preflight.render.layout import Fill, TextLayout
from preflight.render.listings import value_text
from preflight.render.sanitize import shorten

SCHEMA = "preflight.diff/1"
FLEET_SCHEMA = "preflight.fleet-diff/1"


def text(
    difference: Difference, catalogue: Catalogue, names: tuple[str, str], options: RenderOptions
) -> str:
    """Show the changes of verdicts with their messages, then of facts side by side."""
    layout = TextLayout(options)
    layout.add((" → ".join(names), "bold"))
    _add_changes(layout, difference, catalogue)
    layout.blank()
    layout.wrap(_count_changes(difference), 0)
    return layout.draw()


def fleet_text(
    hosts: HostDifferences, catalogue: Catalogue, names: tuple[str, str], options: RenderOptions
) -> str:
    """Show which hosts are gone or new, then the changes of each, the worst first."""
    layout = TextLayout(options)
    layout.add((" → ".join(names), "bold"))
    for word, hostnames in (("gone", hosts.gone), ("new", hosts.new)):
        if hostnames:
            layout.wrap(", ".join(hostnames), 2, prefix=(f"{word}  ", "bold"))
    for name, difference in hosts.changed.items():
        layout.blank()
        layout.add((name, "bold"), "  ", (_count_changes(difference), "dim"))
        _add_changes(layout, difference, catalogue)
    layout.blank()
    worse = sum(bool(difference.worse) for difference in hosts.changed.values())
    counts = {
        "worse": worse,
        "otherwise changed": len(hosts.changed) - worse,
        "gone": len(hosts.gone),
        "new": len(hosts.new),
        "not to be compared": len(hosts.unusable),
        "as before": hosts.same,
    }
    layout.wrap(" · ".join(f"{count:,} {word}" for word, count in counts.items() if count), 0)
    return layout.draw()


def _add_changes(layout: TextLayout, difference: Difference, catalogue: Catalogue) -> None:
    if difference.verdicts:
        layout.title("Verdicts")
    for change in difference.verdicts:
        sign = layout.options.sign(change.after or "skip")
        verdicts = f"{change.before or 'not there'} → {change.after or 'not there'}"
        right = (verdicts, sign[1] if change.worse else "")
        layout.add("  ", sign, " ", Fill(change.result.name), "  ", right)
        if change.worse and change.after != "skip":
            layout.wrap(change.result.message, 6, "dim")
    if difference.facts:
        layout.title("Facts")
    unknown: dict[str, list[str]] = {}  # paths that are unknown now, by the reason
    for path, before, after in difference.facts:
        if isinstance(after, Unknown):
            unknown.setdefault(after.reason, []).append(path)
            continue
        figures = " → ".join(_fact_text(value, path, catalogue) for value in (before, after))
        if len(path) + len(figures) + 4 <= layout.options.columns:
            layout.add("  ", Fill(path), "  ", figures)
        else:  # two paths that are cut may look the same
            layout.wrap(path, 2)
            layout.wrap(figures, 6)
    for reason, paths in unknown.items():
        layout.wrap(f"{', '.join(paths)}: unknown now", 2)
        layout.wrap(reason, 6, "dim")


def _fact_text(value: Any, path: str, catalogue: Catalogue) -> str:
    if isinstance(value, Unknown | dict):
        return "there" if isinstance(value, dict) else "unknown"
    try:
        fact = catalogue.find(split_path(path))
    except ValueError:
        fact = None
    return value_text(value, fact.unit if fact else "text").partition(" (")[0]


def _count_changes(difference: Difference) -> str:
    worse, facts = difference.worse, len(difference.facts)
    counts = {
        "worse": worse,
        "better or gone": len(difference.verdicts) - worse,
        "fact changed" if facts == 1 else "facts changed": facts,
        "within the noise": difference.noise,
    }
    parts = [f"{count} {word}" for word, count in counts.items() if count]
    return " · ".join(parts if difference else ["Nothing changed", *parts])


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
