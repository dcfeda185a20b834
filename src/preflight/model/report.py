"""The report: a verdict for every selected rule, with the texts that every format shows."""

import shlex
from collections import Counter
from collections.abc import Mapping
from datetime import date
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from preflight.model.facts import Unit
from preflight.model.fix_commands_and_edits import FixKind

Verdict: TypeAlias = Literal["pass", "warn", "fail", "unknown", "skip", "waived"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Severity: TypeAlias = Literal["required", "recommended"]
ITEM_PLACEHOLDER = "{item}"  # in the texts that several items of a rule share
WAIVER_NOTICE_DAYS = 14  # before its end a waiver is mentioned


class ExitCode:
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNDECIDED = 3
    FAULT = 70


EXIT_CODE_BY_VERDICT: Mapping[Verdict, int] = {
    "fail": ExitCode.FAILED,
    "unknown": ExitCode.UNDECIDED,
}
"""By the verdict on a host or on all; of the others it is 0."""


class ResolvedFix(NamedTuple):
    """A fix with its placeholders filled in."""

    text: str
    command: str | None = None
    url: str | None = None
    kind: FixKind = "manual"


class ProposedChange(NamedTuple):
    """The nearest value of a fact with which its rule passes, checked by judging again."""

    fact: str
    before: Any
    after: Any
    text: str  # `4 → 2`


class AppliedWaiver(NamedTuple):
    """The waiver of a rule that is not met: whether it `holds`, and the days that are left.

    `days_left` counts today as 0 on the last day; it is negative once the waiver has ended.
    """

    reason: str
    owner: str
    until: date
    days_left: int
    holds: bool

    @property
    def ends_soon(self) -> bool:
        """Whether it holds, and ends within `WAIVER_NOTICE_DAYS`."""
        return self.holds and self.days_left <= WAIVER_NOTICE_DAYS

    @property
    def sentence(self) -> str:
        """Until when, by whom and why the rule is waived."""
        return f"waived until {self.until} by {self.owner}: {self.reason}"


class ItemTextTemplates(NamedTuple):
    """The texts of a result with `{item}` for its item; equal ones are shown once for several."""

    message: str
    error: str | None
    fixes: tuple[ResolvedFix, ...]

    def for_item(self, item: str) -> "ItemTextTemplates":
        """Return the texts with the name of an item."""

        def fill(text: Any, value: str = item) -> Any:
            return text and text.replace(ITEM_PLACEHOLDER, value)

        quoted = shlex.quote(item)  # it is pasted into a shell
        fixes = tuple(
            ResolvedFix(fill(fix.text), fill(fix.command, quoted), fill(fix.url), fix.kind)
            for fix in self.fixes
        )
        return ItemTextTemplates(fill(self.message), fill(self.error), fixes)


class Result(NamedTuple):
    """What one rule (or one item of it) came to.

    `unit` is that of `actual` and of the bounds in `expected`. `reason_or_source` says where the
    value came from, or why the rule was skipped or is unknown. `blocked_by` is the rule whose
    failure keeps this one from being judged. `file` and `line` are the place in a compose
    file that decides, `rule_file` and `rule_line` the rule's own. `templates` are the texts of
    an item that isn't met.
    """

    id: str
    item: str | None
    title: str
    verdict: Verdict
    severity: Severity
    fact: str = ""
    actual: Any = None
    expected: Mapping[str, Any] = {}
    message: str = ""
    actual_text: str = ""
    expected_text: str = ""
    source: str = ""
    section: str = ""
    tags: tuple[str, ...] = ()
    why: str = ""
    reason_or_source: str = ""
    error: str | None = None
    blocked_by: str | None = None
    file: str | None = None
    line: int | None = None
    fixes: tuple[ResolvedFix, ...] = ()
    change: ProposedChange | None = None
    unit: Unit = "text"
    waiver: AppliedWaiver | None = None
    rule_file: str = ""
    rule_line: int | None = None
    templates: ItemTextTemplates | None = None

    @property
    def key(self) -> tuple[str, str | None]:
        """The id and the item, which no other result of a report has."""
        return self.id, self.item

    @property
    def name(self) -> str:
        """The title, with the item under `for_each`; the id without a title."""
        return f"{self.title} · {self.item or ''}".strip(" ·") or self.id


class ServiceMemory(NamedTuple):
    """What one service takes of the memory, in bytes for each of its replicas."""

    name: str
    replicas: int
    reservation: float | None
    limit: float | None


class MemoryConstraint(NamedTuple):
    """One place where memory may run out: what is there and what is asked of it, in bytes."""

    where: str  # host, docker or model
    available: float
    required: float
    required_by: str

    @property
    def spare(self) -> float:
        """What is left; negative where memory is short."""
        return self.available - self.required


class MemoryBreakdown(NamedTuple):
    """Where memory goes, in bytes; what isn't known is None."""

    host: float | None = None
    overhead: float | None = None
    docker: float | None = None
    services: tuple[ServiceMemory, ...] = ()
    model: str | None = None
    model_memory: float | None = None
    model_budget: float | None = None
    tightest: MemoryConstraint | None = None


class Report(NamedTuple):
    """All results, with the rules and the machine; `seconds` is how long the check took."""

    version: str
    measured_at: str
    rules_name: str
    rules_source: str
    rules_sha256: str
    host: Mapping[str, Any]
    engine: Mapping[str, Any]
    results: tuple[Result, ...]
    profile: str = ""  # of the rule file
    strict: bool = False
    is_snapshot: bool = False  # measured then, perhaps elsewhere, not now and here
    next: str = ""  # the command to run when everything passes
    seconds: float | None = None
    memory: MemoryBreakdown = MemoryBreakdown()
    notes: tuple[str, ...] = ()  # about the rule file itself
    compose_files: tuple[str, ...] = ()
    service_count: int | None = None

    @property
    def counts_by_verdict(self) -> Counter[Verdict]:
        """How many results have each verdict."""
        return Counter(result.verdict for result in self.results)

    def affects_exit_code(self, result: Result) -> bool:
        """Return whether a result keeps the exit code from 0: required, and failed or undecided."""
        counts = self.strict or result.severity == "required"
        return counts and result.verdict in ("fail", "warn", "unknown")

    @property
    def verdict(self) -> Verdict:
        """The worst verdict that affects the exit code, else warn or pass."""
        verdicts = {result.verdict for result in self.results if self.affects_exit_code(result)}
        if verdicts - {"unknown"}:
            return "fail"
        if verdicts:
            return "unknown"
        return "warn" if any(r.verdict in ("warn", "unknown") for r in self.results) else "pass"

    @property
    def is_memory_short(self) -> bool:
        """Whether memory is what a required rule fails on, or less than what services reserve."""
        tightest = self.memory.tightest
        return (tightest is not None and tightest.spare < 0) or any(
            result.verdict == "fail" and result.unit == "bytes" and ".memory." in result.fact
            for result in self.results
        )

    @property
    def exit_code(self) -> int:
        """1 for a failure, 3 where a required rule is undecided, else 0."""
        return EXIT_CODE_BY_VERDICT.get(self.verdict, ExitCode.OK)
