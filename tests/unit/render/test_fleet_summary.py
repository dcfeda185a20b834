"""What a fleet's report says first, and what is one problem of several hosts."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.model.fleet import Fleet, HostReport
from preflight.model.report import ExitCode, Report, ResolvedFix, Result, Severity, Verdict
from preflight.render import RenderOptions, load_renderer
from preflight.render.fleet_summary import (
    HostSummary,
    group_problems_across_hosts,
    select_shown_hosts,
    summarize_each_host,
)

EMPTY = Report("1", "", "r", "r.yaml", "", {}, {}, ())


def result(
    id_: str,
    verdict: Verdict,
    severity: Severity = "required",
    fact: str = "host.memory.total",
    reason: str = "",
) -> Result:
    return Result(id_, None, id_.title(), verdict, severity, fact, None, {}, f"{id_} is {verdict}",
                  "4", "≥ 8", reason_or_source=reason)  # fmt: skip


def fleet(*, failure_code: int = ExitCode.USAGE, **hosts: Any) -> Fleet:
    """Return a fleet of hosts by name: each its results, or the reason why it has none."""
    reports = (
        HostReport(name, None, results)
        if isinstance(results, str)
        else HostReport(name, EMPTY._replace(results=tuple(results)))
        for name, results in hosts.items()
    )
    return Fleet("f", tuple(reports), 1, failure_code)


def causes(of: Fleet, *, recommended: bool = True) -> list[tuple[str, tuple[str, ...], str]]:
    return [
        (
            _cause(one.task.result),
            one.hosts,
            one.title,
        )
        for one in group_problems_across_hosts(of, recommended=recommended)
    ]


def _cause(one: Result) -> str:
    return one.reason_or_source if one.verdict == "unknown" else one.id


def summary(results: Any) -> HostSummary:
    (host,) = summarize_each_host(fleet(x=results))
    return host


FAIL, WARN, PASS = result("a", "fail"), result("b", "warn", "recommended"), result("c", "pass")
OPEN = result("d", "unknown", reason="no daemon")


def test_rules_that_are_undecided_for_one_reason_are_one_problem() -> None:
    more = (
        result("e", "unknown", reason="no daemon"),
        result("f", "unknown", reason="closed"),
    )
    assert causes(fleet(x=[OPEN, *more], y=[more[0]])) == [
        ("no daemon", ("x", "y"), "2 checks undecided"), ("closed", ("x",), "F")
    ]  # fmt: skip


def test_a_rule_that_fails_is_one_problem_whatever_it_measured() -> None:
    of = fleet(
        x=[FAIL._replace(reason_or_source="meminfo")], y=[FAIL._replace(reason_or_source="WMI")]
    )
    assert causes(of) == [("a", ("x", "y"), "A")]


def test_the_worst_come_first_then_what_most_have_then_by_name() -> None:
    second = result("b2", "fail")
    of = fleet(x=[WARN, OPEN, second], y=[FAIL, WARN], z=[second, result("a2", "fail")])
    assert [cause for cause, *_ in causes(of)] == ["b2", "a", "a2", "no daemon", "b"]
    assert [cause for cause, *_ in causes(of, recommended=False)] == ["b2", "a", "a2", "no daemon"]


def test_of_one_host_what_gates_comes_first() -> None:
    advised = result("f", "fail", "recommended")
    fixes = (ResolvedFix("Add memory."),)
    host = summary([WARN, advised, OPEN, PASS, FAIL._replace(fixes=fixes)])
    assert [task.result.id for task in host.todo_items] == ["a", "d", "f", "b"]
    assert [task.affects_exit_code for task in host.todo_items] == [True, True, False, False]
    assert host.worst_problem_sentence == "a is fail"
    assert host.todo_items[0].result.fixes == fixes


@pytest.mark.parametrize("reason", ["refused", ""])
def test_a_host_without_a_report_has_the_reason_for_its_problem(reason: str) -> None:
    host = summary(reason)
    shown = reason or "for an unknown reason"
    assert (host.verdict, host.reason, host.worst_problem_sentence) == ("unknown", shown, shown)
    assert select_shown_hosts([host], RenderOptions())
    of = fleet(x=reason, y=reason)
    assert causes(of, recommended=False) == [(shown, ("x", "y"), "Host reached")]
    (problem,) = group_problems_across_hosts(of, recommended=False)
    assert (problem.title, problem.example_or_reason, problem.fixes) == ("Host reached", shown, ())


@pytest.mark.parametrize(
    ("hosts", "shown"),
    [
        ({"a": [PASS]}, ""),
        ({"a": [PASS], "b": [WARN]}, "b"),  # a warning is all that there is to say
        ({"a": [PASS, FAIL], "b": [WARN], "c": [PASS]}, "a"),
        ({"a": [OPEN], "b": [WARN], "c": [FAIL]}, "ca"),
    ],
)
def test_which_hosts_need_action(hosts: dict[str, list[Result]], shown: str) -> None:
    listed = select_shown_hosts(summarize_each_host(fleet(**hosts)), RenderOptions())
    assert "".join(host.name for host in listed) == shown


def test_where_hosts_pass_with_warnings_these_are_shown_and_counted() -> None:
    warned = fleet(a=[PASS], b=[WARN, PASS])
    text = load_renderer("text")(warned, RenderOptions())
    assert "▲ b  B 4" in text
    assert "To do" in text
    assert "✔ 1 more" in text
    failed = fleet(a=[PASS], b=[WARN, PASS], c=[FAIL])
    text = load_renderer("text")(failed, RenderOptions())
    assert "▲ 1 more with warnings; -v lists them\n  ✔ 1 more\n" in text
    assert "▲ 1 more · ✔ 1 more\n" in load_renderer("markdown")(failed, RenderOptions())


def test_where_all_hosts_pass_their_number_is_said() -> None:
    all_well = fleet(a=[PASS], b=[PASS])
    assert "✔ all 2\n" in load_renderer("text")(all_well, RenderOptions())
    assert "✔ all 2\n" in load_renderer("markdown")(all_well, RenderOptions())


def test_a_problem_of_several_hosts_has_the_message_of_one_as_an_example() -> None:
    (of_two,) = group_problems_across_hosts(fleet(a=[FAIL], b=[FAIL]), recommended=False)
    (of_one,) = group_problems_across_hosts(fleet(a=[FAIL], b=[PASS]), recommended=False)
    assert (of_two.example_or_reason, of_one.example_or_reason) == (
        "such as a is fail",
        "a is fail",
    )


def test_bad_input_comes_before_all_and_what_was_not_reached_with_the_undecided() -> None:
    hosts = {"d": [PASS], "c": [FAIL], "b": "gone", "a": [WARN]}
    for code, order in ((ExitCode.USAGE, "bcad"), (ExitCode.UNDECIDED, "cbad")):
        found = summarize_each_host(fleet(failure_code=code, **hosts))
        assert "".join(host.name for host in found) == order


def test_a_column_has_the_worst_of_its_rules() -> None:
    host = summary(
        [
            PASS,
            result("a", "warn"),
            result("b", "pass", fact="host.disk.free"),
            result("c", "unknown", fact="docker.disk.free"),
            result("d", "skip", fact="docker.cpus"),
            result("e", "pass", fact="env.X"),
            result("f", "fail", fact="compose.services.api.image"),
        ]
    )
    assert host.columns == {"host": "warn", "disk": "unknown", "stack": "fail"}
