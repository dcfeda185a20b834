"""The page that text is drawn on: lines with styles, cut or wrapped to the terminal's width."""

from __future__ import annotations

import io
import textwrap

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from preflight.render.look import Look, clean

_ASCII = str.maketrans(
    {"·": "|", "≥": ">=", "≤": "<=", "…": "...", "–": "-", "—": "-", "→": "->", "“": '"', "”": '"'}
)


class Page:
    """Lines of text with styles, drawn to one str at the end."""

    def __init__(self, look: Look) -> None:
        self.look = look
        self._lines: list[Text] = []

    def add(self, *parts: str | tuple[str, str]) -> None:
        """Add a line of texts, plain or with a style; cut where it is too long."""
        line = _text(*parts)
        line.truncate(self.look.columns, overflow="ellipsis")
        self._lines.append(line)

    def wrap(self, text: str, indent: int, style: str = "", hang: str = "") -> None:
        """Add text over as many lines as it needs; `hang` stands before the first one."""
        rows = textwrap.wrap(
            clean(text),
            self.look.columns - indent - len(hang),
            break_on_hyphens=False,
            break_long_words=False,
        )
        for number, row in enumerate(rows or [""]):
            lead = hang if number == 0 else " " * len(hang)
            self._lines.append(_text(" " * indent + lead, (row, style)))

    def raw(self, text: str, indent: int, style: str = "") -> None:
        """Add a line that must stay whole to be copied."""
        self._lines.append(_text(" " * indent, (clean(text), style)))

    def blank(self) -> None:
        """Add an empty line."""
        self._lines.append(_text(""))

    def draw(self) -> str:
        """Return the page with a newline at the end of every line."""
        if not self.look.color:
            text = "".join(f"{line.plain.rstrip()}\n" for line in self._lines)
        else:
            text = _colored(self._lines)
        return text.translate(_ASCII) if self.look.ascii else text


def _text(*parts: str | tuple[str, str]) -> Text:
    line = Text(end="")
    for part in parts:
        line.append(clean(part)) if isinstance(part, str) else line.append(clean(part[0]), part[1])
    return line


def _colored(lines: list[Text]) -> str:
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        legacy_windows=False,
        width=10_000,
        highlight=False,
    )
    with console.capture() as capture:
        for line in lines:
            line.rstrip()
            console.print(line, soft_wrap=True)
            console.print("")
    return capture.get()


def pad(text: str, width: int, *, right: bool = False) -> str:
    """Fill a text with blanks to a width in terminal cells; cut it where it is longer."""
    text = clean(text)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks
