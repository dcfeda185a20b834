"""Placing tasks, held against every placing there is, on inputs small enough to try them all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from preflight.facts.swarm.packing import Demand, Packing, capacity, pack, spread

NODES = ("a", "b", "c")
KINDS = ("memory", "cpus")
Rooms = Mapping[str, Mapping[str, int]]

rooms = st.fixed_dictionaries(
    {}, optional={n: st.fixed_dictionaries({k: st.integers(-1, 8) for k in KINDS}) for n in NODES}
)
demands = st.lists(
    st.builds(
        Demand,
        st.sampled_from(("x", "y", "z")),
        st.integers(0, 3),
        st.fixed_dictionaries({}, optional={k: st.integers(0, 6) for k in KINDS}),
        st.lists(st.sampled_from(NODES), unique=True).map(tuple),
        st.integers(0, 2),
    ),
    max_size=3,
    unique_by=lambda one: one.name,
)


def placings(wanted: Sequence[Demand]) -> Iterator[list[tuple[Demand, str]]]:
    """Every way to give each task a node that it may run on, with or without room."""
    tasks = [one for one in wanted for _ in range(one.number)]
    for choice in product(*(one.nodes for one in tasks)):
        yield list(zip(tasks, choice, strict=True))


def holds(rooms: Rooms, placing: Sequence[tuple[Demand, str]]) -> bool:
    """Whether a placing overdraws no room and heeds how many of a service a node may have."""
    if any(node not in rooms for _, node in placing):
        return False
    for node, room in rooms.items():
        here = [demand for demand, where in placing if where == node]
        used = {kind: sum(one.needs.get(kind, 0) for one in here) for kind in KINDS}
        reserving = any(any(one.needs.values()) for one in here)
        if reserving and any(used[kind] > room[kind] for kind in KINDS):
            return False
        if any(one.most and here.count(one) > one.most for one in here):
            return False
    return True


def as_placing(wanted: Sequence[Demand], packing: Packing) -> list[tuple[Demand, str]]:
    by_name = {one.name: one for one in wanted}
    return [(by_name[name], node) for (name, node), n in packing.placed.items() for _ in range(n)]


@given(rooms, demands)
def test_it_never_places_beyond_a_room_nor_where_a_task_may_not_run(
    rooms: Rooms, wanted: list[Demand]
) -> None:
    packing = pack(rooms, wanted)
    placing = as_placing(wanted, packing)
    assert holds(rooms, placing)
    assert all(node in demand.nodes for demand, node in placing)
    for one in wanted:
        done = sum(demand.name == one.name for demand, _ in placing)
        assert done + packing.unplaced.get(one.name, 0) == one.number


@given(rooms, demands)
def test_what_it_says_is_so_in_the_directions_that_it_can_prove(
    rooms: Rooms, wanted: list[Demand]
) -> None:
    packing = pack(rooms, wanted)
    possible = any(holds(rooms, placing) for placing in placings(wanted))
    if packing.state == "placed":
        assert possible
        assert not packing.unplaced
    else:
        assert packing.unplaced
    if packing.state == "impossible":
        assert not possible
        assert packing.shortage is not None


@given(rooms, demands)
def test_spreading_leaves_a_task_only_where_it_cannot_go_and_never_overdraws(
    rooms: Rooms, wanted: list[Demand]
) -> None:
    pending = spread(rooms, wanted, {})
    possible = any(holds(rooms, placing) for placing in placings(wanted))
    assert possible or sum(pending.values()) > 0


def test_the_largest_goes_first_so_that_it_finds_room() -> None:
    rooms = {"a": {"memory": 10}, "b": {"memory": 7}}
    small, large = (
        Demand("small", 2, {"memory": 3}, ("a", "b")),
        Demand("large", 1, {"memory": 10}, ("a", "b")),
    )
    packing = pack(rooms, [small, large])
    assert packing.state == "placed"
    assert packing.placed == {("large", "a"): 1, ("small", "b"): 2}


def test_who_has_the_least_choice_goes_first_where_size_alone_fails() -> None:
    rooms = {"a": {"memory": 10}, "b": {"memory": 10}}
    free, bound = (
        Demand("free", 1, {"memory": 8}, ("a", "b")),
        Demand("bound", 1, {"memory": 7}, ("a",)),
    )
    assert pack(rooms, [free, bound]).placed == {("bound", "a"): 1, ("free", "b"): 1}


def test_no_placing_found_is_no_proof() -> None:
    """First-fit decreasing puts 5 and 3 together; 5 2 2 and 3 3 3 would do."""
    rooms = {node: {"memory": 9, "cpus": 0} for node in ("a", "b")}
    sizes = {"five": (5, 1), "three": (3, 3), "two": (2, 2)}
    wanted = [
        Demand(name, number, {"memory": size}, ("a", "b")) for name, (size, number) in sizes.items()
    ]
    assert any(holds(rooms, placing) for placing in placings(wanted))
    packing = pack(rooms, wanted)
    assert packing.state == "unproved"
    assert packing.unplaced == {"two": 1}
    assert packing.shortage is None


def test_more_than_there_is_proves_that_there_is_no_placing() -> None:
    rooms = {"a": {"memory": 10}, "b": {"memory": 10}}
    wanted = [Demand(name, n, {"memory": 7}, ("a", "b")) for name, n in (("x", 2), ("y", 1))]
    packing = pack(rooms, wanted)
    assert packing.state == "impossible"
    assert packing.shortage == (("x", "y"), ("a", "b"), "memory", 21, 20)


def test_those_bound_to_few_nodes_are_counted_against_those_alone() -> None:
    rooms = {"a": {"cpus": 4}, "b": {"cpus": 100}}
    bound = [Demand(name, 1, {"cpus": 3}, ("a",)) for name in ("x", "y")]
    packing = pack(rooms, [*bound, Demand("z", 1, {"cpus": 1}, ("a", "b"))])
    assert packing.state == "impossible"
    assert packing.shortage == (("x", "y"), ("a",), "cpus", 6, 4)


def test_a_task_that_no_node_may_run_is_a_proof() -> None:
    packing = pack({"a": {"cpus": 4}}, [Demand("x", 2, {}, ())])
    assert packing.state == "impossible"
    assert packing.unplaced == {"x": 2}


def test_what_reserves_nothing_goes_anywhere_as_often_as_it_may() -> None:
    rooms = {"a": {"memory": 0}, "b": {"memory": -5}}
    assert pack(rooms, [Demand("x", 9, {}, ("a", "b"))]).state == "placed"
    assert pack(rooms, [Demand("x", 9, {}, ("a", "b"), most=4)]).unplaced == {"x": 1}


def test_swarm_spreads_the_small_ones_and_leaves_the_large_one_pending() -> None:
    """As a real Swarm of two nodes of two CPUs did with the document's own stack."""
    rooms = {node: {"cpus": 20} for node in ("a", "b")}
    ollama, api = (
        Demand("ollama", 1, {"cpus": 20}, ("a", "b")),
        Demand("api", 2, {"cpus": 5}, ("a", "b")),
    )
    assert pack(rooms, [ollama, api]).state == "placed"
    assert spread(rooms, [ollama, api], {}) == {"ollama": 1}
    assert spread(rooms, [ollama, api._replace(number=1)], {"a": 1}) == {}


@pytest.mark.parametrize(
    ("room", "needs", "takes"),
    [
        ({"memory": 10}, {"memory": 3}, 3),
        ({"memory": 10, "cpus": 2}, {"memory": 3, "cpus": 1}, 2),
        ({"memory": 10}, {"gpu": 1}, 0),
        ({"memory": 10, "cpus": -1}, {"memory": 3}, 0),
        ({"memory": 10, "cpus": -1}, {}, 5),
        ({"memory": 10}, {"memory": 0}, 5),
    ],
)
def test_capacity(room: dict[str, int], needs: dict[str, int], takes: int) -> None:
    assert capacity(room, Demand("x", 5, needs, ())) == takes
