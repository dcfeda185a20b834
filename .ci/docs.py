"""Fills the tables of the documentation from the code; `--check` fails if they have drifted.

python .ci/docs.py             write the tables
python .ci/docs.py --check     exit with 1 if a page differs
python .ci/docs.py --picture   write the README's picture too, from a saved machine
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

from preflight.check import load_ruleset
from preflight.cli.streams import read_rule_file
from preflight.facts.table import ALL_FACTS
from preflight.model.conditions import OPERATORS
from preflight.model.rules import DEFAULT_RULE_SET, GENERAL_RULE_SET, IMAGES_BY_PACK
from preflight.render import FORMATS
from preflight.rules.schema_decoding import build_json_schema

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RULES_PAGE = ROOT / "docs/reference/rules.md"
PICTURE = ROOT / "docs/assets/report.svg"
PICTURED = ("--facts", "tests/cases/docker-desktop-mac/facts.json")
COLUMNS = 80
DEFINITIONS = ("rule", "fix", "model", "diagnosis", "waiver", "profile", "edition")


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """Return text for one cell of a table."""
    return text.strip().replace("|", "\\|")


def summary(module: str) -> str:
    """Return the first line of a module's docstring."""
    return (import_module(module).__doc__ or "").splitlines()[0].rstrip(".")


def keys(part: dict[str, Any]) -> str:
    """Return the table of the keys of one part of a rule file."""
    required = part.get("required", ())
    rows = [
        (f"`{key}`", "yes" if key in required else "", value.get("description", ""))
        for key, value in part["properties"].items()
    ]
    return table(("key", "required", "meaning"), rows)


def refusals() -> list[tuple[str, str, str, str]]:
    """Return the rules that foretell what an engine says, with the test that asks it."""
    sys.path.insert(0, str(ROOT / "tests/support"))
    refused = import_module("refused_projects")
    engines: dict[str, set[str]] = {}
    for row in refused.REFUSED_PROJECTS.values():
        engines.setdefault(row.rule, set()).update(name.capitalize() for name in row.engines)
    rows = []
    for rule in load_ruleset(GENERAL_RULE_SET, read_rule_file).rules:
        if rule.error:
            asked = refused.NOT_ASKED_HERE.get(rule.id, "the image's own text")
            if rule.id in engines:
                names = " and ".join(sorted(engines[rule.id]))
                asked = f"{names}: tests/unit/facts/test_service_refusals.py"
            rows.append((cell(rule.title), f"`{rule.id}`", f"`` {cell(rule.error)} ``", asked))
    return rows


def refused_settings() -> list[tuple[str, str]]:
    """Return the keys of a service that are refused, and a part of what is then said."""
    refused = import_module("refused_projects")
    rows = {(keys, ""): words for keys, words in refused.REFUSED_SETTINGS.items()}
    shown = [  # without another service
        (f"{keys} {rest.strip()}" if rest[:1].strip() else keys, words)
        for (keys, rest), words in (rows | refused.REFUSED_NETWORKS).items()
    ]
    return [(f"`` {cell(keys)} ``", f"`` {cell(words)} ``") for keys, words in shown]


def requirements_of_documents() -> dict[str, str]:
    """Return what fifteen documents ask for: by document, and by kind of requirement."""
    sys.path.insert(0, str(ROOT / "tests/support"))
    documents = import_module("requirement_kinds")
    by_document, names_by_kind = [], {}
    for name, missing in documents.read_not_stated().items():
        ruleset = documents.load_document(name)
        kinds = documents.find_kinds(ruleset)
        for kind in kinds:
            names_by_kind.setdefault(kind, []).append(name)
        shown = f"**{name}**" if name in IMAGES_BY_PACK else name
        link = f"[{cell(ruleset.source)}]({ruleset.edition.url})"
        by_document.append((shown, link, ", ".join(kinds), "; ".join(missing) or "nothing"))
    by_kind = [
        (kind, ", ".join(f"`{fact}`" for fact in facts), ", ".join(names_by_kind[kind]))
        for kind, facts in documents.FACTS_BY_KIND.items()
    ]
    return {
        "documents": table(("stack", "document", "asks for", "can't be stated"), by_document),
        "requirement-kinds": table(("kind", "facts that begin with", "stacks"), by_kind),
    }


def tables() -> dict[str, str]:
    """Return every generated table by the name of its marker."""
    rule_file = build_json_schema()
    parts = {name: rule_file["$defs"][name] for name in DEFINITIONS}
    return {
        "formats": table(
            ("format", "what it is"),
            [(f"`{name}`", summary(module)) for name, module in FORMATS.items()],
        ),
        "conditions": table(
            ("condition", "holds if the value is"),
            [(f"`{row.name}`", row.summary) for row in OPERATORS.values()],
        ),
        "facts": table(
            ("fact", "unit", "meaning"),
            [(f"`{fact.path}`", fact.unit, fact.summary) for fact in ALL_FACTS],
        ),
        "errors": table(
            ("error", "meaning", "an example", "versions"),
            [
                (
                    f"**{cell(error.title)}** `{error.id}`",
                    cell(error.cause),
                    f"`` {cell(error.examples[0])} ``",
                    cell(error.versions or ""),
                )
                for error in load_ruleset(
                    DEFAULT_RULE_SET, read_rule_file, known_errors=True
                ).diagnoses
                if error.report
            ],
        ),
        "refusals": table(
            ("what holds", "rule", "what is printed otherwise", "where that was asked"), refusals()
        ),
        "refused-settings": table(("in the file", "part of what is printed"), refused_settings()),
        **requirements_of_documents(),
        "file-keys": keys(rule_file),
        **{f"{name}-keys": keys(part) for name, part in parts.items()},
    }


def filled(text: str, made: dict[str, str]) -> str:
    """Return a page with each of its marked tables replaced."""
    for name, content in made.items():
        pattern = rf"(<!-- {name} -->\n).*?(<!-- end -->)"
        text = re.sub(pattern, lambda m, c=content: f"{m[1]}{c}\n{m[2]}", text, flags=re.DOTALL)
    return text


def drifted() -> Iterator[tuple[Path, str]]:
    """Yield each page whose tables differ from the code, with what it should hold."""
    made = tables()
    pages = {page: page.read_text(encoding="utf-8") for page in PAGES}
    for name in made:
        if not any(f"<!-- {name} -->" in text for text in pages.values()):
            sys.exit(f"no page has a table <!-- {name} -->")
    for page, text in pages.items():
        wanted = rules_page() if page == RULES_PAGE else filled(text, made)
        if wanted != text:
            yield page, wanted


def rules_page() -> str:
    """Return the bundled rules as a requirements document."""
    return preflight("rules", "document", "--rules", "rules.yaml")


def preflight(*arguments: str, **variables: str) -> str:
    """Return what the program prints, run in the checkout."""
    done = subprocess.run(
        [sys.executable, "-m", "preflight", *arguments], cwd=ROOT, env={**os.environ, **variables},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.stdout


def draw_picture() -> None:
    """Write the report on a saved machine as a picture."""
    from rich.console import Console
    from rich.text import Text

    report = preflight("check", *PICTURED, FORCE_COLOR="1", COLUMNS=str(COLUMNS))
    console = Console(record=True, width=COLUMNS, file=open(os.devnull, "w"))  # noqa: SIM115
    console.print(Text.from_ansi(report))
    picture = console.export_svg(title="preflight check")
    picture = re.sub(r"@font-face \{.*?\}\n", "", picture, flags=re.DOTALL)  # fonts of another host
    PICTURE.write_text(picture, encoding="utf-8")


def main() -> None:
    """Write the pages, or say which of them have drifted."""
    found = list(drifted())
    if "--check" in sys.argv:
        names = ", ".join(str(page.relative_to(ROOT)) for page, _ in found)
        sys.exit(f"drifted from the code: {names}; run python .ci/docs.py" if found else 0)
    for page, text in found:
        page.write_text(text, encoding="utf-8")
    if "--picture" in sys.argv:
        draw_picture()


if __name__ == "__main__":
    main()
