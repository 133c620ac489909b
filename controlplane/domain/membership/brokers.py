"""What lies on brokers that shall go, or whose disk is lost. Pure questions to one observation."""

from __future__ import annotations

from collections.abc import Collection

from controlplane.domain.check import Check
from controlplane.domain.observation import KafkaObservation, PartitionObservation, TopicPartition
from controlplane.domain.rolling.health import listing

BROKER_NOT_EMPTY = "BrokerNotEmpty"


def living_on(kafka: KafkaObservation, nodes: Collection[int]) -> tuple[TopicPartition, ...]:
    """Partitions with a replica on one of these nodes, those on their way to them included."""
    wanted = frozenset(nodes)
    return tuple(sorted(partition.id for partition in kafka.partitions if wanted & set(partition.replicas)))


def known(kafka: KafkaObservation, nodes: Collection[int]) -> tuple[int, ...]:
    """Those of these nodes that are brokers to Kafka: registered, or with a replica."""
    holders = {replica for partition in kafka.partitions for replica in partition.replicas}
    return tuple(sorted(({broker.id for broker in kafka.brokers} | holders).intersection(nodes)))


def cannot_leave(kafka: KafkaObservation, nodes: Collection[int]) -> tuple[Check, ...]:
    """Why these brokers may not go for good; () if nothing is assigned to them."""
    living = living_on(kafka, nodes)
    if not living:
        return ()
    return (
        Check(
            BROKER_NOT_EMPTY,
            ok=False,
            evidence=f"{len(living)} partitions have a replica on node {listing(known(kafka, nodes))}: "
            f"{listing(living)}.",
            remedy="A KafkaRebalance with goal Drain moves them away first.",
        ),
    )


def would_lose_data(kafka: KafkaObservation, node: int) -> tuple[Check, ...]:
    """Partitions whose data may be on this broker's lost disk and nowhere else; () if there is none.

    Every partition assigned to it must have a leader that is another broker and in sync. A partition that still counts
    the node as in sync has nobody else who is: on an empty disk it would lead an empty log.
    """
    alone = tuple(sorted(p.id for p in kafka.partitions if node in p.replicas and not _led_elsewhere(p, node)))
    if not alone:
        return ()
    return (
        Check(
            "ReplaceWouldLoseData",
            ok=False,
            evidence=f"{len(alone)} partitions have no in-sync leader but on node {node}: {listing(alone)}.",
            remedy="Restore its disk, or bring their other replicas back; a topic that is given up has to be deleted.",
        ),
    )


def _led_elsewhere(partition: PartitionObservation, node: int) -> bool:
    others = set(partition.isr) - {node}
    return partition.leader is not None and partition.leader in others and node not in partition.isr
