"""An override of a compose file as YAML, and what it leaves to the user as text."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from itertools import takewhile

from preflight.model.compose_override import ComposeOverride
from preflight.render import RenderOptions
from preflight.render.layout import TextLayout
from preflight.render.sanitize import clean_and_shorten, clean_text, hide_ci_commands

_UNQUOTED_YAML_KEY_PATTERN = re.compile(
    r"(?!(?:y|n|yes|no|on|off|true|false|null)\Z)[A-Za-z_][\w.-]*", re.I
)


def format_override_file(override: ComposeOverride, command: str) -> str:
    """Return the override as a compose file; `command` starts the project with it."""
    head = (
        f"# By preflight fix: {_format_fixed_check_count(override)} with this file.",
        "# Use it after the project's own files:",
        f"#   {clean_text(command)}",
        "services:",
    )
    return "\n".join((*head, *_format_nested_keys(override))) + "\n"


def _format_fixed_check_count(override: ComposeOverride) -> str:
    count = len(override.passing)
    return "1 failing check passes" if count == 1 else f"{count} failing checks pass"


def format_written_message(
    override: ComposeOverride, file: str, commands: Iterable[str], options: RenderOptions
) -> str:
    """Say what was written, and the commands that use it."""
    layout = TextLayout(options)
    layout.add_wrapped(f"Wrote {file}: {_format_fixed_check_count(override)} with it.", 0)
    for command in commands:
        layout.add_verbatim(f"$ {command}", 2, "cyan")
    return layout.to_text()


def _format_nested_keys(override: ComposeOverride) -> Iterator[str]:
    """Yield the nested keys of all edits, those with a common beginning together."""
    previous: tuple[str, ...] = ()
    edits = sorted(override.edits, key=lambda edit: (edit.service, edit.key))
    for edit in edits:
        path = (edit.service, *edit.key)
        pairs = zip(path, previous, strict=False)
        common = len(list(takewhile(lambda pair: pair[0] == pair[1], pairs)))
        for depth in range(common, len(path) - 1):
            yield f"{'  ' * (depth + 1)}{_format_yaml_key(path[depth])}:"
        previous = path
        comment = f"  # was {clean_and_shorten(edit.before)}: {', '.join(edit.rules)}"
        indent = "  " * len(path)
        if isinstance(edit.text, str):
            yield f"{indent}{_format_yaml_key(path[-1])}: {_quote_compose_text(edit.text)}{comment}"
            continue
        yield f"{indent}{_format_yaml_key(path[-1])}: !override{comment}"
        yield from (f"{indent}  - {_quote_compose_text(text)}" for text in edit.text)


def _format_yaml_key(text: str) -> str:
    return text if _UNQUOTED_YAML_KEY_PATTERN.fullmatch(text) else _format_yaml_string(text)


def _quote_compose_text(text: str) -> str:
    """Write a value in quotes; Compose takes a single dollar sign for a variable."""
    return _format_yaml_string(text.replace("$", "$$"))


def _format_yaml_string(text: str) -> str:
    return hide_ci_commands(json.dumps(text, ensure_ascii=not text.isprintable()))


def format_still_failing_results(override: ComposeOverride, options: RenderOptions) -> str:
    """List what fails still, with its fixes, and what warns only with the override."""
    layout = TextLayout(options)
    if override.failing:
        layout.add_line(("Not fixed by an override:", "bold"))
    for result, blocker in override.failing:
        layout.add_wrapped(result.message, 2, prefix=layout.verdict_mark(result.verdict))
        if blocker is not None:
            layout.add_wrapped(f"A value that passes would break: {blocker.name}.", 6)
        layout.add_fixes(result.fixes, 6)
    if override.warnings:
        layout.add_line(("Recommendations that the override doesn't meet:", "bold"))
    for result in override.warnings:
        layout.add_wrapped(result.message, 2, prefix=layout.verdict_mark(result.verdict))
    return layout.to_text()
