"""Kubernetes Events: one specific reason each, repeats aggregated by count, never a reason for a pass to fail."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Literal

from controlplane.api.conditions import timestamp
from controlplane.ports import AlreadyExistsError, Clock, KubeApi, KubeError, Resource

log = logging.getLogger(__name__)

EVENTS = Resource("", "v1", "events", "Event")
NOTE_LIMIT = 1024


class EventRecorder:
    def __init__(self, kube: KubeApi, clock: Clock, component: str = "kfleet-operator") -> None:
        self._kube, self._clock, self._component = kube, clock, component

    async def record(
        self, obj: dict[str, Any], kind: Literal["Normal", "Warning"], reason: str, note: str, operation: str = ""
    ) -> None:
        """Tell about `obj`. The same reason and note again raises the count of the Event that is there."""
        meta = obj["metadata"]
        note = (f"{note} (operation {operation})" if operation else note)[:NOTE_LIMIT]
        digest = hashlib.sha256(f"{meta['uid']}/{reason}/{note}".encode()).hexdigest()[:12]
        name = f"{meta['name']}.{digest}"
        namespace = meta.get("namespace", "default")  # where Events of cluster-scoped objects belong
        now = timestamp(self._clock.now())
        body = {
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": obj["apiVersion"],
                "kind": obj["kind"],
                "name": meta["name"],
                "namespace": meta.get("namespace", ""),
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "type": kind,
            "reason": reason,
            "message": note,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            try:
                await self._kube.create(EVENTS, body)
            except AlreadyExistsError:
                seen = await self._kube.get(EVENTS, name, namespace)
                again = {"count": int(seen.get("count") or 1) + 1, "lastTimestamp": now}
                await self._kube.patch(EVENTS, name, namespace, again)
        except KubeError as error:
            log.warning("Event %s of %s/%s not written: %s", reason, namespace, meta["name"], error)
