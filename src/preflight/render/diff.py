"""What changed between two measurings: verdicts, then facts, and the same as JSON."""

from __future__ import annotations

from typing import Any

from preflight.model.difference import Difference, FactChange, HostDifferences, VerdictChange
from preflight.model.facts import Catalogue, Unknown, split_path
from preflight.render import RenderOptions
from preflight.render.layout import TextLayout, pad
from preflight.render.listings import shown
from preflight.render.sanitize import short

SCHEMA = "preflight.diff/1"
FLEET_SCHEMA = "preflight.fleet-diff/1"
_WIDEST = 16  # columns of a figure


def text(
    told: Difference, catalogue: Catalogue, names: tuple[str, str], options: RenderOptions
) -> str:
    """Show the changes of verdicts with their sentence, then of facts side by side."""
    layout = TextLayout(options)
    layout.add((f"{names[0]} → {names[1]}", "bold"))
    _changes(layout, told, catalogue)
    layout.blank()
    layout.wrap(_summary(told), 0)
    return layout.draw()


def fleet_text(
    told: HostDifferences, catalogue: Catalogue, names: tuple[str, str], options: RenderOptions
) -> str:
    """Show which machines came and went, then the changes of each, the worst first."""
    layout = TextLayout(options)
    layout.add((f"{names[0]} → {names[1]}", "bold"))
    for word, some in (("gone", told.gone), ("new", told.new)):
        if some:
            layout.wrap(", ".join(some), 2, prefix=(f"{word}  ", "bold"))
    for name, one in told.changed.items():
        layout.blank()
        layout.add((name, "bold"), "  ", (_summary(one), "dim"))
        _changes(layout, one, catalogue)
    layout.blank()
    layout.wrap(_fleet_summary(told), 0)
    return layout.draw()


def _changes(layout: TextLayout, told: Difference, catalogue: Catalogue) -> None:
    if told.verdicts:
        layout.blank()
        layout.add(("Verdicts", "bold"))
    for one in told.verdicts:
        _verdict(layout, one)
    _facts(layout, told.facts, catalogue)


def _verdict(layout: TextLayout, one: VerdictChange) -> None:
    mark, style = layout.options.sign(one.after or "skip")
    change = f"{one.before or 'not there'} → {one.after or 'not there'}"
    room = layout.options.columns - len(mark) - len(change) - 5
    layout.add(
        "  ", (mark, style), f" {pad(one.name, room)}  ", (change, style if one.worse else "")
    )
    if one.worse and one.after != "skip":
        layout.wrap(one.message, 6, "dim")


def _facts(layout: TextLayout, changes: tuple[FactChange, ...], catalogue: Catalogue) -> None:
    """Figures side by side; what is unknown now for one reason is one line."""
    lost: dict[str, list[str]] = {}
    rows = []
    for one in changes:
        if isinstance(one.after, Unknown):
            lost.setdefault(one.after.reason, []).append(one.path)
        else:
            rows.append((one.path, *(_shown(v, one.path, catalogue) for v in one[1:])))
    if not changes:
        return
    layout.blank()
    width = min(_WIDEST, max((len(text) for row in rows for text in row[1:]), default=0))
    width = max(width, len("before"))
    room = layout.options.columns - 2 * width - 6
    head = f"{pad('before', width, right=True)}  {pad('after', width, right=True)}"
    layout.add((pad("Facts", room + 4), "bold"), (head if rows else "", "dim"))
    for path, before, after in rows:
        if len(path) <= room and max(len(before), len(after)) <= width:
            figures = f"{pad(before, width, right=True)}  {pad(after, width, right=True)}"
            layout.add(f"  {pad(path, room)}  {figures}")
        else:  # two paths that are cut may look the same
            layout.wrap(path, 2)
            layout.wrap(f"{before} → {after}", 6)
    for reason, paths in lost.items():
        layout.wrap(f"{', '.join(paths)}: unknown now", 2)
        layout.wrap(reason, 6, "dim")


def _shown(value: Any, path: str, catalogue: Catalogue) -> str:
    if isinstance(value, Unknown):
        return "unknown"
    if isinstance(value, dict):
        return "there"
    try:
        fact = catalogue.find(split_path(path))
    except ValueError:
        fact = None
    return shown(value, fact.unit if fact else "text").partition(" (")[0]


def _summary(told: Difference) -> str:
    worse = told.worse
    noise = f"{told.noise} within the noise"
    parts = [
        (worse, f"{worse} worse"),
        (len(told.verdicts) - worse, f"{len(told.verdicts) - worse} better or gone"),
        (len(told.facts), f"{_plural(len(told.facts), 'fact')} changed"),
        (told.noise, noise),
    ]
    if not told:
        return "Nothing changed" + (f" · {noise}" if told.noise else "")
    return " · ".join(text for count, text in parts if count)


def _fleet_summary(told: HostDifferences) -> str:
    worse = sum(bool(one.worse) for one in told.changed.values())
    parts = [
        (worse, "worse"),
        (len(told.changed) - worse, "otherwise changed"),
        (len(told.gone), "gone"),
        (len(told.new), "new"),
        (len(told.unusable), "not to be compared"),
        (told.same, "as before"),
    ]
    return " · ".join(f"{count:,} {what}" for count, what in parts if count)


def _plural(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"


def to_json(told: Difference) -> dict[str, Any]:
    """Return `preflight.diff/1`: null is absent, what is unknown an object with the reason."""
    return {"schema": SCHEMA, **_changed(told)}


def fleet_to_json(told: HostDifferences) -> dict[str, Any]:
    """Return `preflight.fleet-diff/1`: under `hosts` those that changed, as in a diff of one."""
    return {
        "schema": FLEET_SCHEMA,
        "hosts": {name: _changed(one) for name, one in told.changed.items()},
        "gone": list(told.gone),
        "new": list(told.new),
        "unusable": {name: short(why) for name, why in told.unusable.items()},
        "same": told.same,
    }


def _changed(told: Difference) -> dict[str, Any]:
    return {
        "facts": [
            {"path": one.path, "before": _plain(one.before), "after": _plain(one.after)}
            for one in told.facts
        ],
        "verdicts": [
            {"id": one.id, "item": one.item, "before": one.before, "after": one.after}
            for one in told.verdicts
        ],
    }


def _plain(value: Any) -> Any:
    return {"unknown": value.reason} if isinstance(value, Unknown) else value
