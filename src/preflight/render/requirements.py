"""The requirements document of a rule set, as Markdown: sections, rules, models, known errors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from preflight.model.conditions import Condition
from preflight.model.facts import join_path
from preflight.model.quantities import format_bytes
from preflight.model.report import RuleText
from preflight.model.rules import Rule, RuleSet
from preflight.render.markdown_escape import escape_markdown, list_item

_NOTICE = "Written by `preflight rules document` from the rules. Change the rules, not this file."


def render(ruleset: RuleSet, texts: Sequence[RuleText]) -> str:
    """Return the document; `texts` are those of the rules, in their order.

    The same rules give the same document: it has no times and no versions.
    """
    blocks = [f"# {escape_markdown(ruleset.source or ruleset.name)}", _NOTICE]
    sections: dict[str, list[str]] = {}
    for rule, text in zip(ruleset.rules, texts, strict=True):
        sections.setdefault(rule.section, []).append(_rule(rule, text))
    sections["Other requirements"] = sections.pop("", [])
    for title, entries in sections.items():
        if entries:
            blocks += [f"## {escape_markdown(title)}", "\n".join(entries)]
    if ruleset.models:
        table = ["| Model | Memory | Notes |", "|---|---:|---|"]
        for model in ruleset.models:
            name, note = escape_markdown(model.name), escape_markdown(model.note)
            table.append(f"| {name} | {format_bytes(model.memory)} | {note} |")
        blocks += ["## Models", "\n".join(table)]
    return "\n\n".join(blocks) + "\n"


def _rule(rule: Rule, text: RuleText) -> str:
    conditions = [f"{words} {severity}".strip() for words, severity in _conditions(rule, text)]
    scope = f" for each of {_code(join_path(rule.for_each))}" if rule.for_each else ""
    lines = [f"- **{list_item(rule.title)}**: {escape_markdown(', '.join(conditions))}{scope}."]
    if rule.why:
        lines.append(f"  {escape_markdown(rule.why)}")
    if text.applies_if:
        lines.append(f"  Applies only if {escape_markdown(' and '.join(text.applies_if))}.")
    lines.append(f"  Rule `{rule.id}`, fact {_code(text.fact)}.")
    return "\n".join(lines)


def _conditions(rule: Rule, text: RuleText) -> Iterator[tuple[str, str]]:
    """Yield the words for each condition, none where the title already says it."""
    for condition, words, severity in (
        (rule.require, text.requires, "required"),
        (rule.recommend, text.recommends, "recommended"),
    ):
        if condition is not None and words is not None:
            yield "" if _is_said_by_title(condition) else words, severity


def _is_said_by_title(condition: Condition) -> bool:
    """Return whether a condition is only that something holds, or is set or not."""
    return condition.unit == "boolean" or all(row.shape == "flag" for row, _ in condition.tests)


def _code(name: str) -> str:
    return escape_markdown(name) if "`" in name else f"`{name}`"
