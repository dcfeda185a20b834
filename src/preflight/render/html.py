"""The report as one HTML page that loads nothing: what to do, the memory, every rule's evidence."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from typing import Any

from markupsafe import Markup

from preflight.model.fleet import Fleet
from preflight.model.report import Report, ResolvedFix
from preflight.render import SIGN_BY_VERDICT, RenderOptions, report_texts
from preflight.render.jinja_templates import REPORT_TEMPLATE_FOLDER, make_jinja_environment
from preflight.render.sanitize import make_safe_web_address

_UNICODE_PLANE_ENDS = (0x10000 * plane - end for plane in range(1, 18) for end in (1, 2))
_NONCHARACTERS = frozenset(map(chr, (*range(0xFDD0, 0xFDF0), *_UNICODE_PLANE_ENDS)))


def render_report(report: Report, options: RenderOptions) -> str:
    """Return the page; ASCII alone, so that no output encoding can break it."""
    anchors = {id(result): f"rule-{n}" for n, result in enumerate(report.results, 1)}
    return _render_page("report.html.j2", options, report=report, anchors=anchors)


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return one page for all hosts: the worst of them, each problem once, then host by host."""
    return _render_page("hosts.html.j2", options, fleet=fleet)


def _render_page(template: str, options: RenderOptions, **variables: Any) -> str:
    """Fill a template; the page is ASCII, and without noncharacters."""
    page = _JINJA_ENVIRONMENT.get_template(template).render(options=options, **variables)
    for character in _NONCHARACTERS.intersection(page):
        page = page.replace(character, "\ufffd")
    return page.encode("ascii", "xmlcharrefreplace").decode()


def _format_command_lines_as_html(fix: ResolvedFix) -> list[Markup]:
    """Return a command's lines.

    A line that begins with `::` would be a command to the CI system whose log the page goes to, so
    its first colon is written as a character reference.
    """
    lines = map(Markup.escape, report_texts.split_command_lines(fix))
    return [
        line.replace("::", Markup("&#58;:"), 1) if line.lstrip().startswith("::") else line
        for line in lines
    ]


def _make_csp_hash(text: str) -> str:
    """Return the name of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


_REPORT_CSS, _REPORT_JAVASCRIPT = (
    REPORT_TEMPLATE_FOLDER.joinpath(f"report.{kind}").read_text("utf-8") for kind in ("css", "js")
)
_JINJA_ENVIRONMENT = make_jinja_environment()
_JINJA_ENVIRONMENT.globals.update(
    style=Markup(_REPORT_CSS),  # nosec B704
    style_hash=_make_csp_hash(_REPORT_CSS),  # the only style and script that the policy allows
    script=Markup(_REPORT_JAVASCRIPT),  # nosec B704
    script_hash=_make_csp_hash(_REPORT_JAVASCRIPT),
    newline=Markup("\n"),
    signs=SIGN_BY_VERDICT,
    make_safe_web_address=make_safe_web_address,
    fix=ResolvedFix,
    code=_format_command_lines_as_html,
)
_JINJA_ENVIRONMENT.filters["ident"] = id
# compiled while the machine is still being measured
_JINJA_ENVIRONMENT.get_template("report.html.j2")
