"""What tenants have to do with the topics of a cell: whose a name is, how much of the limits is left, which brokers new
partitions go to, and what has strayed from them. Pure.

- A topic of a tenant is in a namespace that belongs to the tenant and bears its prefix; any other topic bears no prefix
  of a tenant of this cell. Who has no right to a name does not win it either, however old the object.
- Limits are spent oldest object first, on what does not exist yet; what exists is counted and never taken away.
- New partitions are put on brokers of the shard that are up, unless those that are down could give them more racks:
  nothing is born without all its replicas.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.domain.check import Check
from controlplane.domain.observation import TopicPartition
from controlplane.domain.tenants.directory import Cell, Directory, TenantShard, cell_status, directory, names
from controlplane.domain.topics import limits
from controlplane.domain.topics.limits import Amount
from controlplane.domain.topics.spread import Load, Replicas, spread
from controlplane.domain.topics.values import DesiredTopic, TopicDescription

WAITING = frozenset({"TenantNotPlaced", "WaitingForBrokers"})
"""Refusals that pass by themselves."""
NOWHERE = Cell("", "")


@dataclass(frozen=True, slots=True)
class Facts:
    """What is asked of Kafka only where a topic of a tenant wants something: the racks of the brokers that are up, and
    the bytes of one replica of each partition where a limit counts them."""

    racks: Mapping[int, str | None] = field(default_factory=dict)
    sizes: Mapping[TopicPartition, int] = field(default_factory=dict)


class Tenancy:
    """One pass over the topics of one cell. `observed` are all of its topics as they are before the pass; `elsewhere`
    is what tenants have in other cells, by cell and tenant, where more is known than their statuses say."""

    def __init__(
        self,
        known: Directory,
        cell: Cell,
        observed: Mapping[str, TopicDescription],
        facts: Facts,
        elsewhere: Mapping[Cell, Mapping[str, Amount]] | None = None,
    ) -> None:
        self._known, self._cell, self._facts, self._elsewhere = known, cell, facts, elsewhere or {}
        self._has: dict[str, Amount] = {}
        self._load: dict[str, Load] = defaultdict(Load)
        self._topics: dict[str, list[TopicDescription]] = defaultdict(list)
        if known.by_prefix:
            for topic in observed.values():
                if (tenant := known.of_topic(topic.name)) is not None:
                    self._topics[tenant.metadata.name].append(topic)
                    self._load[tenant.metadata.name].add(topic.replicas)

    @staticmethod
    def none() -> Tenancy:
        """Of a fleet without tenants."""
        return Tenancy(directory(()), NOWHERE, {}, Facts())

    def no_right(self, topic: DesiredTopic) -> Check | None:
        """Why the name is not this object's to have, even if it were the only one."""
        if topic.tenant is None:
            owner = self._known.of_topic(topic.name)
            return None if owner is None or not names(owner, self._cell) else _prefix_of_tenant(topic, owner)
        tenant = self._known.resolve(topic.tenant, topic.namespace)
        if isinstance(tenant, Check):
            return tenant
        if not names(tenant, self._cell):
            return Check(
                "CellLeft",
                ok=False,
                evidence=f"spec.tenantRef.name: KafkaTenant {topic.tenant!r} does not name cell {self._cell} any more, "
                "where this topic is.",
                remedy="A topic does not move: its data stays there; create another one in a cell of the tenant.",
            )
        prefix = tenant.spec.topic_prefix
        if not self._known.owns_prefix(tenant):
            return Check(
                "PrefixTaken",
                ok=False,
                evidence=f"spec.tenantRef.name: another tenant, which is older, has the prefix {prefix!r} of "
                f"KafkaTenant {topic.tenant!r}, or one that means topics in common.",
                remedy=f"`kfleet tenant describe {topic.tenant}` says which; one of the two has to be created anew.",
            )
        if not topic.name.startswith(prefix):
            return Check(
                "TopicOutsidePrefix",
                ok=False,
                evidence=f"spec.topicName: {topic.name!r} does not begin with {prefix!r}, as every topic of "
                f"KafkaTenant {topic.tenant!r} does.",
                remedy=f"Give spec.topicName a name such as {prefix + topic.name!r}, in a new object.",
            )
        return None

    def shard(self, topic: DesiredTopic) -> TenantShard | None:
        """None for topics of the cluster, and for those of a tenant that has no shard here yet."""
        return self._known.shard(self._tenant(topic), self._cell) if topic.tenant is not None else None

    def no_room(
        self, topic: DesiredTopic, existing: TopicDescription | None, config: Mapping[str, str]
    ) -> Check | None:
        """Why there is no place for what an object of a tenant asks for on top of what it has; None where it asks for
        nothing. `config`: all that will be set on the topic."""
        if (more := self._more(topic, existing, config)) == Amount():
            return None
        if more.partitions and (nowhere := self._no_brokers(topic)) is not None:
            return nowhere
        tenant = self._tenant(topic)
        if not (over := limits.exceeded(tenant.spec.limits, self._used(tenant), more)):
            return None
        return Check(
            "TenantLimitExceeded",
            ok=False,
            evidence=f"{'; '.join(over)} of KafkaTenant {topic.tenant!r}.",
            remedy="Ask for less, delete topics that are not used any more, or have the tenant's spec.limits raised.",
        )

    def take(
        self, topic: DesiredTopic, existing: TopicDescription | None, config: Mapping[str, str]
    ) -> tuple[Replicas, ...]:
        """Where the new partitions of a tenant's topic go; what it takes is no longer there for others. Only after
        `no_room` found nothing."""
        tenant = self._tenant(topic)
        name, more = tenant.metadata.name, self._more(topic, existing, config)
        self._has[name] = self._here(name) + more
        if not more.partitions:
            return ()
        load = self._load[name]
        before = existing.replicas if existing is not None else ()
        placed = spread(self._up(topic), more.partitions, topic.replicas, before, load)
        load.add(placed)
        return placed

    def strayed(self, owner: DesiredTopic, existing: TopicDescription) -> Check | None:
        """Replicas of a tenant's topic that lie where they shall not stay. `owner` has a right to its name.

        It says which brokers, not how much is there: that changes all along while it is moved.
        """
        shard = self.shard(owner)
        if shard is None or not (outside := {one for on in existing.replicas for one in on} - set(shard.target)):
            return None
        status = cell_status(self._tenant(owner), self._cell)
        if status is not None and status.rebalance:
            remedy = (
                f"KafkaRebalance {self._cell.namespace}/{status.rebalance} moves it there; see what that waits for."
            )
        else:
            remedy = (
                f"Its tenant asks for a KafkaRebalance that moves it there; where it cannot, create one in namespace "
                f"{self._cell.namespace} with clusterRef {self._cell.name}, goal MoveTo, brokers "
                f"[{_list(shard.target)}] and topics [{existing.name}]."
            )
        return Check(
            "OutsideShard",
            ok=False,
            evidence=f"Replicas of it lie outside of the shard of KafkaTenant {owner.tenant!r} "
            f"({_list(shard.target)}): on brokers {_list(sorted(outside))}.",
            remedy=remedy,
        )

    def _tenant(self, topic: DesiredTopic) -> KafkaTenant:
        return self._known.by_name[topic.tenant or ""]

    def _more(self, topic: DesiredTopic, existing: TopicDescription | None, config: Mapping[str, str]) -> Amount:
        bytes_then = limits.reserved(topic.partitions, topic.replicas, config)
        if existing is None:
            return Amount(1, topic.partitions, bytes_then)
        sizes = self._facts.sizes
        bytes_then = max(bytes_then, limits.measured(existing, sizes))
        grown = max(0, bytes_then - limits.counted(existing, sizes))
        return Amount(0, topic.partitions - existing.partitions, grown)

    def spent(self) -> dict[str, Amount]:
        """What tenants have here whose limits other cells spend too, with what was taken in this pass."""
        shared = (tenant.metadata.name for tenant in self._known.tenants if limits.is_shared(tenant))
        return {name: self._here(name) for name in shared if name in self._topics or name in self._has}

    def _used(self, tenant: KafkaTenant) -> Amount:
        return self._here(tenant.metadata.name) + limits.elsewhere(tenant, self._cell, self._elsewhere)

    def _here(self, name: str) -> Amount:
        if name not in self._has:
            self._has[name] = limits.used(self._topics.get(name, ()), self._facts.sizes)
        return self._has[name]

    def _up(self, topic: DesiredTopic) -> dict[int, str]:
        """Racks of the brokers that new partitions may go to now. Racks count only if every broker has one."""
        shard, racks = self.shard(topic), self._facts.racks
        racked = all(racks.values())
        return {one: (racks[one] or "") if racked else "" for one in (shard.target if shard else ()) if one in racks}

    def _no_brokers(self, topic: DesiredTopic) -> Check | None:
        shard = self.shard(topic)
        if shard is None:
            return Check(
                "TenantNotPlaced",
                ok=False,
                evidence=f"KafkaTenant {topic.tenant!r} has no shard in {self._cell} yet.",
                remedy=f"`kfleet tenant describe {topic.tenant}` says why; it goes on by itself.",
            )
        if topic.replicas > len(shard.target):
            return Check(
                "ReplicationFactorTooLarge",
                ok=False,
                evidence=f"spec.replicas: {topic.replicas} replicas do not fit on the {len(shard.target)} brokers "
                f"({_list(shard.target)}) of the shard of KafkaTenant {topic.tenant!r}: "
                f"{topic.replicas - len(shard.target)} too few.",
                remedy=f"Set it to at most {len(shard.target)}, or have the tenant's spec.shard.size raised.",
            )
        up = self._up(topic)
        down = [one for one in shard.target if one not in up]
        racks = set(up.values())
        if not down or (len(up) >= topic.replicas and (len(racks) >= topic.replicas or racks == {""})):
            return None
        return Check(
            "WaitingForBrokers",
            ok=False,
            evidence=f"Brokers {_list(down)} of the shard of KafkaTenant {topic.tenant!r} are not up, and the others "
            f"are too few for {topic.replicas} replicas, or may be in fewer racks.",
            remedy="It goes on when they are back, or when others have taken their place.",
        )


def _prefix_of_tenant(topic: DesiredTopic, owner: KafkaTenant) -> Check:
    return Check(
        "PrefixOfTenant",
        ok=False,
        evidence=f"spec.topicName: {topic.name!r} begins with {owner.spec.topic_prefix!r}, which belongs to "
        f"KafkaTenant {owner.metadata.name!r}.",
        remedy="Choose another name; a topic of the tenant names it in spec.tenantRef, in one of its namespaces.",
    )


def _list(brokers: Sequence[int]) -> str:
    return ", ".join(map(str, brokers))
