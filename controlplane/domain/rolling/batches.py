"""Which brokers may be restarted together, in as few batches as possible. Pure.

A batch lies in one rack, has at most `max_unavailable` brokers, and with all of it down no partition has fewer in-sync
replicas than `safety` asks for. Of a partition with s in-sync, running replicas and a floor of f, a batch may therefore
hold at most s - f: within a rack that is a conflict between two brokers where s - f is 1, and a crowd where it is more
(`colouring`). Where it is 0 the broker may not be stopped at all as things are: it is `held`, and neither in a batch
nor in the bound. Racks do not share batches, so their numbers and their bounds add up.

Under `MoveAway` partitions that cannot spare a replica (RF <= min ISR) have none on a batch when its turn comes, and
their places until then say nothing. They bound its size instead: what they are moved to has to be outside of it.

Alone go controllers and combined nodes (a majority of voters must stay, each restart may move the active controller,
and the quorum's state is worth a look after every one), brokers whose rack is not known (nothing says that they share
one), and brokers with a replica of a partition that has no leader (nothing says what its in-sync replicas are worth).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace

from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    NodeObservation,
    PodObservation,
    TopicPartition,
)
from controlplane.domain.rolling import safety
from controlplane.domain.rolling.colouring import Conflicts, colour, things
from controlplane.domain.rolling.values import UnprotectedPolicy

Batches = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """`batches`: nodes that are down together, in the order of a roll: controllers, the active one last, then rack by
    rack. No plan for the same nodes has fewer than `lower_bound`; `exact`: this one has as few as that."""

    batches: Batches
    lower_bound: int
    held: tuple[int, ...] = ()

    @property
    def exact(self) -> bool:
        return len(self.batches) == self.lower_bound


def plan_batches(
    observation: ClusterObservation, pending: Collection[int], max_unavailable: int, policy: UnprotectedPolicy
) -> BatchPlan:
    """Few batches for the `pending` nodes. 1,000 brokers and 100,000 partitions take seconds."""
    nodes = [node for node in observation.nodes if node.id in pending]
    leader = observation.quorum.leader if observation.quorum else None
    controllers = sorted(
        (node for node in nodes if node.is_controller), key=lambda n: (n.id == leader, n.rack or "", n.id)
    )
    brokers = [node for node in nodes if not node.is_controller]
    room = _Room(observation, brokers, policy)
    batches: list[tuple[int, ...]] = [(node.id,) for node in controllers]
    lower = len(batches)
    for rack, members in _racks(brokers, room):
        found = colour(room.conflicts(rack, members, min(max_unavailable, room.most)))
        batches += sorted(tuple(members[thing] for thing in things(one)) for one in found.classes)
        lower += found.lower_bound
    return BatchPlan(tuple(batches), lower, tuple(sorted(room.held)))


def as_if_back(
    observation: ClusterObservation, out_before: Mapping[int, frozenset[TopicPartition]]
) -> ClusterObservation:
    """What will be seen once these nodes, which a roll has stopped, are back: for telling people what is left of it.

    Never for deciding: a stop is judged by what is there.
    """
    kafka = observation.kafka
    if kafka is None or not out_before:
        return observation
    partitions = tuple(
        replace(p, isr=(*p.isr, *back))
        if (back := [b for b in p.replicas if b not in p.isr and p.id not in out_before.get(b, {p.id})])
        else p
        for p in kafka.partitions
    )
    known = {broker.id for broker in kafka.brokers}
    missing = [n for n in observation.nodes if n.is_broker and n.id in out_before and n.id not in known]
    brokers = (*kafka.brokers, *(BrokerObservation(n.id, n.rack, "", 0) for n in missing))
    nodes = tuple(
        replace(n, pod=replace(n.pod or _NO_POD, ready=True, scheduled=True, terminating=False, waiting_reason=None))
        if n.id in out_before
        else n
        for n in observation.nodes
    )
    return replace(observation, nodes=nodes, kafka=replace(kafka, brokers=brokers, partitions=partitions))


_NO_POD = PodObservation("", "", "", "", "", None, None, scheduled=False, ready=False, terminating=False)


def unavailable_limit(declared: int | str, brokers: int) -> int:
    """`rollout.maxUnavailable` as a number of brokers: a percentage is rounded down, and is at least one."""
    if isinstance(declared, int):
        return max(1, declared)
    return max(1, brokers * int(declared.removesuffix("%")) // 100)


def _racks(brokers: list[NodeObservation], room: _Room) -> Iterator[tuple[str, list[int]]]:
    """(rack, its brokers that may be restarted now); a broker that goes alone is a group of its own."""
    groups: dict[tuple[str, int], list[int]] = defaultdict(list)
    for node in brokers:
        if node.id not in room.held:
            alone = node.rack is None or node.id in room.alone
            groups[node.rack or "", node.id if alone else -1].append(node.id)
    for (rack, _), members in sorted(groups.items()):
        yield rack, sorted(members)


class _Room:
    """What the partitions allow. `held` brokers may not be stopped now, `alone` ones with no other.

    `most`: how many may be down together whoever they are. `_together`: by rack, in-sync brokers of one partition to
    how many of them may be down. Only the least counts.
    """

    def __init__(
        self, observation: ClusterObservation, brokers: list[NodeObservation], policy: UnprotectedPolicy
    ) -> None:
        ids = {node.id for node in brokers}
        held: set[int] = set()
        self.alone: set[int] = set()
        self.most = max(1, len(brokers))
        self._together: dict[str, dict[frozenset[int], int]] = defaultdict(dict)
        if observation.kafka is None:
            held = {broker for broker in ids if safety.judge(observation, frozenset({broker}), policy).failed}
            self.alone = ids
        rack_of = {node.id: node.rack for node in brokers if node.rack is not None}
        standing = safety.standing(observation)
        for partition in observation.kafka.partitions if observation.kafka else ():
            if partition.leader is None:
                self.alone.update(partition.replicas)
                continue
            if policy is UnprotectedPolicy.MOVE_AWAY and safety.is_unprotected(partition):
                elsewhere = safety.room(observation, partition)
                self.most = max(1, min(self.most, elsewhere))
                if not elsewhere:
                    held.update(partition.isr)
                continue
            in_sync = standing.intersection(partition.isr)
            spare = len(in_sync) - safety.floor(partition)
            if spare < 0 or (safety.is_unprotected(partition) and policy is UnprotectedPolicy.BLOCK):
                held.update(partition.isr)
            elif spare == 0:
                held |= in_sync
            elif len(in_sync) > spare:
                self._limit(in_sync, spare, rack_of)
        self.held = held & ids

    def _limit(self, in_sync: set[int], spare: int, rack_of: Mapping[int, str]) -> None:
        by_rack: dict[str, list[int]] = defaultdict(list)
        for broker in in_sync:
            if broker in rack_of:
                by_rack[rack_of[broker]].append(broker)
        for rack, members in by_rack.items():
            if len(members) > spare:
                crowd, known = frozenset(members), self._together[rack]
                known[crowd] = min(spare, known.get(crowd, spare))

    def conflicts(self, rack: str, members: list[int], max_unavailable: int) -> Conflicts:
        number = {broker: at for at, broker in enumerate(members)}
        adjacent = [0] * len(members)
        crowds = []
        for crowd, most in self._together.get(rack, {}).items():
            present = [number[broker] for broker in crowd if broker in number]
            mask = sum(1 << at for at in present)
            if most == 1:
                for at in present:
                    adjacent[at] |= mask & ~(1 << at)
            elif most < min(len(present), max_unavailable):
                crowds.append((mask, most))
        return Conflicts(max_unavailable, tuple(adjacent), tuple(sorted(crowds)))
