"""From a proposal to what is done of it at a time: hops of one replica each, and batches of hops within bounds. Pure.

Invariants, each a property test:
1. The hops of a partition lead from its `before` to its `after`, each beginning where the one before it ended.
2. A hop copies at most one replica, and gives one up in exchange if there is one to give up: a partition never has more
   than one copy on its way, nor fewer replicas than before and after.
3. Between two hops a partition is in as many racks as before or after, whichever is fewer.
4. In a batch no broker has to do with more than `per_broker` copies, on the way or on the way back: as the one that
   gets the replica, gives it up or serves it (the preferred leader; whoever leads in fact is counted when the batch is
   carried out, `at_once`). A partition has one hop at most.
5. What a broker gets in a batch fits beside all that it holds when the batch begins (domain/rebalance/room.py).

Batches are barriers: large replicas come first, so that those of one batch are of a size and end at about one time.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.proposal import PartitionMove, Proposal
from controlplane.domain.rebalance.room import too_full


class NoRoomError(ValueError):
    """No next hop fits anywhere beside what is there; `check` says which is nearest, and by how much."""

    def __init__(self, check: Check) -> None:
        super().__init__(check.evidence)
        self.check = check


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
    `racks` has all brokers that are up: a replica on another goes before all that may serve.
    """
    now, found = move.before, []
    adding = [broker for broker in move.after if broker in move.adding]
    removing = [broker for broker in move.before if broker in move.removing]
    while len(adding) > 1:
        then, came, went = max(
            _exchanges(now, adding, removing), key=lambda one: (one[2] not in racks, _spread(one[0], racks))
        )
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


def at_once(hops: Iterable[Hop], leaders: Mapping[TopicPartition, int | None], per_broker: int) -> tuple[Hop, ...]:
    """The first ones of which no broker gets, or serves as the leader that it is now, more than `per_broker` replicas;
    all that copy nothing. Some, if there are any."""
    load: Counter[int] = Counter()
    found = []
    for hop in hops:
        leader = leaders.get(hop.id)
        serves = {leader} if leader is not None and hop.adding else set[int]()
        busy = hop.adding | serves
        if all(load[broker] < per_broker for broker in busy):
            load.update(busy)
            found.append(hop)
    return tuple(found)


def batches(
    proposal: Proposal, racks: Mapping[int, str | None], *, per_broker: int, room: Mapping[int, int] | None = None
) -> tuple[tuple[Hop, ...], ...]:
    """Hops that copy or give up replicas, batch by batch, then those that only change the order.

    `room`: bytes that brokers have left, those of which it is known. Deterministic. Raises ValueError for a bound below
    1, NoRoomError where the order of moves that was tried comes to an end.
    """
    if per_broker < 1:
        raise ValueError("a broker has to be allowed one copy at least")
    moves = sorted(proposal.moves, key=lambda move: (-move.size, move.topic, move.partition))
    of_partitions = [deque(hops(move, racks)) for move in moves]
    orders = [line[0] for line in of_partitions if line[0].only_order]
    waiting = deque(line for line in of_partitions if not line[0].only_order)
    found = []
    left = dict(room or {})
    while waiting:
        batch = _batch(waiting, per_broker, left, _PASSED_OVER) or _batch(waiting, per_broker, left, len(waiting))
        if not batch:
            raise NoRoomError(_nearest(waiting, left))
        found.append(batch)
    found += [tuple(orders[at : at + BATCH_HOPS]) for at in range(0, len(orders), BATCH_HOPS)]
    return tuple(found)


def _batch(waiting: deque[deque[Hop]], per_broker: int, left: dict[int, int], passing: int) -> tuple[Hop, ...]:
    """Take the next hop of as many partitions as the bounds allow, in their order; the rest stays in its order. `left`
    becomes what it is after them; at most `passing` are looked at in vain."""
    load: Counter[int] = Counter()
    room = dict(left)
    batch: list[Hop] = []
    passed_over: list[deque[Hop]] = []
    while waiting and len(batch) < BATCH_HOPS and len(passed_over) < passing:
        line = waiting.popleft()
        size = line[0].size
        full = size > 0 and any(room[broker] < size for broker in line[0].adding & room.keys())
        if full or any(load[broker] >= per_broker for broker in line[0].busy):
            passed_over.append(line)
            continue
        hop = line.popleft()
        load.update(hop.busy)
        for broker in hop.adding & room.keys():
            room[broker] -= hop.size
        batch.append(hop)
        if line:
            passed_over.append(line)
    waiting.extendleft(reversed(passed_over))
    left.update(room)
    for hop in batch:
        for broker in hop.removing & left.keys():
            left[broker] += hop.size
    return tuple(batch)


def _nearest(waiting: Iterable[Sequence[Hop]], left: Mapping[int, int]) -> Check:
    """Of the next hops, none of which fits, the one that lacks least."""

    def lacks(hop: Hop) -> int:
        return max(hop.size - left[broker] for broker in hop.adding & left.keys())

    hop = min((line[0] for line in waiting), key=lambda one: (lacks(one), one.topic, one.partition))
    check = too_full(dict.fromkeys(hop.adding, hop.size), left)
    if check is None:
        raise AssertionError("a hop that fits was passed over")
    return replace(check, evidence=f"{hop.id} cannot move. {check.evidence}")
