"""Where the world stands to a hop: not begun, on its way, arrived, or no longer what was approved. Pure.

What is in flight is the controller's word (ListPartitionReassignments); where replicas are is that of a broker, which
may be a moment behind it. A partition that is gone needs no move any more, and keeps nobody from the others.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from controlplane.domain.check import Check
from controlplane.domain.observation import KafkaObservation, PartitionObservation, Reassignment, TopicPartition
from controlplane.domain.rebalance.hops import Hop
from controlplane.domain.rolling.health import listing


class Standing(StrEnum):
    BEFORE = "Before"
    MOVING = "Moving"
    """On its way to `after`."""
    RETURNING = "Returning"
    """On its way to `before`."""
    AFTER = "After"
    GONE = "Gone"
    ELSEWHERE = "Elsewhere"
    """Neither, or on its way to something else: not what was approved."""


@dataclass(frozen=True, slots=True)
class Look:
    """One observation of the partitions of a batch."""

    partitions: Mapping[TopicPartition, PartitionObservation]
    in_flight: Mapping[TopicPartition, Reassignment]
    brokers: frozenset[int]

    @staticmethod
    def of(kafka: KafkaObservation, in_flight: Mapping[TopicPartition, Reassignment]) -> Look:
        partitions = {partition.id: partition for partition in kafka.partitions}
        return Look(partitions, in_flight, frozenset(broker.id for broker in kafka.brokers))

    def standing(self, hop: Hop) -> Standing:
        moving = self.in_flight.get(hop.id)
        if moving is not None:
            target = frozenset(moving.replicas) - moving.removing
            for wanted, standing in ((hop.after, Standing.MOVING), (hop.before, Standing.RETURNING)):
                if target == frozenset(wanted):
                    return standing
            return Standing.ELSEWHERE
        partition = self.partitions.get(hop.id)
        if partition is None:
            return Standing.GONE
        if partition.replicas == hop.after:
            return Standing.AFTER
        return Standing.BEFORE if partition.replicas == hop.before else Standing.ELSEWHERE

    def grouped(self, hops: Iterable[Hop]) -> dict[Standing, list[Hop]]:
        found: dict[Standing, list[Hop]] = {standing: [] for standing in Standing}
        for hop in hops:
            found[self.standing(hop)].append(hop)
        return found

    def leaderless(self, hops: Iterable[Hop], *, back: bool) -> list[TopicPartition]:
        """Partitions that have arrived, could be led by their preferred leader, and are not."""
        found = []
        for hop in hops:
            partition, wanted = self.partitions.get(hop.id), hop.before if back else hop.after
            if partition is not None and partition.replicas == wanted and hop.id not in self.in_flight:
                first = wanted[0]
                if partition.leader != first and first in partition.isr and first in self.brokers:
                    found.append(hop.id)
        return found

    def leaders(self, hops: Iterable[Hop]) -> dict[TopicPartition, int | None]:
        """Who leads these partitions now."""
        found = ((hop.id, self.partitions.get(hop.id)) for hop in hops)
        return {name: one.leader if one is not None else None for name, one in found}

    def is_offline(self, one: TopicPartition) -> bool:
        partition = self.partitions.get(one)
        return partition is not None and partition.leader is None

    def would_be_short(self, hop: Hop) -> bool:
        """Whether it takes replicas away, brings none, and what stays has fewer in sync than writes need (or than there
        are, of fewer). Where replicas come the controllers wait for those to be in sync first."""
        partition = self.partitions.get(hop.id)
        if partition is None or hop.adding or not hop.removing:
            return False
        return len(frozenset(partition.isr) & frozenset(hop.after)) < min(partition.min_isr, len(hop.after))


def stale(look: Look, hops: Iterable[Hop], registered: frozenset[int] | None) -> Check | None:
    """Why these hops are no longer what was approved. `registered`: all brokers that Kafka knows; None: not known."""
    hops = tuple(hops)
    groups = look.grouped(hops)
    elsewhere = groups[Standing.ELSEWHERE] + groups[Standing.RETURNING]
    if elsewhere:
        first = elsewhere[0]
        now = look.partitions.get(first.id)
        where = f"{_names(now.replicas)} now" if now is not None else "elsewhere"
        if first.id in look.in_flight:
            where = "being moved by somebody else"
        return Check(
            "PlanStale",
            ok=False,
            evidence=f"{len(elsewhere)} partitions are not where the plan found them "
            f"({listing(sorted(hop.id for hop in elsewhere))}): {first.id} was to go from {_names(first.before)} to "
            f"{_names(first.after)} and is {where}.",
            remedy="Ask for a new plan.",
        )
    wanted = {broker for hop in hops for broker in hop.adding}
    gone = sorted(wanted - look.brokers - registered) if registered is not None else []
    if gone:
        return Check(
            "PlanStale",
            ok=False,
            evidence=f"Brokers {listing(gone)}, which replicas were to go to, are not in the cluster any more.",
            remedy="Ask for a new plan.",
        )
    return None


def _names(brokers: Iterable[int]) -> str:
    return ",".join(map(str, brokers))
