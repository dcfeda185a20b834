"""The report as one HTML page that loads nothing: what to do, the memory, every rule's evidence."""

from __future__ import annotations

import re
from base64 import b64encode
from collections import Counter
from hashlib import sha256
from typing import Any

from markupsafe import Markup

from preflight.model.fleet import Fleet
from preflight.model.report import MemoryBreakdown, Report, ResolvedFix
from preflight.render import SIGNS, RenderOptions, fleet_summary, memory, tasks
from preflight.render.sanitize import web_address
from preflight.render.templates import FOLDER, make_environment

_MAX_PASSED = 12  # rows of passed rules in a section, before they are folded
_MAX_BARS = 20  # services that have a bar of their own
_MAX_BAR_NAME = 24  # characters of a name that leave room for its figures on a phone
_MAX_ROWS = 100  # of the table of hosts; below it, every host is listed
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef"
    + "".join(f"{chr(n - 1)}{chr(n)}" for n in range(0xFFFF, 0x110000, 0x10000))
    + "]"
)


def render(report: Report, options: RenderOptions) -> str:
    """Return the page; ASCII alone, so that no output encoding can break it."""
    return _fill_page(
        "report.html.j2",
        options,
        report=report,
        word=tasks.VERDICT_WORDS[report.verdict],
        tasks=tasks.find_tasks(report),
        waived=tasks.shown_waivers(report, options),
        anchors={id(result): f"rule-{n}" for n, result in enumerate(report.results, 1)},
        max_passed=_MAX_PASSED,
        **_memory_variables(report.memory),
    )


def render_fleet(fleet: Fleet, options: RenderOptions) -> str:
    """Return one page for all hosts: the worst of them, each problem once, then host by host."""
    hosts = fleet_summary.summaries(fleet)
    shown = fleet_summary.shown_hosts(hosts, options)[:_MAX_ROWS]
    return _fill_page(
        "hosts.html.j2",
        options,
        fleet=fleet,
        word=tasks.VERDICT_WORDS[fleet.verdict],
        counts=fleet_summary.counts(fleet),
        problems=fleet_summary.shared_problems(fleet, recommended=not options.quiet),
        hosts=hosts,
        shown=shown,
        columns=fleet_summary.shown_columns(shown),
        rest=list(Counter(host.verdict for host in hosts[len(shown) :]).items()),
    )


def _fill_page(template: str, options: RenderOptions, **variables: Any) -> str:
    """Fill a template; the page is ASCII, and without code points that are no characters."""
    page = _ENVIRONMENT.get_template(template).render(
        quiet=options.quiet, opened=options.verbose, **variables
    )
    return _NONCHARACTER.sub("\ufffd", page).encode("ascii", "xmlcharrefreplace").decode()


def _memory_variables(breakdown: MemoryBreakdown) -> dict[str, Any]:
    """Return the rows of the memory on one scale: what is available, above what needs it."""
    if not memory.can_draw(breakdown):
        return {"memory_rows": []}
    available = memory.available_rows(breakdown)
    rows = [*available, *memory.needed_rows(breakdown, _MAX_BARS)]
    whole = max(1, *(row.end for row in rows))
    tightest = breakdown.tightest
    return {
        "memory_rows": rows,
        "available": available,
        "needed_rows": memory.needed_rows(breakdown),
        "percent": lambda size: round(100 * min(1, size / whole), 2),
        "weakest": tightest and ": ".join(memory.constraint_text(tightest)),
        "max_bar_name": _MAX_BAR_NAME,
    }


def _command_lines(fix: ResolvedFix) -> list[Markup]:
    """Return a command's lines.

    A line that begins with `::` would be a command to the CI system whose log the page goes to, so
    its first colon is written as a character reference.
    """
    lines = map(Markup.escape, tasks.command_lines(fix))
    return [
        line.replace("::", Markup("&#58;:"), 1) if line.lstrip().startswith("::") else line
        for line in lines
    ]


def _policy_hash(text: str) -> str:
    """Return the name of an inline style or script in a Content-Security-Policy."""
    return f"sha256-{b64encode(sha256(text.encode()).digest()).decode()}"


_STYLE, _SCRIPT = (FOLDER.joinpath(f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
_ENVIRONMENT = make_environment()
_ENVIRONMENT.globals.update(
    vars(tasks),  # the templates ask them what to say
    style=Markup(_STYLE),  # nosec B704
    style_hash=_policy_hash(_STYLE),  # the only style and script that the policy allows
    script=Markup(_SCRIPT),  # nosec B704
    script_hash=_policy_hash(_SCRIPT),
    newline=Markup("\n"),
    signs=SIGNS,
    web_address=web_address,
    fix=ResolvedFix,
    code=_command_lines,
)
_ENVIRONMENT.filters["ident"] = id
_ENVIRONMENT.get_template("report.html.j2")  # compiled while the machine is still being measured
