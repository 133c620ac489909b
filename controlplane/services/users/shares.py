"""What the quotas of a cell's tenants are divided by, over time: see domain/tenants/quotas."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.domain.observation import PartitionPlace
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.quotas import BYTE_RATES, Division, Steady, serving, steadied, whole
from controlplane.domain.users.layers import TENANT, CellState
from controlplane.ports import KafkaAdmin
from controlplane.services.users.entry import Entry


class Shares:
    """Remembers what was seen in earlier passes; an operator that has just begun goes on from what statuses say."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], tuple[Steady, Steady]] = {}

    async def look(
        self,
        cell: str,
        admin: KafkaAdmin,
        entries: Iterable[Entry],
        directory: Directory,
        now: float,
        *,
        from_replicas: bool,
    ) -> CellState:
        """Kafka is asked only where a tenant has users and a quota in bytes. Raises KafkaError."""
        users: dict[str, list[Entry]] = defaultdict(list)
        for entry in entries:
            if entry.tenant is not None and _has_a_share(entry):
                users[entry.tenant.metadata.name].append(entry)
        for gone in [key for key in self._held if key[0] == cell and key[1] not in users]:
            del self._held[gone]
        tenants = {name: found[0].tenant for name, found in users.items()}
        in_bytes = any(
            BYTE_RATES & whole(tenant.spec.quotas).keys() for tenant in tenants.values() if tenant is not None
        )
        places = _by_tenant(await admin.places() if in_bytes else (), directory)
        divisions = {}
        for name, found in users.items():
            held = self._held.get((cell, name)) or _recorded(found)
            brokers = steadied(held[0], serving(places.get(name, ()), from_replicas=from_replicas), now)
            principals = steadied(held[1], len({entry.user.principal for entry in found}), now)
            self._held[cell, name] = brokers, principals
            divisions[name] = Division(brokers.value, principals.value)
        return CellState(divisions)


def _has_a_share(entry: Entry) -> bool:
    """It may take something of the tenant's now or soon. One that is refused and was never let in may not: a namespace
    that the tenant does not list makes nobody's share smaller."""
    return not entry.out and (entry.let_in or (entry.refusal is None and entry.barred is None))


def _by_tenant(places: Iterable[PartitionPlace], directory: Directory) -> dict[str, list[PartitionPlace]]:
    owners: dict[str, KafkaTenant | None] = {}
    found: dict[str, list[PartitionPlace]] = defaultdict(list)
    for place in places:
        if place.topic not in owners:
            owners[place.topic] = directory.of_topic(place.topic)
        if (owner := owners[place.topic]) is not None:
            found[owner.metadata.name].append(place)
    return found


def _recorded(entries: Iterable[Entry]) -> tuple[Steady | None, Steady | None]:
    """What was granted last, by the statuses of those who have it."""
    found = [layer for entry in entries for layer in entry.user.status.quota_layers if layer.name == TENANT]
    brokers, users = (
        max((one.brokers or 0 for one in found), default=0),
        max((one.users or 0 for one in found), default=0),
    )
    return Steady(brokers) if brokers else None, Steady(users) if users else None
