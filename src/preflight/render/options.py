"""How a report is to be shown, where its format leaves a choice."""

from __future__ import annotations

from typing import NamedTuple

from preflight.model.report import Verdict

_MIN_COLUMNS, _MAX_COLUMNS = 40, 100  # beyond, the eye loses the line from a title to its figure

SIGNS: dict[Verdict, tuple[str, str, str]] = {
    "pass": ("✔", "ok", "green"),
    "warn": ("▲", "warn", "yellow"),
    "fail": ("✖", "FAIL", "bold red"),
    "unknown": ("?", "?", "magenta"),
    "skip": ("·", "skip", "dim"),
    "waived": ("⊘", "waived", "cyan"),
}
"""By verdict: its mark, its mark in ASCII, its style."""


class RenderOptions(NamedTuple):
    """`ascii`: the terminal can't show more; `quiet` and `verbose` as check's options."""

    width: int = 80
    color: bool = False
    ascii: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def columns(self) -> int:
        """The columns in use."""
        return max(_MIN_COLUMNS, min(self.width, _MAX_COLUMNS))

    def sign(self, verdict: Verdict) -> tuple[str, str]:
        """Return a verdict's mark and its style."""
        mark, plain, style = SIGNS[verdict]
        return (plain if self.ascii else mark), style
