"""What a report says in every format: tasks, waivers, counts; the worst first, each cause once.

Formats decide only how it looks.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from preflight.model.report import Report, ResolvedFix, Result, Verdict, WaiverStatus
from preflight.render import SIGNS, RenderOptions
from preflight.render.sanitize import shorten

VERDICT_WORDS = {"pass": "PASS", "warn": "PASS", "fail": "FAIL", "unknown": "UNDECIDED"}
VERDICTS_TO_ACT_ON: tuple[Verdict, ...] = ("fail", "unknown", "warn")


class Task(NamedTuple):
    """What to act on: a result, or several that are undecided for one reason.

    `skipped` says how many checks were skipped for it, if any.
    """

    results: list[Result]
    title: str
    sentence: str
    affects_exit_code: bool
    skipped: str

    @property
    def result(self) -> Result:
        """The result, the first one of several."""
        return self.results[0]

    @property
    def names(self) -> str:
        """The names of several results."""
        return shorten(", ".join(result.name for result in self.results))


def find_tasks(report: Report) -> list[Task]:
    """Return what needs action: what affects the exit code first, and failures before unknowns."""
    groups: dict[tuple[bool, int, object], list[Result]] = {}
    for index, result in enumerate(report.results):
        if result.verdict in VERDICTS_TO_ACT_ON:
            is_alone = result.verdict != "unknown" or not result.reason_or_source
            cause = index if is_alone else result.reason_or_source
            rank = VERDICTS_TO_ACT_ON.index(result.verdict)
            key = (not report.affects_exit_code(result), rank, cause)
            groups.setdefault(key, []).append(result)
    blocked = count_blocked_by_rule(report)
    tasks = []
    for _, group in sorted(groups.items(), key=lambda item: item[0][:2]):
        first, rules = group[0], {result.id for result in group}
        title, sentence = first.name, first.message
        if len(group) > 1:
            title = f"{len(rules)} rules undecided"
            if len(rules) == 1:
                title = f"{first._replace(item=None).name}, {len(group)} undecided"
            sentence = f"{title}, {first.reason_or_source}"
        skipped = skipped_checks(sum(blocked.pop(id_, 0) for id_ in rules))
        tasks.append(Task(group, title, sentence, report.affects_exit_code(first), skipped))
    return tasks


def shown_waivers(report: Report, options: RenderOptions) -> list[Result]:
    """Return what is waived; if `quiet`, only where the waiver ends soon."""
    return [
        result
        for result in report.results
        if result.verdict == "waived"
        and (not options.quiet or (result.waiver is not None and result.waiver.ends_soon))
    ]


def waiver_text(waiver: WaiverStatus) -> str:
    """Say until when, by whom and why a rule is waived."""
    return f"waived until {waiver.until} by {waiver.owner}: {waiver.reason}"


def count_blocked_by_rule(report: Report) -> Counter[str | None]:
    """Count the checks that were skipped, by the rule that they need."""
    return Counter(result.blocked_by for result in report.results if result.blocked_by is not None)


def skipped_checks(count: int) -> str:
    """Say how many checks were skipped; "" if none was."""
    return f"{count} {'check' if count == 1 else 'checks'} skipped" if count else ""


def compose_location(result: Result) -> str:
    """Return FILE:LINE of the compose file's line that decides, as far as it is known."""
    file = result.file or ""
    return f"{file}:{result.line}" if file and result.line else file


def group_by_section(results: Iterable[Result]) -> dict[str, list[Result]]:
    """Return results by the title of their section, in the order of the rules."""
    sections: dict[str, list[Result]] = {}
    for result in results:
        title = " ".join(result.section.split()) or "Other"
        sections.setdefault(title, []).append(result)
    return sections


def detail_lines(result: Result, skipped: str = "", *, evidence: bool = False) -> Iterator[str]:
    """Yield the lines under a result's sentence: what the engine says, the change, the fixes.

    Then how many checks were skipped for it, and where the figure comes from.
    """
    yield from context_lines(result)
    yield from fix_lines(result.fixes)
    if skipped:
        yield skipped
    source = result.reason_or_source
    if evidence and source and not result.file and source not in result.message:
        yield f"measured: {source}"


def fix_lines(fixes: Iterable[ResolvedFix]) -> Iterator[str]:
    """Yield fixes as plain lines."""
    for fix in fixes:
        yield f"fix: {fix.text}"
        yield from (f"$ {line}" for line in command_lines(fix))
        if fix.url:
            yield f"see {fix.url}"


def context_lines(result: Result) -> Iterator[str]:
    """Yield what to know before the fixes: the engine's error, and the smallest change."""
    if result.error and result.error not in result.message:
        yield f"error: {result.error}"
    if text := change_text(result):
        yield f"smallest change: {text}"


def change_text(result: Result) -> str:
    """Return the smallest change of a file with which the rule passes, as `4 → 2`, or ""."""
    return result.change.text if result.change is not None and result.file else ""


def command_lines(fix: ResolvedFix) -> list[str]:
    """Return the lines of a fix's command."""
    return [line.rstrip() for line in (fix.command or "").splitlines()]


def counts_text(report: Report) -> str:
    """Count the verdicts, worst first: `1 failed · 15 passed`."""
    counts = report.counts
    parts = [count_text(verdict, counts[verdict]) for verdict in SIGNS if counts[verdict]]
    if report.strict and any(
        result.verdict == "warn" and report.affects_exit_code(result) for result in report.results
    ):
        parts.append("warnings count as failures (--strict)")
    return " · ".join(parts) or "no rules"


def count_text(verdict: Verdict, count: int) -> str:
    """Say how many results have a verdict: `2 warnings`."""
    plural = "s" if verdict == "warn" and count != 1 else ""
    return f"{count} {SIGNS[verdict].word}{plural}"


def host_line(report: Report) -> str:
    """Name the host: `vm, linux x86_64`."""
    host = report.host
    system = " ".join(str(host[key]) for key in ("os", "arch") if host.get(key))
    return ", ".join(str(part) for part in (host.get("hostname"), system) if part)


def snapshot_line(report: Report) -> str:
    """Say that the figures are those of a snapshot, and of when; "" if they were measured now."""
    time = re.sub(r"T(\d\d:\d\d):[\d.]+Z\Z", r" \1 UTC", report.measured_at) or "an unknown time"
    return f"Judged from a snapshot of {time}, not measured now" if report.is_snapshot else ""


def engine_line(report: Report) -> str:
    """Name the engine and where it is: `Docker 28.2 at unix:///… (context default)`."""
    engine = report.engine
    if engine.get("endpoint") is None:
        return ""
    context = f" (context {engine['context']})" if engine.get("context") else ""
    endpoint = f"at {engine['endpoint']}{context}"
    if engine.get("reachable") is False:
        return f"No container engine {endpoint}"
    name = str(engine.get("engine") or "container engine").replace("-", " ").title()
    version = engine.get("version") or ""
    return " ".join(f"{name.replace('Orbs', 'OrbS')} {version} {endpoint}".split())
