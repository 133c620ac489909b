"""Clusters on paper for batches: racks of brokers, partitions placed rack-aware or at random; and their table.

RF 3, min ISR 2, everything in sync. Rack-aware: one replica in each of the three racks, as Kafka's own assignment does
when brokers have racks. Random: any three brokers, as it is when racks were added to a cluster later.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

from property.strategies import RACKS, pod
from support.pages import with_part

from controlplane.domain.observation import (
    BrokerObservation,
    ClusterObservation,
    KafkaObservation,
    NodeObservation,
    PartitionObservation,
    Role,
)

_REPLICATION = 3


@dataclass(frozen=True)
class Layout:
    """Three racks of `per_rack` brokers (broker b is in rack b modulo 3)."""

    per_rack: int
    partitions: int
    placement: str

    @property
    def brokers(self) -> int:
        return len(RACKS) * self.per_rack

    def observe(self, seed: int) -> ClusterObservation:
        rng, ids = Random(seed), range(self.brokers)
        placed = []
        for number in range(self.partitions):
            if self.placement == "rack-aware":
                replicas = tuple(rng.randrange(at, self.brokers, len(RACKS)) for at in rng.sample(range(3), 3))
            else:
                replicas = tuple(rng.sample(ids, _REPLICATION))
            placed.append(PartitionObservation("t", number, replicas[0], replicas, replicas, 2))
        brokers = tuple(BrokerObservation(b, RACKS[b % 3], "127.1.0.1", 9091) for b in ids)
        return ClusterObservation(
            as_of=0.0,
            namespace="kafka",
            name="paper",
            nodes=tuple(NodeObservation(b, "brokers", frozenset({Role.BROKER}), pod(b)) for b in ids),
            kafka=KafkaObservation(0.0, "cluster", brokers, tuple(placed)),
        )


def table(record: Mapping[str, Any]) -> str:
    """The table of docs/rolling.md: medians over the seeds of each layout."""
    groups: dict[tuple[Any, ...], list[Mapping[str, Any]]] = {}
    for row in record["outcomes"]["rows"]:
        key = (row["layout"], row["placement"], row["brokers"], row["partitions"], row["max_unavailable"])
        groups.setdefault(key, []).append(row)
    lines = [
        "| brokers | placement | partitions | maxUnavailable | batches | lower bound | one at a time | planned in |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for (layout, placement, brokers, partitions, limit), rows in groups.items():
        batches, bound = (_median([row[name] for row in rows]) for name in ("batches", "lower_bound"))
        seconds = statistics.median(row["seconds"] for row in rows)
        lines.append(
            f"| {layout} | {placement} | {partitions:,} | {limit} | {batches} | {bound} | {brokers} | {seconds:.2f} s |"
        )
    return "\n".join(lines)


def with_table(page: str, record: Mapping[str, Any]) -> str:
    """The page with the record's table. Raises ValueError when a mark is missing."""
    return with_part(page, "bench-batches", table(record))


def _median(numbers: Sequence[int]) -> int:
    return statistics.median_low(numbers)
