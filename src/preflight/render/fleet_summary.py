"""What text, Markdown and HTML say about a fleet: hosts, worst first, and each problem once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from preflight.model.fleet import WORST_FIRST, Fleet, HostReport
from preflight.model.report import ExitCode, Report, ResolvedFix, Result, Verdict
from preflight.render import RenderOptions
from preflight.render.sanitize import shorten
from preflight.render.tasks import problems_worst_first

COLUMNS = ("host", "docker", "stack", "disk")
"""The columns of the table of hosts: what the fact of a rule is about."""


class HostSummary(NamedTuple):
    """One host and its problems: first the `required_problems` that affect the exit code.

    `columns` has the worst verdict of each of COLUMNS that a rule judged. `reason` says why the
    host could not be judged; that is then its only problem.
    """

    name: str
    verdict: Verdict
    problems: Sequence[Result]
    required_problems: int
    columns: Mapping[str, Verdict]
    reason: str

    @property
    def needs_action(self) -> bool:
        """Whether it keeps the exit code of the fleet from being 0."""
        return self.verdict in ("fail", "unknown")

    @property
    def message(self) -> str:
        """The message of its worst problem."""
        return self.problems[0].message if self.problems else ""


class SharedProblem(NamedTuple):
    """A rule that isn't met, or a cause that leaves rules undecided, and the hosts that have it.

    `result` is that of the first host. A cause of several rules has no fixes.
    """

    title: str
    description: str
    fixes: tuple[ResolvedFix, ...]
    result: Result
    affects_exit_code: bool
    hosts: tuple[str, ...]

    def host_names(self, limit: int, characters: int = 60) -> str:
        """List up to `limit` hosts, each cut to so many characters."""
        more = f" and {len(self.hosts) - limit:,} more" if len(self.hosts) > limit else ""
        return ", ".join(shorten(name, characters) for name in self.hosts[:limit]) + more


def summaries(fleet: Fleet) -> list[HostSummary]:
    """Return the hosts by verdict, then by name; a snapshot that can't be used comes first."""
    invalid_first = fleet.failure_code == ExitCode.USAGE
    return sorted(
        map(_summary, fleet.hosts),
        key=lambda host: (
            not (invalid_first and host.reason),
            WORST_FIRST.index(host.verdict),
            host.name,
        ),
    )


def shown_hosts(hosts: Iterable[HostSummary], options: RenderOptions) -> list[HostSummary]:
    """Return the hosts that the table lists: those that need action; with `verbose`, all."""
    return [host for host in hosts if options.verbose or host.needs_action]


def shown_columns(hosts: Sequence[HostSummary]) -> list[str]:
    """Return the columns for which a rule was judged on one of the hosts."""
    return [name for name in COLUMNS if any(name in host.columns for host in hosts)]


def counts(fleet: Fleet) -> str:
    """Count the hosts by verdict: `1 not reached · 2 failed`."""
    counter = Counter("" if host.report is None else host.verdict for host in fleet.hosts)
    words = {
        "": "unusable" if fleet.failure_code == ExitCode.USAGE else "not reached",
        "fail": "failed",
        "unknown": "undecided",
        "warn": "passed with warnings",
        "pass": "passed",
    }
    return " · ".join(f"{counter[key]:,} {word}" for key, word in words.items() if counter[key])


def shared_problems(fleet: Fleet, *, recommended: bool) -> list[SharedProblem]:
    """Return each problem once: the worst first, of these what most hosts have.

    Without `recommended`, only problems that affect the exit code.
    """
    groups: dict[tuple[Verdict, str, bool], dict[str, list[tuple[Result, bool]]]] = {}
    for host in map(_summary, fleet.hosts):
        for number, result in enumerate(host.problems):
            affects_exit_code = number < host.required_problems
            if affects_exit_code or recommended:
                cause = result.reason_or_source if result.verdict == "unknown" else result.id
                by_host = groups.setdefault((result.verdict, cause, bool(host.reason)), {})
                by_host.setdefault(host.name, []).append((result, affects_exit_code))
    problems = []
    for (verdict, cause, is_unreached), by_host in sorted(
        groups.items(),
        key=lambda item: (WORST_FIRST.index(item[0][0]), -len(item[1]), item[0][1]),
    ):
        (result, affects_exit_code), *others = next(iter(by_host.values()))
        title, description, fixes = result.title, f"such as {result.message}", result.fixes
        if is_unreached or (verdict == "unknown" and others):
            title = "Not checked" if is_unreached else f"{len(others) + 1} rules undecided"
            description, fixes = cause, ()
        problems.append(
            SharedProblem(title, description, fixes, result, affects_exit_code, tuple(by_host))
        )
    return problems


def _summary(host: HostReport) -> HostSummary:
    report = host.report_or_reason()
    problems = problems_worst_first(report)
    return HostSummary(
        host.name,
        host.verdict,
        problems,
        sum(map(report.affects_exit_code, problems)),
        _worst_by_column(host.report) if host.report else {},
        "" if host.report else problems[0].message,
    )


def _worst_by_column(report: Report) -> dict[str, Verdict]:
    worst: dict[str, Verdict] = {}
    for result in report.results:
        if result.verdict in WORST_FIRST:
            subject, _, rest = result.fact.partition(".")
            column = subject if subject in ("host", "docker") else "stack"
            if column != "stack" and rest.startswith("disk."):
                column = "disk"
            worst[column] = min(worst.get(column, "pass"), result.verdict, key=WORST_FIRST.index)
    return worst
