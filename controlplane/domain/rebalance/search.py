"""Augmenting search: replicas move along paths of brokers until every broker's load is within its limits. Pure.

The residual graph of the flow, seen from the brokers: b -> c where some partition may have its replica on c instead of
b. A path from a broker that has too much to one that has room shifts one replica along each of its edges. A path of
fewest edges is taken, over guests first (to move what moves anyway costs nothing), so the answer meets the limits
whenever they can be met; how close it is to the fewest moves its bound says, not this search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from fractions import Fraction
from itertools import chain
from math import ceil, floor

from controlplane.domain.rebalance.placement import Placement
from controlplane.domain.rebalance.problem import Problem

Limits = tuple[Sequence[int], Sequence[int]]
"""For each broker the least and the most replicas."""


def limits_of(shares: Sequence[Fraction]) -> Limits:
    """Shares rounded down and up."""
    return [floor(share) for share in shares], [ceil(share) for share in shares]


def moves_bound(problem: Problem, limits: Limits, amounts: Sequence[int] | None = None) -> int:
    """No assignment within the limits moves less than this: new replicas, or with `amounts` what they count (bytes).

    What stays on a broker is at most its limit, what stays of a partition at most what its own fewest moves leave; and
    what a broker has too little of comes from elsewhere. Nothing is fixed where there are limits.
    """
    low, high = limits
    counts = [1] * len(problem.slots) if amounts is None else amounts
    held = [0] * len(problem.brokers)
    wanted = forced = 0
    for slot, amount in zip(problem.slots, counts, strict=True):
        wanted += slot.want * amount
        forced += problem.fewest(slot) * amount
        for broker in slot.current:
            held[broker] += amount
    stay = sum(min(now, most) for now, most in zip(held, high, strict=True))
    come = sum(max(0, least - now) for now, least in zip(held, low, strict=True))
    return max(wanted - stay, come, forced)


def level(placement: Placement, limits: Limits) -> bool:
    """Move replicas until all loads are within the limits; False where no path is left and some are not."""
    return _Search(placement, limits).run()


class _Search:
    def __init__(self, placement: Placement, limits: Limits) -> None:
        self._placement = placement
        self._problem = placement.problem
        self._low, self._high = limits
        slots = self._problem.slots
        order = sorted(range(len(slots)), key=lambda at: slots[at].size)
        self._natives: list[dict[int, None]] = [{} for _ in self._problem.brokers]
        self._guests: list[dict[int, None]] = [{} for _ in self._problem.brokers]
        for at in order:
            for broker in placement.where[at]:
                self._kind(at, broker)[at] = None

    def run(self) -> bool:
        loads, everybody = self._placement.replicas, range(len(self._problem.brokers))
        stuck: set[int] = set()
        while rich := [b for b in everybody if loads[b] > self._high[b] and b not in stuck]:
            source = max(rich, key=lambda b: (loads[b] - self._high[b], -b))
            wanting = {b for b in everybody if loads[b] < self._low[b]}
            room = {b for b in everybody if loads[b] < self._high[b]}
            if not self._shift(source, wanting, wanting) and not self._shift(source, room, None):
                stuck.add(source)
        while poor := {b for b in everybody if loads[b] < self._low[b]}:
            rich = sorted((b for b in everybody if loads[b] > self._low[b]), key=lambda b: (self._low[b] - loads[b], b))
            if not any(self._shift(source, poor, None) for source in rich):
                return False
        return not stuck

    def _shift(self, source: int, targets: set[int], within: set[int] | None) -> bool:
        """One replica along a shortest path from `source` to one of `targets`; `within`: only over these brokers."""
        parents: dict[int, tuple[int, int]] = {}
        left: dict[int, set[int]] = defaultdict(set)
        for broker in range(len(self._problem.brokers)) if within is None else within:
            if broker != source:
                left[self._problem.rack_of[broker]].add(broker)
        queue = [source]
        for broker in queue:
            for at, target in self._edges(broker, left, targets):
                parents[target] = (broker, at)
                if target in targets:
                    return self._apply(source, target, parents)
                queue.append(target)
        return False

    def _edges(self, broker: int, left: dict[int, set[int]], targets: set[int]) -> Iterator[tuple[int, int]]:
        """(slot, broker that it may go to) for brokers not reached yet; the emptiest of the targets first."""
        loads, low, slots = self._placement.replicas, self._low, self._problem.slots
        reached: dict[int, int] = {}
        for at in chain(self._guests[broker], self._natives[broker]):
            members, places = slots[at].cell.members, self._placement.where[at]
            able = [
                one
                for rack in self._placement.racks_open(at, broker)
                for one in left.get(rack, ())
                if one in members and one not in places
            ]
            if not able:
                continue
            if goals := [one for one in able if one in targets]:
                yield at, min(goals, key=lambda one: (loads[one] - low[one], one))
            for target in able:
                left[self._problem.rack_of[target]].discard(target)
                reached[target] = at
            if not any(left.values()):
                break
        yield from ((reached[target], target) for target in sorted(reached))

    def _apply(self, source: int, target: int, parents: dict[int, tuple[int, int]]) -> bool:
        """From the far end, so that each step goes where one has just left; undone if a partition met itself on it."""
        done: list[tuple[int, int, int]] = []
        while target != source:
            broker, at = parents[target]
            if not self._placement.may(at, broker, target):
                for back, came, went in reversed(done):
                    self._relocate(back, went, came)
                return False
            self._relocate(at, broker, target)
            done.append((at, broker, target))
            target = broker
        return True

    def _relocate(self, at: int, source: int, target: int) -> None:
        del self._kind(at, source)[at]
        self._placement.move(at, source, target)
        self._kind(at, target)[at] = None

    def _kind(self, at: int, broker: int) -> dict[int, None]:
        return (self._guests if self._placement.is_guest(at, broker) else self._natives)[broker]
