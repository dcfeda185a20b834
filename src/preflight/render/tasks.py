"""What a report asks people to do, in plain lines: worst first, and what has one cause once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from preflight.model.report import Report, ResolvedFix, Result, Verdict
from preflight.render.options import LONGEST, RenderOptions, clean, short

WORDS = {"pass": "PASS", "warn": "PASS", "fail": "FAIL", "unknown": "UNDECIDED"}
_NAMES: dict[Verdict, tuple[str, str]] = {
    "fail": ("failed", "failed"),
    "unknown": ("undecided", "undecided"),
    "warn": ("warning", "warnings"),
    "pass": ("passed", "passed"),
    "waived": ("waived", "waived"),
    "skip": ("skipped", "skipped"),
}
ACTION: tuple[Verdict, ...] = ("fail", "unknown", "warn")


class Task(NamedTuple):
    """What to act on: a result, or several that are undecided for one reason.

    `gates` says whether it keeps the exit code from 0; `held` counts the rules that wait for it.
    """

    results: tuple[Result, ...]
    gates: bool
    held: int

    @property
    def result(self) -> Result:
        """The result, the first one of several."""
        return self.results[0]

    @property
    def title(self) -> str:
        """The rule's name, or how many rules there are, or how many items of one rule."""
        count = len(self.results)
        if count == 1:
            return name(self.result)
        rules = len({one.id for one in self.results})
        title = short(self.result.title).strip(" ·") or self.result.id
        return f"{title}, {count} undecided" if rules == 1 else f"{rules} rules undecided"

    @property
    def sentence(self) -> str:
        """What was found and what is needed, in one line."""
        if len(self.results) == 1:
            return sentence(self.result)
        return f"{self.title}, {short(self.result.reason_or_source)}"

    def details(self) -> Iterator[str]:
        """Yield the lines under the sentence."""
        if len(self.results) == 1:
            yield from details(self.result)
        else:
            yield short(", ".join(name(one) for one in self.results))
        if self.held:
            yield holds_back(self.held)


def tasks(report: Report) -> list[Task]:
    """Return what needs action: first what gates, then failures before the undecided."""
    groups: dict[object, list[Result]] = {}
    for index, result in enumerate(report.results):
        if result.verdict in ACTION:
            alone = result.verdict != "unknown" or not result.reason_or_source
            key = index if alone else (report.affects_exit_code(result), result.reason_or_source)
            groups.setdefault(key, []).append(result)
    holds = held_back(report)
    found = [
        Task(
            tuple(group),
            report.affects_exit_code(group[0]),
            sum(holds.pop(one.id, 0) for one in group),
        )
        for group in groups.values()
    ]
    return sorted(found, key=lambda one: (not one.gates, ACTION.index(one.result.verdict)))


def waived(report: Report, options: RenderOptions) -> list[Result]:
    """Return what is waived; where little is shown, only what soon will be so no longer."""
    return [
        result
        for result in report.results
        if result.verdict == "waived" and (not options.quiet or ends_soon(result))
    ]


def ends_soon(result: Result) -> bool:
    """Whether its waiver holds for a few days more only."""
    return result.waiver is not None and result.waiver.ends_soon


def held_back(report: Report) -> Counter[str | None]:
    """Count the rules that each rule's failure keeps from being judged."""
    return Counter(one.blocked_by for one in report.results if one.blocked_by is not None)


def holds_back(held: int) -> str:
    """Say how many rules wait for one."""
    return f"holds back {held} {'rule' if held == 1 else 'rules'}"


def name(result: Result) -> str:
    """Return a rule's title with its item; its id where it has none."""
    return short(result.name).strip(" ·") or result.id


def sentence(result: Result) -> str:
    """Return the sentence that every format shows."""
    return short(result.message).strip() or name(result)


def place(result: Result) -> str:
    """Return FILE:LINE of the compose file's line that decides, as far as it is known."""
    file = short(result.file or "")
    return f"{file}:{result.line}" if file and result.line else file


def details(result: Result) -> Iterator[str]:
    """Yield the lines under a result's sentence: what the engine says, the change, the fixes."""
    yield from context_lines(result)
    for fix in result.fixes:
        yield f"fix: {short(fix.text)}"
        yield from (f"$ {line}" for line in command_lines(fix))
        if fix.url:
            yield f"see {short(fix.url)}"


def context_lines(result: Result) -> Iterator[str]:
    """Yield what is to be known before the fixes: the error, and the smallest change."""
    if result.error and result.error not in result.message:
        yield f"error: {short(result.error)}"
    if told := change(result):
        yield f"smallest change: {told}"


def change(result: Result) -> str:
    """Return the smallest change of a file with which the rule passes, `4 → 2`; else nothing."""
    return short(result.change.text) if result.change is not None and result.file else ""


def command_lines(fix: ResolvedFix) -> list[str]:
    """Return the lines of a fix's command, each harmless."""
    command = fix.command or ""
    if len(command) > LONGEST:
        command = command[: LONGEST - 1] + "…"
    return [clean(line).rstrip() for line in command.splitlines()]


def counts(report: Report) -> str:
    """Count the verdicts, worst first: `1 failed · 15 passed`."""
    found = Counter(result.verdict for result in report.results)
    told = (f"{found[one]} {names[found[one] != 1]}" for one, names in _NAMES.items() if found[one])
    return " · ".join(told) or "no rules"
