"""A KafkaUser as the API server has it."""

from __future__ import annotations

from controlplane.api.kafka_user import KafkaUser
from controlplane.cli.cluster_read import events_of
from controlplane.cli.connect import Connection, connect
from controlplane.cli.lookup import USERS, find
from controlplane.cli.options import Where
from controlplane.cli.user_view import Description


async def described(where: Where, name: str) -> Description:
    async with connect(where) as connection:
        obj = await find(connection, USERS, name)
        return Description(KafkaUser.model_validate(obj), await events_of(connection, obj))


async def user_of(connection: Connection, name: str) -> KafkaUser:
    """Raises CliError where there is none."""
    return KafkaUser.model_validate(await find(connection, USERS, name))
