"""The report for a terminal or a log: the verdict's evidence by section, what to do, the counts."""

from __future__ import annotations

from collections.abc import Iterable

from preflight.model.report import Report, Result
from preflight.render import ledger
from preflight.render.layout import Page, pad
from preflight.render.options import Look, short
from preflight.render.tasks import (
    ACTION,
    WORDS,
    Task,
    circumstances,
    command_lines,
    counts,
    holds_back,
    place,
    tasks,
    waived,
)

ENGINES = {
    "docker": "Docker",
    "docker-desktop": "Docker Desktop",
    "podman": "Podman",
    "colima": "Colima",
    "orbstack": "OrbStack",
    "rancher-desktop": "Rancher Desktop",
}
_LONG_NAME = 57  # characters of program and rules that leave room for the host beside them
_MOST_PASSED = 8  # lines of passed rules in a section, before the rest is counted


def render(report: Report, look: Look) -> str:
    """Return the text report."""
    page = Page(look)
    found = tasks(report)
    everything = look.verbose or (bool(found) and not look.quiet)
    if not look.quiet:
        _header(page, report, engine=everything)
    if everything:
        _sections(page, report.results)
    if found:
        _to_do(page, found)
    _waived(page, report, titled=everything)
    if everything:
        ledger.draw(page, report.ledger)
    _summary(page, report)
    if not found and not look.quiet and report.next:
        page.raw(f"Next: {report.next}", 0)
    return page.draw()


def host_line(report: Report) -> str:
    """Name the machine: `vm, linux x86_64`."""
    host = report.host
    system = " ".join(str(host[key]) for key in ("os", "arch") if host.get(key))
    return ", ".join(str(part) for part in (host.get("hostname"), system) if part)


def engine_line(report: Report) -> str:
    """Name the engine and where it is: `Docker 28.2 at unix:///… (context default)`."""
    engine = report.engine
    place = f"{engine.get('endpoint')} (context {engine.get('context')})"
    if engine.get("endpoint") is None:
        return ""
    if not engine.get("reachable"):
        return f"No container engine at {place}"
    name = str(engine.get("engine"))
    return f"{ENGINES.get(name, name)} {engine.get('version') or ''} at {place}"


def _header(page: Page, report: Report, *, engine: bool) -> None:
    program, rules = f"preflight {report.version}", f"{report.rules_name} ({report.rules_source})"
    if len(program) + len(rules) < _LONG_NAME:
        page.add((program, "bold"), f" · {rules} · {host_line(report)}")
    else:
        page.add((program, "bold"), f" · {rules}")
        page.add(host_line(report))
    if engine and (line := engine_line(report)):
        page.add((line, "dim"))


def _sections(page: Page, results: Iterable[Result]) -> None:
    """One line a rule, by section in the order of the rules; figures line up over all of them."""
    sections: dict[str, list[Result]] = {}
    for result in results:
        if page.look.verbose or result.verdict != "skip":
            sections.setdefault(result.section or "Other", []).append(result)
    shown = [result for rows in sections.values() for result in rows]
    found = min(16, max([len("found"), *(len(result.found) for result in shown)]))
    asked = min(25, max([len("asked"), *(len(result.asked) for result in shown)]))
    head = f"{pad('found', found, right=True)}  {pad('asked', asked, right=True)}"
    for title, rows in sections.items():
        page.blank()
        page.add((pad(title, page.look.columns - len(head)), "bold"), (head, "dim"))
        head = ""
        _rows(page, rows, found, asked)


def _rows(page: Page, rows: list[Result], found: int, asked: int) -> None:
    passed = [result for result in rows if result.verdict == "pass"]
    folded = [] if page.look.verbose else passed[_MOST_PASSED:]
    hidden = {id(result) for result in folded}
    for result in rows:
        if id(result) not in hidden:
            _row(page, result, found, asked)
    if folded:
        page.add("  ", page.look.sign("pass"), f" {len(folded)} more")


def _row(page: Page, result: Result, found: int, asked: int) -> None:
    mark, style = page.look.sign(result.verdict)
    mark = pad(mark, 6) if page.look.ascii else mark
    room = page.look.columns - len(mark) - found - asked - 7
    page.add(
        "  ",
        (mark, style),
        f" {pad(result.name, room)}  ",
        (pad(result.found, found, right=True), style if result.verdict in ACTION else ""),
        "  ",
        (pad(result.asked, asked, right=True), "dim"),
    )
    if page.look.verbose:
        page.wrap(result.evidence or "no source", 6, "dim")
        if result.why:
            page.wrap(result.why, 6, "dim")


def _to_do(page: Page, found: list[Task]) -> None:
    if not page.look.quiet:
        page.blank()
        page.add(("To do", "bold"))
    for task in found:
        mark, style = page.look.sign(task.result.verdict)
        weight = "bold" if task.result.verdict == "fail" else ""
        page.wrap(task.sentence, 2, weight, hang=(f"{mark} ", style))
        if len(task.results) == 1:
            _fixes(page, task.result)
        if task.held:
            page.wrap(holds_back(task.held), 6, "dim")


def _fixes(page: Page, result: Result) -> None:
    if where := place(result):
        page.wrap(f"in {where}", 6)
    for line in circumstances(result):
        page.wrap(line, 6)
    for fix in result.fixes:
        page.wrap(short(fix.text), 6)
        for line in command_lines(fix):
            page.raw(f"$ {line}", 6, "cyan")
        if fix.url:
            page.raw(short(fix.url), 6, "dim")


def _waived(page: Page, report: Report, *, titled: bool) -> None:
    """What is waived, by whom and until when."""
    found = waived(report, page.look)
    if found and titled:
        page.blank()
        page.add(("Waived", "bold"))
    for result in found:
        mark, style = page.look.sign("waived")
        page.wrap(result.message, 2, hang=(f"{mark} ", style))


def _summary(page: Page, report: Report) -> None:
    _, style = page.look.sign(report.verdict)
    if not page.look.quiet and (page.look.verbose or report.verdict != "pass"):
        page.blank()
    seconds = f" · {report.seconds:.2f} s" if report.seconds is not None else ""
    word = WORDS[report.verdict]
    style = "bold green" if word == "PASS" else style
    if not page.look.quiet:
        for note in report.notes:
            page.wrap(note, 0, hang=("note  ", "dim"))
    page.wrap(f"{counts(report)}{seconds}", 0, hang=(f"{word}  ", style))
