"""The ledger: what goes where, and the link with the least to spare."""

from __future__ import annotations

from typing import Any

import pytest

from preflight.evaluate.notes_and_memory import compute_stack_memory
from preflight.model.facts import Facts, Unknown
from preflight.model.report import ServiceMemory
from preflight.render.memory import make_needed_memory_rows

GIB = 2**30


def made(host: float, docker: float, *, local: bool = True, **extra: Any) -> Any:
    api = {"replicas": 2, "reservations": {"memory": GIB}, "limits": {"memory": 2 * GIB}}
    llm = {"replicas": 1, "reservations": {"memory": 6 * GIB}, "limits": {"memory": None}}
    values = {
        "host": {"memory": {"total": host}},
        "docker": {"local": local, "memory": {"usable": docker}},
        "compose": {"services": {"api": api, "llm": llm}},
        **extra,
    }
    return compute_stack_memory(Facts(values), 2 * GIB)


@pytest.mark.parametrize(
    ("host", "docker", "where", "spare"),
    [
        (16, 16, "host", 6),
        (16, 9, "docker", 1),
        (16, 7, "docker", -1),
        (9, 9, "host", -1),
    ],
)
def test_the_weakest_link_counts_replicas_and_overhead(
    host: int, docker: int, where: str, spare: int
) -> None:
    weakest = made(host * GIB, docker * GIB).tightest
    assert (weakest.where, weakest.spare) == (where, spare * GIB)


def test_an_overhead_that_no_rule_states_is_not_named() -> None:
    values = {
        "host": {"memory": {"total": 16 * GIB}},
        "compose": {"services": {"api": {"reservations": {"memory": GIB}}}},
    }
    for overhead, named in ((2 * GIB, True), (None, False)):
        breakdown = compute_stack_memory(Facts(values), overhead)
        assert breakdown.tightest is not None
        assert ("overhead" in breakdown.tightest.required_by) is named
        rows = [row.name for row in make_needed_memory_rows(breakdown)]
        assert ("system overhead" in rows) is named


def test_a_model_may_be_the_weakest() -> None:
    model = {"name": "m", "memory": 4 * GIB, "budget": 3 * GIB}
    weakest = made(64 * GIB, 64 * GIB, model=model).tightest
    assert (weakest.where, weakest.available, weakest.required) == ("model", 3 * GIB, 4 * GIB)


def test_what_is_not_known_is_none_and_no_link() -> None:
    facts = Facts({"compose": {"services": None}}, {}, {"docker": Unknown("down")})
    found = compute_stack_memory(facts, None)
    assert found == type(found)()


def test_the_host_of_a_remote_engine_is_not_the_stacks() -> None:
    found = made(64 * GIB, 8 * GIB, local=False)
    assert found.host is None
    assert found.tightest.where == "docker"


def test_each_service_has_its_replicas_its_reservation_and_its_limit() -> None:
    assert made(16 * GIB, 16 * GIB).services == (
        ServiceMemory("api", 2, GIB, 2 * GIB),
        ServiceMemory("llm", 1, 6 * GIB, None),
    )


@pytest.mark.parametrize("garbage", ["lots", True, [], {"a": 1}, 1e400, -1])
def test_garbage_is_no_size(garbage: Any) -> None:
    compute_stack_memory(
        Facts({"host": {"memory": {"total": garbage}}, "compose": {"services": garbage}}), 1
    )
