"""Foreign text in Markdown: as text alone, as a link, as a block of code that it can't end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from preflight.model.report import ResolvedFix
from preflight.render.sanitize import MAX_CHARACTERS, shorten, web_address
from preflight.render.tasks import command_lines

_MARKDOWN_SYNTAX = re.compile(r"[\\`*\[<&~$]|(?<![^\W_])_|_(?![^\W_])")
_AUTOLINKED = re.compile(
    r"""@(?=\w) | [#!$&](?=\d) | [~%](?=["\w]) | GH(?=-\d)     # people, issues, labels
    | https?(?=://) | ftp(?=://) | www(?=\.) | :(?=[\w+-]+:)  # addresses, emoji
    """,
    re.IGNORECASE | re.VERBOSE,
)
_STARTS_BLOCK = re.compile(r"[-+=#:>\d]")
_ZERO_WIDTH_SPACE = "\u200b"  # it breaks mentions and automatic links
_BRACKETS = str.maketrans({"[": "%5B", "]": "%5D"})  # they are syntax in Markdown


def escape_markdown(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return foreign text as text alone: without markup, HTML, links, cells or mentions."""
    text = _AUTOLINKED.sub(rf"\g<0>{_ZERO_WIDTH_SPACE}", shorten(text, limit).strip())
    return _MARKDOWN_SYNTAX.sub(r"\\\g<0>", text).replace("|", "&#124;")


def list_item(text: str, limit: int = MAX_CHARACTERS) -> str:
    """Return foreign text for the start of a list item, where it must not start a block."""
    text = escape_markdown(text, limit)
    return f"{_ZERO_WIDTH_SPACE if _STARTS_BLOCK.match(text) else ''}{text}"


def web_link(url: str) -> str:
    """Return a web address as a link; any other text is only shown."""
    address = web_address(url)
    return f"<{address.translate(_BRACKETS)}>" if address else escape_markdown(url, 1000)


def code_block(lines: Iterable[str], language: str) -> str:
    """Return a block of code, fenced by more backticks than are in it."""
    safe = [_defuse_command(line) for line in lines]
    longest = max(map(len, re.findall("`+", "\n".join(safe))), default=0)
    ticks = "`" * max(3, longest + 1)
    return "\n".join([f"{ticks}{language}", *safe, ticks])


def fix_items(fixes: Iterable[ResolvedFix], limit: int = MAX_CHARACTERS) -> Iterator[str]:
    """Yield the lines of a list with an item for each fix: its text, its command, its link."""
    for fix in fixes:
        yield f"- {list_item(fix.text, limit) or 'fix'}"
        if fix.command:
            for line in code_block(command_lines(fix), "sh").splitlines():
                yield f"  {line}".rstrip()
        if fix.url:
            yield f"  {web_link(fix.url)}"


def _defuse_command(line: str) -> str:
    """Return what a shell reads alike, and GitHub's runner doesn't take for its command."""
    return line.replace("::", "\\::", 1) if line.lstrip().startswith("::") else line
