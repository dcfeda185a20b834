"""Makes foreign text harmless, whatever medium it goes to; formats escape their own syntax."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Mapping
from typing import Any

from preflight.model.quantities import shorten_text
from preflight.model.report import Report, ResolvedFix, Result

MAX_FOREIGN_CHARS = 2000  # of one foreign text in a format that other programs read
_MAX_URL_CHARACTERS = 1000  # a URL that is cut leads nowhere
_URL_SAFE_CHARACTERS = "-._~:/?#[]@!$&'()*+,;=%"  # RFC 3986, 2.2 and 2.3
_UNPRINTABLE_PATTERN = (  # `re` compiles it once a text has one
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb\ufffe\uffff]"
)
_PYTHON_TYPES_WITHOUT_TEXT = frozenset({bool, int, float, type(None)})
# CI systems read it as a command anywhere in a line: ##[error], ##vso[task.complete]
_CI_COMMAND_PATTERN = r"(?i)##(?=[a-z]*\[)"


def clean_text(text: str) -> str:
    """Make foreign text harmless in a terminal or a log: one line, no control characters."""
    # ten times as fast as the pattern; our own texts have spaces where no line may end
    if not text.isprintable() and not text.replace("\N{NO-BREAK SPACE}", "").isprintable():
        text = re.sub(_UNPRINTABLE_PATTERN, lambda m: " " if m[0] in "\t\r\n" else "\ufffd", text)
    return re.sub(_CI_COMMAND_PATTERN, "## ", text) if "##" in text else text


def _is_clean_text(text: str) -> bool:
    return len(text) <= MAX_FOREIGN_CHARS and text.isprintable() and "##" not in text


def clean_and_shorten(text: str, limit: int = MAX_FOREIGN_CHARS) -> str:
    """Make foreign text harmless and cut it to `limit` characters."""
    return shorten_text(clean_text(text[: limit + 1]), limit)


def sanitize_texts(value: Any) -> Any:
    """Return a report, or any part of one, with all its texts harmless and short.

    Commands keep their lines; a result without a message gets its name for one.
    """
    if isinstance(value, str):
        return value if _is_clean_text(value) else clean_and_shorten(value)
    if value.__class__ in _PYTHON_TYPES_WITHOUT_TEXT:
        return value
    if isinstance(value, ResolvedFix):
        command = _sanitize_shell_command(value.command or "") or None
        return ResolvedFix(
            clean_and_shorten(value.text), command, sanitize_texts(value.url), value.kind
        )
    if hasattr(value, "_make"):  # a named tuple
        texts = "".join([field for field in value if field.__class__ is str])
        # quicker than to look at each
        harmless = (
            {*_PYTHON_TYPES_WITHOUT_TEXT, str}
            if _is_clean_text(texts)
            else _PYTHON_TYPES_WITHOUT_TEXT
        )
        fields = [f if f.__class__ in harmless else sanitize_texts(f) for f in value]
        copy: Any = value._make(fields)
        if isinstance(copy, Result):
            message = copy.message.strip() or copy.name
            copy = copy if message == copy.message else copy._replace(message=message)
        elif isinstance(copy, Report):
            copy = copy._replace(next=_sanitize_shell_command(value.next))
        return copy
    if isinstance(value, tuple | list):
        return tuple(map(sanitize_texts, value))
    if isinstance(value, Mapping):
        return {key: sanitize_texts(inner) for key, inner in value.items()}
    return value


def _sanitize_shell_command(command: str) -> str:
    if not command.strip():  # nothing to copy
        return ""
    short = shorten_text(command, MAX_FOREIGN_CHARS)
    lines = re.sub(r"\r\n?", "\n", short).removesuffix("\n").split("\n")
    return "\n".join(map(clean_text, lines))  # str.splitlines also splits at control characters


def format_safe_json(value: Any, indent: int | None = 2) -> str:
    """Return JSON in ASCII alone, in which no CI system finds a command.

    What can be called is asked for its value in its turn, so that a large text takes little memory.
    """
    if indent is None:
        return hide_ci_commands(json.dumps(value))
    text = io.StringIO()
    json.dump(value, text, indent=indent, default=lambda make_value: make_value())
    return hide_ci_commands(text.getvalue())


def hide_ci_commands(json_document: str) -> str:
    """Return the same JSON, in which no CI system finds a command."""
    return re.sub(_CI_COMMAND_PATTERN, r"\\u0023#", json_document)


def make_safe_web_address(url: str | None) -> str:
    """Return a web address as the target of a link; "" if it isn't one, so it is only shown."""
    is_web = re.match(r"https?://", url or "", re.IGNORECASE)
    if not url or not is_web or len(url) > _MAX_URL_CHARACTERS:
        return ""
    from urllib.parse import quote  # its imports take longer than those of a whole report

    return quote(clean_and_shorten(url), safe=_URL_SAFE_CHARACTERS)
