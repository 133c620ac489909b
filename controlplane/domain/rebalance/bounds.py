"""Where partitions of tenants may get replicas in a cell: on their shard, while it moves on what it becomes. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.api.kafka_rebalance import GoalType, RebalanceGoal
from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.rebalance.hops import Hop
from controlplane.domain.rolling.health import listing
from controlplane.domain.tenants.directory import Cell, Directory, cell_status


@dataclass(frozen=True, slots=True)
class Bounds:
    """Of the topics that begin with a tenant's prefix, whoever declared them; also where the tenant does not name the
    cell any more, until its shard is gone."""

    known: Directory
    cell: Cell

    def allowed(self, topic: str) -> frozenset[int] | None:
        """None: every broker."""
        found = self._shard(topic)
        return found[1] if found is not None else None

    def beyond(self, goal: RebalanceGoal) -> Check | None:
        """Why a tenant's topics are not to be moved there: the goal names brokers that the tenant has not."""
        if goal.type is not GoalType.MOVE_TO:
            return None
        for topic in sorted(goal.topics):
            found = self._shard(topic)
            if found is not None and (strange := set(goal.brokers) - found[1]):
                return Check(
                    "GoalInfeasible",
                    ok=False,
                    evidence=f"spec.goal.brokers: {_list(strange)} are not in the shard of KafkaTenant "
                    f"{found[0].metadata.name!r} ({_list(found[1])}), which topic {topic!r} belongs to.",
                    remedy="Ask for brokers of the shard in another KafkaRebalance, or have the shard changed: its "
                    "topics follow by themselves.",
                )
        return None

    def broken(self, hops: Iterable[Hop]) -> Check | None:
        """Why these are not to begin any more, though they were planned and approved: the shard is another one now."""
        beyond: dict[TopicPartition, tuple[KafkaTenant, frozenset[int], frozenset[int]]] = {}
        for hop in hops:
            found = self._shard(hop.topic)
            if found is not None and (strange := hop.adding - found[1]):
                beyond[hop.id] = (*found, strange)
        if not beyond:
            return None
        first = min(beyond)
        tenant, shard, strange = beyond[first]
        return Check(
            "PlanStale",
            ok=False,
            evidence=f"{len(beyond)} partitions were to go to brokers that are not in their tenant's shard now "
            f"({listing(sorted(beyond))}): {first} to {_list(strange)}, and KafkaTenant {tenant.metadata.name!r} has "
            f"{_list(shard)}.",
            remedy="Ask for a new plan.",
        )

    def _shard(self, topic: str) -> tuple[KafkaTenant, frozenset[int]] | None:
        tenant = self.known.of_topic(topic)
        status = cell_status(tenant, self.cell) if tenant is not None else None
        if tenant is None or status is None or not status.shard:
            return None
        return tenant, frozenset(status.target or status.shard)


def _list(brokers: Iterable[int]) -> str:
    return ", ".join(map(str, sorted(brokers)))
