"""Local search over bytes: replicas of different sizes until every broker holds what it may. Pure.

To fit sizes into limits is a packing problem (NP-hard), so this finds and proves nothing: bounds and small exact
answers are in `bytes_balance`. A broker that has too much gives its largest replica that is not more than what it has
too much, else the smallest that is more; where none can go, one is exchanged for a smaller one. Work is counted, so the
same question has the same answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Callable, Iterator

from controlplane.domain.rebalance.placement import Placement
from controlplane.domain.rebalance.search import Limits

LOOKS_A_STEP = 400
"""Replicas that are looked at for one step, on each side of an exchange."""


class Settling:
    """`limits` are bytes, `counts` of replicas that must hold too, where given. `movable(slot, broker)`: which replicas
    may move."""

    def __init__(
        self,
        placement: Placement,
        limits: Limits,
        counts: Limits | None = None,
        movable: Callable[[int, int], bool] = lambda _slot, _broker: True,
    ) -> None:
        self._placement = placement
        self._low, self._high = limits
        self._counts = counts
        self._slots = placement.problem.slots
        self._on: list[list[tuple[int, int]]] = [[] for _ in placement.problem.brokers]
        """For each broker (size, slot) of what may move, the smallest first."""
        for at, places in enumerate(placement.where):
            for broker in places:
                if self._slots[at].size and movable(at, broker):
                    self._on[broker].append((self._slots[at].size, at))
        for held in self._on:
            held.sort()

    def run(self) -> bool:
        """Whether every broker's bytes are within the limits."""
        everybody, loads = range(len(self._on)), self._placement.bytes
        stuck: set[int] = set()
        while rich := [b for b in everybody if loads[b] > self._high[b] and b not in stuck]:
            source = max(rich, key=lambda b: (loads[b] - self._high[b], -b))
            if not self._relieve(source):
                stuck.add(source)
        stuck.clear()
        while poor := [b for b in everybody if loads[b] < self._low[b] and b not in stuck]:
            target = max(poor, key=lambda b: (self._low[b] - loads[b], -b))
            if not self._feed(target):
                stuck.add(target)
        return all(self._low[b] <= loads[b] <= self._high[b] for b in everybody)

    def take_back(self) -> None:
        """Guests go home where the limits allow it: they were moved for what has been solved otherwise since."""
        placement = self._placement
        guests = [
            (slot.size, at, broker)
            for at, slot in enumerate(self._slots)
            for broker in placement.where[at]
            if slot.size and broker not in slot.current
        ]
        for size, at, broker in sorted(guests, key=lambda guest: (-guest[0], guest[1], guest[2])):
            for home in self._slots[at].current:
                if self._room(home) >= size and self._spare(broker) >= size and self._allowed(at, broker, home):
                    self._move(at, broker, home)
                    break

    def _relieve(self, source: int) -> bool:
        excess = self._placement.bytes[source] - self._high[source]
        targets = self._by_room(source)
        for size, at in self._ranked(source, excess):
            for target in targets:
                if self._room(target) < size:
                    break
                if self._spare(source) >= size and self._allowed(at, source, target):
                    self._move(at, source, target)
                    return True
        return any(self._exchange(source, target, excess) for target in targets)

    def _feed(self, target: int) -> bool:
        lack = self._low[target] - self._placement.bytes[target]
        sources = sorted((b for b in range(len(self._on)) if b != target), key=lambda b: (-self._spare(b), b))
        for source in sources:
            for size, at in self._ranked(source, min(lack, self._spare(source))):
                if self._spare(source) >= size and size <= self._room(target) and self._allowed(at, source, target):
                    self._move(at, source, target)
                    return True
        return any(self._exchange(source, target, min(lack, self._spare(source))) for source in sources)

    def _ranked(self, broker: int, amount: int) -> Iterator[tuple[int, int]]:
        """What it has, the best for giving away `amount` first."""
        held = self._on[broker]
        middle = bisect_right(held, (amount, len(self._slots)))
        yield from held[max(0, middle - LOOKS_A_STEP) : middle][::-1]
        yield from held[middle : middle + LOOKS_A_STEP]

    def _exchange(self, source: int, target: int, amount: int) -> bool:
        """A replica of `source` for a smaller one of `target`, so that about `amount` changes over."""
        if amount <= 0:
            return False
        most = min(self._room(target), self._spare(source))
        for size, at in self._on[source][: -LOOKS_A_STEP - 1 : -1]:
            if not self._placement.may(at, source, target):
                continue
            others = self._on[target]
            first = bisect_left(others, (size - min(most, amount), -1))
            for smaller, other in others[first : first + 8]:
                if smaller < size and self._placement.may(other, target, source):
                    self._swap((at, source), (other, target))
                    return True
        return False

    def _swap(self, one: tuple[int, int], two: tuple[int, int]) -> None:
        (first, source), (second, target) = one, two
        self._move(first, source, target)
        self._move(second, target, source)

    def _by_room(self, source: int) -> list[int]:
        others = (b for b in range(len(self._on)) if b != source and self._room(b) > 0)
        return sorted(others, key=lambda b: (-self._room(b), b))

    def _room(self, broker: int) -> int:
        return self._high[broker] - self._placement.bytes[broker]

    def _spare(self, broker: int) -> int:
        return self._placement.bytes[broker] - self._low[broker]

    def _allowed(self, at: int, source: int, target: int) -> bool:
        if self._counts is not None:
            low, high = self._counts
            replicas = self._placement.replicas
            if replicas[source] <= low[source] or replicas[target] >= high[target]:
                return False
        return self._placement.may(at, source, target)

    def _move(self, at: int, source: int, target: int) -> None:
        entry = (self._slots[at].size, at)
        del self._on[source][bisect_left(self._on[source], entry)]
        self._placement.move(at, source, target)
        insort(self._on[target], entry)
