"""The verdict on many hosts, and one report of all of them."""

from __future__ import annotations

import pytest

from preflight.model.fleet import Fleet, HostReport
from preflight.model.report import ExitCode, Report, Result, Verdict

EMPTY = Report("1", "", "r", "r.yaml", "", {}, {}, ())


def result(verdict: Verdict, item: str | None = None) -> Result:
    severity = "recommended" if verdict == "warn" else "required"
    return Result("a", item, "A", verdict, severity, "host.os", None, {}, f"A is {verdict}", "", "")  # type: ignore[arg-type]


def host(name: str, *verdicts: Verdict) -> HostReport:
    return HostReport(name, EMPTY._replace(results=tuple(map(result, verdicts))))


LOST = HostReport("y", None, "gone")


@pytest.mark.parametrize(
    ("hosts", "failure_code", "code", "verdict"),
    [
        ((), ExitCode.USAGE, 0, "pass"),
        ((host("x", "warn"), host("y", "pass")), ExitCode.USAGE, 0, "warn"),
        ((host("x", "unknown"), host("y", "pass")), ExitCode.USAGE, 3, "unknown"),
        ((host("x", "unknown"), host("y", "fail")), ExitCode.USAGE, 1, "fail"),
        ((host("x", "fail"), LOST), ExitCode.USAGE, 2, "fail"),
        ((host("x", "fail"), LOST), ExitCode.UNDECIDED, 1, "fail"),
        ((host("x", "pass"), LOST), ExitCode.UNDECIDED, 3, "unknown"),
    ],
)
def test_the_worst_verdict_decides(
    hosts: tuple[HostReport, ...], failure_code: int, code: int, verdict: str
) -> None:
    fleet = Fleet("f", hosts, 1, failure_code)
    assert (fleet.exit_code, fleet.verdict) == (code, verdict)


def test_a_combined_report_has_what_was_not_met_with_the_name_of_its_host() -> None:
    report = EMPTY._replace(results=(result("pass"), result("fail", "api")), notes=("n",))
    combined = Fleet("f", (HostReport("x", report), LOST), 1.23456).build_combined_problem_report()
    assert [(one.item, one.message) for one in combined.results] == [
        ("x · api", "x: A is fail"), ("y", "y: gone")
    ]  # fmt: skip
    assert (combined.notes, combined.seconds) == (("n",), 1.235)
