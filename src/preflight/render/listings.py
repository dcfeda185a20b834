"""What the other commands show: the facts, one rule explained, the rules of a set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preflight.model.facts import Catalogue, Facts, Unit, join_path
from preflight.model.quantities import format_bytes, format_duration, is_binary
from preflight.model.report import Explanation
from preflight.model.rules import RuleSet
from preflight.render import RenderOptions
from preflight.render.layout import TextLayout, pad


def facts(measured: Facts, catalogue: Catalogue, options: RenderOptions) -> str:
    """List every figure with its source, then what could not be measured with the reason."""
    layout = TextLayout(options)
    rows = [(join_path(path), path, value) for path, value in _flat(measured.values)]
    width = min(max((len(name) for name, _, _ in rows), default=0), 34)
    for name, path, value in rows:
        fact = catalogue.find(path)
        head = f"{pad(name, width)}  {shown(value, fact.unit if fact else 'text')}"
        source = measured.source(path)
        if len(head) + len(source) + 3 <= options.columns:
            layout.add(head, (f"   {source}", "dim"))
        else:
            layout.add(head)
            layout.wrap(source, width + 2, "dim")
    if measured.unknown:
        layout.blank()
        layout.add(("Not measured", "bold"))
    for reason, paths in _by_reason(measured):
        layout.wrap(", ".join(paths), 2)
        layout.wrap(reason, 6, "dim")
    return layout.draw()


def _by_reason(measured: Facts) -> list[tuple[str, list[str]]]:
    grouped: dict[str, list[str]] = {}
    for path, why in measured.unknown.items():
        grouped.setdefault(f"{why.reason} ({why.kind})", []).append(path)
    return list(grouped.items())


def _flat(
    node: Mapping[str, Any], above: tuple[str, ...] = ()
) -> list[tuple[tuple[str, ...], Any]]:
    rows: list[tuple[tuple[str, ...], Any]] = []
    for name, value in node.items():
        path = (*above, name)
        rows += _flat(value, path) if isinstance(value, dict) else [(path, value)]
    return rows


def shown(value: Any, unit: Unit) -> str:
    """Write a figure as people read it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and unit == "bytes":
        other = format_bytes(value, binary=not is_binary(value))
        return f"{format_bytes(value, binary=is_binary(value))} ({other})" if value else "0 B"
    if isinstance(value, int | float) and unit == "seconds":
        return format_duration(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return str(value)


def explanation(told: Explanation, options: RenderOptions) -> str:
    """Show one rule: what it asks, why, where the document says it, its value here, its fixes."""
    layout = TextLayout(options)
    severity = "required" if told.requires else "recommended"
    head = f"{told.id} · {told.title}"
    layout.add((pad(head, options.columns - len(severity)), "bold"), (severity, "dim"))
    asks = told.requires or f"{told.recommends}, as advice"
    if told.requires and told.recommends:
        asks += f" (advised: {told.recommends})"
    _entry(layout, "asks", f"{told.fact} {asks}")
    _entry(layout, "why", told.why)
    _entry(layout, "says", _place(told))
    _entry(layout, "needs", ", ".join(told.needs))
    _entry(layout, "applies", " and ".join(told.applies_if))
    for result in told.results:
        mark, _ = options.sign(result.verdict)
        item = f"{result.item}: " if result.item is not None else ""
        _entry(layout, "here", f"{item}{result.actual_text} {mark}   {result.reason_or_source}")
    for fix in told.fixes:
        _entry(layout, "fix", fix.text)
        for line in (fix.command or "").splitlines():
            layout.verbatim(f"$ {line}", 10, "cyan")
        if fix.url:
            layout.verbatim(fix.url, 10, "dim")
    return layout.draw()


def _place(told: Explanation) -> str:
    document = f"in {told.source}" if told.source else ""
    return f'"{told.section}" {document}'.strip() if told.section else ""


def _entry(layout: TextLayout, name: str, text: str) -> None:
    if text:
        layout.wrap(text, 2, prefix=pad(name, 8))


def rules(ruleset: RuleSet, options: RenderOptions) -> str:
    """List the rules: id, what it asks of, title, tags."""
    layout = TextLayout(options)
    width = max((len(rule.id) for rule in ruleset.rules), default=0)
    for rule in ruleset.rules:
        state = "" if rule.enabled else " (off)"
        tags = f"   {' '.join(rule.tags)}" if rule.tags else ""
        layout.add((pad(rule.id, width), "bold"), f"  {rule.title}{state}", (tags, "dim"))
    layout.blank()
    layout.add(f"{len(ruleset.rules)} rules · {ruleset.name} ({ruleset.origin})")
    return layout.draw()


def rules_json(ruleset: RuleSet) -> dict[str, Any]:
    """Return the rules as an object for `rules list -f json`."""
    return {
        "schema": "preflight.rule-list/1",
        "name": ruleset.name,
        "origin": ruleset.origin,
        "source": ruleset.source,
        "sha256": ruleset.sha256,
        "vars": dict(ruleset.vars),
        "rules": [
            {
                "id": rule.id,
                "title": rule.title,
                "severity": "required" if rule.require else "recommended",
                "fact": join_path(rule.fact),
                "for_each": join_path(rule.for_each) if rule.for_each else None,
                "section": rule.section,
                "why": rule.why,
                "tags": list(rule.tags),
                "needs": list(rule.needs),
                "enabled": rule.enabled,
            }
            for rule in ruleset.rules
        ],
    }
