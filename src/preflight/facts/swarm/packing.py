"""Whether tasks fit on nodes together: first-fit decreasing, and what proves that they can't.

Pure. A placing that was found is one; that none was found proves nothing. Swarm itself spreads
tasks as they come and never moves one: what fits only when it is packed it may leave pending.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Literal, NamedTuple, TypeAlias

Amounts: TypeAlias = Mapping[str, int]
State: TypeAlias = Literal["placed", "tight", "unproved", "impossible"]


class Demand(NamedTuple):
    """Equal tasks: how many there are, what each reserves, where each may run.

    `nodes` are all that a task may run on; `most` is how many a node may have, nought for any.
    """

    name: str
    number: int
    needs: Amounts
    nodes: tuple[str, ...]
    most: int = 0


class Shortage(NamedTuple):
    """What proves that there is no placing: `asked` of a kind by all of `names`, `left` on `nodes`.

    The kind is `tasks` where it is room for a number of tasks that is missing.
    """

    names: tuple[str, ...]
    nodes: tuple[str, ...]
    kind: str
    asked: int
    left: int


class Packing(NamedTuple):
    """What came of it: tasks by demand's name and node, those left over by demand's name."""

    state: State
    placed: Mapping[tuple[str, str], int]
    unplaced: Mapping[str, int]
    shortage: Shortage | None = None


def pack(rooms: Mapping[str, Amounts], demands: Sequence[Demand]) -> Packing:
    """Place tasks into rooms, by node; a node that isn't among the rooms takes none."""
    here = _on(rooms, demands)
    placed, unplaced = min((_first_fit(rooms, here, key) for key in _ORDERS), key=_left_over)
    if not unplaced:
        return Packing("placed", placed, {})
    shortage = next(_shortages(rooms, here), None)
    return Packing("impossible" if shortage else "unproved", placed, unplaced, shortage)


def spread(
    rooms: Mapping[str, Amounts], demands: Sequence[Demand], busy: Mapping[str, int]
) -> Mapping[str, int]:
    """Return what Swarm leaves pending where the smallest tasks come first: the worst of orders.

    Each task goes to a node with the fewest of its service, then the fewest in all; `busy` is how
    many a node has already. Source: moby/swarmkit, manager/scheduler `scheduleTaskGroup`.
    """
    left, tasks = {node: dict(room) for node, room in rooms.items()}, Counter(busy)
    total = _sum(rooms.values())
    pending: Counter[str] = Counter()
    for demand in sorted(_on(rooms, demands), key=lambda one: _size(one.needs, total)):
        own: Counter[str] = Counter()
        for done in range(demand.number):
            able = [n for n in demand.nodes if _takes_one(left[n], demand, own[n])]
            if not able:
                pending[demand.name] += demand.number - done
                break
            node = min(able, key=lambda one: (own[one], tasks[one]))
            _take(left[node], demand.needs, 1)
            own[node], tasks[node] = own[node] + 1, tasks[node] + 1
    return pending


def _takes_one(room: Amounts, demand: Demand, own: int) -> bool:
    return not 0 < demand.most <= own and capacity(room, demand) > 0


def _on(rooms: Mapping[str, Amounts], demands: Iterable[Demand]) -> list[Demand]:
    return [one._replace(nodes=tuple(n for n in one.nodes if n in rooms)) for one in demands]


def capacity(room: Amounts, demand: Demand) -> int:
    """Return how many tasks of a demand a room takes, at most as many as there are.

    A room that is overdrawn in one kind takes no task that reserves anything.
    """
    most = min(demand.number, demand.most or demand.number)
    if not any(demand.needs.values()):
        return most
    if any(left < 0 for left in room.values()):
        return 0
    fits = (room.get(kind, 0) // need for kind, need in demand.needs.items() if need > 0)
    return min(most, *fits)


# --- a placing ----------------------------------------------------------------------------------

_Key: TypeAlias = Callable[[Demand, float], tuple[float, ...]]

_ORDERS: tuple[_Key, ...] = (
    lambda demand, size: (-size, len(demand.nodes)),
    lambda demand, size: (len(demand.nodes), -size),
)
"""The largest first; and first those with the least choice, since labels and roles narrow it."""


def _left_over(placing: tuple[Mapping[tuple[str, str], int], Mapping[str, int]]) -> int:
    return sum(placing[1].values())


def _first_fit(
    rooms: Mapping[str, Amounts], demands: Sequence[Demand], key: _Key
) -> tuple[Counter[tuple[str, str]], Counter[str]]:
    """Give each task the first node that has room for it; those that have one node only first."""
    left = {node: dict(room) for node, room in rooms.items()}
    total = _sum(rooms.values())
    order = sorted(
        demands, key=lambda one: (len(one.nodes) > 1, *key(one, _size(one.needs, total)))
    )
    placed: Counter[tuple[str, str]] = Counter()
    unplaced: Counter[str] = Counter()
    for demand in order:
        waiting = demand
        for node in demand.nodes:
            takes = capacity(left[node], waiting)
            if takes:
                _take(left[node], demand.needs, takes)
                placed[demand.name, node] += takes
                waiting = waiting._replace(number=waiting.number - takes)
        if waiting.number:
            unplaced[demand.name] += waiting.number
    return placed, unplaced


def _take(room: dict[str, int], needs: Amounts, number: int) -> None:
    for kind, need in needs.items():
        room[kind] = room.get(kind, 0) - need * number


def _size(needs: Amounts, total: Amounts) -> float:
    """Return the largest share that a task has of all there is of some kind."""
    return max((need / max(1, total.get(kind, 0)) for kind, need in needs.items()), default=0.0)


def _sum(rooms: Iterable[Amounts]) -> Counter[str]:
    total: Counter[str] = Counter()
    for room in rooms:
        total.update({kind: max(0, left) for kind, left in room.items()})
    return total


# --- a proof that there is none -----------------------------------------------------------------


def _shortages(rooms: Mapping[str, Amounts], demands: Sequence[Demand]) -> Iterator[Shortage]:
    """Yield what proves that no order of placing could do: of one demand alone, then of several."""
    for one in demands:
        takes = sum(capacity(rooms[node], one) for node in one.nodes)
        if takes < one.number:
            yield Shortage((one.name,), one.nodes, "tasks", one.number, takes)
    yield from _together(rooms, demands)


def _together(rooms: Mapping[str, Amounts], demands: Sequence[Demand]) -> Iterator[Shortage]:
    """Yield sets of nodes that have less than those ask for who may run nowhere else."""
    by_nodes: dict[frozenset[str], list[Demand]] = {}
    for one in demands:
        if one.number and any(one.needs.values()):
            by_nodes.setdefault(frozenset(one.nodes), []).append(one)
    several = [nodes for nodes in by_nodes if len(nodes) > 1]
    candidates = dict.fromkeys((*by_nodes, frozenset().union(*by_nodes)))
    for nodes in candidates:
        # of a single node only those count that are bound to it, so the others needn't be tried
        inside = several if len(nodes) > 1 else []
        bound = [frozenset((node,)) for node in nodes]
        sets = [one for one in (*inside, *bound) if one in by_nodes and one <= nodes]
        within = [demand for one in sets for demand in by_nodes[one]]
        asked: Counter[str] = Counter()
        for demand in within:
            asked.update({kind: need * demand.number for kind, need in demand.needs.items()})
        left = _sum(rooms[node] for node in nodes)
        names = tuple(dict.fromkeys(demand.name for demand in within))
        for kind, amount in asked.items():
            if amount > left[kind]:
                yield Shortage(names, tuple(sorted(nodes)), kind, amount, left[kind])
