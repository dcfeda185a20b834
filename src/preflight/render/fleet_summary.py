"""What text, Markdown and HTML say about a fleet: hosts, worst first, and each problem once."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from preflight.model.fleet import VERDICTS_WORST_FIRST, Fleet, HostReport
from preflight.model.quantities import format_shortened_list
from preflight.model.report import EXIT_CODE_BY_VERDICT, ExitCode, ResolvedFix, Result, Verdict
from preflight.render import RenderOptions
from preflight.render.report_texts import ActionItem, find_action_items
from preflight.render.sanitize import clean_and_shorten

SUMMARY_COLUMNS = ("host", "docker", "stack", "disk")
"""The columns of the table of hosts: what the fact of a rule is about."""


class HostSummary(NamedTuple):
    """One host and its to-do items, the worst first.

    `columns` has the worst verdict of each of SUMMARY_COLUMNS that a rule judged. `reason` says why
    the host could not be judged.
    """

    name: str
    verdict: Verdict
    todo_items: Sequence[ActionItem]
    columns: Mapping[str, Verdict]
    reason: str

    @property
    def worst_problem_sentence(self) -> str:
        """What is worst."""
        return self.todo_items[0].problem if self.todo_items else ""


class SharedProblem(NamedTuple):
    """A task, as the first of the `hosts` has it that share it."""

    task: ActionItem
    hosts: Sequence[str]

    @property
    def title(self) -> str:
        """The rule, or how many rules are undecided for one reason."""
        is_one_rule = len({result.id for result in self.task.results}) == 1
        return self.task.result.title if is_one_rule else self.task.title

    @property
    def example_or_reason(self) -> str:
        """An example, or the reason why it is undecided."""
        result = self.task.result
        undecided = result.verdict == "unknown" and result.reason_or_source
        return undecided or (f"such as {result.message}" if self.hosts[1:] else result.message)

    @property
    def fixes(self) -> Sequence[ResolvedFix]:
        """The fixes of a rule; several rules have none in common."""
        return self.task.result.fixes

    def format_host_names(self, limit: int, characters: int = 60) -> str:
        """List up to `limit` hosts, each cut to so many characters."""
        return format_shortened_list(
            (clean_and_shorten(name, characters) for name in self.hosts), limit
        )


def summarize_each_host(fleet: Fleet) -> list[HostSummary]:
    """Return the hosts by verdict, then by name; a snapshot that can't be used comes first."""
    invalid_first = fleet.failure_code == ExitCode.USAGE
    return sorted(
        map(_summarize_host, fleet.hosts),
        key=lambda host: (
            not (invalid_first and host.reason),
            VERDICTS_WORST_FIRST.index(host.verdict),
            host.name,
        ),
    )


def _summarize_host(host: HostReport) -> HostSummary:
    todo_items = find_action_items(host.report_or_undecided())
    columns = _find_worst_verdict_by_column(host.report.results if host.report else ())
    reason = "" if host.report else todo_items[0].problem
    return HostSummary(host.name, host.verdict, todo_items, columns, reason)


def _find_worst_verdict_by_column(results: Iterable[Result]) -> dict[str, Verdict]:
    worst: dict[str, Verdict] = {}
    for result in results:
        if result.verdict in VERDICTS_WORST_FIRST:
            subject, _, rest = result.fact.partition(".")
            column = subject if subject in ("host", "docker") else "stack"
            if column != "stack" and rest.startswith("disk."):
                column = "disk"
            worst[column] = min(
                worst.get(column, "pass"), result.verdict, key=VERDICTS_WORST_FIRST.index
            )
    return worst


def select_shown_hosts(hosts: Iterable[HostSummary], options: RenderOptions) -> list[HostSummary]:
    """Return the hosts that the table lists: those that need action, else those with warnings.

    With `verbose`, all.
    """
    hosts = list(hosts)
    if options.verbose:
        return hosts
    needing_action = [host for host in hosts if host.verdict in EXIT_CODE_BY_VERDICT]
    return needing_action or [host for host in hosts if host.verdict == "warn"]


def list_judged_columns(hosts: Sequence[HostSummary]) -> list[str]:
    """Return the columns for which a rule was judged on one of the hosts."""
    return [name for name in SUMMARY_COLUMNS if any(name in host.columns for host in hosts)]


def format_host_counts(fleet: Fleet) -> str:
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


def group_problems_across_hosts(fleet: Fleet, *, recommended: bool) -> list[SharedProblem]:
    """Return each problem once: the worst first, of these what most hosts have.

    Without `recommended`, only problems that affect the exit code.
    """
    groups: dict[tuple[int, str, bool], dict[str, ActionItem]] = {}
    for host in map(_summarize_host, fleet.hosts):
        for task in host.todo_items:
            if task.affects_exit_code or recommended:
                result = task.result
                cause = result.reason_or_source if result.verdict == "unknown" else result.id
                key = (VERDICTS_WORST_FIRST.index(result.verdict), cause, bool(host.reason))
                groups.setdefault(key, {}).setdefault(host.name, task)
    ranked = sorted(groups.items(), key=lambda item: (item[0][0], -len(item[1]), item[0][1]))
    return [SharedProblem(next(iter(tasks.values())), tuple(tasks)) for _, tasks in ranked]
