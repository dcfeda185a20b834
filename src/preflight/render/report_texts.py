"""What a report says in every format: to-do items, waivers, counts; worst first, each cause once.

Formats decide only how it looks.
"""

import re
from collections import Counter
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import NamedTuple

from preflight.model.quantities import format_count, format_shortened_list
from preflight.model.report import Report, ResolvedFix, Result, Verdict
from preflight.render import SIGN_BY_VERDICT, RenderOptions

OUTCOME_WORD_BY_VERDICT = {"pass": "PASS", "warn": "PASS", "fail": "FAIL", "unknown": "UNDECIDED"}
_OS_DISPLAY_NAMES = {"linux": "Linux", "darwin": "macOS", "windows": "Windows"}
VERDICTS_NEEDING_ACTION: tuple[Verdict, ...] = ("fail", "unknown", "warn")
_VERDICTS_WORST_FIRST: tuple[Verdict, ...] = (*VERDICTS_NEEDING_ACTION, "waived", "pass")
_MAX_TODO_ITEMS_PER_RULE = 3  # of results that differ; the rest are one task
_MAX_NAMES_IN_SENTENCE = 6  # in one sentence
_SECTION_FIGURE_BY_FACT: Mapping[str, str] = {
    "host.memory.total": "{} RAM",
    "host.cpu.logical": "{} cores",
    "host.disk.free": "{} free",
    "compose.total.reservations.memory": "{} reserved",
    "docker.memory.usable": "Docker has {}",
    "model.memory": "{model}, {}",
    "docker.compose.version": "Compose {}",
}
"""The facts that a section's line shows, in this order."""


class ActionItem(NamedTuple):
    """What to act on: a result, equal ones of several items, or what one cause leaves undecided.

    `result` is the only one, or what several have in common. `names` are the checks that the
    sentence doesn't name. `skipped` says how many checks were skipped for it, if any. `fixes` are
    those of the result, unless the next item has the same: then they are shown there.
    """

    results: list[Result]
    result: Result
    affects_exit_code: bool
    skipped: str
    names: str = ""
    fixes: tuple[ResolvedFix, ...] = ()

    @property
    def problem(self) -> str:
        """What is wrong."""
        return self.result.message

    @property
    def title(self) -> str:
        """The rule, or how many checks are undecided."""
        if len({result.id for result in self.results}) == 1:
            return self.result.name
        return f"{len(self.results):,} checks undecided"


def find_action_items(report: Report) -> list[ActionItem]:
    """Return what needs action: what affects the exit code first, and failures before unknowns."""
    groups: dict[tuple[bool, int, Hashable], list[Result]] = {}
    items_by_rule: Counter[tuple[str, Verdict]] = Counter()
    for index, result in enumerate(report.results):
        if result.verdict in VERDICTS_NEEDING_ACTION:
            rank = VERDICTS_NEEDING_ACTION.index(result.verdict)
            key = (not report.affects_exit_code(result), rank, _find_grouping_key(result, index))
            rule = (result.id, result.verdict)
            if key not in groups and result.templates:
                if items_by_rule[rule] == _MAX_TODO_ITEMS_PER_RULE:
                    key = (*key[:2], rule)
                else:
                    items_by_rule[rule] += 1
            groups.setdefault(key, []).append(result)
    blocked = count_blocked_by_rule(report)
    items = []
    for key, group in sorted(groups.items(), key=lambda item: item[0][:2]):
        skipped = sum(blocked.pop(id_, 0) for id_ in {result.id for result in group})
        result, names = _summarize_equal_results(group, key[2])
        is_required = report.affects_exit_code(group[0])
        items.append(ActionItem(group, result, is_required, format_skipped_count(skipped), names))
    next_fixes = [*(item.result.fixes for item in items[1:]), ()]
    return [
        item._replace(fixes=() if item.result.fixes == fixes else item.result.fixes)
        for item, fixes in zip(items, next_fixes, strict=False)  # nothing without items
    ]


def _find_grouping_key(result: Result, index: int) -> Hashable:
    """Return what equal results have in common; nothing else has the index."""
    if result.verdict == "unknown":
        return result.reason_or_source or index
    return (result.id, result.templates) if result.templates else index


def _summarize_equal_results(group: list[Result], cause: Hashable) -> tuple[Result, str]:
    """Return what the results of a group have in common, and the names that it doesn't say."""
    first, count = group[0], f"{len(group):,}"
    if len(group) == 1:
        return first, ""
    if first.verdict == "unknown":
        is_one_rule = len({result.id for result in group}) == 1
        names = shorten_name_list(dict.fromkeys(result.name for result in group))
        if is_one_rule and first.item:
            names = f"{first.title}: {shorten_name_list([str(result.item) for result in group])}"
        sentence = f"{count} checks undecided: {first.reason_or_source}"
        fixes = first.fixes if is_one_rule else ()
        return first._replace(item=None, message=sentence, fixes=fixes), names
    names = shorten_name_list([result.item or result.name for result in group])
    shared = first._replace(item=None, change=None)
    if first.templates is None or cause == (first.id, first.verdict):
        sentence = f"{shared.name}: not met for {count} more"
        return shared._replace(message=sentence, error=None, fixes=(), file=None), names
    message, error, fixes = first.templates

    def fill(text: str) -> str:
        return text.replace("{item}", names)

    filled = tuple(
        own._replace(text=fill(template.text))  # a command is for one item
        for own, template in zip(first.fixes, fixes, strict=True)
    )
    return shared._replace(message=fill(message), error=error and fill(error), fixes=filled), ""


def shorten_name_list(names: Iterable[str]) -> str:
    """List a few names: `api, db and 3 more`."""
    return format_shortened_list(names, _MAX_NAMES_IN_SENTENCE, last=" and ")


class ReportSection(NamedTuple):
    """A section of the document: its results, and the figures that say most about them."""

    title: str
    results: list[Result]
    figures: list[str]

    @property
    def judged_results(self) -> list[Result]:
        """The results that aren't skipped."""
        return [result for result in self.results if result.verdict != "skip"]

    @property
    def verdict(self) -> Verdict:
        """The worst verdict."""
        verdicts = {result.verdict for result in self.results}
        return next((verdict for verdict in _VERDICTS_WORST_FIRST if verdict in verdicts), "skip")

    @property
    def passed_count_text(self) -> str:
        """How many of the results passed: `6`, or `5 of 8`."""
        count, judged = sum(r.verdict == "pass" for r in self.results), len(self.judged_results)
        return str(judged) if count == judged else f"{count} of {judged}"


def group_results_by_section(report: Report) -> list[ReportSection]:
    """Return the sections in the order of the rules, those in which nothing was judged, too."""
    sections: dict[str, ReportSection] = {}
    for result in report.results:
        title = " ".join(result.section.split()) or "Other"
        sections.setdefault(title, ReportSection(title, [], [])).results.append(result)
    left = dict(_SECTION_FIGURE_BY_FACT)  # each is shown once
    for section in sections.values():
        results = {result.fact: result for result in section.judged_results if result.item is None}
        for fact in [fact for fact in left if fact in results]:
            template, result = left.pop(fact), results[fact]
            if result.actual is not None:
                figure = template.format(result.actual_text, model=report.memory.model)
                section.figures.append(figure)
    return list(sections.values())


def select_shown_waivers(report: Report, options: RenderOptions) -> list[Result]:
    """Return what is waived; if `quiet`, only where the waiver ends soon."""
    return [
        result
        for result in report.results
        if result.verdict == "waived"
        and (not options.quiet or (result.waiver is not None and result.waiver.ends_soon))
    ]


def count_blocked_by_rule(report: Report) -> Counter[str | None]:
    """Count the checks that were skipped, by the rule that they need."""
    return Counter(result.blocked_by for result in report.results if result.blocked_by is not None)


def format_skipped_count(count: int) -> str:
    """Say how many checks were skipped; "" if none was."""
    return f"{format_count(count, 'check')} skipped" if count else ""


def format_compose_location(result: Result) -> str:
    """Return FILE:LINE of the compose file's line that decides, as far as it is known."""
    file = result.file or ""
    return f"{file}:{result.line}" if file and result.line else file


def format_detail_lines(
    result: Result, skipped: str = "", *, evidence: bool = False
) -> Iterator[str]:
    """Yield the lines under a result's sentence: what the engine says, the change, the fixes.

    Then how many checks were skipped for it, and where the figure comes from.
    """
    yield from format_error_and_change(result)
    yield from format_fix_lines(result.fixes)
    if skipped:
        yield skipped
    source = result.reason_or_source
    if evidence and source and not result.file and source not in result.message:
        yield f"measured: {source}"


def format_fix_lines(fixes: Iterable[ResolvedFix]) -> Iterator[str]:
    """Yield fixes as plain lines."""
    for fix in fixes:
        yield f"fix: {fix.text}"
        yield from (f"$ {line}" for line in split_command_lines(fix))
        if fix.url:
            yield f"see {fix.url}"


def format_error_and_change(result: Result) -> Iterator[str]:
    """Yield what to know before the fixes: the engine's error, and the smallest change."""
    if result.error and result.error not in result.message:
        yield f"error: {result.error}"
    if text := format_proposed_change(result):
        yield f"smallest change: {text}"


def format_proposed_change(result: Result) -> str:
    """Return the smallest change of a file with which the rule passes, as `4 → 2`, or "".

    It isn't shown where a fix names the new value, nor of a list, of what is only on or off, or of
    what is to go.
    """
    if result.change is None or result.change.after is None or not result.file:
        return ""
    after = re.escape(result.change.text.rpartition(" → ")[2])
    words = "\n".join(f"{fix.text} {fix.command}" for fix in result.fixes)
    if re.search(rf"(?<![\w.]){after}(?!\w|\.\w)", words):
        return ""
    is_text = not isinstance(result.change.before, bool | list | tuple)
    return result.change.text if is_text and not isinstance(result.change.after, bool) else ""


def split_command_lines(fix: ResolvedFix) -> list[str]:
    """Return the lines of a fix's command."""
    return [line.rstrip() for line in (fix.command or "").splitlines()]


def format_verdict_counts(report: Report) -> str:
    """Count the verdicts, worst first: `1 failed · 15 passed`."""
    counts = report.counts_by_verdict
    parts = [
        format_verdict_count(verdict, counts[verdict])
        for verdict in SIGN_BY_VERDICT
        if counts[verdict]
    ]
    if report.strict and any(
        result.verdict == "warn" and report.affects_exit_code(result) for result in report.results
    ):
        parts.append("warnings count as failures (--strict)")
    return " · ".join(parts) or "no rules"


def format_verdict_count(verdict: Verdict, count: int) -> str:
    """Say how many results have a verdict: `2 warnings`."""
    plural = "s" if verdict == "warn" and count != 1 else ""
    return f"{count} {SIGN_BY_VERDICT[verdict].word}{plural}"


def format_host_line(report: Report) -> str:
    """Name the host: `vm, Linux x86_64`."""
    host = report.host
    os_name = _OS_DISPLAY_NAMES.get(host.get("os") or "", host.get("os"))
    system = " ".join(str(part) for part in (os_name, host.get("arch")) if part)
    return ", ".join(str(part) for part in (host.get("hostname"), system) if part)


def format_snapshot_line(report: Report) -> str:
    """Say that the figures are those of a snapshot, and of when; "" if they were measured now."""
    time = re.sub(r"T(\d\d:\d\d):[\d.]+Z\Z", r" \1 UTC", report.measured_at) or "an unknown time"
    return f"Judged from a snapshot of {time}, not measured now" if report.is_snapshot else ""


def format_compose_file_and_services(report: Report) -> str:
    """Name the compose file and count its services: `compose.yaml, 2 services`."""
    if not report.compose_files:
        return ""
    rest = len(report.compose_files) - 1
    file = re.split(r"[/\\]", report.compose_files[0])[-1] + (f" and {rest} more" if rest else "")
    count = report.service_count
    return file if count is None else f"{file}, {format_count(count, 'service')}"


def format_rules_name(report: Report) -> str:
    """Name the rules, their file unless they are the bundled ones, and their profile."""
    is_bundled = report.rules_source.startswith("bundled")
    name = report.rules_name if is_bundled else f"{report.rules_name} ({report.rules_source})"
    return f"{name}, profile {report.profile}" if report.profile else name


def format_engine_line(report: Report) -> str:
    """Name the engine and where it is: `Docker 28.2 at unix:///…`."""
    engine = report.engine
    if engine.get("endpoint") is None:
        return ""
    context = engine.get("context")
    endpoint = f"at {engine['endpoint']}"
    if context and context != "default":
        endpoint = f"in context {context}"
    if engine.get("reachable") is False:
        return f"No container engine reachable {endpoint}"
    name = str(engine.get("engine") or "container engine").replace("-", " ").title()
    version = engine.get("version") or ""
    return " ".join(f"{name.replace('Orbs', 'OrbS')} {version} {endpoint}".split())
