"""The report as one HTML page that loads nothing: what to do, the memory, every rule's evidence."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256
from importlib.resources import files
from typing import Any, NamedTuple

from jinja2 import Environment, FunctionLoader, StrictUndefined, Template
from markupsafe import Markup

from preflight.model.report import Report, ResolvedFix, Result, Verdict
from preflight.render import tasks
from preflight.render.address import address
from preflight.render.ledger import is_drawn
from preflight.render.options import LONGEST, SIGNS, RenderOptions, short
from preflight.render.picture import picture
from preflight.render.text import engine_line, host_line

_ORDER: tuple[Verdict, ...] = (*tasks.ACTION, "waived", "pass", "skip")
_MOST_PASSED = 12  # lines of passed rules in a section, before they are folded
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(f"{chr(n - 1)}{chr(n)}" for n in range(0xFFFF, 0x110000, 0x10000))
    + "]"
)


class Row(NamedTuple):
    """A result, with the name of its place in the page."""

    anchor: str
    result: Result


class Section(NamedTuple):
    """The rules of one section: those that are shown, and those that are folded, by verdict."""

    title: str
    shown: list[Row]
    folded: list[tuple[Verdict, str, list[Row]]]


def render(report: Report, options: RenderOptions) -> str:
    """Return the page; ASCII alone, so that no output encoding can break it."""
    rows = [Row(f"rule-{n}", one) for n, one in enumerate(report.results, 1)]
    page = page_of("report.html.j2").render(
        report=report,
        quiet=options.quiet,
        opened=options.verbose,
        word=tasks.WORDS[report.verdict],
        about=_about(report),
        counts=_counts(report),
        tasks=tasks.tasks(report),
        waived=tasks.waived(report, options),
        picture=picture(report.memory) if is_drawn(report.memory) else None,
        sections=[] if options.quiet else list(_sections(report, rows)),
        anchors={id(row.result): row.anchor for row in rows},
    )
    return as_ascii(page)


def as_ascii(page: str) -> str:
    """Return a page in ASCII, without what stands for no character."""
    return _NONCHARACTER.sub("\ufffd", page).encode("ascii", "xmlcharrefreplace").decode()


def _about(report: Report) -> dict[str, str]:
    seconds = "" if report.seconds is None else f" in {report.seconds:.2f} s"
    told = {
        "Machine": host_line(report),
        "Engine": engine_line(report),
        "Rules": f"{report.rules_name} ({report.rules_source})",
        "Measured": f"{report.measured_at}{seconds}",
    }
    return {title: text for title, text in told.items() if text.strip()}


def _counts(report: Report) -> list[tuple[Verdict, str]]:
    """Return how many results there are of each verdict, in words, worst first."""
    by_verdict: dict[Verdict, list[Result]] = {one: [] for one in _ORDER}
    for result in report.results:
        by_verdict[result.verdict].append(result)
    return [(one, _counted(report, found)) for one, found in by_verdict.items() if found]


def _counted(report: Report, results: Iterable[Result]) -> str:
    return tasks.counts(report._replace(results=tuple(results)))


def _sections(report: Report, rows: Iterable[Row]) -> Iterator[Section]:
    """Yield the sections in the order of the rules, what is skipped folded in each."""
    sections: dict[str, list[Row]] = {}
    for row in rows:
        title = " ".join(short(row.result.section).split()) or "Other"
        sections.setdefault(title, []).append(row)
    for title, found in sections.items():
        passed = sum(row.result.verdict == "pass" for row in found)
        fold: tuple[Verdict, ...] = ("pass", "skip") if passed > _MOST_PASSED else ("skip",)
        shown = [row for row in found if row.result.verdict not in fold]
        groups = ((one, [row for row in found if row.result.verdict == one]) for one in fold)
        folded = [
            (one, _counted(report, (row.result for row in group)), group)
            for one, group in groups
            if group
        ]
        yield Section(title, shown, folded)


def _code(fix: ResolvedFix) -> list[Markup]:
    """Return a command's lines; one that begins with `::` would command the CI system that a page
    goes to, so its first colon is written as HTML may.
    """
    lines = [Markup.escape(line) for line in tasks.command_lines(fix)]
    return [
        line.replace("::", Markup("&#58;:"), 1) if line.lstrip().startswith("::") else line
        for line in lines
    ]


def _is_whole(fix: ResolvedFix) -> bool:
    """Whether a command is shown uncut, so that it may be copied."""
    return len(fix.command or "") <= LONGEST


def _harmless(value: Any) -> Any:
    """Make harmless whatever text the page shows; the template's own markup is so already."""
    return short(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _environment() -> Environment:
    """Return what makes pages, with their style and script, which alone their policy lets in."""
    folder = files("preflight.render")
    style, script = (folder.joinpath(f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    environment = Environment(
        loader=FunctionLoader(lambda name: folder.joinpath(name).read_text("utf-8")),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_harmless,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    own_style, own_script = Markup(style), Markup(script)  # nosec B704
    environment.globals.update(
        style=own_style,
        style_hash=_hash(style),
        script=own_script,
        script_hash=_hash(script),
        newline=Markup("\n"),
        signs={verdict: sign for verdict, (sign, _, _) in SIGNS.items()},
        address=address,
        is_whole=_is_whole,
        advice=ResolvedFix,
        context_lines=tasks.context_lines,
        code=_code,
        holds_back=tasks.holds_back,
        name=tasks.name,
        place=tasks.place,
        sentence=tasks.sentence,
    )
    environment.filters["ident"] = id
    return environment


def page_of(name: str) -> Template:
    """Return a page's template."""
    return _ENVIRONMENT.get_template(name)


def _hash(text: str) -> str:
    """Return what a Content-Security-Policy calls an inline style or script by."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


_ENVIRONMENT = _environment()
page_of("report.html.j2")  # it is compiled while the machine is still being measured
