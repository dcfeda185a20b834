"""Turns reports into text: one module per format, listed in FORMATS. Nothing here writes it."""

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

from preflight.model.report import Report, Verdict
from preflight.render.sanitize import sanitize_texts

if TYPE_CHECKING:
    from preflight.model.fleet import Fleet

_MIN_COLUMNS, _MAX_COLUMNS = 40, 100  # beyond, the eye loses the line from a title to its figure


class VerdictSign(NamedTuple):
    """How a verdict is shown: a mark, the same in ASCII, a style, the word where it is counted."""

    mark: str
    ascii_mark: str
    style: str
    word: str


SIGN_BY_VERDICT: Mapping[Verdict, VerdictSign] = {
    "fail": VerdictSign("✖", "FAIL", "bold red", "failed"),
    "unknown": VerdictSign("?", "?", "magenta", "unknown"),
    "warn": VerdictSign("▲", "warn", "yellow", "warning"),
    "pass": VerdictSign("✔", "ok", "green", "passed"),
    "waived": VerdictSign("⊘", "waived", "cyan", "waived"),
    "skip": VerdictSign("·", "skip", "dim", "skipped"),
}
"""By verdict, the worst first."""


class RenderOptions(NamedTuple):
    """How a report is to be shown, where its format leaves a choice.

    `ascii`: the terminal can't show more. `quiet` and `verbose` are check's options. `repeated` are
    those that other commands need too, to judge the same.
    """

    width: int = 80
    color: bool = False
    ascii: bool = False
    quiet: bool = False
    verbose: bool = False
    repeated: str = ""

    @property
    def columns(self) -> int:
        """The columns in use."""
        return max(_MIN_COLUMNS, min(self.width, _MAX_COLUMNS))

    def sign(self, verdict: Verdict) -> tuple[str, str]:
        """Return a verdict's mark and its style."""
        sign = SIGN_BY_VERDICT[verdict]
        return (sign.ascii_mark if self.ascii else sign.mark), sign.style


_MACHINE_READABLE_FORMATS = ("json", "prometheus", "sarif")  # they keep names apart that look alike
Renderer: TypeAlias = Callable[["Report | Fleet", RenderOptions], str]

FORMATS: Mapping[str, str] = {
    "text": "preflight.render.text",
    "json": "preflight.render.json_report",
    "junit": "preflight.render.junit",
    "sarif": "preflight.render.sarif",
    "github": "preflight.render.github",
    "tap": "preflight.render.tap",
    "markdown": "preflight.render.markdown",
    "html": "preflight.render.html",
    "prometheus": "preflight.render.prometheus",
}
"""The module of each format; each function returns the whole output.

`render_report(report, options)` is for one host, `render_fleet(fleet, options)` for many. A module
without the second renders the combined report, where each result names its host. The first line of
the module's docstring is in the docs' table.
"""


def load_renderer(name: str) -> Renderer:
    """Return the function that renders one host or many; imports the module of the format."""
    module = import_module(FORMATS[name])

    def render(subject: "Report | Fleet", options: RenderOptions) -> str:
        if name not in _MACHINE_READABLE_FORMATS:
            subject = sanitize_texts(subject)
        if isinstance(subject, Report):
            text: str = module.render_report(subject, options)
        elif hasattr(module, "render_fleet"):
            text = module.render_fleet(subject, options)
        else:
            text = module.render_report(subject.build_combined_problem_report(), options)
        return text

    return render
