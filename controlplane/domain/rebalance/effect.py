"""What a proposal does to each broker, for people to look at before they approve it. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.domain.rebalance.proposal import Proposal
from controlplane.domain.rebalance.values import Assignment, Broker


@dataclass(frozen=True, slots=True)
class Load:
    """What a broker has: replicas, preferred leaders, bytes."""

    replicas: int = 0
    leaders: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Effect:
    """`arriving` replicas are copied to the broker, `leaving` ones are deleted from it."""

    broker: Broker
    before: Load
    after: Load
    arriving: int
    leaving: int


def effects(assignment: Assignment, brokers: Iterable[Broker], proposal: Proposal) -> tuple[Effect, ...]:
    """By id; brokers that have replicas but are not listed (drained ones, gone already) are among them."""
    after = {move.id: move.after for move in proposal.moves}
    listed = {broker.id: broker for broker in brokers}
    held = {one for partition in assignment.partitions for one in partition.replicas}
    tallies = {one: [[0, 0, 0], [0, 0, 0], [0, 0]] for one in sorted(held | listed.keys())}
    for partition in assignment.partitions:
        then = after.get(partition.id, partition.replicas)
        for which, replicas in enumerate((partition.replicas, then)):
            for place, one in enumerate(replicas):
                tally = tallies[one][which]
                tally[0] += 1
                tally[1] += place == 0
                tally[2] += partition.size
        for one in set(then).difference(partition.replicas):
            tallies[one][2][0] += 1
        for one in set(partition.replicas).difference(then):
            tallies[one][2][1] += 1
    return tuple(
        Effect(listed.get(one, Broker(one)), Load(*before), Load(*later), *moved)
        for one, (before, later, moved) in tallies.items()
    )
