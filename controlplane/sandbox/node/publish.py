"""Writing pods/status: on change, and again when someone else overwrote it (the node lifecycle controller does)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from controlplane.adapters.kubernetes.resources import PODS
from controlplane.ports import ConflictError, NotFoundError, Object
from controlplane.sandbox.node import objects, status
from controlplane.sandbox.node.context import Context
from controlplane.sandbox.node.env import HOST_IP

if TYPE_CHECKING:
    from controlplane.sandbox.node.worker import PodWorker

CREATING, INITIALIZING = ("ContainerCreating", ""), ("PodInitializing", "")


class Publisher:
    def __init__(self, context: Context, worker: PodWorker) -> None:
        self._context, self._worker = context, worker
        self._written: Object | None = None
        self._written_version = 0

    async def publish(self) -> None:
        """Raises KubeError. A pod that reached a terminal phase earlier is left as it is."""
        worker = self._worker
        if objects.finished(worker.pod):
            return
        wanted = self._status()
        current = worker.pod.get("status") or {}
        unchanged_since = objects.version(worker.pod) == self._written_version
        if status.covers(wanted, current) or (wanted == self._written and unchanged_since):
            return
        try:
            await self._write(wanted)
        except ConflictError:
            name, namespace = objects.name(worker.pod), objects.namespace(worker.pod)
            fresh = await self._context.client.get(PODS, name, namespace)
            if objects.uid(fresh) == objects.uid(worker.pod):
                worker.update(fresh)
                await self._write(self._status())
        except NotFoundError:
            return  # the watch will tell

    async def _write(self, wanted: Object) -> None:
        """With the resourceVersion, so that conditions others set meanwhile are not lost with the list."""
        pod = self._worker.pod
        body = {"metadata": {"uid": objects.uid(pod), "resourceVersion": str(objects.version(pod))}, "status": wanted}
        answer = await self._context.client.patch(
            PODS, objects.name(pod), objects.namespace(pod), body, subresource="status"
        )
        self._written, self._written_version = wanted, objects.version(answer)
        self._worker.update(answer)

    def _status(self) -> Object:
        worker = self._worker
        pod, now = worker.pod, objects.now()
        before = pod.get("status") or {}
        default = INITIALIZING if worker.inits else CREATING
        if worker.refused:
            default = ("Unsupported", worker.refused)
        inits = [member.view(default) for member in worker.inits]
        mains = [member.view(default) for member in worker.mains]
        policy = pod["spec"].get("restartPolicy", "Always")
        phase = status.phase(policy, inits, mains, over=worker.ending and not worker.running)
        if worker.failure and not worker.running:
            phase = "Failed"
        wanted: Object = {
            "phase": phase,
            "startTime": before.get("startTime") or now,
            "hostIP": HOST_IP,
            "hostIPs": [{"ip": HOST_IP}],
            "conditions": status.conditions(pod, inits, mains, phase, now, mounted=worker.mounted),
            "containerStatuses": [view.status() for view in mains],
        }
        if inits:
            wanted["initContainerStatuses"] = [view.status() for view in inits]
        if worker.address:
            wanted |= {"podIP": worker.address, "podIPs": [{"ip": worker.address}]}
        if worker.failure and phase == "Failed":
            wanted["reason"], wanted["message"] = worker.failure
        return wanted
