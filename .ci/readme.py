"""Fills the README's tables from the code; `--check` fails where they have drifted."""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

from preflight import check as pipeline
from preflight.cli.streams import read_rules
from preflight.facts.table import FACTS
from preflight.model.conditions import OPERATORS
from preflight.model.rules import DEFAULT_RULES, RuleSet
from preflight.render import RENDERERS

README = Path(__file__).resolve().parent.parent / "README.md"


OTHER = "Starting the stack"  # not of the document: what holds for any compose file
SUPPORT = ("host-memory", "docker-memory", "container-memory", "model-fits")
"""The document's last section sends the reader back to what these rules judge."""


def sections(rules: RuleSet) -> dict[str, list[str]]:
    """Return the ids of the rules by the section that they name, in the file's order."""
    found: dict[str, list[str]] = {}
    for rule in rules.rules:
        found.setdefault(rule.section, []).append(rule.id)
    own = found.pop(OTHER)
    return {**found, "Support": list(SUPPORT), OTHER: own}


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def summary(module: str) -> str:
    """Return the first line of a module's docstring."""
    return (import_module(module).__doc__ or "").splitlines()[0].rstrip(".")


def tables() -> dict[str, str]:
    """Return every generated table by the name of its marker."""
    return {
        "formats": table(
            ("format", "what it is"),
            [(f"`{name}`", summary(module)) for name, module in RENDERERS.items()],
        ),
        "conditions": table(
            ("condition", "holds where the value is"),
            [(f"`{row.name}`", row.summary) for row in OPERATORS.values()],
        ),
        "sections": table(
            ("section of the document", "rules"),
            [
                (name, ", ".join(f"`{one}`" for one in ids))
                for name, ids in sections(pipeline.load(DEFAULT_RULES, read_rules)).items()
            ],
        ),
        "facts": table(
            ("fact", "unit", "what"),
            [(f"`{fact.path}`", fact.unit, fact.summary) for fact in FACTS],
        ),
    }


def filled(text: str) -> str:
    """Return the page with every marked table made anew."""
    for name, made in tables().items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text, count = re.subn(pattern, lambda m: f"{m[1]}{made}\n{m[2]}", text, flags=re.DOTALL)  # noqa: B023
        if count != 1:
            sys.exit(f"README.md: expected one <!-- {name} --> … <!-- end -->, found {count}")
    return text


def main() -> None:
    """Write the page, or say that it has drifted."""
    text = README.read_text(encoding="utf-8")
    made = filled(text)
    if "--check" not in sys.argv:
        README.write_text(made, encoding="utf-8")
    elif made != text:
        sys.exit("README.md has drifted from the code: run .venv/bin/python .ci/readme.py")


if __name__ == "__main__":
    main()
