"""What each user of a tenant gets in a cell, by what was given to them: the tenant's status has a copy. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from controlplane.api.kafka_tenant import QuotaGranted
from controlplane.api.kafka_user import KafkaUser, QuotaLayerStatus
from controlplane.domain.users.layers import TENANT
from controlplane.domain.users.quotas import from_texts, to_texts


def granted(users: Iterable[KafkaUser]) -> dict[str, QuotaGranted]:
    """By tenant; none for one whose users have no quotas of it. `users` are all of one cell.

    They are changed one by one: meanwhile it is the least of each quota, which all of them have in the end.
    """
    layers: dict[str, list[QuotaLayerStatus]] = defaultdict(list)
    for user in users:
        if user.spec.tenant_ref is not None:
            layers[user.spec.tenant_ref.name] += [one for one in user.status.quota_layers if one.name == TENANT]
    return {tenant: _of(found) for tenant, found in sorted(layers.items()) if found}


def _of(layers: list[QuotaLayerStatus]) -> QuotaGranted:
    values: dict[str, float] = {}
    for layer in layers:
        for key, value in from_texts(layer.values).items():
            values[key] = min(value, values.get(key, value))
    return QuotaGranted(
        brokers=max(layer.brokers or 1 for layer in layers),
        users=max(layer.users or 1 for layer in layers),
        values=to_texts(values),
    )
