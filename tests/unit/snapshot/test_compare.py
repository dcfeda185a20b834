"""What is a change and what is noise, and in which order changes are told."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.model.difference import FactAndVerdictChanges
from preflight.model.facts import Facts, Measured, Unknown, build_facts, split_fact_path
from preflight.model.report import VERDICTS, Result, Verdict
from preflight.snapshot.compare import ComparisonInput, compare_snapshots_or_reports


def snapshot(*figures: tuple[str, Any]) -> Facts:
    measured = [Measured(split_fact_path(path), value, "here") for path, value in figures]
    return build_facts(measured, measured_at="2026-11-23T11:00:00Z", version="1.0.0")


def side(*figures: tuple[str, Any], results: Iterable[Result] = ()) -> ComparisonInput:
    return ComparisonInput(tuple(results), snapshot(*figures))


def judged(
    id_: str, verdict: Verdict, fact: str = "host.os", item: str | None = None, actual: Any = None
) -> Result:
    message = f"{id_} is {verdict}"
    return Result(id_, item, id_.title(), verdict, "required", fact, actual, {}, message, "", "")


def changed(before: Any, after: Any, path: str = "host.kernel") -> FactAndVerdictChanges:
    return compare_snapshots_or_reports(side((path, before)), side((path, after)))


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("docker.memory.total", 8, 6),
        ("docker.memory.available", 100, 94),
        ("host.disk.free", 0, 1),
        ("host.memory.limit", None, 1),
        ("host.memory.limit", 1, None),
        ("docker.rootless", True, False),
        ("docker.version", "28.2", "28.3"),
        ("docker.warnings", [], ["x"]),
        ("docker.memory.total", 8, Unknown("refused")),
        ("docker.memory.total", Unknown("refused"), 8),
        ("docker.memory.total", 100, 99),  # it is no free memory
        ("stack.containers.a.restarts", 1, 2),
        ("stack.containers.a.started_at", "2026-11-23T11:00:00Z", None),
        ("compose.services.api.image", "<host-1>/api:1", "<host-1>/api:2"),
        ("host.hostname", "of <user-1>, on <host-1>, at 5", "of carol, at vm, at 5"),
        ("host.hostname", "<user-1>, on <host-1>", "carol"),
        ("host.hostname", "a <user-1> and <user-2> b", "a carol b"),
    ],
)
def test_a_change(path: str, before: Any, after: Any) -> None:
    told = changed(before, after, path)
    assert [tuple(one) for one in told.facts] == [(path, before, after)]
    assert told.noise == 0


@pytest.mark.parametrize(
    ("path", "before", "after"),
    [
        ("host.memory.available", 100, 96),
        ("host.memory.available", 96, 100),
        ("docker.disk.free", 1e12, 0.951e12),
        ("stack.containers.a.memory.usage", 1000, 1050),
        ("model.budget", 100, 95),
        ("stack.containers.a.started_at", "2026-11-23T11:00:00Z", "2026-11-24T11:00:00Z"),
        ("host.ports.80.holder", "nginx (pid 12)", "nginx (pid 4711)"),
        ("host.ports.80.holder", "container 0123456789ab", "container ba9876543210"),
        ("host.hostname", "<host-1>", "<host-2>"),
        ("host.hostname", "<host-1>", "vm"),
        ("host.hostname", "of <user-1>, on <host-1>, at 5", "of carol, on vm, at 5"),
        ("compose.files", ["/home/<user-1>/a.yaml"], ["/home/carol/a.yaml"]),
        ("compose.services.a.image", "r.io/x:<token-1>", "r.io/x:<token-9>"),
    ],
)
def test_noise(path: str, before: Any, after: Any) -> None:
    told = changed(before, after, path)
    assert told.facts == ()
    assert told.noise == 1


@pytest.mark.parametrize(
    ("before", "after"),
    [(1, 1), ("a", "a"), (None, None), (Unknown("a"), Unknown("b")), ([1], [1]), (1, 1.0)],
)
def test_no_change(before: Any, after: Any) -> None:
    assert changed(before, after) == FactAndVerdictChanges((), ())


def test_noise_is_told_where_a_verdict_hangs_on_it() -> None:
    path = "docker.memory.available"
    before = side((path, 100), results=[judged("free", "pass", path)])
    after = side((path, 99), results=[judged("free", "fail", path)])
    told = compare_snapshots_or_reports(before, after)
    assert [one.path for one in told.facts] == [path]
    assert told.noise == 0


def test_what_an_older_snapshot_does_not_hold_is_no_change() -> None:
    told = compare_snapshots_or_reports(
        side(("host.os", "linux")), side(("host.os", "linux"), ("docker.gpus", True))
    )
    assert told == FactAndVerdictChanges((), ())


def test_a_container_that_came_is_one_change() -> None:
    top = ("stack.containers", {})
    one = [(f"stack.containers.api.{name}", 1) for name in ("restarts", "exit_code", "cpus")]
    told = compare_snapshots_or_reports(side(top), side(*one, top))
    assert [(c.path, c.before) for c in told.facts] == [("stack.containers.api", None)]
    gone = compare_snapshots_or_reports(side(*one, top), side(top))
    assert [(c.path, c.after) for c in gone.facts] == [("stack.containers.api", None)]


def test_a_map_that_nobody_knows_any_more_is_one_change() -> None:
    one = [("stack.containers.api.restarts", 1), ("stack.containers", {})]
    why = Unknown("refused", "refused")
    told = compare_snapshots_or_reports(side(*one), side(("stack.containers", why)))
    assert [(c.path, c.after) for c in told.facts] == [("stack.containers", why)]


def test_verdicts_come_worst_first_and_facts_in_their_order() -> None:
    pairs: list[tuple[str, Verdict, Verdict]] = [
        ("a", "fail", "pass"), ("b", "pass", "warn"), ("c", "warn", "fail"), ("d", "pass", "fail"),
        ("e", "pass", "unknown"), ("f", "pass", "pass"), ("g", "warn", "skip"),
    ]  # fmt: skip
    before = side(
        ("host.x.z", 1), ("host.x.c", 1), ("host.x.d", 1),
        results=[judged(name, was, f"host.x.{name}") for name, was, _ in pairs],
    )  # fmt: skip
    after = side(
        ("host.x.z", 2), ("host.x.c", 2), ("host.x.d", 2),
        results=[judged(name, now, f"host.x.{name}") for name, _, now in pairs],
    )  # fmt: skip
    told = compare_snapshots_or_reports(before, after)
    assert [one.result.id for one in told.verdicts] == ["d", "c", "e", "b", "g", "a"]
    assert [one.is_worse for one in told.verdicts] == [True] * 4 + [False] * 2
    assert [one.path for one in told.facts] == ["host.x.d", "host.x.c", "host.x.z"]


@pytest.mark.parametrize(
    ("before", "after", "worse", "new"),
    [
        ("skip", "warn", False, True),  # Docker came up, and only now can it be judged
        ("skip", "fail", False, True),
        ("unknown", "fail", False, True),
        ("skip", "pass", False, False),
        ("pass", "skip", False, False),  # what keeps it from being judged is worse, not this
        ("pass", "unknown", True, False),
        ("warn", "fail", True, False),
        ("waived", "fail", True, False),
        ("fail", "unknown", False, False),
    ],
)
def test_what_was_not_judged_before_has_not_become_worse(
    before: Verdict, after: Verdict, worse: bool, new: bool
) -> None:
    difference = compare_snapshots_or_reports(
        side(results=[judged("a", before)]), side(results=[judged("a", after)])
    )
    (change,) = difference.verdicts
    assert (change.is_worse, change.is_newly_judged_problem) == (worse, new)
    assert (difference.worse_verdict_count, difference.newly_judged_problem_count) == (worse, new)


def test_new_problems_come_after_what_is_worse() -> None:
    pairs: list[tuple[str, Verdict, Verdict]] = [
        ("a", "fail", "pass"), ("b", "skip", "fail"), ("c", "pass", "warn"), ("d", "skip", "pass"),
    ]  # fmt: skip
    before, after = (
        side(results=[judged(pair[0], pair[number]) for pair in pairs]) for number in (1, 2)
    )  # fmt: skip
    assert [
        change.result.id for change in compare_snapshots_or_reports(before, after).verdicts
    ] == [
        "c",
        "b",
        "d",
        "a",
    ]


def test_items_are_told_apart_and_those_gone_have_no_verdict() -> None:
    before = side(results=[judged("cpu", "pass", item="a"), judged("cpu", "fail", item="b")])
    after = side(results=[judged("cpu", "fail", item="a"), judged("cpu", "fail", item="c")])
    told = compare_snapshots_or_reports(before, after)
    assert {(one.result.item, one.before, one.after) for one in told.verdicts} == {
        ("a", "pass", "fail"), ("b", "fail", None), ("c", None, "fail"),
    }  # fmt: skip


def test_a_report_against_a_snapshot_compares_what_both_hold() -> None:
    report = ComparisonInput(
        (judged("os", "pass", actual="linux"), judged("old", "fail", "host.gone", actual=1))
    )
    now = side(
        ("host.os", "darwin"),
        ("host.arch", "arm64"),
        results=[judged("os", "fail", actual="darwin")],
    )
    for first, second, values in ((report, now, ("linux", "darwin")),
                                  (now, report, ("darwin", "linux"))):  # fmt: skip
        told = compare_snapshots_or_reports(first, second)
        assert [one.result.id for one in told.verdicts] == ["os"]
        assert ("host.os", *values) in [tuple(one) for one in told.facts]
        assert "host.arch" not in [one.path for one in told.facts]
        assert told.notes


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
SIDES = st.builds(
    lambda values, verdict: ComparisonInput((judged("a", verdict),), Facts(values)),
    st.dictionaries(st.text(max_size=3), VALUES, max_size=3),
    st.sampled_from(VERDICTS),
)


@given(SIDES, SIDES)
def test_nothing_differs_from_itself_and_a_difference_goes_both_ways(
    a: ComparisonInput, b: ComparisonInput
) -> None:
    assert compare_snapshots_or_reports(a, a) == FactAndVerdictChanges((), ())
    there, back = compare_snapshots_or_reports(a, b), compare_snapshots_or_reports(b, a)
    assert {(c.path, repr(c.before), repr(c.after)) for c in there.facts} == {
        (c.path, repr(c.after), repr(c.before)) for c in back.facts
    }
    assert {(v.result.id, v.before, v.after) for v in there.verdicts} == {
        (v.result.id, v.after, v.before) for v in back.verdicts
    }


@pytest.mark.parametrize("path", ["compose.services", "stack.containers"])
def test_an_item_that_came_or_went_is_one_change(path: str) -> None:
    item = {"image": "redis:7", "replicas": 1}
    without, with_item = side((path, {})), side((path, {"cache": item}))
    for before, after, values in (
        (without, with_item, (None, item)),
        (with_item, without, (item, None)),
    ):
        changes = [tuple(change) for change in compare_snapshots_or_reports(before, after).facts]
        assert changes == [(f"{path}.cache", *values)]
