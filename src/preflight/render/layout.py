"""Lays out text for a terminal: lines with styles, cut or wrapped to its width."""

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import cache
from itertools import accumulate
from typing import NamedTuple

from preflight.model.report import ResolvedFix, Verdict
from preflight.render import SIGN_BY_VERDICT, RenderOptions
from preflight.render.report_texts import split_command_lines
from preflight.render.sanitize import clean_and_shorten, clean_text

ASCII_FALLBACK_BY_CHARACTER: Mapping[int, int | str] = {
    **str.maketrans("·–—“”▇▒├└◀×", '|--""#.|`<x'),
    ord("≥"): ">=",
    ord("≤"): "<=",
    ord("…"): "...",
    ord("→"): "->",
}
_ASCII_MARK_COLUMNS = max(len(sign.ascii_mark) for sign in SIGN_BY_VERDICT.values())
_SPACE_BEFORE_UNIT_PATTERN = re.compile(r"(\d) (?=[kKMGTP]i?B\b)")
_ANSI_SEQUENCE_PATTERN = re.compile("\x1b\\[[0-9;]*m")
# ECMA-48 8.3.117: the sixteen colours that every terminal theme sets
ANSI_SGR_CODES = {
    "bold": "1",
    "dim": "2",
    "green": "32",
    "yellow": "33",
    "magenta": "35",
    "cyan": "36",
    "bold red": "1;31",
    "bold green": "1;32",
}


class FillingPart(NamedTuple):
    """The part of a line that takes the width that the others leave."""

    text: str
    style: str = ""


LinePart = str | tuple[str, str] | FillingPart


class TextLayout:
    """Collects lines, each of texts with or without a style."""

    def __init__(self, options: RenderOptions) -> None:
        self.options = options
        self._lines: list[str] = []

    def add_line(self, *parts: LinePart) -> None:
        """Add a line; it is cut at the last column."""
        spans = [(part, "") if isinstance(part, str) else part for part in parts]
        room = self.options.columns
        rest = room - sum(
            count_columns(clean_text(s[0])) for s in spans if not isinstance(s, FillingPart)
        )
        drawn = []
        for span in spans:
            text = cut_to_width(
                pad_to_width(span[0], rest) if isinstance(span, FillingPart) else span[0], room
            )
            room -= count_columns(text)
            drawn.append((text, span[1]))
        self._append_styled_line(*drawn)

    def add_title(self, text: str) -> None:
        """Add an empty line and a title."""
        self.add_blank_line()
        self.add_line((text, "bold"))

    def add_wrapped(self, text: str, indent: int, style: str = "", prefix: LinePart = "") -> None:
        """Add text over as many lines as it needs; `prefix` is put before the first."""
        lead, lead_style = (prefix, "") if isinstance(prefix, str) else prefix
        room = self.options.columns - indent - count_columns(lead)
        # `8 GB` stays on one line
        joined = _SPACE_BEFORE_UNIT_PATTERN.sub("\\1\N{NO-BREAK SPACE}", clean_and_shorten(text))
        is_short = count_columns(joined) <= room
        for row in [joined.rstrip()] if is_short else _wrap_words(joined.split(" "), room):
            line = row.replace("\N{NO-BREAK SPACE}", " ")
            self._append_styled_line((" " * indent, ""), (lead, lead_style), (line, style))
            lead = " " * count_columns(lead)

    def verdict_mark(self, verdict: Verdict) -> tuple[str, str]:
        """Return the prefix of an item: a verdict's mark with its style."""
        mark, style = self.options.sign(verdict)
        return f"{pad_to_width(mark, _ASCII_MARK_COLUMNS) if self.options.ascii else mark} ", style

    def add_verbatim(self, text: str, indent: int, style: str = "") -> None:
        """Add a line that must stay whole to be copied."""
        self._append_styled_line((" " * indent, ""), (clean_text(text), style))

    def add_fixes(
        self, fixes: Iterable[ResolvedFix], indent: int, command_indent: int = 0, prefix: str = ""
    ) -> None:
        """Add fixes: each its text, the lines of its command to copy, its link."""
        for fix in fixes:
            if fix.text:
                self.add_wrapped(fix.text, indent, prefix=prefix)
            for line in split_command_lines(fix):
                self.add_verbatim(f"$ {line}", command_indent or indent, "cyan")
            if fix.url:
                self.add_verbatim(clean_and_shorten(fix.url), command_indent or indent, "dim")

    def add_blank_line(self) -> None:
        """Add an empty line after one that isn't empty."""
        if self._lines[-1:] != [""]:
            self._lines.append("")

    def to_text(self) -> str:
        """Return the text with a newline at the end of every line."""
        lines = map(self._to_ascii, self._lines) if self.options.ascii else self._lines
        return "".join(f"{line}\n" for line in lines)

    def _to_ascii(self, line: str) -> str:
        """Replace characters; where they get longer than the line, its widest gap makes room."""
        for shortened in (line, line.replace("…", "~")):
            text = shortened.translate(ASCII_FALLBACK_BY_CHARACTER)
            excess = len(_ANSI_SEQUENCE_PATTERN.sub("", text)) - self.options.columns
            if excess <= 0:
                return text
        return re.sub(rf"(?<=\S) {{{excess + 2},}}", lambda gap: gap[0][excess:], text, count=1)

    def _append_styled_line(self, *spans: tuple[str, str]) -> None:
        if self.options.color:
            line = "".join(
                f"\x1b[{ANSI_SGR_CODES[style]}m{text}\x1b[0m" if style and text else text
                for text, style in spans
            )
        else:
            line = "".join(text for text, _ in spans).rstrip()
        if line.lstrip().startswith("::"):  # GitHub's runner takes such a line for a command
            line = line.replace("::", ": :", 1)
        self._lines.append(line)


def _wrap_words(words: Iterable[str], room: int) -> list[str]:
    """Fill rows with words, measured in terminal cells; a longer word has its own row."""
    rows = [""]
    for word in filter(None, words):
        row = f"{rows[-1]} {word}".lstrip(" ")
        if count_columns(row) <= room or not rows[-1]:
            rows[-1] = row
        else:
            rows.append(word)
    return rows


def count_columns(text: str) -> int:
    """Return how many columns of a terminal a text takes (Unicode Standard Annex 11)."""
    return len(text) if text.isascii() else sum(map(_count_character_columns, text))


@cache
def _count_character_columns(character: str) -> int:
    if character == "\N{VARIATION SELECTOR-16}":
        return 1  # widens a sign before it to an emoji
    if unicodedata.category(character) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "FW" else 1


def cut_to_width(text: str, width: int) -> str:
    """Make foreign text harmless and cut it to a width in terminal cells."""
    text = clean_text(text)
    if count_columns(text) <= width:
        return text
    ends = accumulate(map(_count_character_columns, text))
    return text[: sum(end < width for end in ends)].rstrip() + "…" if width > 0 else ""


def pad_to_width(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text with blanks to a width in terminal cells; cut it if it is longer."""
    text = cut_to_width(text, width)
    blanks = " " * (width - count_columns(text))
    return blanks + text if right else text + blanks
