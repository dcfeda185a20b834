"""What the other commands show: the facts, one rule explained, a rule set, the models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from preflight.model.explanations import ModelFit, ModelListing, RuleConditionsText, RuleExplanation
from preflight.model.facts import FactCatalogue, Facts, Unit, join_path
from preflight.model.quantities import (
    format_bytes,
    format_duration,
    format_number,
    looks_like_binary_size,
)
from preflight.model.rules import Profile, Rule, RuleSet
from preflight.model.secret_names import is_secret_fact
from preflight.render import RenderOptions
from preflight.render.json_report import as_plain_data
from preflight.render.layout import FillingPart, TextLayout, pad_to_width
from preflight.render.memory import format_memory_bar

_MAX_FACT_NAME_COLUMNS, _MAX_MODEL_NAME_COLUMNS = 34, 32
_BAR_CELLS = 12  # of the largest model or the budget
_WORD_AND_STYLE_BY_FIT = {
    True: ("fits", "green"),
    False: ("too large", "bold red"),
    None: ("unknown", "magenta"),
}


def render_facts(
    measured: Facts, catalogue: FactCatalogue, options: RenderOptions, *, show_secrets: bool = False
) -> str:
    """List every value with its source, then what could not be measured with the reason."""
    layout = TextLayout(options)
    rows = [
        (join_path(path), path, value) for path, value in iterate_paths_and_values(measured.values)
    ]
    width = min(max((len(name) for name, _, _ in rows), default=0), _MAX_FACT_NAME_COLUMNS)
    for name, path, value in rows:
        fact = catalogue.find(path)
        is_hidden = not show_secrets and value is not None and is_secret_fact(path)
        text = "not shown" if is_hidden else format_fact_value(value, fact.unit if fact else "text")
        head = f"{pad_to_width(name, width)}  {text}"
        source = measured.source(path)
        if len(head) + len(source) + 3 <= options.columns:
            layout.add_line(head, (f"   {source}", "dim"))
        else:
            layout.add_line(head)
            layout.add_wrapped(source, width + 2, "dim")
    by_reason: dict[str, list[str]] = {}
    for name, unknown in measured.unknown.items():
        by_reason.setdefault(f"{unknown.reason} ({unknown.kind})", []).append(name)
    if by_reason and rows:
        layout.add_blank_line()
    if by_reason:
        layout.add_line(("Not measured", "bold"))
    for reason, names in by_reason.items():
        layout.add_wrapped(", ".join(names), 2)
        layout.add_wrapped(reason, 6, "dim")
    return layout.to_text()


def iterate_paths_and_values(
    node: Mapping[str, Any], above: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yield every value with its path."""
    for name, value in node.items():
        if isinstance(value, dict):
            yield from iterate_paths_and_values(value, (*above, name))
        else:
            yield (*above, name), value


def format_fact_value(value: Any, unit: Unit) -> str:
    """Write a value as people read it."""
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float) and unit == "bytes":
        other = format_bytes(value, binary=not looks_like_binary_size(value))
        return (
            f"{format_bytes(value, binary=looks_like_binary_size(value))} ({other})"
            if value
            else "0 B"
        )
    if isinstance(value, int | float) and unit == "seconds":
        return format_duration(value)
    if isinstance(value, list):
        return ", ".join(map(str, value)) or "none"
    return format_number(value, 3) if isinstance(value, float) else str(value)


def render_explanation(explained: RuleExplanation, options: RenderOptions) -> str:
    """Show one rule: what it asks, why, where the document says it, its value here, its fixes."""
    layout = TextLayout(options)
    rule, text = explained.rule, explained.text
    severity = "required" if text.requires else "recommended"
    layout.add_line(FillingPart(f"{rule.id} · {rule.title}", "bold"), (severity, "dim"))
    condition = f"{text.fact} {text.requires or text.recommends}"
    if (main := rule.require or rule.recommend) is not None and not main.compares_with_value:
        condition = f"{rule.title} ({text.fact})"
    elif text.requires and text.recommends:
        condition += f" (recommended: {text.recommends})"
    document = f"in {explained.source}" if explained.source else ""
    entries = [
        ("asks", condition),
        ("profile", explained.profile),
        ("why", rule.why),
        ("from", f'"{rule.section}" {document}'.strip() if rule.section else ""),
        ("needs", ", ".join(rule.needs)),
        ("applies", " and ".join(text.applies_if)),
    ]
    for result in explained.results:
        mark, _ = options.sign(result.verdict)
        item = f"{result.item}: " if result.item is not None else ""
        value = f"{mark} {item}{result.actual_text}   {result.reason_or_source}"
        entries.append(("here", value))
        if result.waiver and result.waiver.holds:
            entries.append(("here", result.waiver.sentence))
    for name, entry in entries:
        if entry:
            layout.add_wrapped(entry, 2, prefix=pad_to_width(name, 8))
    layout.add_fixes(explained.fixes, 2, command_indent=10, prefix=pad_to_width("fix", 8))
    return layout.to_text()


def render_rules(ruleset: RuleSet, options: RenderOptions) -> str:
    """List the rules: id, title, tags."""
    layout = TextLayout(options)
    width = max((len(rule.id) for rule in ruleset.rules), default=0) + 2
    for rule in ruleset.rules:
        state = "" if rule.enabled else " (off)"
        tags = f" · {' '.join(rule.tags)}" if rule.tags else ""
        layout.add_wrapped(
            f"{rule.title}{state}{tags}", 0, prefix=(pad_to_width(rule.id, width), "bold")
        )
    layout.add_blank_line()
    profiles = ", ".join(profile.name for profile in ruleset.profiles)
    if profiles:
        layout.add_wrapped(f"Profiles: {profiles}", 0)
    layout.add_line(f"{len(ruleset.rules)} rules · {ruleset.name} ({ruleset.origin})")
    return layout.to_text()


def rules_as_json(ruleset: RuleSet) -> dict[str, Any]:
    """Return the rules as an object for `rules list -f json`."""
    return {
        "schema": "preflight.rule-list/1",
        "name": ruleset.name,
        "origin": ruleset.origin,
        "source": ruleset.source,
        "sha256": ruleset.sha256,
        "vars": dict(ruleset.vars),
        "profiles": {profile.name: dict(profile.vars) for profile in ruleset.profiles},
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


def render_packs(packs: Sequence[RuleSet], options: RenderOptions) -> str:
    """List bundled sets with the documents that they state."""
    layout = TextLayout(options)
    width = max(len(pack.name) for pack in packs) + 2
    for pack in map(_pack_as_json, packs):
        version = " · ".join(filter(None, (pack["version"], pack["date"])))
        layout.add_wrapped(
            f"{pack['title']} · {version} · {pack['rules']} rules",
            0,
            prefix=(pad_to_width(pack["name"], width), "bold"),
        )
        layout.add_wrapped(pack["url"], width, "dim")
    layout.add_blank_line()
    layout.add_verbatim(
        "To use one, run preflight check --rules NAME, or write extends: [NAME] in a rule file", 0
    )
    return layout.to_text()


def packs_as_json(packs: Sequence[RuleSet]) -> dict[str, Any]:
    """Return `preflight.packs/1`."""
    return {"schema": "preflight.packs/1", "packs": list(map(_pack_as_json, packs))}


def _pack_as_json(pack: RuleSet) -> dict[str, Any]:
    """Return a bundled set with its document, and the number of rules that state it."""
    edition = pack.edition
    return {
        "name": pack.name,
        "title": pack.source,
        "url": edition and edition.url,
        "version": edition and edition.version,
        "date": edition and edition.date and edition.date.isoformat(),
        "rules": sum(1 for rule in pack.rules if rule.file == pack.origin and rule.enabled),
    }


def render_models(listing: ModelListing, options: RenderOptions) -> str:
    """Show the budget with its source, then a line for each model."""
    layout = TextLayout(options)
    budget = "unknown" if listing.budget is None else format_bytes(listing.budget, binary=True)
    layout.add_wrapped(f"{budget}: {listing.budget_source}", 0, prefix=("Budget ", "bold"))
    if not listing.models:
        layout.add_line("The rule file lists no models.")
    width = min(
        _MAX_MODEL_NAME_COLUMNS, max((len(model.name) for model in listing.models), default=0)
    )
    largest = max([listing.budget or 0, *(model.memory or 0 for model in listing.models)])
    room = options.columns - width - _BAR_CELLS - 14

    def describe(model: ModelFit) -> list[str]:
        return [
            _WORD_AND_STYLE_BY_FIT[model.fits][0],
            *(["configured"] if model.configured else []),
        ]

    has_notes = all(
        len(" · ".join([*describe(model), model.note])) <= room for model in listing.models
    )
    for model in listing.models:
        size = "unknown" if model.memory is None else format_bytes(model.memory)
        style = _WORD_AND_STYLE_BY_FIT[model.fits][1]
        layout.add_line(
            f"  {pad_to_width(model.name, width)}  {pad_to_width(size, 8, right=True)}  ",
            (
                pad_to_width(
                    format_memory_bar(model.memory or 0, 0, largest, _BAR_CELLS), _BAR_CELLS
                ),
                style,
            ),
            "  ",
            (" · ".join(describe(model)), style),
            (f" · {model.note}" if model.note and has_notes else "", "dim"),
        )
    return layout.to_text()


def models_as_json(listing: ModelListing) -> dict[str, Any]:
    """Return `preflight.models/1`."""
    return {"schema": "preflight.models/1", **as_plain_data(listing)}


def render_requirements_document(
    ruleset: RuleSet, texts: Sequence[RuleConditionsText], profiles: Sequence[Sequence[str]] = ()
) -> str:
    """Return the requirements document as Markdown.

    `texts` are those of the rules, in their order, and `profiles` what chooses each profile.
    The same rules give the same document: it has no times and no versions.
    """
    from preflight.render.jinja_templates import MARKDOWN_JINJA_ENVIRONMENT, code_span

    sections: dict[str, list[tuple[Rule, RuleConditionsText, str]]] = {}
    for rule, text in zip(ruleset.rules, texts, strict=True):
        entry = (rule, text, ", ".join(_phrase_conditions(rule, text)))
        sections.setdefault(rule.section or "Other requirements", []).append(entry)
    sections["Other requirements"] = sections.pop("Other requirements", [])
    if ruleset.edition:  # what it says comes before what the set adds
        own = {rule.section for rule in ruleset.rules if rule.file == ruleset.origin}
        sections = dict(sorted(sections.items(), key=lambda section: section[0] not in own))
    template = MARKDOWN_JINJA_ENVIRONMENT.get_template("requirements.md.j2")
    document = template.render(
        ruleset=ruleset,
        profiles=list(zip(ruleset.profiles, profiles, strict=True)),
        sections={title: entries for title, entries in sections.items() if entries},
        join_path=join_path,
        list_figures=_format_profile_vars,
        format_bytes=format_bytes,
        code=code_span,
    )
    return document.rstrip("\n") + "\n"


def _format_profile_vars(profile: Profile) -> str:
    return ", ".join(f"{name} {value}" for name, value in profile.vars.items()) or "those above"


def _phrase_conditions(rule: Rule, text: RuleConditionsText) -> Iterator[str]:
    """Yield the words for each condition, only the severity where the title already says it."""
    for condition, words, severity in (
        (rule.require, text.requires, "required"),
        (rule.recommend, text.recommends, "recommended"),
    ):
        if condition is not None and words is not None:
            yield f"{words} {severity}" if condition.compares_with_value else severity
