"""Clusters as the API server has them, judged."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

from controlplane.adapters.kubernetes.resources import EVENTS
from controlplane.cli.cluster_view import Description
from controlplane.cli.connect import Connection, connect
from controlplane.cli.lookup import CLUSTERS, find, objects
from controlplane.cli.options import Where
from controlplane.domain.health.summary import ClusterSummary, summarise
from controlplane.ports import ForbiddenError, Object

EVENTS_SHOWN = 10


async def one(where: Where, name: str) -> ClusterSummary:
    async with connect(where) as connection:
        return summarise(await find(connection, CLUSTERS, name), time.time())


async def many(where: Where) -> tuple[list[ClusterSummary], str]:
    """(the clusters by name, where they were looked for)."""
    async with connect(where) as connection:
        now = time.time()
        place = f"namespace {connection.namespace}" if connection.scope else "any namespace"
        return [summarise(obj, now) for obj in await objects(connection, CLUSTERS, connection.scope)], place


async def described(where: Where, name: str) -> Description:
    async with connect(where) as connection:
        obj = await find(connection, CLUSTERS, name)
        return Description(summarise(obj, time.time()), await events_of(connection, obj))


async def events_of(connection: Connection, obj: Object) -> Sequence[Object] | None:
    where = obj["metadata"].get("namespace") or "default"  # where Events of cluster-scoped objects are
    fields = f"involvedObject.uid={obj['metadata']['uid']}"
    try:
        found = await connection.kube.list(EVENTS, where, fields=fields)
    except ForbiddenError as error:
        print(f"kfleet: Events are left out: {error.message}", file=sys.stderr)
        return None
    return sorted(found, key=lambda event: event.get("lastTimestamp") or "")[-EVENTS_SHOWN:]
