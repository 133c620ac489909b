"""Where the replicas of a cell are, and what throttles them, as its brokers say; what of a rebalance is not over."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

from support.cell import Cell

from controlplane.adapters.kafka.admins import KafkaPythonAdmins
from controlplane.domain.observation import TopicPartition

TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class Replicas:
    """`throttles` are settings of topics (`orders leader.replication...`) and of all brokers, without a name."""

    placed: Mapping[TopicPartition, tuple[int, ...]]
    leaders: Mapping[TopicPartition, int | None]
    in_flight: frozenset[TopicPartition]
    throttles: Mapping[str, str]
    registered: frozenset[int]
    """Brokers that Kafka knows, whether they are up or not."""

    def on(self, broker: int) -> list[TopicPartition]:
        return sorted(one for one, brokers in self.placed.items() if broker in brokers)

    def of(self, topic: str) -> dict[int, tuple[int, ...]]:
        return {one.partition: brokers for one, brokers in self.placed.items() if one.topic == topic}


def replicas(cell: Cell) -> Replicas:
    return asyncio.run(_asked(cell))


async def _asked(cell: Cell) -> Replicas:
    admins = KafkaPythonAdmins(threads=2, timeout=TIMEOUT_SECONDS, voter_caught_up_seconds=5.0)
    try:
        admin = admins.get("test", [cell.bootstrap()])
        in_flight = await admin.list_partition_reassignments()
        kafka, _ = await admin.observe()
        topics, brokers = await admin.settings(sorted({one.topic for one in kafka.partitions}))
        registered = await admin.registered_brokers()
        assert registered is not None, "a Kafka that says who is registered"
    finally:
        await admins.close()
    return Replicas(
        {one.id: one.replicas for one in kafka.partitions},
        {one.id: one.leader for one in kafka.partitions},
        frozenset(in_flight),
        {
            f"{name} {key}": value
            for name, config in {**topics, "": brokers}.items()
            for key, value in config.items()
            if "throttled" in key
        },
        registered,
    )


def unfinished(seen: Replicas) -> list[str]:
    """What a rebalance must not leave behind."""
    return [
        *(f"{one} is being reassigned" for one in sorted(seen.in_flight)),
        *(f"{name} is {value}" for name, value in sorted(seen.throttles.items())),
    ]
