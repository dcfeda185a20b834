"""How many machines stand: whose fault comes first, and what is one fault of several machines."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.model.fleet import Fleet, standing
from preflight.model.report import ExitCode, Report, ResolvedFix, Result, Severity, Verdict

EMPTY = Report("1", "", "r", "r.yaml", "", {}, {}, ())


def result(
    id_: str,
    verdict: Verdict,
    severity: Severity = "required",
    fact: str = "host.memory.total",
    reason_or_source: str = "",
) -> Result:
    return Result(id_, None, id_.title(), verdict, severity, fact, None, {}, f"{id_} is {verdict}",
                  "4", "≥ 8", reason_or_source=reason_or_source)  # fmt: skip


def fleet(*, unusable: int = ExitCode.USAGE, **machines: Any) -> Fleet:
    reports = {
        name: one if isinstance(one, str) else EMPTY._replace(results=tuple(one))
        for name, one in machines.items()
    }
    return Fleet("f", [standing(name, one) for name, one in reports.items()], 1, unusable)


def causes(of: Fleet, *, advice: bool = True) -> list[tuple[str, tuple[str, ...], int]]:
    return [(one.fault.cause, one.names, one.rules) for one in of.shared(advice=advice)]


FAIL, WARN, PASS = result("a", "fail"), result("b", "warn", "recommended"), result("c", "pass")
OPEN = result("d", "unknown", reason_or_source="no daemon")


def test_rules_that_are_open_for_one_reason_are_one_fault() -> None:
    more = (
        result("e", "unknown", reason_or_source="no daemon"),
        result("f", "unknown", reason_or_source="closed"),
    )
    found = causes(fleet(x=[OPEN, *more], y=[more[0]]))
    assert found == [("no daemon", ("x", "y"), 2), ("closed", ("x",), 1)]


def test_a_rule_that_fails_is_one_fault_whatever_it_measured() -> None:
    found = causes(
        fleet(
            x=[FAIL._replace(reason_or_source="meminfo")], y=[FAIL._replace(reason_or_source="WMI")]
        )
    )
    assert found == [("a", ("x", "y"), 1)]


def test_the_gravest_come_first_then_what_most_have_then_by_name() -> None:
    second = result("b2", "fail")
    found = fleet(x=[WARN, OPEN, second], y=[FAIL, WARN], z=[second, result("a2", "fail")])
    assert [cause for cause, *_ in causes(found)] == ["b2", "a", "a2", "no daemon", "b"]
    assert [cause for cause, *_ in causes(found, advice=False)] == ["b2", "a", "a2", "no daemon"]


def test_of_one_machine_what_gates_comes_first() -> None:
    advised = result("f", "fail", "recommended")
    fixes = (ResolvedFix("Add memory."),)
    (one,) = fleet(x=[WARN, advised, OPEN, PASS, FAIL._replace(fixes=fixes)]).standings
    assert [(fault.cause, fault.gates) for fault in one.faults] == [
        ("a", True), ("no daemon", True), ("f", False), ("b", False)
    ]  # fmt: skip
    assert one.faults[0][:4] == ("a", "A", "fail", "a is fail")
    assert (one.faults[0].found, one.faults[0].fixes) == ("4", fixes)


@pytest.mark.parametrize("why", ["refused", ""])
def test_one_that_was_not_judged_has_that_for_its_fault(why: str) -> None:
    of = fleet(x=why, y=why)
    one = of.standings[0]
    assert (one.verdict, one.unusable) == ("unknown", why or "nobody knows why")
    assert one.needs_action
    assert causes(of, advice=False) == [(why or "nobody knows why", ("x", "y"), 0)]
    (shared,) = of.shared(advice=False)
    assert (shared.fault.title, shared.fault.verdict) == ("Not judged", "unknown")
    assert shared.fault.message == one.unusable


@pytest.mark.parametrize(
    ("verdicts", "action"),
    [([PASS], False), ([WARN], False), ([PASS, FAIL], True), ([OPEN], True)],
)
def test_who_needs_action(verdicts: list[Result], action: bool) -> None:
    assert fleet(x=verdicts).standings[0].needs_action is action


@pytest.mark.parametrize(
    ("machines", "unusable", "code", "verdict"),
    [
        ({}, ExitCode.USAGE, 0, "pass"),
        ({"x": [WARN], "y": [PASS]}, ExitCode.USAGE, 0, "warn"),
        ({"x": [OPEN], "y": [PASS]}, ExitCode.USAGE, 3, "unknown"),
        ({"x": [OPEN], "y": [FAIL]}, ExitCode.USAGE, 1, "fail"),
        ({"x": [FAIL], "y": "gone"}, ExitCode.USAGE, 2, "fail"),
        ({"x": [FAIL], "y": "gone"}, ExitCode.UNDECIDED, 1, "fail"),
        ({"x": [PASS], "y": "gone"}, ExitCode.UNDECIDED, 3, "unknown"),
    ],
)
def test_the_gravest_decides(
    machines: dict[str, Any], unusable: int, code: int, verdict: str
) -> None:
    found = fleet(unusable=unusable, **machines)
    assert (found.exit_code, found.verdict) == (code, verdict)


def test_what_is_bad_input_comes_before_all_and_what_was_not_reached_with_the_undecided() -> None:
    machines = {"d": [PASS], "c": [FAIL], "b": "gone", "a": [WARN]}
    for unusable, order in ((ExitCode.USAGE, "bcad"), (ExitCode.UNDECIDED, "cbad")):
        found = fleet(unusable=unusable, **machines).worst_first()
        assert "".join(one.name for one in found) == order


def test_a_column_has_the_worst_of_its_rules() -> None:
    (one,) = fleet(
        x=[
            PASS,
            result("a", "warn"),
            result("b", "pass", fact="host.disk.free"),
            result("c", "unknown", fact="docker.disk.free"),
            result("d", "skip", fact="docker.cpus"),
            result("e", "pass", fact="env.X"),
            result("f", "fail", fact="compose.services.api.image"),
        ]
    ).standings
    assert one.columns == {"host": "warn", "disk": "unknown", "stack": "fail"}
