"""The fewest moves within limits as a minimum-cost flow: its network, and the placement that a flow means. Pure.

A unit of flow is a replica: from its partition to the broker that holds it, free where the partition has it now, else
for 1. Three things keep the network small, and none changes its optimum:

- **Pools.** A new replica goes to a pool, one for each rack of a cell, and from there to any of its brokers, so a
  partition needs arcs to its racks and its own brokers only. A partition never gets back through the pool a broker that
  it has left: staying would have been free.
- **Singles.** A partition that must have exactly one replica in every rack of its cell is one partition of one replica
  for each rack.
- **Alike.** Singles of one pool that are on the same broker are one node with their number as its supply.

Only where a partition may have several new replicas in one rack can a pool hand it the same broker twice. It is then a
relaxation: its optimum is still a bound, and whether its flow can be dealt out to different brokers is seen by dealing.
If not, `pooled=False` draws arcs to every broker for those partitions.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from controlplane.domain.rebalance.problem import Cell, Problem, Slot
from controlplane.domain.rebalance.search import Limits
from controlplane.domain.rebalance.solver import FlowProblem

Pool = tuple[Cell, int]
"""A cell and one of its racks."""


@dataclass(slots=True)
class _Pool:
    node: int
    arcs: list[tuple[int, int]]
    """(arc to a broker, that broker)."""
    owed: list[int] = field(default_factory=list)
    """Slots that get a new replica from it, each as often as it gets one."""


class Network:
    """`flow` is to be solved; `moved` says what an answer moves. `amounts[i]` is what one replica of slot i counts: 1
    where none are given, its bytes for the relaxation that lets replicas be split (then `limits` are bytes too)."""

    def __init__(
        self, problem: Problem, limits: Limits, *, pooled: bool = True, amounts: Sequence[int] | None = None
    ) -> None:
        self._problem = problem
        self._amounts = [1] * len(problem.slots) if amounts is None else amounts
        self._pooled = pooled
        self.flow = FlowProblem()
        self._move = _price_of_a_move(problem)
        low, high = limits
        self._total = sum(slot.want * amount for slot, amount in zip(problem.slots, self._amounts, strict=True))
        self._brokers = [self.flow.node(-amount) for amount in low]
        sink = self.flow.node(sum(low) - self._total)
        for node, lower, upper in zip(self._brokers, low, high, strict=True):
            if upper > lower:
                self.flow.arc(node, sink, upper - lower)
        self._pools: dict[Pool, _Pool] = {}
        self._alike: list[tuple[Pool, tuple[int, ...], list[int], list[int]]] = []
        self._own: list[tuple[int, list[tuple[int, int]], list[tuple[int, Pool]]]] = []
        self._draw()

    @staticmethod
    def size(problem: Problem, *, pooled: bool) -> int:
        """About how many arcs it would have, without drawing it."""
        total = 0
        for slot in problem.slots:
            racks = len(slot.cell.by_rack)
            if not slot.want == slot.spread == racks:
                shared = pooled or slot.want == slot.spread
                pools = slot.want if racks == 1 else racks * (slot.want - slot.spread + 1)
                total += 2 * racks + slot.want + (pools if shared else len(slot.cell.brokers))
        return total

    def moved(self, carried: Sequence[int]) -> int:
        return sum(amount for amount, cost in zip(carried, self.flow.costs, strict=True) if cost)

    def _draw(self) -> None:
        singles: dict[tuple[Pool, tuple[int, ...]], list[int]] = defaultdict(list)
        for at, slot in enumerate(self._problem.slots):
            racks = slot.cell.by_rack
            if slot.want == slot.spread == len(racks):
                for rack in racks:
                    here = tuple(sorted(b for b in slot.current if self._problem.rack_of[b] == rack))
                    singles[(slot.cell, rack), here].append(at)
            else:
                self._one(at, slot)
        for (pool, here), members in singles.items():
            amount = sum(self._amounts[at] for at in members)
            node = self.flow.node(amount)
            stay = [self.flow.arc(node, self._brokers[broker], amount) for broker in here]
            self.flow.arc(node, self._pool(pool).node, amount, self._move)
            self._alike.append((pool, here, members, stay))

    def _one(self, at: int, slot: Slot) -> None:
        """A partition with nodes of its own: `spread` units of which each rack takes one, the others for any rack."""
        flow, cell, amount = self.flow, slot.cell, self._amounts[at]
        stay: list[tuple[int, int]] = []
        leave: list[tuple[int, Pool]] = []
        alone = len(cell.by_rack) == 1
        apart = flow.node(amount * (slot.want if alone else slot.spread))
        rest = None if alone or slot.want == slot.spread else flow.node(amount * (slot.want - slot.spread))
        for rack, members in cell.by_rack.items():
            pool: Pool = (cell, rack)
            here = [broker for broker in members if broker in slot.current]
            if rest is None and not here and not alone and self._shares_pool(slot):
                leave.append((flow.arc(apart, self._pool(pool).node, amount, self._move), pool))
                continue
            node = apart
            if not alone:
                node = flow.node()
                flow.arc(apart, node, amount)
                if rest is not None:
                    flow.arc(rest, node, amount * (slot.want - slot.spread))
            stay += [(flow.arc(node, self._brokers[broker], amount), broker) for broker in here]
            if self._shares_pool(slot):
                leave += [
                    (flow.arc(node, self._pool(pool).node, amount, self._move + trifle), pool)
                    for trifle in range(slot.want if alone else slot.want - slot.spread + 1)
                ]
            else:
                others = (broker for broker in members if broker not in slot.current)
                stay += [(flow.arc(node, self._brokers[broker], amount, self._move), broker) for broker in others]
        self._own.append((at, stay, leave))

    def _shares_pool(self, slot: Slot) -> bool:
        return self._pooled or slot.want == slot.spread

    def _pool(self, pool: Pool) -> _Pool:
        if pool not in self._pools:
            cell, rack = pool
            node = self.flow.node()
            arcs = [(self.flow.arc(node, self._brokers[b], self._total), b) for b in cell.by_rack[rack]]
            self._pools[pool] = _Pool(node, arcs)
        return self._pools[pool]

    def read(self, carried: Sequence[int]) -> list[list[int]] | None:
        """The brokers of every slot under this flow; None if a pool cannot be dealt out to different brokers."""
        places: list[list[int]] = [[] for _ in self._problem.slots]
        for pool in self._pools.values():
            pool.owed.clear()
        for name, here, members, stay in self._alike:
            self._stay_or_leave(places, self._pools[name], here, members, [carried[arc] for arc in stay])
        for at, staying, leaving in self._own:
            places[at] += [broker for arc, broker in staying if carried[arc]]
            for arc, name in leaving:
                self._pools[name].owed += [at] * carried[arc]
        for pool in self._pools.values():
            if not _deal(places, pool.owed, {broker: carried[arc] for arc, broker in pool.arcs if carried[arc]}):
                return None
        return places

    def _stay_or_leave(
        self, places: list[list[int]], pool: _Pool, here: tuple[int, ...], members: list[int], stay: list[int]
    ) -> None:
        """The largest replicas stay."""
        ranked = sorted(members, key=lambda at: (-self._problem.slots[at].size, at))
        for broker, count in zip(here, stay, strict=True):
            for at in ranked[:count]:
                places[at].append(broker)
            ranked = ranked[count:]
        pool.owed += ranked


def _price_of_a_move(problem: Problem) -> int:
    """A second new replica of a partition from one pool costs 1 more, so that what is dealt out has different takers.

    Moves come first all the same: between two flows lie simple cycles, each of which passes a shared node (a broker, a
    pool, the sink) once and gains less than `want` with the partition after it, all together less than this.
    """
    cells = {slot.cell for slot in problem.slots}
    shared = len(problem.brokers) + sum(len(cell.by_rack) for cell in cells) + 1
    return 1 + shared * max((slot.want for slot in problem.slots), default=1)


def _deal(places: list[list[int]], owed: Sequence[int], counts: dict[int, int]) -> bool:
    """Give every slot in `owed` a broker that it has not, every broker as often as it counts.

    Who is owed most comes first and gets what there is most of; where only brokers are left that a slot has already, it
    exchanges one with a slot that was dealt something before.
    """
    heap = [(-count, broker) for broker, count in sorted(counts.items())]
    heapq.heapify(heap)
    dealt: list[tuple[int, int]] = []
    times = Counter(owed)
    for at in sorted(times, key=lambda at: (-times[at], at)):
        for _ in range(times[at]):
            if not _deal_one(places, at, heap, dealt):
                return False
    return not heap


def _deal_one(places: list[list[int]], at: int, heap: list[tuple[int, int]], dealt: list[tuple[int, int]]) -> bool:
    aside = []
    while heap and heap[0][1] in places[at]:
        aside.append(heapq.heappop(heap))
    if heap:
        left, broker = heapq.heappop(heap)
        places[at].append(broker)
        dealt.append((at, broker))
        aside.append((left + 1, broker))
    elif (found := _exchange(places, at, aside, dealt)) is not None:
        left, broker = aside[found]
        aside[found] = (left + 1, broker)
    else:
        return False
    for entry in aside:
        if entry[0]:
            heapq.heappush(heap, entry)
    return True


def _exchange(
    places: list[list[int]], at: int, left: Sequence[tuple[int, int]], dealt: list[tuple[int, int]]
) -> int | None:
    """Slot `at` gets what another slot was dealt, which gets a broker that is left: that one's number in `left`."""
    for number, (_, spare) in enumerate(left):
        for which, (other, broker) in enumerate(dealt):
            if broker not in places[at] and spare not in places[other]:
                places[other][places[other].index(broker)] = spare
                dealt[which] = (other, spare)
                places[at].append(broker)
                dealt.append((at, broker))
                return number
    return None
