"""What tenants have in a cell: topics by their prefix, whoever made them. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

from controlplane.api.kafka_tenant import TenantLimits, TenantUsage
from controlplane.api.quantity import parse_bytes
from controlplane.domain.check import Check
from controlplane.domain.observation import PartitionObservation, TopicPartition
from controlplane.domain.tenants.directory import Directory

_UNITS = ("", "Ki", "Mi", "Gi", "Ti", "Pi")


@dataclass
class Holdings:
    """Of one tenant in one cell. `topics` to the brokers that any of its replicas lie on; `replicas` is the topic with
    the most of them a partition, and how many."""

    topics: dict[str, set[int]] = field(default_factory=lambda: defaultdict(set))
    partitions: int = 0
    replicas: tuple[int, str] = (0, "")
    storage: int | None = None

    @property
    def brokers(self) -> frozenset[int]:
        return frozenset[int]().union(*self.topics.values())

    def outside(self, shard: Iterable[int]) -> tuple[str, ...]:
        """Topics with a replica anywhere else."""
        inside = set(shard)
        return tuple(sorted(topic for topic, brokers in self.topics.items() if not brokers <= inside))


def holdings(
    directory: Directory, partitions: Iterable[PartitionObservation], sizes: Mapping[TopicPartition, int] | None
) -> dict[str, Holdings]:
    """By tenant; who has nothing is not in it. Without `sizes` no storage is known."""
    found: dict[str, Holdings] = {}
    owners: dict[str, str | None] = {}
    for one in partitions:
        if one.topic not in owners:
            tenant = directory.of_topic(one.topic)
            owners[one.topic] = tenant.metadata.name if tenant is not None else None
        owner = owners[one.topic]
        if owner is None:
            continue
        mine = found.setdefault(owner, Holdings())
        mine.topics[one.topic].update(one.replicas)
        mine.partitions += 1
        mine.replicas = max(mine.replicas, (len(one.replicas), one.topic))
        if sizes is not None:
            mine.storage = (mine.storage or 0) + sizes.get(one.id, 0) * len(one.replicas)
    return found


def beyond(limits: TenantLimits, usage: TenantUsage) -> tuple[Check, ...]:
    """The limits that are exceeded, and by how much."""
    return tuple(_beyond(limits, usage))


def _beyond(limits: TenantLimits, usage: TenantUsage) -> Iterator[Check]:
    storage = parse_bytes(limits.storage) if limits.storage is not None else None
    for name, used, limit in (
        ("topics", usage.topics, limits.topics),
        ("partitions", usage.partitions, limits.partitions),
        ("storage", usage.storage, storage),
    ):
        if limit is not None and used > limit:
            words = readable if name == "storage" else str
            yield Check(
                "LimitExceeded",
                ok=False,
                evidence=f"spec.limits.{name}: {words(used)} of {words(limit)}, {words(used - limit)} too many.",
                remedy="Delete what is not needed, or raise the limit.",
            )


def readable(size: int) -> str:
    """Bytes for people, such as 1.5Gi."""
    power = 0
    while power + 1 < len(_UNITS) and size >= 1024 ** (power + 1):
        power += 1
    value = Fraction(size, 1024**power)
    return f"{float(value):.{0 if value.denominator == 1 else 1}f}{_UNITS[power]}"
