"""Who owns what, read from all KafkaTenants: namespaces, prefixes of topics, shards. Pure; nothing is decided here that
is not a function of the objects.

The oldest object wins (ties by name), whatever its state: a namespace belongs to the oldest tenant that lists it, and
of two prefixes where one begins with the other the oldest is in force. Who has lost says so (`conflicts`), and is
refused wherever it names what it has lost; nothing is shared and nothing passes on while the winner is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from controlplane.api.kafka_tenant import KafkaTenant, TenantCellStatus
from controlplane.domain.check import Check
from controlplane.domain.placement.values import Shard


@dataclass(frozen=True, slots=True, order=True)
class Cell:
    """A KafkaCluster, by where it is."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class TenantShard:
    """Where a tenant's replicas may be in a cell (`brokers`), and where they shall be in the end (`target`): the same
    unless the shard is being moved. Both ascending. New replicas belong on `target`, and one that is found anywhere on
    `brokers` is where it may be."""

    brokers: Shard
    target: Shard

    @property
    def moving(self) -> bool:
        return self.brokers != self.target


def age(tenant: KafkaTenant) -> tuple[str, str]:
    """Sorts tenants, oldest first. RFC 3339 in UTC sorts as text."""
    return tenant.metadata.creation_timestamp or "", tenant.metadata.name


@dataclass(frozen=True)
class Directory:
    """`tenants` are all there are, oldest first: make one with `directory`."""

    tenants: tuple[KafkaTenant, ...]

    @cached_property
    def by_name(self) -> Mapping[str, KafkaTenant]:
        return {tenant.metadata.name: tenant for tenant in self.tenants}

    @cached_property
    def by_namespace(self) -> Mapping[str, KafkaTenant]:
        """Namespace to the tenant that it belongs to."""
        found: dict[str, KafkaTenant] = {}
        for tenant in self.tenants:
            for namespace in tenant.spec.namespaces:
                found.setdefault(namespace, tenant)
        return found

    @cached_property
    def by_prefix(self) -> Mapping[str, KafkaTenant]:
        """Prefix in force to its tenant; none begins with another."""
        found: dict[str, KafkaTenant] = {}
        beginnings: set[str] = set()
        for tenant in self.tenants:
            prefix = tenant.spec.topic_prefix
            own = [prefix[:end] for end in range(1, len(prefix) + 1)]
            if prefix not in beginnings and not any(beginning in found for beginning in own):
                found[prefix] = tenant
                beginnings.update(own)
        return found

    def of_topic(self, topic: str) -> KafkaTenant | None:
        """The tenant whose prefix a topic's name in Kafka begins with; Kafka's own topics are nobody's."""
        if topic.startswith("__"):
            return None
        found = (self.by_prefix.get(topic[:length]) for length in self._lengths)
        return next((tenant for tenant in found if tenant is not None), None)

    @cached_property
    def _lengths(self) -> tuple[int, ...]:
        return tuple(sorted({len(prefix) for prefix in self.by_prefix}))

    def owns_prefix(self, tenant: KafkaTenant) -> bool:
        owner = self.by_prefix.get(tenant.spec.topic_prefix)
        return owner is not None and owner.metadata.name == tenant.metadata.name

    def in_cell(self, cell: Cell) -> tuple[KafkaTenant, ...]:
        """Tenants that name the cell or still have a shard of it, oldest first."""
        return tuple(tenant for tenant in self.tenants if names(tenant, cell) or cell_status(tenant, cell) is not None)

    def shard(self, tenant: KafkaTenant, cell: Cell) -> TenantShard | None:
        """None while nothing of the tenant may be created there: it does not name the cell, or has no shard yet."""
        status = cell_status(tenant, cell)
        if status is None or not status.shard or not names(tenant, cell):
            return None
        return TenantShard(tuple(sorted(status.shard)), tuple(sorted(status.target or status.shard)))

    def resolve(self, name: str, namespace: str) -> KafkaTenant | Check:
        """The tenant that an object of this namespace names in `spec.tenantRef.name`, or why it may not."""
        tenant = self.by_name.get(name)
        if tenant is None:
            known = self.by_namespace.get(namespace)
            hint = f"this namespace belongs to {known.metadata.name!r}." if known else "no tenant lists this namespace."
            return Check(
                "TenantNotFound",
                ok=False,
                evidence=f"spec.tenantRef.name: there is no KafkaTenant {name!r};",
                remedy=hint,
            )
        if namespace not in tenant.spec.namespaces:
            return Check(
                "NamespaceNotListed",
                ok=False,
                evidence=f"spec.tenantRef.name: KafkaTenant {name!r} does not list namespace {namespace!r}.",
                remedy="Have it added to the tenant's spec.namespaces, or name the tenant of this namespace.",
            )
        owner = self.by_namespace[namespace]
        if owner.metadata.name != tenant.metadata.name:
            return Check(
                "NamespaceTaken",
                ok=False,
                evidence=f"spec.tenantRef.name: namespace {namespace!r} belongs to KafkaTenant "
                f"{owner.metadata.name!r}, which is older than {name!r} and lists it too.",
                remedy="A namespace has one tenant: take it out of the other's spec.namespaces.",
            )
        return tenant

    def conflicts(self, tenant: KafkaTenant) -> tuple[Check, ...]:
        """What the tenant claims and an older one has, failed checks only."""
        found = []
        for at, namespace in enumerate(tenant.spec.namespaces):
            owner = self.by_namespace[namespace].metadata.name
            if owner != tenant.metadata.name:
                found.append(
                    Check(
                        "NamespaceTaken",
                        ok=False,
                        evidence=f"spec.namespaces[{at}]: {namespace!r} belongs to KafkaTenant "
                        f"{owner!r}, which is older.",
                        remedy="A namespace has one tenant: take it out of one of the two.",
                    )
                )
        if not self.owns_prefix(tenant):
            prefix = tenant.spec.topic_prefix
            other = next(p for p in self.by_prefix if p.startswith(prefix) or prefix.startswith(p))
            owner = self.by_prefix[other].metadata.name
            found.append(
                Check(
                    "PrefixTaken",
                    ok=False,
                    evidence=f"spec.topicPrefix: {prefix!r} and {other!r} of KafkaTenant {owner!r}, which is older, "
                    "mean topics in common.",
                    remedy="Create the tenant anew with a prefix of its own: none may begin with another.",
                )
            )
        return tuple(found)


def directory(tenants: Iterable[KafkaTenant]) -> Directory:
    return Directory(tuple(sorted(tenants, key=age)))


def names(tenant: KafkaTenant, cell: Cell) -> bool:
    """Whether the tenant is to have a shard of the cell."""
    return any((one.namespace, one.name) == (cell.namespace, cell.name) for one in tenant.spec.cells)


def cell_status(tenant: KafkaTenant, cell: Cell) -> TenantCellStatus | None:
    """What is recorded of the tenant in the cell."""
    return next((one for one in tenant.status.cells if (one.namespace, one.name) == (cell.namespace, cell.name)), None)
