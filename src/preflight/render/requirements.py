"""The requirements document of a rule set, as Markdown: sections, rules, models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from markupsafe import Markup

from preflight.model.facts import join_path
from preflight.model.quantities import format_bytes
from preflight.model.report import RuleText
from preflight.model.rules import Rule, RuleSet
from preflight.render.markdown_escape import TEMPLATES, escape_markdown


def render(ruleset: RuleSet, texts: Sequence[RuleText]) -> str:
    """Return the document; `texts` are those of the rules, in their order.

    The same rules give the same document: it has no times and no versions.
    """
    sections: dict[str, list[tuple[Rule, RuleText, str]]] = {}
    for rule, text in zip(ruleset.rules, texts, strict=True):
        entry = (rule, text, ", ".join(_conditions(rule, text)))
        sections.setdefault(rule.section or "Other requirements", []).append(entry)
    sections["Other requirements"] = sections.pop("Other requirements", [])  # they come last
    template = TEMPLATES.get_template("requirements.md.j2")
    document = template.render(
        ruleset=ruleset,
        sections={title: entries for title, entries in sections.items() if entries},
        join_path=join_path,
        format_bytes=format_bytes,
        code=_code,
    )
    return document.rstrip("\n") + "\n"


def _conditions(rule: Rule, text: RuleText) -> Iterator[str]:
    """Yield the words for each condition, only the severity where the title already says it."""
    for condition, words, severity in (
        (rule.require, text.requires, "required"),
        (rule.recommend, text.recommends, "recommended"),
    ):
        if condition is not None and words is not None:
            is_said_by_title = condition.unit == "boolean" or all(
                row.shape == "flag" for row, _ in condition.tests
            )
            yield severity if is_said_by_title else f"{words} {severity}"


def _code(name: str) -> Markup:
    return Markup(escape_markdown(name) if "`" in name else f"`{name}`")  # nosec B704
