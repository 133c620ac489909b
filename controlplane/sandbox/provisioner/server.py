"""The provisioner: one directory and one PersistentVolume a claim, their growth, and their removal when the reclaim
policy says so.

Order makes a crash harmless: a directory is made before the volume that names it and removed before that volume goes;
names derive from the claim's uid, so a repeated pass finds what the first one made.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil

from controlplane.adapters.kubernetes.resources import (
    NODES,
    PERSISTENT_VOLUME_CLAIMS,
    PERSISTENT_VOLUMES,
    STORAGE_CLASSES,
)
from controlplane.ports import (
    AlreadyExistsError,
    ConflictError,
    KubeApi,
    KubeError,
    NotFoundError,
    Object,
    Resource,
)
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.follow import follow
from controlplane.sandbox.provisioner import volumes
from controlplane.services.events import EventRecorder
from controlplane.services.queue import Key, WorkQueue

RETRY_SECONDS = (0.5, 30.0)
WORKERS = 4

log = logging.getLogger(__name__)


class Provisioner:
    """Level-triggered: a pass looks at one claim or volume as last seen and does what is missing."""

    def __init__(self, kube: KubeApi, events: EventRecorder, paths: SandboxPaths) -> None:
        self._kube, self._events, self._paths = kube, events, paths
        self._seen: dict[Key, Object] = {}
        self._queue = WorkQueue(self.reconcile, workers=WORKERS, retry_min=RETRY_SECONDS[0], retry_max=RETRY_SECONDS[1])

    async def run(self) -> None:
        await self._sweep()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow(PERSISTENT_VOLUME_CLAIMS))
            group.create_task(self._follow(PERSISTENT_VOLUMES))
            group.create_task(self._queue.run())

    async def reconcile(self, key: Key) -> None:
        obj = self._seen.get(key)
        if obj is None:
            return
        if key.kind == PERSISTENT_VOLUMES.kind:
            await self._reclaim(obj)
        elif volumes.is_growing(obj):
            await self._grow(obj)
        else:
            await self._provision(obj)

    async def _follow(self, resource: Resource) -> None:
        async for event in follow(self._kube, resource):
            if event.type == "SYNCED":
                continue
            meta = event.object["metadata"]
            key = Key(resource.kind, meta.get("namespace", ""), meta["name"])
            if event.type != "DELETED" and self._concerns(resource, event.object):
                self._seen[key] = event.object
                self._queue.add(key)
            else:
                self._seen.pop(key, None)

    @staticmethod
    def _concerns(resource: Resource, obj: Object) -> bool:
        if resource is PERSISTENT_VOLUMES:
            return volumes.is_ours(obj)
        return volumes.is_waiting(obj) or volumes.is_growing(obj)

    async def _provision(self, claim: Object) -> None:
        if not volumes.is_waiting(claim):
            return
        try:
            storage_class = await self._kube.get(STORAGE_CLASSES, claim["spec"].get("storageClassName") or "")
            if why := volumes.refusal(claim, storage_class):
                await self._failed(claim, why)
                return
            if node := volumes.selected_node(claim):
                await self._make(claim, storage_class, node)
        except (OSError, KubeError) as error:
            await self._failed(claim, str(error))
            raise

    async def _make(self, claim: Object, storage_class: Object, node: str) -> None:
        try:
            found = await self._kube.get(NODES, node)
        except NotFoundError:
            await self._reschedule(claim, node)
            return
        hostname = (found["metadata"].get("labels") or {}).get(volumes.HOSTNAME, node)
        directory = self._paths.volumes(node) / volumes.volume_name(claim)
        directory.mkdir(mode=0o755, parents=True, exist_ok=True)
        volume = volumes.persistent_volume(claim, storage_class, hostname, directory)
        with contextlib.suppress(AlreadyExistsError):
            await self._kube.create(PERSISTENT_VOLUMES, volume)
            log.info("made %s for %s/%s", directory, claim["metadata"]["namespace"], claim["metadata"]["name"])
            text = f"Successfully provisioned volume {volume['metadata']['name']} on {node}"
            await self._events.record(claim, "Normal", "ProvisioningSucceeded", text)

    async def _grow(self, claim: Object) -> None:
        """As an external-resizer does where no node has to help (KEP-284): the volume first, then the claim's status.

        A directory has the room of its disk, whatever its volume says; both steps again change nothing.
        """
        meta, size = claim["metadata"], claim["spec"]["resources"]["requests"]["storage"]
        with contextlib.suppress(ConflictError, NotFoundError):  # it moved on, and the watch brings the news
            await self._kube.patch(
                PERSISTENT_VOLUMES, claim["spec"]["volumeName"], None, {"spec": {"capacity": {"storage": size}}}
            )
            has = {"metadata": {"uid": meta["uid"]}, "status": {"capacity": {"storage": size}}}
            await self._kube.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], meta["namespace"], has, subresource="status")
            text = f"Successfully expanded volume {claim['spec']['volumeName']} to {size}"
            await self._events.record(claim, "Normal", "VolumeResizeSuccessful", text)

    async def _reschedule(self, claim: Object, node: str) -> None:
        """The scheduler chose a node that is gone: without its mark the scheduler chooses again."""
        meta = claim["metadata"]
        withdrawn = {"resourceVersion": meta["resourceVersion"], "annotations": {volumes.SELECTED_NODE: None}}
        with contextlib.suppress(ConflictError, NotFoundError):  # it moved on, and the watch brings the news
            await self._kube.patch(PERSISTENT_VOLUME_CLAIMS, meta["name"], meta["namespace"], {"metadata": withdrawn})
            await self._failed(claim, f"node {node} does not exist any more; asked the scheduler for another one")

    async def _reclaim(self, volume: Object) -> None:
        meta = volume["metadata"]
        released = volumes.is_released(volume) and volumes.deletes(volume)
        going = volumes.is_going(volume)
        if not (released or going):
            return
        if volumes.deletes(volume):
            try:
                directory = volumes.directory_of(volume, self._paths)
                if directory.exists():
                    await asyncio.to_thread(shutil.rmtree, directory)
                    log.info("removed %s", directory)
            except volumes.UnsafePathError as error:
                await self._events.record(volume, "Warning", "VolumeFailedDelete", str(error))
                return
            except OSError as error:
                await self._events.record(volume, "Warning", "VolumeFailedDelete", str(error))
                raise
        with contextlib.suppress(NotFoundError, ConflictError):  # gone or changed: the watch brings the news
            if released:
                await self._kube.delete(PERSISTENT_VOLUMES, meta["name"], uid=meta["uid"])
            else:
                bare = {"resourceVersion": meta["resourceVersion"], "finalizers": []}
                await self._kube.patch(PERSISTENT_VOLUMES, meta["name"], None, {"metadata": bare})

    async def _sweep(self) -> None:
        """Before any pass: empty directories that a crash left before their volume was made. Data stays."""
        root = self._paths.volumes("x").parent
        found = [entry for entry in root.glob("*/pvc-*") if entry.is_dir() and not entry.is_symlink()]
        if not found:
            return
        try:
            known = {volume["metadata"]["name"] for volume in await self._kube.list(PERSISTENT_VOLUMES)}
        except KubeError as error:
            log.warning("leftovers not looked for: %s", error)
            return
        for directory in found:
            if directory.name not in known:
                with contextlib.suppress(OSError):  # not empty
                    directory.rmdir()

    async def _failed(self, claim: Object, why: str) -> None:
        log.warning("%s/%s: %s", claim["metadata"]["namespace"], claim["metadata"]["name"], why)
        await self._events.record(claim, "Warning", "ProvisioningFailed", why)
