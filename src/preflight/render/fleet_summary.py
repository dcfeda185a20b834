"""What text, Markdown and HTML say about a fleet: hosts, worst first, and each problem once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from preflight.model.fleet import WORST_FIRST, Fleet, HostReport, not_reached
from preflight.model.report import ExitCode, Report, ResolvedFix, Result, Verdict
from preflight.render import RenderOptions
from preflight.render.sanitize import shorten

COLUMNS = ("host", "docker", "stack", "disk")
"""The columns of the table of hosts: what the fact of a rule is about."""


class HostSummary(NamedTuple):
    """One host and its problems: first the `required_problems` that affect the exit code.

    `columns` has the worst verdict of each of COLUMNS that a rule judged. `reason` says why the
    host could not be judged; that is then its only problem.
    """

    name: str
    verdict: Verdict
    problems: tuple[Result, ...]
    required_problems: int
    columns: Mapping[str, Verdict] = {}
    reason: str = ""

    @property
    def needs_action(self) -> bool:
        """Whether it keeps the exit code of the fleet from being 0."""
        return bool(self.reason) or self.verdict in ("fail", "unknown")

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
    groups: dict[tuple[Verdict, str, bool], dict[str, list[Result]]] = {}
    affects_exit_code: dict[object, bool] = {}
    for host in map(_summary, fleet.hosts):
        shown = host.problems if recommended else host.problems[: host.required_problems]
        for number, result in enumerate(shown):
            key = (result.verdict, _problem_key(result), not host.reason)
            groups.setdefault(key, {}).setdefault(host.name, []).append(result)
            affects_exit_code.setdefault(key, number < host.required_problems)
    problems = []
    for key, by_host in groups.items():
        verdict, cause, is_judged = key
        results = next(iter(by_host.values()))
        first = results[0]
        is_one_rule = verdict != "unknown" or (is_judged and len(results) == 1)
        problems.append(
            SharedProblem(
                first.title if is_one_rule or not is_judged else f"{len(results)} rules undecided",
                f"such as {first.message}" if is_one_rule else cause,
                first.fixes if is_one_rule else (),
                first,
                affects_exit_code[key],
                tuple(by_host),
            )
        )
    return sorted(
        problems,
        key=lambda problem: (
            WORST_FIRST.index(problem.result.verdict),
            -len(problem.hosts),
            _problem_key(problem.result),
        ),
    )


def _problem_key(result: Result) -> str:
    """Return the key of a problem: the reason of an undecided rule, else the rule's id."""
    return result.reason_or_source if result.verdict == "unknown" else result.id


def _summary(host: HostReport) -> HostSummary:
    if host.report is None:
        reason = host.reason or "for an unknown reason"
        problem = not_reached(host.name, reason)._replace(title="Not checked", message=reason)
        return HostSummary(host.name, host.verdict, (problem,), 1, reason=reason)
    report = host.report
    problems = sorted(
        (result for result in report.results if result.verdict in ("fail", "unknown", "warn")),
        key=lambda result: (
            not report.affects_exit_code(result),
            WORST_FIRST.index(result.verdict),
        ),
    )
    required_problems = sum(map(report.affects_exit_code, problems))
    return HostSummary(
        host.name, report.verdict, tuple(problems), required_problems, _worst_by_column(report)
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
