"""Events on pods, worded and counted as a kubelet's: a repeated one is patched (count, lastTimestamp)."""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from dataclasses import dataclass
from typing import Literal

from controlplane.adapters.kubernetes.resources import EVENTS
from controlplane.ports import KubeApi, KubeError, NotFoundError, Object
from controlplane.sandbox.node import objects

MESSAGE_LIMIT = 1024
REMEMBERED = 2000
QUEUE_LIMIT = 1000

log = logging.getLogger(__name__)
Key = tuple[str, str, str, str]


@dataclass(slots=True)
class _Posted:
    name: str
    count: int


class PodEvents:
    """`normal` and `warning` never wait and never fail: one task posts in order, in the background (`run`)."""

    def __init__(self, kube: KubeApi, node: str) -> None:
        self._kube, self._node = kube, node
        self._posted: OrderedDict[Key, _Posted] = OrderedDict()
        self._queue: asyncio.Queue[tuple[Key, str, Object]] = asyncio.Queue(QUEUE_LIMIT)

    def normal(self, pod: Object, reason: str, message: str, container: str = "") -> None:
        self._enqueue("Normal", pod, reason, message, container)

    def warning(self, pod: Object, reason: str, message: str, container: str = "") -> None:
        self._enqueue("Warning", pod, reason, message, container)

    async def run(self) -> None:
        while True:
            key, namespace, body = await self._queue.get()
            try:
                await self._post(key, namespace, body)
            except KubeError as error:
                log.warning("event %s on %s not posted: %s", body["reason"], body["involvedObject"]["name"], error)

    def _enqueue(
        self, kind: Literal["Normal", "Warning"], pod: Object, reason: str, message: str, container: str
    ) -> None:
        message = message if len(message) <= MESSAGE_LIMIT else message[: MESSAGE_LIMIT - 3] + "..."
        stamp = objects.now()
        body = {
            "metadata": {"generateName": f"{objects.name(pod)[:200]}.", "namespace": objects.namespace(pod)},
            "involvedObject": {
                "apiVersion": "v1",
                "kind": "Pod",
                "name": objects.name(pod),
                "namespace": objects.namespace(pod),
                "uid": objects.uid(pod),
                "resourceVersion": str(objects.version(pod)),
            }
            | ({"fieldPath": container} if container else {}),
            "type": kind,
            "reason": reason,
            "message": message,
            "source": {"component": "kubelet", "host": self._node},
            "reportingComponent": "kubelet",
            "reportingInstance": self._node,
            "firstTimestamp": stamp,
            "lastTimestamp": stamp,
            "count": 1,
        }
        try:
            self._queue.put_nowait(((objects.uid(pod), container, reason, message), objects.namespace(pod), body))
        except asyncio.QueueFull:
            log.warning("event %s on %s dropped: %s", reason, objects.title(pod), message)

    async def _post(self, key: Key, namespace: str, body: Object) -> None:
        posted = self._posted.get(key)
        if posted is not None:
            self._posted.move_to_end(key)
            posted.count += 1
            change = {"count": posted.count, "lastTimestamp": body["lastTimestamp"]}
            try:
                await self._kube.patch(EVENTS, posted.name, namespace, change)
            except NotFoundError:
                log.debug("event %s expired, posting it anew", posted.name)
            else:
                return
        created = await self._kube.create(EVENTS, body, namespace)
        self._posted[key] = _Posted(created["metadata"]["name"], 1)
        while len(self._posted) > REMEMBERED:
            self._posted.popitem(last=False)
