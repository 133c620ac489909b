"""From a proposal to what is done of it at a time: hops of one replica each, and batches of hops within bounds. Pure.

Invariants, each a property test:
1. The hops of a partition lead from its `before` to its `after`, each beginning where the one before it ended.
2. A hop copies at most one replica, and gives one up in exchange if there is one to give up: a partition never has more
   than one copy on its way, nor fewer replicas than before and after.
3. Between two hops a partition is in as many racks as before or after, whichever is fewer.
4. In a batch no broker has to do with more than `per_broker` copies, on the way or on the way back: as the one that
   gets the replica, gives it up or serves it (the preferred leader). A partition has one hop at most.

Batches are barriers: large replicas come first, so that those of one batch are of a size and end at about one time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal

BATCH_HOPS = 200
"""Hops in a batch at most, however many brokers there are: what a step's parameters hold."""
_PASSED_OVER = 2000
"""Hops that are looked at in vain before a batch is taken to be full."""


@dataclass(frozen=True, slots=True)
class Hop:
    """One partition's replicas before and after, the preferred leader first. `size` is one replica's, in bytes."""

    topic: str
    partition: int
    before: tuple[int, ...]
    after: tuple[int, ...]
    size: int = 0

    @property
    def id(self) -> TopicPartition:
        return TopicPartition(self.topic, self.partition)

    @property
    def adding(self) -> frozenset[int]:
        return frozenset(self.after) - frozenset(self.before)

    @property
    def removing(self) -> frozenset[int]:
        return frozenset(self.before) - frozenset(self.after)

    @property
    def only_order(self) -> bool:
        """Nothing is copied by it, nor by its way back."""
        return not self.adding and not self.removing

    @property
    def busy(self) -> frozenset[int]:
        """Brokers that copy for it, or for its way back: who gets and who gives up a replica, and who serves it."""
        return frozenset() if self.only_order else self.adding | self.removing | {self.before[0], self.after[0]}


def hops(move: PartitionMove, racks: Mapping[int, str | None]) -> tuple[Hop, ...]:
    """Replicas are exchanged one by one, such first that leave the partition in the most racks.

    That keeps invariant 3: a hop costs a rack only when no other is left, and then each costs as much as `after` asks.
    """
    now, found = move.before, []
    adding = [broker for broker in move.after if broker in move.adding]
    removing = [broker for broker in move.before if broker in move.removing]
    while len(adding) > 1:
        then, came, went = max(_exchanges(now, adding, removing), key=lambda one: _spread(one[0], racks))
        adding.remove(came)
        if went is not None:
            removing.remove(went)
        found.append(Hop(move.topic, move.partition, now, then, move.size))
        now = then
    return (*found, Hop(move.topic, move.partition, now, move.after, move.size))


def _exchanges(
    now: tuple[int, ...], adding: Sequence[int], removing: Sequence[int]
) -> Iterator[tuple[tuple[int, ...], int, int | None]]:
    """Every way to take one replica in: (replicas then, who comes, who goes), first comes first."""
    for came in adding:
        for went in removing:
            yield tuple(came if broker == went else broker for broker in now), came, went
        if not removing:
            yield (*now, came), came, None


def _spread(replicas: Sequence[int], racks: Mapping[int, str | None]) -> int:
    return len({racks.get(broker) for broker in replicas})


def batches(proposal: Proposal, racks: Mapping[int, str | None], *, per_broker: int) -> tuple[tuple[Hop, ...], ...]:
    """Hops that copy or give up replicas, batch by batch, then those that only change the order.

    Deterministic. Raises ValueError for a bound below 1.
    """
    if per_broker < 1:
        raise ValueError("a broker has to be allowed one copy at least")
    moves = sorted(proposal.moves, key=lambda move: (-move.size, move.topic, move.partition))
    of_partitions = [deque(hops(move, racks)) for move in moves]
    orders = [line[0] for line in of_partitions if line[0].only_order]
    waiting = deque(line for line in of_partitions if not line[0].only_order)
    found = []
    while waiting:
        found.append(_batch(waiting, per_broker))
    found += [tuple(orders[at : at + BATCH_HOPS]) for at in range(0, len(orders), BATCH_HOPS)]
    return tuple(found)


def _batch(waiting: deque[deque[Hop]], per_broker: int) -> tuple[Hop, ...]:
    """Take the next hop of as many partitions as the bounds allow, in their order; the rest stays in its order."""
    load: Counter[int] = Counter()
    batch: list[Hop] = []
    passed_over: list[deque[Hop]] = []
    while waiting and len(batch) < BATCH_HOPS and len(passed_over) < _PASSED_OVER:
        line = waiting.popleft()
        if any(load[broker] >= per_broker for broker in line[0].busy):
            passed_over.append(line)
            continue
        hop = line.popleft()
        load.update(hop.busy)
        batch.append(hop)
        if line:
            passed_over.append(line)
    waiting.extendleft(reversed(passed_over))
    return tuple(batch)
