"""Our side of `make bench-roll`: a cluster in a sandbox whose spec changes, and when what happened to its pods.

One process asks for the change and watches; nothing is polled, so that measuring does not take the processor from what
is measured. The operator is the chart's, with the settings that every sandbox has.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml
from support.cell import combined_cluster, topic
from support.roll_figures import Sight, Timeline, timeline
from support.sandbox import Sandbox, wait

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.resources import PODS
from controlplane.api import names
from controlplane.ports import Object
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

NAMESPACE = "bench"
CREATE_SECONDS = 300.0
ROLL_SECONDS = 600.0


@dataclass
class Operated:
    sandbox: Sandbox
    version: str
    heap_mib: int
    name: str = "cell"
    _sights: list[Sight] = field(default_factory=list)

    def create(self, settings: Mapping[str, str]) -> None:
        """Three combined nodes as `combined_cluster` has them; returns when the cluster is Ready."""
        self.sandbox.kubectl("create", "namespace", NAMESPACE)
        body = combined_cluster(self.name, self.version, config=dict(settings))
        body["spec"]["nodePools"][0]["jvm"]["heap"] = f"{self.heap_mib}Mi"
        self._apply(body)
        wait("the cluster Ready", lambda: is_ready(self._cluster()), CREATE_SECONDS)

    def create_topic(self, name: str, partitions: int, config: Mapping[str, str]) -> None:
        self._apply(topic(name, self.name, partitions, config=dict(config)))

        def made() -> bool:
            found = self._get("kafkatopics.kfleet.dev", name)
            return bool(found.get("status", {}).get("topicId"))

        wait(f"topic {name}", made)

    @property
    def bootstrap(self) -> str:
        return ",".join(self._cluster()["status"]["bootstrapServers"])

    def roll(self, settings: Mapping[str, str]) -> Timeline:
        """Change `spec.config` and wait until the cluster is Ready for that generation and every pod is another one."""
        return asyncio.run(self._roll(settings))

    async def _roll(self, settings: Mapping[str, str]) -> Timeline:
        self._sights = []
        seen: asyncio.Queue[Object] = asyncio.Queue()
        synced = asyncio.Semaphore(0)
        async with self.sandbox.client() as kube:
            watches = [
                asyncio.create_task(self._watch_pods(kube, synced)),
                asyncio.create_task(self._watch_cluster(kube, seen, synced)),
            ]
            try:
                for _ in watches:
                    await asyncio.wait_for(synced.acquire(), 30)
                before = {sight.pod: sight.uid for sight in self._sights}
                began = time.monotonic()
                change = {"spec": {"config": dict(settings)}}
                patched = await kube.patch(KAFKA_CLUSTERS, self.name, NAMESPACE, change)
                async with asyncio.timeout(ROLL_SECONDS):
                    found = await seen.get()
                    while not is_ready(found, patched["metadata"]["generation"]):
                        found = await seen.get()
                ended = time.monotonic()
            finally:
                for task in watches:
                    task.cancel()
                await asyncio.gather(*watches, return_exceptions=True)
        after = {sight.pod: sight.uid for sight in self._sights if not sight.gone}
        assert before.keys() == after.keys(), (before, after)
        assert all(after[pod] != uid for pod, uid in before.items()), "a pod was not replaced"
        return timeline(began, ended, self._sights)

    async def _watch_pods(self, kube: KubeClient, synced: asyncio.Semaphore) -> None:
        async for event in kube.watch(PODS, NAMESPACE, labels=f"{names.CLUSTER}={self.name}"):
            if event.type == "SYNCED":
                synced.release()
            else:
                self._sights.append(sight(event.object, time.monotonic(), gone=event.type == "DELETED"))

    async def _watch_cluster(self, kube: KubeClient, seen: asyncio.Queue[Object], synced: asyncio.Semaphore) -> None:
        async for event in kube.watch(KAFKA_CLUSTERS, NAMESPACE):
            if event.type == "SYNCED":
                synced.release()
            elif event.object["metadata"]["name"] == self.name:
                seen.put_nowait(event.object)

    def _apply(self, body: Object) -> None:
        self.sandbox.kubectl("-n", NAMESPACE, "apply", "-f", "-", stdin=yaml.safe_dump(body))

    def _cluster(self) -> Object:
        return self._get("kafkaclusters.kfleet.dev", self.name)

    def _get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.sandbox.kubectl("-n", NAMESPACE, "get", kind, name, "-o", "json"))
        return found


def is_ready(cluster: Object, generation: int = 0) -> bool:
    """Ready for its present generation, which is `generation` or a later one."""
    current = cluster["metadata"]["generation"]
    conditions: list[dict[str, Any]] = cluster.get("status", {}).get("conditions", [])
    return current >= generation and any(
        one["type"] == "Ready" and one["status"] == "True" and one["observedGeneration"] == current
        for one in conditions
    )


def sight(pod: Object, at_s: float, *, gone: bool) -> Sight:
    status = pod.get("status") or {}
    containers = status.get("containerStatuses") or []
    return Sight(
        at_s=at_s,
        pod=pod["metadata"]["name"],
        uid=pod["metadata"]["uid"],
        gone=gone,
        terminating="deletionTimestamp" in pod["metadata"],
        running=any("running" in (one.get("state") or {}) for one in containers),
        ready=any(one["type"] == "Ready" and one["status"] == "True" for one in status.get("conditions") or []),
    )
