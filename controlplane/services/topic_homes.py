"""Which cell each topic of a tenant lives in: decided once, recorded in its status before anything is made there.

Until then a topic is nobody's: one pass looks after all of these, so that a tenant that does not exist, a namespace
that it does not list and a cell that it does not have are told. Once a topic has its cell, the status that says so
wakes the pass over that cell's topics.
"""

from __future__ import annotations

import asyncio

from controlplane.api.tenant_ref import CELL_PATH
from controlplane.domain.check import Check, explain
from controlplane.domain.tenants.directory import Directory
from controlplane.domain.tenants.homes import home
from controlplane.ports import Clock, ConflictError, KubeApi, NotFoundError
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key
from controlplane.services.tenants.read import read_directory
from controlplane.services.topic_status import KAFKA_TOPICS, Declared, StatusWriter, readable
from controlplane.settings import OperatorSettings

WRITES = 16
"""Status writes at the same time."""


class TopicHomes:
    def __init__(self, kube: KubeApi, clock: Clock, events: EventRecorder, settings: OperatorSettings) -> None:
        self._kube, self._settings = kube, settings
        self._statuses = StatusWriter(kube, clock, events)

    async def reconcile(self, key: Key) -> float | None:  # noqa: ARG002 - there is one
        """None once every topic of a tenant has its cell: an event will wake us."""
        homeless = await self._homeless()
        if not homeless:
            return None
        known = await read_directory(self._kube)
        limit = asyncio.Semaphore(WRITES)

        async def settle(entry: Declared) -> bool:
            async with limit:
                return await self._settle(entry, known)

        async with asyncio.TaskGroup() as group:
            settled = [group.create_task(settle(entry)) for entry in homeless]
        return None if all(one.result() for one in settled) else self._settings.resync_interval

    async def _homeless(self) -> list[Declared]:
        found = []
        everywhere: list[str | None] = [None]
        for namespace in self._settings.watch_namespaces or everywhere:
            listed = await self._kube.list(KAFKA_TOPICS, namespace, fields=f"{CELL_PATH[1:]}=")
            found += [entry for obj in listed if obj["spec"].get("tenantRef") and (entry := readable(obj)) is not None]
        return [entry for entry in found if entry.topic.spec.cluster_ref is None and not entry.is_paused]

    async def _settle(self, entry: Declared, known: Directory) -> bool:
        """Whether it has a cell now."""
        topic = entry.topic
        ref = topic.spec.tenant_ref
        if ref is None:
            raise AssertionError("a topic without a tenant is not homeless")
        found = home(known, ref, topic.metadata.namespace)
        if isinstance(found, Check):
            await self._statuses.write(entry, (False, found.name, explain([found])), None, cell=None)
            return False
        status = topic.status.model_copy(update={"cell": str(found)})
        try:
            await self._kube.replace(KAFKA_TOPICS, entry.obj | {"status": status.to_object()}, subresource="status")
        except (ConflictError, NotFoundError):
            return True  # its event wakes another pass
        return True
