"""How something is to be shown, where its format leaves a choice; and the page it is drawn on."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from preflight.model.report import Verdict

if TYPE_CHECKING:
    from rich.text import Text

WIDEST = 100  # columns; beyond, the eye loses the line between a title and its figure

SIGNS: dict[Verdict, tuple[str, str, str]] = {
    "pass": ("✔", "ok", "green"),
    "warn": ("▲", "warn", "yellow"),
    "fail": ("✖", "FAIL", "bold red"),
    "unknown": ("?", "?", "magenta"),
    "skip": ("·", "skip", "dim"),
    "waived": ("⊘", "waived", "cyan"),
}
_ASCII = str.maketrans(
    {"·": "|", "≥": ">=", "≤": "<=", "…": "...", "–": "-", "—": "-", "→": "->", "“": '"', "”": '"'}
)
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb]"
)


@dataclass(frozen=True, slots=True)
class Look:
    """`ascii` where the terminal can't show more; `quiet` and `verbose` as check's options."""

    width: int = 80
    color: bool = False
    ascii: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def columns(self) -> int:
        """The columns in use."""
        return max(40, min(self.width, WIDEST))

    def sign(self, verdict: Verdict) -> tuple[str, str]:
        """Return a verdict's mark and its style."""
        mark, plain, style = SIGNS[verdict]
        return (plain if self.ascii else mark), style


def clean(text: str) -> str:
    """Make foreign text harmless in a terminal: one line, no control or direction characters."""
    return _UNPRINTABLE.sub(lambda found: " " if found[0] in "\t\r\n" else "\ufffd", text)


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
        from textwrap import wrap

        rows = wrap(
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
    from rich.text import Text

    line = Text(end="")
    for part in parts:
        line.append(clean(part)) if isinstance(part, str) else line.append(clean(part[0]), part[1])
    return line


def _colored(lines: list[Text]) -> str:
    import io

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
    from rich.cells import cell_len, set_cell_size

    text = clean(text)
    if cell_len(text) > width:
        text = set_cell_size(text, width - 1).rstrip() + "…"
    blanks = " " * (width - cell_len(text))
    return blanks + text if right else text + blanks
