"""Several hosts judged by the same rules: the report of each, and the verdict on all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from preflight import __version__
from preflight.model.report import ExitCode, Report, Result, Verdict

WORST_FIRST: tuple[Verdict, ...] = ("fail", "unknown", "warn", "pass")
"""What the verdict on a host, or on all hosts, may be."""


class HostReport(NamedTuple):
    """One host: its report, or the reason why there is none."""

    name: str
    report: Report | None
    reason: str = ""

    @property
    def verdict(self) -> Verdict:
        """The report's verdict; unknown if there is no report."""
        return "unknown" if self.report is None else self.report.verdict


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
        return {"fail": ExitCode.FAILED, "unknown": ExitCode.UNDECIDED}.get(
            self.verdict, ExitCode.OK
        )

    @property
    def verdict(self) -> Verdict:
        """The worst verdict on a host."""
        return min((host.verdict for host in self.hosts), key=WORST_FIRST.index, default="pass")

    def combined(self) -> Report:
        """Return one report of all that isn't passed or skipped, for formats without hosts.

        The host's name is put before the item of each result and before its message. A host
        without a report becomes an undecided result.
        """
        reports = [host.report for host in self.hosts if host.report is not None]
        first = reports[0] if reports else Report(__version__, "", self.title, "", "", {}, {}, ())
        counts = sum((Counter(report.counts) for report in reports), Counter[Verdict]())
        counts["unknown"] += len(self.hosts) - len(reports)
        return first._replace(
            results=tuple(result for host in self.hosts for result in _results_of(host)),
            counts=counts,
            host={},
            engine={},
            notes=tuple(dict.fromkeys(note for report in reports for note in report.notes)),
            seconds=round(self.seconds, 3),
        )


def _results_of(host: HostReport) -> Iterator[Result]:
    if host.report is None:
        yield not_reached(host.name, host.reason)
        return
    for result in host.report.results:
        if result.verdict not in ("pass", "skip"):
            item = host.name if result.item is None else f"{host.name} · {result.item}"
            yield result._replace(item=item, message=f"{host.name}: {result.message}")


def not_reached(name: str, reason: str) -> Result:
    """Return the result of a host without a report."""
    return Result(
        id="host-reached",
        item=name,
        title="Host reached",
        verdict="unknown",
        severity="required",
        fact="host.hostname",
        actual=None,
        expected={},
        message=f"{name}: {reason}",
        actual_text="unknown",
        expected_text="reached",
        section="Hosts",
        reason_or_source=reason,
    )
