"""A KafkaUser as the API server has it."""

from __future__ import annotations

from controlplane.api.kafka_user import KafkaUser
from controlplane.cli.cluster_read import events_of
from controlplane.cli.connect import Connection, connect
from controlplane.cli.lookup import USERS, find, read_as
from controlplane.cli.options import Where
from controlplane.cli.user_view import Description


async def described(where: Where, name: str) -> Description:
    async with connect(where) as connection:
        obj = await find(connection, USERS, name)
        return Description(read_as(KafkaUser, obj), await events_of(connection, obj))


async def user_of(connection: Connection, name: str) -> KafkaUser:
    """Raises CliError where there is none, and for one that cannot be read."""
    return read_as(KafkaUser, await find(connection, USERS, name))
