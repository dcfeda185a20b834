"""How something is to be shown, where its format leaves a choice."""

from __future__ import annotations

import re
from typing import NamedTuple

from preflight.model.report import Verdict

LONGEST = 2000  # characters of one foreign text in a format that other programs read
WIDEST = 100  # columns; beyond, the eye loses the line between a title and its figure

SIGNS: dict[Verdict, tuple[str, str, str]] = {
    "pass": ("✔", "ok", "green"),
    "warn": ("▲", "warn", "yellow"),
    "fail": ("✖", "FAIL", "bold red"),
    "unknown": ("?", "?", "magenta"),
    "skip": ("·", "skip", "dim"),
    "waived": ("⊘", "waived", "cyan"),
}
_UNPRINTABLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ud800-\udfff\ufff9-\ufffb\ufffe\uffff]"
)
# CI systems take it for a command wherever it stands in a line: ##[error], ##vso[task.complete]
_CI_COMMAND = re.compile(r"##(?=[a-z]*\[)", re.IGNORECASE)


class RenderOptions(NamedTuple):
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
    """Make foreign text harmless in a terminal or a log: one line, nothing that acts on it."""
    text = _UNPRINTABLE.sub(lambda found: " " if found[0] in "\t\r\n" else "\ufffd", text)
    return _CI_COMMAND.sub("## ", text) if "##" in text else text


def short(text: str, most: int = LONGEST) -> str:
    """Make foreign text harmless and cut it where a medium could not bear all of it."""
    text = clean(text[: most + 1])
    return text if len(text) <= most else text[: most - 1] + "…"
