"""How much a tenant has and may have: topics, partitions, bytes. Pure.

What is counted are the topics that begin with its prefix, whoever made them: a topic outlives its object. Their bytes
are those on the disks, every replica counted, or what `retention.bytes` lets them have, whichever is more: otherwise a
tenant could be granted its whole limit again and again before it has written anything. Retention without bounds counts
as what it has come to.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.api.kafka_tenant import KafkaTenant, TenantLimits
from controlplane.api.quantity import parse_bytes
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.steps import human
from controlplane.domain.tenants.directory import Cell
from controlplane.domain.topics.values import TopicDescription

RETENTION = "retention.bytes"


@dataclass(frozen=True, slots=True)
class Amount:
    """Topics, their partitions, and bytes with every replica counted."""

    topics: int = 0
    partitions: int = 0
    storage: int = 0

    def __add__(self, other: Amount) -> Amount:
        return Amount(self.topics + other.topics, self.partitions + other.partitions, self.storage + other.storage)

    def __or__(self, other: Amount) -> Amount:
        """Of each the more."""
        return Amount(
            max(self.topics, other.topics),
            max(self.partitions, other.partitions),
            max(self.storage, other.storage),
        )


def reserved(partitions: int, replicas: int, config: Mapping[str, str]) -> int:
    """Bytes that a topic with this config may come to; 0 where nothing bounds it (compacted topics: nothing does)."""
    text = config.get(RETENTION, "")
    if not text.isdecimal() or "delete" not in config.get("cleanup.policy", "delete"):
        return 0
    return partitions * replicas * int(text)


def measured(topic: TopicDescription, sizes: Mapping[TopicPartition, int]) -> int:
    """`sizes`: bytes of one replica."""
    return sum(
        sizes.get(TopicPartition(topic.name, number), 0) * len(replicas)
        for number, replicas in enumerate(topic.replicas)
    )


def counted(topic: TopicDescription, sizes: Mapping[TopicPartition, int]) -> int:
    """Bytes of a topic that exists."""
    return max(measured(topic, sizes), reserved(topic.partitions, topic.replication_factor, topic.config))


def used(topics: Iterable[TopicDescription], sizes: Mapping[TopicPartition, int]) -> Amount:
    found = Amount()
    for topic in topics:
        found += Amount(1, topic.partitions, counted(topic, sizes))
    return found


def is_shared(tenant: KafkaTenant) -> bool:
    """Whether it has limits that several cells spend."""
    return tenant.spec.limits != TenantLimits() and len(cells_of(tenant)) > 1


def cells_of(tenant: KafkaTenant) -> frozenset[Cell]:
    """Where it may have anything."""
    named = {Cell(one.namespace, one.name) for one in tenant.spec.cells}
    return frozenset(named | {Cell(one.namespace, one.name) for one in tenant.status.cells})


def elsewhere(tenant: KafkaTenant, cell: Cell, seen: Mapping[Cell, Mapping[str, Amount]]) -> Amount:
    """What it has in its other cells: as it was measured there last, or as it is `seen` or granted there by now (by
    cell and tenant), whichever is more."""
    found = {
        Cell(one.namespace, one.name): Amount(one.usage.topics, one.usage.partitions, one.usage.storage)
        for one in tenant.status.cells
    }
    for other in cells_of(tenant):
        found[other] = found.get(other, Amount()) | seen.get(other, {}).get(tenant.metadata.name, Amount())
    return sum((amount for other, amount in found.items() if other != cell), Amount())


def exceeded(limits: TenantLimits, has: Amount, more: Amount) -> list[str]:
    """What `more` would break: the field that asks for it, the limit, and by how much. Asking for nothing more of
    something breaks no limit of it; bytes that are there already do once anything at all is asked for."""
    found = []
    for field, name, most in (
        ("spec.topicName", "topics", limits.topics),
        ("spec.partitions", "partitions", limits.partitions),
    ):
        now, wanted = getattr(has, name), getattr(more, name)
        if most is not None and wanted > 0 and (over := now + wanted - most) > 0:
            found.append(f"{field}: {wanted} more on top of {now} are {over} beyond limits.{name} ({most})")
    if limits.storage is None or more == Amount():
        return found
    over = has.storage + max(more.storage, 0) - parse_bytes(limits.storage)
    if over > 0:
        asked = f"{human(more.storage)} more on top of" if more.storage > 0 else "there are already"
        found.append(
            f"spec.config[{RETENTION}]: {asked} {human(has.storage)}, {human(over)} beyond limits.storage "
            f"({limits.storage})"
        )
    return found
