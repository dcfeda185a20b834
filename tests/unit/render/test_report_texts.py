"""What is to be done is said once, whatever the number of services that it is true of."""

from __future__ import annotations

import time
from typing import Any

from preflight import check as pipeline
from preflight.evaluate.judge import judge_rules
from preflight.model.facts import Facts, Unknown
from preflight.model.report import Report
from preflight.render import RenderOptions, load_renderer
from preflight.render.report_texts import (
    find_action_items,
    format_proposed_change,
    group_results_by_section,
)

RULES = """
version: 1
name: limits
rules:
  - id: memory-limit
    title: Memory limit is set
    section: Limits
    for_each: compose.services
    fact: limits.memory
    problem: "No memory limit: {item}"
    recommend: {exists: true}
    fixes:
      - text: Set a limit for {item}.
        command: edit {item}
  - id: cpu-limit
    title: CPU limit
    section: Limits
    for_each: compose.services
    fact: limits.cpus
    problem: "{item} may use {actual} CPUs, but {expected} are {severity}"
    require: {at_most: 2}
"""


def judge(**cpus: Any) -> Report:
    rules = pipeline.load_ruleset("limits.yaml", lambda _: RULES.encode())
    services: dict[str, Any] = {}
    unknown = {}
    for name, cpu in cpus.items():
        services[name] = {"limits": {"cpus": cpu, "memory": None}}
        if isinstance(cpu, Unknown):
            del services[name]["limits"]["cpus"]
            unknown[f"compose.services.{name}.limits.cpus"] = cpu
    facts = Facts({"compose": {"services": services}}, unknown=unknown)
    return judge_rules(rules, facts, pipeline.build_catalogue())


def test_equal_warnings_are_one_line_with_their_names() -> None:
    (task,) = find_action_items(judge(api=1, db=1, web=2))
    assert task.problem == "No memory limit: api, db and web"
    assert [fix.text for fix in task.result.fixes] == ["Set a limit for api, db and web."]
    assert [fix.command for fix in task.result.fixes] == ["edit api"]  # a command is for one


def test_different_figures_stay_apart_up_to_a_few_lines() -> None:
    few = find_action_items(judge(api=4, db=4, web=8))
    assert [task.problem for task in few][:2] == [
        "api and db may use 4 CPUs, but 2 are required",
        "web may use 8 CPUs, but 2 are required",
    ]
    many = find_action_items(judge(**{f"s{n}": n for n in range(3, 63)}))
    sentences = [task.problem for task in many]
    assert len(sentences) == 5
    assert sentences[3] == "CPU limit: not met for 57 more"
    assert many[3].names == "s6, s7, s8, s9, s10, s11 and 51 more"


def test_a_thousand_warnings_are_a_screen() -> None:
    report = judge(**{f"s{n}": n for n in range(3, 503)})
    text = load_renderer("text")(report, RenderOptions())
    assert len(text.splitlines()) < 30
    assert "No memory limit: s3, s4, s5, s6, s7, s8 and 494 more" in text


def test_ten_thousand_services_take_linear_time() -> None:
    def seconds(count: int) -> float:
        report = judge(**{f"s{n}": n for n in range(3, count)})
        start = time.process_time()
        load_renderer("text")(report, RenderOptions())
        return time.process_time() - start

    seconds(10)
    assert seconds(10_000) < 40 * max(seconds(1_000), 0.01)


def test_items_of_one_rule_that_are_undecided_for_one_reason_share_its_title() -> None:
    reason = Unknown("the image isn't here yet")
    report = judge(api=reason, web=reason, db=1)
    (task,) = (task for task in find_action_items(report) if task.result.verdict == "unknown")
    assert task.problem == "2 checks undecided: the image isn't here yet"
    assert task.names == "CPU limit: api and web"


def test_the_smallest_change_is_shown_unless_a_fix_names_the_new_value(report: Report) -> None:
    (result,) = (r for r in report.results if r.id == "cpu-limit" and r.verdict == "fail")
    for text, shown in (
        ("Lower it to '2'.", ""),
        ("Give Docker 2.", ""),
        ("Lower it.", "4 → 2"),
        ("Give it 2.5, 12 or 2GB.", "4 → 2"),
    ):
        fix = result.fixes[0]._replace(text=text, command=None)
        assert format_proposed_change(result._replace(fixes=(fix,))) == shown
        in_command = fix._replace(text="Run:", command=text)
        assert format_proposed_change(result._replace(fixes=(in_command,))) == shown
    assert result.change is not None
    removal = result.change._replace(after=None, text="4 → not set")
    assert format_proposed_change(result._replace(change=removal)) == ""


def test_a_section_counts_what_was_judged() -> None:
    (section,) = group_results_by_section(judge(api=1, db=4))
    assert (section.title, section.verdict, section.passed_count_text) == (
        "Limits",
        "fail",
        "1 of 4",
    )
