"""A goal as the planners see it: numbered brokers, and for each partition that has a choice what is asked of it.

`Slot.spread`, the least number of racks, is a flow: `spread` of the partition's replicas go to racks of which each
takes one, the rest anywhere. So everything here but bytes is a network, and what is true of fractions is true of whole
replicas (total unimodularity). Racks and brokers are numbered in order of their names, so plans depend on no order.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property

from controlplane.domain.rebalance.values import Broker, Partition


@dataclass(frozen=True, slots=True)
class Slot:
    """`want` replicas on brokers of `cell`, in at least `spread` racks. `current`: where it has replicas now, those
    outside the cell left out, the preferred leader first."""

    partition: Partition
    want: int
    spread: int
    cell: Cell
    current: tuple[int, ...]

    @property
    def size(self) -> int:
        return self.partition.size


@dataclass(frozen=True, eq=False)
class Cell:
    """A set of brokers with its racks; one object for each set, so that partitions can be grouped by it."""

    brokers: tuple[int, ...]
    rack_of: Sequence[int] = field(repr=False)

    @cached_property
    def members(self) -> frozenset[int]:
        return frozenset(self.brokers)

    @cached_property
    def by_rack(self) -> dict[int, tuple[int, ...]]:
        found: dict[int, list[int]] = {}
        for broker in self.brokers:
            found.setdefault(self.rack_of[broker], []).append(broker)
        return {rack: tuple(found[rack]) for rack in sorted(found)}


class Problem:
    """`slots` in order of topic and partition. `fixed_replicas` and `fixed_bytes` are what brokers hold of partitions
    without a choice."""

    def __init__(self, brokers: Iterable[Broker]) -> None:
        self.brokers: list[Broker] = sorted(brokers, key=lambda broker: broker.id)
        self.index = {broker.id: at for at, broker in enumerate(self.brokers)}
        names = sorted({broker.rack or "" for broker in self.brokers})
        self.rack_of = [names.index(broker.rack or "") for broker in self.brokers]
        self.weights = whole_weights(broker.weight for broker in self.brokers)
        self.capacities = [broker.capacity for broker in self.brokers]
        self.slots: list[Slot] = []
        self.fixed_replicas = [0] * len(self.brokers)
        self.fixed_bytes = [0] * len(self.brokers)
        self._cells: dict[frozenset[int], Cell] = {}

    def cell(self, ids: frozenset[int]) -> Cell:
        if ids not in self._cells:
            self._cells[ids] = Cell(tuple(sorted(self.index[one] for one in ids)), self.rack_of)
        return self._cells[ids]

    def racks(self, brokers: Iterable[int]) -> int:
        return len({self.rack_of[broker] for broker in brokers})

    def fix(self, partition: Partition) -> None:
        """It stays as it is. Replicas on brokers that are not planned with weigh on nobody."""
        for one in partition.replicas:
            if (at := self.index.get(one)) is not None:
                self.fixed_replicas[at] += 1
                self.fixed_bytes[at] += partition.size

    def choose(self, partition: Partition, want: int, spread: int, cell: Cell) -> None:
        places = (self.index.get(one, -1) for one in partition.replicas)
        current = tuple(at for at in places if at in cell.members)
        self.slots.append(Slot(partition, want, min(spread, want, len(cell.by_rack)), cell, current))

    def fewest(self, slot: Slot) -> int:
        """The least number of new replicas of this partition alone, however many the others need.

        What it has too few of, and one for each rack that is missing: a new replica adds one rack at most.
        """
        return max(0, slot.want - len(slot.current), slot.spread - self.racks(slot.current))


def whole_weights(weights: Iterable[float]) -> list[int]:
    """The weights as integers in the same proportion, as people have written them: 0.1 is one tenth."""
    exact = [Fraction(repr(weight)) for weight in weights]
    if not exact:
        return []
    scale = math.lcm(*(weight.denominator for weight in exact))
    whole = [int(weight * scale) for weight in exact]
    common = math.gcd(*whole)
    return [weight // common for weight in whole]
