"""Where new partitions of a tenant's topic go: on the brokers of its shard, spread over racks, evenly. Pure.

Invariants, each a property test:
1. No replica is outside of these brokers, and a partition has at most one on each.
2. Every new partition is in as many racks as it can be: min(replicas, racks).
3. Of all assignments for which 1 and 2 hold, brokers' numbers of replicas of the topic are as even as can be (least sum
   of squares: within one, unless racks of different sizes forbid it); among those, so are the tenant's.
4. The same holds for preferred leaders, given where the replicas are.

How many new replicas each broker gets is decided first. The bounds (a broker and, where there are more racks than
replicas, a rack take one replica a partition at most) are laminar, so giving one replica after the other to whoever has
least is optimal (Federgruen and Groenevelt, The Greedy Procedure for Resource Allocation Problems, 1986). Then they are
dealt to partitions by McNaughton's wrap-around rule (Scheduling with Deadlines and Loss Functions, 1959): a broker's
replicas, and a rack's, go to partitions that follow one another around a circle, so that none gets two of a broker, and
none more of a rack than another gets plus one. Leaders are a semi-matching: best when no path of changes improves it
(Harvey, Ladner, Lovasz and Tamir, Semi-Matchings for Bipartite Graphs and Load Balancing, 2006).
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain

Replicas = tuple[int, ...]
"""Broker ids of one partition, the preferred leader first."""


@dataclass(slots=True)
class Load:
    """Replicas and preferred leaders by broker."""

    replicas: Counter[int] = field(default_factory=Counter)
    leaders: Counter[int] = field(default_factory=Counter)

    def add(self, partitions: Iterable[Replicas]) -> None:
        for replicas in partitions:
            self.replicas.update(replicas)
            self.leaders.update(replicas[:1])


def spread(
    racks: Mapping[int, str], partitions: int, replicas: int, topic: Iterable[Replicas] = (), tenant: Load | None = None
) -> tuple[Replicas, ...]:
    """Assignments of `partitions` new partitions. `racks`: broker to its rack, the same one for all where there are
    none. `topic`: the partitions that the topic has already; `tenant`: what its tenant has, these included.

    Raises ValueError for fewer brokers than replicas.
    """
    if len(racks) < replicas:
        raise ValueError(f"{replicas} replicas do not fit on {len(racks)} brokers")
    tenant = tenant or Load()
    here = Load()
    here.add(topic)
    members = _members(racks)
    shares = _shares(members, partitions, replicas, here, tenant)
    placed = _deal(members, shares, partitions)
    leaders = _Leaders(placed, here.leaders, tenant.leaders).chosen()
    return tuple(_ordered(places, leader, at) for at, (places, leader) in enumerate(zip(placed, leaders, strict=True)))


def _members(racks: Mapping[int, str]) -> list[list[int]]:
    """Brokers by rack, both in order."""
    found: dict[str, list[int]] = defaultdict(list)
    for broker in sorted(racks):
        found[racks[broker]].append(broker)
    return [found[rack] for rack in sorted(found)]


def _shares(members: Sequence[Sequence[int]], partitions: int, replicas: int, here: Load, tenant: Load) -> Counter[int]:
    """New replicas by broker. Of those that have as many, whoever leads least comes first: it may lead one of these."""
    shares: Counter[int] = Counter()

    def give(amount: int, groups: Sequence[Sequence[int]], most: int) -> None:
        """`amount` replicas, one after the other to whoever has least; a group gets `most` at most."""
        left = [most] * len(groups)
        queue = [(rank(one), at) for at, group in enumerate(groups) for one in group if shares[one] < partitions]
        heapq.heapify(queue)
        while amount:
            (*_, broker), at = heapq.heappop(queue)
            if not left[at]:
                continue
            amount, left[at] = amount - 1, left[at] - 1
            shares[broker] += 1
            if shares[broker] < partitions:
                heapq.heappush(queue, (rank(broker), at))

    def rank(broker: int) -> tuple[int, ...]:
        has = here.replicas[broker] + shares[broker], tenant.replicas[broker] + shares[broker]
        return (*has, here.leaders[broker], tenant.leaders[broker], broker)

    if replicas < len(members):
        give(partitions * replicas, members, partitions)
        return shares
    for group in members:  # every rack has one replica of each partition at least
        give(partitions, [group], partitions)
    give(partitions * (replicas - len(members)), [list(chain.from_iterable(members))], partitions * replicas)
    return shares


def _deal(members: Sequence[Sequence[int]], shares: Mapping[int, int], partitions: int) -> list[list[int]]:
    """Brokers of each partition, ascending.

    Racks follow one another around the circle of partitions. Inside a rack the order of partitions is its own (digit by
    digit, as in an orthogonal array), so that brokers of different racks meet in all combinations: when one is down its
    leaders go to many.
    """
    placed: list[list[int]] = [[] for _ in range(partitions)]
    begin, stride = 0, 1
    for group in members:
        units = [broker for broker in group for _ in range(shares[broker])]
        more = {(begin + at) % partitions for at in range(len(units) % partitions)}
        width = max(1, sum(shares[broker] > 0 for broker in group))
        order = sorted(range(partitions), key=lambda at: (at not in more, at // stride % width, at))
        for at, broker in enumerate(units):
            placed[order[at % partitions]].append(broker)
        begin, stride = (begin + len(units)) % partitions, stride * width
    return [sorted(places) for places in placed]


class _Leaders:
    """Preferred leaders of new partitions, and of each broker how many there are with those it has already."""

    def __init__(self, placed: Sequence[Sequence[int]], here: Counter[int], tenant: Counter[int]) -> None:
        self._placed, self._here, self._tenant = placed, here, tenant
        self._led: dict[int, set[int]] = {broker: set() for places in placed for broker in places}

    def chosen(self) -> list[int]:
        """By partition."""
        for partition, places in enumerate(self._placed):
            self._led[min(places, key=lambda one: (self._rank(one), one))].add(partition)
        improved = True
        while improved:
            improved = False
            for source in sorted(self._led, key=self._rank, reverse=True):
                improved |= self._improve(source)
        leader = {partition: broker for broker, led in self._led.items() for partition in led}
        return [leader[partition] for partition in range(len(self._placed))]

    def _rank(self, broker: int, less: int = 0) -> tuple[int, int]:
        """(of the topic, of the tenant) that it leads: the first counts first."""
        new = len(self._led[broker]) - less
        return self._here[broker] + new, self._tenant[broker] + new

    def _improve(self, source: int) -> bool:
        """Let another lead in place of `source`, over a chain of brokers if need be."""
        came: dict[int, tuple[int, int]] = {}
        reached = [source]
        for broker in reached:
            for partition in sorted(self._led[broker]):
                for other in self._placed[partition]:
                    if other != source and other not in came:
                        came[other] = (broker, partition)
                        reached.append(other)
        if not came:
            return False
        target = min(came, key=lambda one: (self._rank(one), one))
        if self._rank(target) >= self._rank(source, less=1):
            return False
        while target != source:
            giver, partition = came[target]
            self._led[giver].discard(partition)
            self._led[target].add(partition)
            target = giver
        return True


def _ordered(places: Sequence[int], leader: int, at: int) -> Replicas:
    """The leader first; who follows differs from partition to partition."""
    others = [broker for broker in places if broker != leader]
    turn = at % len(others) if others else 0
    return (leader, *others[turn:], *others[:turn])
