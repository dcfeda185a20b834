"""The templates beside this file, for HTML and Markdown; every value in them is escaped.

Foreign text in Markdown is text alone, a link, or a block of code that it can't end.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from preflight.render import fleet_summary, memory, report_texts
from preflight.render.sanitize import MAX_FOREIGN_CHARS, clean_and_shorten, make_safe_web_address

REPORT_TEMPLATE_FOLDER = files("preflight.render")
_MARKDOWN_SYNTAX_PATTERN = re.compile(r"[\\`*\[<&~$]|(?<![^\W_])_|_(?![^\W_])")
_GITHUB_AUTOLINK_PATTERN = re.compile(
    r"""@(?=\w) | [#!$&](?=\d) | [~%](?=["\w]) | GH(?=-\d)     # people, issues, labels
    | https?(?=://) | ftp(?=://) | www(?=\.) | :(?=[\w+-]+:)  # addresses, emoji
    """,
    re.IGNORECASE | re.VERBOSE,
)
_MARKDOWN_BLOCK_START_PATTERN = re.compile(r"[-+=#:>\d]")
_ZERO_WIDTH_SPACE = "\u200b"  # it breaks mentions and automatic links
_URL_BRACKET_ESCAPES = str.maketrans({"[": "%5B", "]": "%5D"})  # they are syntax in Markdown


def make_jinja_environment(finalize: Callable[[Any], Any] | None = None) -> Environment:
    """Return an environment that escapes HTML, after `finalize` has seen every value."""
    environment = Environment(
        loader=FunctionLoader(
            lambda name: REPORT_TEMPLATE_FOLDER.joinpath(name).read_text("utf-8")
        ),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # the templates ask these modules what to say
    environment.globals.update(vars(report_texts) | vars(fleet_summary) | vars(memory))
    return environment


def escape_markdown(text: str, limit: int = MAX_FOREIGN_CHARS) -> str:
    """Return foreign text as text alone: without markup, HTML, links, cells or mentions."""
    text = _GITHUB_AUTOLINK_PATTERN.sub(
        rf"\g<0>{_ZERO_WIDTH_SPACE}", clean_and_shorten(text, limit).strip()
    )
    return _MARKDOWN_SYNTAX_PATTERN.sub(r"\\\g<0>", text).replace("|", "&#124;")


def escape_markdown_list_item(text: str, limit: int = MAX_FOREIGN_CHARS) -> str:
    """Return foreign text for the start of a list item, where it must not start a block."""
    text = escape_markdown(text, limit)
    return f"{_ZERO_WIDTH_SPACE if _MARKDOWN_BLOCK_START_PATTERN.match(text) else ''}{text}"


def code_span(name: str) -> Markup:
    """Return a name as code, if that can hold it."""
    return Markup(escape_markdown(name) if "`" in name else f"`{name}`")  # nosec B704


def format_markdown_link(url: str) -> str:
    """Return a web address as a link; any other text is only shown."""
    address = make_safe_web_address(url)
    return f"<{address.translate(_URL_BRACKET_ESCAPES)}>" if address else escape_markdown(url, 1000)


def format_markdown_code_block(lines: Iterable[str], language: str) -> str:
    """Return a block of code, fenced by more backticks than are in it."""
    # a shell reads \:: as ::, which GitHub's runner would take for its command
    safe = [
        line.replace("::", "\\::", 1) if line.lstrip().startswith("::") else line for line in lines
    ]
    longest = max(map(len, re.findall("`+", "\n".join(safe))), default=0)
    ticks = "`" * max(3, longest + 1)
    return "\n".join([f"{ticks}{language}", *safe, ticks])


def _make_markup_filter(escape: Callable[..., str]) -> Callable[..., Markup]:
    return lambda *arguments: Markup(escape(*arguments))  # nosec B704


def _escape_markdown_value(value: Any) -> Any:
    return Markup(escape_markdown(value)) if type(value) is str else value  # nosec B704


MARKDOWN_JINJA_ENVIRONMENT = make_jinja_environment(_escape_markdown_value)
"""The templates of Markdown: in them every text is escaped as Markdown needs it."""
MARKDOWN_JINJA_ENVIRONMENT.filters |= {
    "limit": _make_markup_filter(escape_markdown),
    "escape_markdown_list_item": _make_markup_filter(escape_markdown_list_item),
    "format_markdown_link": _make_markup_filter(format_markdown_link),
    "format_markdown_code_block": _make_markup_filter(format_markdown_code_block),
}
