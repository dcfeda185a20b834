"""The report as GitHub-flavoured Markdown: for a pull request's comment, a ticket, a summary."""

from __future__ import annotations

from collections import Counter
from typing import Any

from markupsafe import Markup

from preflight.model.fleet import Fleet
from preflight.model.report import Report
from preflight.render import RenderOptions, fleet_summary, memory, tasks
from preflight.render.layout import TextLayout
from preflight.render.templates import MARKDOWN

_MAX_CHARACTERS = 58_000  # of the parts that may be long; GitHub takes 65,536 in a comment


class _SpaceLimit:
    """The space that is left in a comment; what is most important asks first."""

    def __init__(self) -> None:
        self._characters = _MAX_CHARACTERS
        self.left_out: Counter[str] = Counter()

    def keep(self, kind: str, text: Markup, reserved: int = 0) -> Markup:
        """Return a text if it fits in, and leaves `reserved` characters for others."""
        if len(text) > self._characters - reserved:
            self.left_out[kind] += 1
            return Markup()
        self._characters -= len(text)
        return text


def render(report: Report, options: RenderOptions) -> str:
    """Return the document; if it would get too long, the least important parts are left out."""
    layout = TextLayout(RenderOptions(ascii=options.ascii))
    memory.draw(layout, report.memory)
    verdicts = ("pass", "skip") if options.verbose else ("pass",)
    folded = [result for result in report.results if result.verdict in verdicts]
    folded_counts = Counter(result.verdict for result in folded)
    return _fill_template(
        "report.md.j2",
        options,
        report=report,
        word=tasks.VERDICT_WORDS[report.verdict],
        tasks=tasks.find_tasks(report),
        waived=tasks.shown_waivers(report, options),
        about=(
            f"preflight {report.version}",
            f"{report.rules_name} ({report.rules_source})",
            tasks.host_line(report),
            tasks.engine_line(report),
        ),
        memory=layout.draw().strip(),
        shown=[result for result in report.results if result.verdict not in ("pass", "skip")],
        folded=folded,
        folded_counts=" · ".join(tasks.count_text(v, n) for v, n in folded_counts.items()),
    )


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return the hosts that need action, then each problem once; in a comment, what fits."""
    shown = fleet_summary.shown_hosts(fleet_summary.summaries(fleet), options)
    return _fill_template(
        "hosts.md.j2",
        options,
        fleet=fleet,
        word=tasks.VERDICT_WORDS[fleet.verdict],
        counts=fleet_summary.counts(fleet),
        shown=shown,
        columns=fleet_summary.shown_columns(shown),
        rest=len(fleet.hosts) - len(shown),
        problems=fleet_summary.shared_problems(fleet, recommended=not options.quiet),
        half=_MAX_CHARACTERS // 2,
    )


def _fill_template(template: str, options: RenderOptions, **variables: Any) -> str:
    document = MARKDOWN.get_template(template).render(
        sign=lambda verdict: options.sign(verdict)[0],
        space=_SpaceLimit(),
        quiet=options.quiet,
        verbose=options.verbose,
        **{**vars(tasks), **variables},
    )
    return document.strip("\n") + "\n"
