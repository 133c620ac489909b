"""Replication that is slow, and reassignments that take their time, with Kafka's own throttles (KIP-73)."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from confluent_kafka import ElectionType, Producer
from confluent_kafka import TopicPartition as ConfluentPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)
from kafka import TopicPartition
from kafka.admin import KafkaAdminClient

RATE = "follower.replication.throttled.rate"
REPLICAS = "follower.replication.throttled.replicas"
CRAWL = 1000
"""Bytes a second: a follower gets one fetch's worth in one go (1 MiB of a partition) and then waits for the quota's
window (11 s) to pass. It has to lag several of those behind, since one that has caught up is not throttled."""
IN_FLIGHT = 64


@contextmanager
def crawling(bootstrap: str, topic: str, brokers: Sequence[int]) -> Iterator[None]:
    """Replicas of `topic` on these brokers that are not in sync fetch at `CRAWL`; those in sync are not throttled."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    _alter(admin, ResourceType.TOPIC, topic, REPLICAS, "*")
    try:
        for broker in brokers:
            _alter(admin, ResourceType.BROKER, str(broker), RATE, str(CRAWL))
        yield
    finally:
        for broker in brokers:
            _alter(admin, ResourceType.BROKER, str(broker), RATE, None)
        _alter(admin, ResourceType.TOPIC, topic, REPLICAS, None)


def make_topic(bootstrap: str, topic: str, replicas: Sequence[int], min_isr: int) -> None:
    """One partition on these brokers; declared nowhere, so that no operator has a say in it."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    wanted = NewTopic(
        topic, num_partitions=1, replica_assignment=[list(replicas)], config={"min.insync.replicas": str(min_isr)}
    )
    admin.create_topics([wanted])[topic].result(30)


def fill(bootstrap: str, topic: str, mib: int) -> None:
    """So much more in partition 0, acknowledged."""
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "linger.ms": 5, "log_level": 0})
    value = b"x" * 65536
    for _ in range(mib * 16):
        producer.produce(topic, value, partition=0)
        while len(producer) > IN_FLIGHT:
            producer.poll(0.1)
    assert producer.flush(120) == 0, f"{topic} was not filled"


def reassign(bootstrap: str, topic: str, replicas: Sequence[int]) -> None:
    """Begins to move partition 0 there."""
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        failed = admin.alter_partition_reassignments({TopicPartition(topic, 0): list(replicas)})
        assert not any(failed.values()), failed
    finally:
        admin.close()


def lead(bootstrap: str, topic: str) -> None:
    """Its preferred leader leads partition 0, before the controllers see to it by themselves (every five minutes)."""
    admin, wanted = AdminClient({"bootstrap.servers": bootstrap}), [ConfluentPartition(topic, 0)]
    # Without request_timeout, which this call alone cannot take (confluent-kafka 2.x: SystemError about its keywords).
    admin.elect_leaders(ElectionType.PREFERRED, wanted).result(60)


def reassigning(bootstrap: str) -> bool:
    admin = KafkaAdminClient(bootstrap_servers=bootstrap.split(","))
    try:
        return bool(admin.list_partition_reassignments())
    finally:
        admin.close()


def _alter(admin: AdminClient, kind: ResourceType, name: str, key: str, value: str | None) -> None:
    operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    entry = ConfigEntry(key, value, incremental_operation=operation)
    resource = ConfigResource(kind, name, incremental_configs=[entry])
    for attempt in range(3):
        try:
            for future in admin.incremental_alter_configs([resource], request_timeout=15).values():
                future.result(20)
        except Exception:
            if attempt == 2:
                raise
            time.sleep(1)
        else:
            return
