"""May these nodes be down together? Invariants 1 and 2 of a roll, judged for a batch from one observation.

1. A partition with a leader keeps at least its min ISR of in-sync, running replicas outside the batch. That holds for
   partitions that accept acks=all writes; one already below its min ISR loses no further member to us either, since
   the next one may be its last. A partition without a leader has nothing to lose.
   Where RF <= min ISR no restart can keep that: such partitions are unprotected. `Block` refuses; `Accept` names them
   and asks for one replica less than RF, so that a restart still never takes the last one of two. `MoveAway` refuses
   as well: no node of the batch may have such a replica in sync, and it is somebody else's to see to that.
2. With the batch down, caught-up voters that run are still a majority of all voters. Voters whose process does not run
   add nothing and are free to go. A quorum of one or two cannot spare a voter; the same policy decides about it.

What cannot be read is not taken for good news: while `kafka` is None a ready or possibly serving broker stays, while
`quorum` is None so does a ready controller. Nodes that do not run add nothing in any case, and when the whole cluster
is dark (`health.is_dark`) every unready node may be replaced: a corrected spec must reach nodes that all fail.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from controlplane.domain.check import Check
from controlplane.domain.observation import (
    ClusterObservation,
    PartitionObservation,
    TopicPartition,
)
from controlplane.domain.rolling.health import is_dark, is_ready, is_running, listing, quorum_unknown, unreachable
from controlplane.domain.rolling.values import UnprotectedPolicy

ACCEPT_REMEDY = "set spec.rollout.unprotectedPartitions to Accept to let them pause during a restart"
MOVE_REMEDY = "to MoveAway to have their replicas moved first"
_WAIVABLE = frozenset({"UnprotectedPartitions", "UnprotectedQuorum"})

UNPROTECTED_PARTITIONS = "UnprotectedPartitions"
MOVING_AWAY = "MovingAway"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`failed` forbids the batch; `accepted` are checks that do not hold either but that the policy lets pass."""

    failed: tuple[Check, ...] = ()
    accepted: tuple[Check, ...] = ()


def judge(
    observation: ClusterObservation,
    batch: frozenset[int],
    policy: UnprotectedPolicy,
    *,
    suspects: frozenset[int] = frozenset(),
) -> Verdict:
    """Whether `batch` may be down. `suspects` may be going down already and are not counted upon."""
    case = _Case(observation, batch, suspects - batch, policy)
    checks = [*case.writes(), *case.quorum()]
    waived = _WAIVABLE if policy is UnprotectedPolicy.ACCEPT else frozenset[str]()
    return Verdict(
        failed=tuple(check for check in checks if check.name not in waived),
        accepted=tuple(check for check in checks if check.name in waived),
    )


def unprotected_partitions(observation: ClusterObservation, nodes: frozenset[int]) -> tuple[TopicPartition, ...]:
    """Partitions that would stop accepting writes whatever the order, because RF <= min ISR, and lie on `nodes`."""
    partitions = observation.kafka.partitions if observation.kafka else ()
    return tuple(sorted(p.id for p in partitions if is_unprotected(p) and p.leader is not None and nodes & set(p.isr)))


def occupied(observation: ClusterObservation) -> frozenset[int]:
    """Brokers with an in-sync replica that its partition cannot spare."""
    partitions = observation.kafka.partitions if observation.kafka else ()
    return frozenset(b for p in partitions if is_unprotected(p) and p.leader is not None for b in p.isr)


def unprotected_check(
    partitions: tuple[TopicPartition, ...], policy: UnprotectedPolicy = UnprotectedPolicy.BLOCK
) -> Check:
    other = f", or {MOVE_REMEDY}" if policy is UnprotectedPolicy.BLOCK else ""
    return Check(
        UNPROTECTED_PARTITIONS,
        ok=False,
        evidence=f"{len(partitions)} partitions cannot lose a replica without refusing acks=all writes, because their "
        f"replication factor does not exceed min.insync.replicas: {listing(partitions)}.",
        remedy=f"Raise their replication factor, lower their min.insync.replicas, or {ACCEPT_REMEDY}{other}.",
    )


def moving_check(partitions: tuple[TopicPartition, ...], brokers: tuple[int, ...]) -> Check:
    return Check(
        MOVING_AWAY,
        ok=False,
        evidence=f"{len(partitions)} partitions have a replica on broker {listing(brokers)} that they cannot spare, "
        f"because their replication factor does not exceed min.insync.replicas: {listing(partitions)}.",
        remedy="A KafkaRebalance with goal MoveAway moves them to other brokers first.",
    )


def room(observation: ClusterObservation, partition: PartitionObservation) -> int:
    """How many brokers may be down together while all of an unprotected partition is on others; 0: there is no other
    broker to move a replica of it to."""
    brokers = len(observation.kafka.brokers) if observation.kafka else 0
    return max(0, brokers - len(partition.replicas))


def rooted_partitions(observation: ClusterObservation, nodes: frozenset[int]) -> tuple[TopicPartition, ...]:
    """Unprotected partitions on `nodes` that cannot be moved off any broker: they have a replica on every one."""
    unprotected = set(unprotected_partitions(observation, nodes))
    partitions = observation.kafka.partitions if observation.kafka else ()
    return tuple(sorted(p.id for p in partitions if p.id in unprotected and not room(observation, p)))


def rooted_check(partitions: tuple[TopicPartition, ...]) -> Check:
    return Check(
        UNPROTECTED_PARTITIONS,
        ok=False,
        evidence=f"{len(partitions)} partitions cannot lose a replica without refusing acks=all writes, and have one "
        f"on every broker, so that none can be moved away: {listing(partitions)}.",
        remedy=f"Add a broker, lower their replication factor or their min.insync.replicas, or {ACCEPT_REMEDY}.",
    )


def is_unprotected(partition: PartitionObservation) -> bool:
    """Whether no restart of a replica can keep its min ISR."""
    return len(partition.replicas) <= partition.min_isr


def floor(partition: PartitionObservation) -> int:
    """In-sync, running replicas that a partition must keep: its min ISR, or one less than RF if it is unprotected."""
    return len(partition.replicas) - 1 if is_unprotected(partition) else partition.min_isr


def standing(observation: ClusterObservation) -> set[int]:
    """Brokers that are registered and whose process may be counted upon."""
    down = {node.id for node in observation.nodes if not is_running(node)}
    return {broker.id for broker in observation.kafka.brokers} - down if observation.kafka else set()


class _Case:
    """One batch before the judge. `down` are nodes that cannot be counted upon once it is stopped."""

    def __init__(
        self,
        observation: ClusterObservation,
        batch: frozenset[int],
        suspects: frozenset[int],
        policy: UnprotectedPolicy,
    ) -> None:
        self.observation, self.batch, self.policy = observation, batch, policy
        self.nodes = [node for node in observation.nodes if node.id in batch]
        self.down = {node.id for node in observation.nodes if not is_running(node)} | suspects | batch

    def writes(self) -> Iterator[Check]:
        """Invariant 1."""
        kafka = self.observation.kafka
        if kafka is None:
            yield from self._writes_unknown()
            return
        standing = {broker.id for broker in kafka.brokers} - self.down
        starved: list[TopicPartition] = []
        unprotected: list[TopicPartition] = []
        for partition in kafka.partitions:
            if partition.leader is None or self.batch.isdisjoint(partition.isr):
                continue
            if is_unprotected(partition):
                unprotected.append(partition.id)
                if self.policy is UnprotectedPolicy.MOVE_AWAY:  # how many are left is asked once it is elsewhere
                    continue
            if len(standing.intersection(partition.isr)) < floor(partition):
                starved.append(partition.id)
        if unprotected:
            yield unprotected_check(tuple(sorted(unprotected)), self.policy)
        if starved:
            yield Check(
                "WouldStopWrites",
                ok=False,
                evidence=f"Without node {listing(sorted(self.batch))} {len(starved)} partitions would have fewer "
                f"in-sync replicas than acks=all writes need: {listing(sorted(starved))}.",
                remedy="Wait until their other replicas are in sync; if they do not catch up, see those brokers.",
            )

    def _writes_unknown(self) -> Iterator[Check]:
        dark = is_dark(self.observation)
        brokers = [node for node in self.nodes if node.is_broker]
        if any(is_ready(node) or (is_running(node) and not dark) for node in brokers):
            yield unreachable(self.observation)

    def quorum(self) -> Iterator[Check]:
        """Invariant 2."""
        running = [node for node in self.nodes if node.is_controller and is_running(node)]
        if not running:
            return
        quorum = self.observation.quorum
        if quorum is None:
            if any(is_ready(node) for node in running):
                yield quorum_unknown(self.observation)
            elif not is_dark(self.observation):
                # Without the quorum's word, running processes of other controllers are all that can be counted.
                controllers = {node.id for node in self.observation.nodes if node.is_controller}
                yield from self._majority(voters=controllers, counted=controllers)
            return
        voters = {voter.id for voter in quorum.voters}
        if any(node.id in voters for node in running):
            yield from self._majority(voters=voters, counted={v.id for v in quorum.voters if v.caught_up})

    def _majority(self, *, voters: set[int], counted: set[int]) -> Iterator[Check]:
        needed, left = len(voters) // 2 + 1, counted - self.down
        if len(left) >= needed:
            return
        if len(voters) - 1 < needed:
            yield _unprotected_quorum(voters)
            return
        yield Check(
            "WouldLoseQuorum",
            ok=False,
            evidence=f"Without node {listing(sorted(self.batch))} {len(left)} of {len(voters)} controllers would be up "
            f"and caught up ({listing(sorted(left)) or 'none'}); {needed} are needed.",
            remedy="Wait until the other controllers have caught up; if they do not, see their logs.",
        )


def _unprotected_quorum(voters: set[int]) -> Check:
    return Check(
        "UnprotectedQuorum",
        ok=False,
        evidence=f"A quorum of {len(voters)} has no majority while a controller restarts.",
        remedy=f"Run three controllers, or {ACCEPT_REMEDY}.",
    )
