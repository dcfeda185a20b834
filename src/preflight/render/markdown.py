"""The report as GitHub-flavored Markdown: for a pull request's comment, a ticket, a summary."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render import RenderOptions, memory
from preflight.render.jinja_templates import MARKDOWN_JINJA_ENVIRONMENT
from preflight.render.layout import TextLayout

_MAX_MARKDOWN_CHARACTERS = 58_000  # of the parts that may be long; GitHub takes 65,536 in a comment


class _ReportLengthBudget:
    """The space that is left in a comment; what is most important asks first."""

    def __init__(self) -> None:
        self._characters = _MAX_MARKDOWN_CHARACTERS
        self.left_out: Counter[str] = Counter()

    def text_if_it_fits(self, kind: str, text: Markup, reserved: int = 0) -> Markup:
        """Return a text if it fits in, and leaves `reserved` characters for others."""
        if len(text) > self._characters - reserved:
            self.left_out[kind] += 1
            return Markup()
        self._characters -= len(text)
        return text


def render_report(report: Report, options: RenderOptions) -> str:
    """Return the document; if it would get too long, the least important parts are left out."""
    layout = TextLayout(RenderOptions(ascii=options.ascii))
    if options.verbose or report.is_memory_short:
        memory.add_memory_rows(layout, report.memory)
    drawn = layout.to_text().strip().splitlines()
    return _render_template("report.md.j2", options, report=report, memory_lines=drawn)


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return the hosts that need action, then each problem once; in a comment, what fits."""
    return _render_template("hosts.md.j2", options, fleet=fleet, half=_MAX_MARKDOWN_CHARACTERS // 2)


def _render_template(template: str, options: RenderOptions, **variables: Any) -> str:
    document = MARKDOWN_JINJA_ENVIRONMENT.get_template(template).render(
        sign=lambda verdict: options.sign(verdict)[0],
        space=_ReportLengthBudget(),
        options=options,
        **variables,
    )
    return document.strip("\n") + "\n"
