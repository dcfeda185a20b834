"""Foreign text in Markdown: as text alone, as a link, as a block of code that it can't end."""

from __future__ import annotations

import re
from collections.abc import Iterable

from preflight.render.address import address
from preflight.render.options import short

_SYNTAX = re.compile(r"[\\`*\[<&~$]|(?<![^\W_])_|_(?![^\W_])")
_LINKED = re.compile(
    r"""@(?=\w) | [#!$&](?=\d) | [~%](?=["\w]) | GH(?=-\d)     # people, issues, labels
    | https?(?=://) | ftp(?=://) | www(?=\.) | :(?=[\w+-]+:)  # addresses, emoji
    """,
    re.IGNORECASE | re.VERBOSE,
)
BREAK = "\u200b"  # zero-width: what it stands in notifies nobody and leads nowhere
_LONGEST_URL = 1000  # characters
_BRACKETS = str.maketrans({"[": "%5B", "]": "%5D"})  # they are syntax in Markdown


def escaped(text: str) -> str:
    """Return foreign text as text alone: no markup, HTML, link, table cell; nobody is mentioned."""
    text = _LINKED.sub(rf"\g<0>{BREAK}", text.strip())
    return _SYNTAX.sub(r"\\\g<0>", text).replace("|", "&#124;")


def link(url: str) -> str:
    """Return a web address as a link; any other is text."""
    led = address(url)
    return f"<{led.translate(_BRACKETS)}>" if led else escaped(short(url, _LONGEST_URL))


def fence(lines: Iterable[str], language: str) -> str:
    """Return a block of code, fenced by more backticks than stand in it."""
    safe = [_no_command(line) for line in lines]
    longest = max(map(len, re.findall("`+", "\n".join(safe))), default=0)
    ticks = "`" * max(3, longest + 1)
    return "\n".join([f"{ticks}{language}", *safe, ticks])


def _no_command(line: str) -> str:
    """Return what a shell reads alike, and GitHub's runner doesn't take for its command."""
    return line.replace("::", "\\::", 1) if line.lstrip().startswith("::") else line
