"""The report: a verdict for every selected rule, with the words that every format shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from types import MappingProxyType
from typing import Any, Literal, NamedTuple, TypeAlias, get_args

from preflight.model.facts import Unit

Verdict: TypeAlias = Literal["pass", "warn", "fail", "unknown", "skip", "waived"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
Severity: TypeAlias = Literal["required", "recommended"]
SOON = 14  # days before its end from which a waiver is announced


class Exit:
    """The exit codes of every command."""

    OK = 0
    FAILED = 1
    USAGE = 2
    UNDECIDED = 3
    FAULT = 70
    INTERRUPTED = 130


class Advice(NamedTuple):
    """A fix with its placeholders filled in."""

    text: str
    command: str | None = None
    url: str | None = None


class Change(NamedTuple):
    """The nearest value of a fact with which its rule passes, proved by judging again."""

    fact: str
    before: Any
    after: Any
    text: str  # `4 → 2`


class Waived(NamedTuple):
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
        """Whether it holds for no more than `SOON` days."""
        return self.holds and self.days_left <= SOON


class Result(NamedTuple):
    """What one rule (or one item of it) came to.

    `found` and `asked` are the two figures as people read them, `unit` is that of `actual` and of
    the bounds in `expected`; `evidence` says where the figure came from; `held_by` is the rule
    whose failure keeps this one from being judged. `file` and `line` are the place in a compose
    file that decides, `rule_file` and `rule_line` the rule's own.
    """

    id: str
    item: str | None
    title: str
    verdict: Verdict
    severity: Severity
    fact: str
    actual: Any
    expected: Mapping[str, Any]
    message: str
    found: str
    asked: str
    source: str = ""
    section: str = ""
    tags: tuple[str, ...] = ()
    why: str = ""
    evidence: str = ""
    error: str | None = None
    held_by: str | None = None
    file: str | None = None
    line: int | None = None
    fixes: tuple[Advice, ...] = ()
    change: Change | None = None
    unit: Unit = "text"
    waiver: Waived | None = None
    rule_file: str = ""
    rule_line: int | None = None

    @property
    def name(self) -> str:
        """The title, with the item under `for_each`."""
        return self.title if self.item is None else f"{self.title} · {self.item}"


class Share(NamedTuple):
    """What one service takes of the memory, in bytes for each of its replicas."""

    name: str
    replicas: int
    reservation: float | None
    limit: float | None


class Link(NamedTuple):
    """One place where memory may run out: what is there and what is asked of it, in bytes."""

    where: str  # host, docker or model
    has: float
    asked: float
    what: str

    @property
    def spare(self) -> float:
        """What is left over; negative where it lacks."""
        return self.has - self.asked


class Ledger(NamedTuple):
    """Where memory goes, in bytes; None is what is not known."""

    host: float | None = None
    overhead: float | None = None
    docker: float | None = None
    services: tuple[Share, ...] = ()
    model: str | None = None
    memory: float | None = None
    budget: float | None = None
    weakest: Link | None = None


class Report(NamedTuple):
    """All results, with the rules and the machine they are about; `seconds` is how long it took."""

    version: str
    measured_at: str
    rules_name: str
    rules_source: str
    rules_sha256: str
    host: Mapping[str, Any]
    engine: Mapping[str, Any]
    results: tuple[Result, ...]
    strict: bool = False
    next: str = ""  # what to type once all is well
    seconds: float | None = None
    counts: Mapping[Verdict, int] = MappingProxyType({})
    ledger: Ledger = Ledger()
    notes: tuple[str, ...] = ()  # what is to be said of the rule file itself

    def gates(self, result: Result) -> bool:
        """Whether a result keeps the exit code from 0: failed or undecided, and required."""
        counts = self.strict or result.severity == "required"
        return counts and result.verdict in ("fail", "warn", "unknown")

    @property
    def verdict(self) -> Verdict:
        """fail, unknown, warn or pass: the gravest that gates, else whether there is advice."""
        gating = {result.verdict for result in self.results if self.gates(result)}
        if gating - {"unknown"}:
            return "fail"
        if gating:
            return "unknown"
        return "warn" if any(r.verdict in ("warn", "unknown") for r in self.results) else "pass"

    @property
    def exit_code(self) -> int:
        """0 where nothing gates, 1 on a failure, 3 where a required rule is undecided."""
        return {"fail": Exit.FAILED, "unknown": Exit.UNDECIDED}.get(self.verdict, Exit.OK)


class Explanation(NamedTuple):
    """One rule in words: what it asks and advises, and what it comes to here."""

    id: str
    title: str
    fact: str
    requires: str | None
    advises: str | None
    why: str
    section: str
    source: str
    needs: tuple[str, ...]
    applies: tuple[str, ...]
    results: tuple[Result, ...]
    fixes: tuple[Advice, ...]


class Candidate(NamedTuple):
    """A model of the catalogue, or the configured one; `fits` is None where nobody knows."""

    name: str
    memory: float | None
    fits: bool | None
    configured: bool
    note: str = ""


class Fitting(NamedTuple):
    """Models against the budget in bytes, the largest that fits first; `why` is of the budget."""

    budget: float | None
    why: str
    models: tuple[Candidate, ...]
