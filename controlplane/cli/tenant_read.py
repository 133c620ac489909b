"""KafkaTenants as the API server has them."""

from __future__ import annotations

from controlplane.api.kafka_tenant import KafkaTenant
from controlplane.cli.cluster_read import events_of
from controlplane.cli.connect import connect
from controlplane.cli.lookup import TENANTS, find, objects, read_as
from controlplane.cli.options import Where
from controlplane.cli.tenant_view import Description


async def many(where: Where) -> list[KafkaTenant]:
    async with connect(where) as connection:
        return [read_as(KafkaTenant, obj) for obj in await objects(connection, TENANTS, None)]


async def described(where: Where, name: str) -> Description:
    async with connect(where) as connection:
        obj = await find(connection, TENANTS, name)
        return Description(read_as(KafkaTenant, obj), await events_of(connection, obj))
