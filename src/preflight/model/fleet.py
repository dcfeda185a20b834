"""Several hosts judged by the same rules: the report of each, and the verdict on all of them."""

from collections.abc import Iterable
from typing import NamedTuple

from preflight import __version__
from preflight.model.report import EXIT_CODE_BY_VERDICT, ExitCode, Report, Result, Verdict

VERDICTS_WORST_FIRST: tuple[Verdict, ...] = ("fail", "unknown", "warn", "pass")
"""What the verdict on a host, or on all hosts, may be."""


class HostReport(NamedTuple):
    """One host: its report, or the reason why there is none."""

    name: str
    report: Report | None
    reason: str = ""

    @property
    def verdict(self) -> Verdict:
        """The report's verdict; unknown without a report."""
        return "unknown" if self.report is None else self.report.verdict

    def report_or_undecided(self) -> Report:
        """Return the report; without one, an undecided result says why."""
        if self.report is not None:
            return self.report
        reason = self.reason or "for an unknown reason"
        result = Result(
            id="host-reached",
            item=None,
            title="Host reached",
            verdict="unknown",
            severity="required",
            fact="host.hostname",
            message=reason,
            actual_text="unknown",
            expected_text="reached",
            section="Hosts",
            reason_or_source=reason,
        )
        return Report(__version__, "", "", "", "", {}, {}, (result,))


def format_rule_set_names(hosts: Iterable[HostReport], default: str) -> str:
    """Name the rules that hosts were judged by, such as `general` where the file's don't apply."""
    names = dict.fromkeys(host.report.rules_name for host in hosts if host.report is not None)
    return ", ".join(names) or default


class Fleet(NamedTuple):
    """All hosts; `failure_code` is the exit code if one of them has no report.

    That is bad input if a snapshot can't be used, and undecided if a host can't be reached.
    """

    title: str
    hosts: tuple[HostReport, ...]
    seconds: float
    failure_code: int = ExitCode.USAGE

    @property
    def exit_code(self) -> int:
        """The worst verdict decides, but bad input comes before it."""
        if self.failure_code == ExitCode.USAGE and any(host.report is None for host in self.hosts):
            return ExitCode.USAGE
        return EXIT_CODE_BY_VERDICT.get(self.verdict, ExitCode.OK)

    @property
    def verdict(self) -> Verdict:
        """The worst verdict on a host."""
        return min(
            (host.verdict for host in self.hosts), key=VERDICTS_WORST_FIRST.index, default="pass"
        )

    def build_combined_problem_report(self) -> Report:
        """Return one report of all that isn't passed or skipped, for formats without hosts.

        The host's name is put before the item of each result and before its message.
        """
        reports = [(host.name, host.report_or_undecided()) for host in self.hosts]
        judged = next((host.report for host in self.hosts if host.report is not None), None)
        first = judged or Report(__version__, "", self.title, "", "", {}, {}, ())
        return first._replace(
            results=tuple(
                result._replace(
                    item=name if result.item is None else f"{name} · {result.item}",
                    message=f"{name}: {result.message}",
                )
                for name, report in reports
                for result in report.results
                if result.verdict not in ("pass", "skip")
            ),
            host={},
            engine={},
            notes=tuple(dict.fromkeys(note for _, report in reports for note in report.notes)),
            seconds=round(self.seconds, 3),
        )
