"""A namespace whose nodes have several disks: claims may be lost one by one, or be deleted while their pod lives."""

from __future__ import annotations

import json
from typing import Any

from support.cell import combined_cluster
from support.disks import CLAIM, Disks
from support.fake_kafka import FakeTopic
from support.simulation import DieAt, run_until_ready

from controlplane.api import names
from controlplane.services.cluster.kind import KAFKA_CLUSTERS


class Shelves(Disks):
    """`formatted` are the names of claims whose disks were formatted, in order. The metadata log is on volume 0."""

    def __init__(self) -> None:
        super().__init__()
        self.formatted: list[str] = []

    def claim_of(self, node: int, volume: int) -> dict[str, Any] | None:
        return self.kube.objects.get((CLAIM, "kafka", f"data-{volume}-cell-nodes-{node}"))

    def drop(self, node: int, volume: int) -> None:
        """The claim and its disk are gone, and so is the process; its pod stays and waits for them."""
        del self.kube.objects[(CLAIM, "kafka", f"data-{volume}-cell-nodes-{node}")]
        self.kafka.stop_broker(node)

    def begin_to_delete(self, node: int, volume: int) -> None:
        """It goes once no pod uses it (the finalizer kubernetes.io/pvc-protection)."""
        claim = self.claim_of(node, volume)
        assert claim is not None
        claim["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"

    def turn(self) -> None:
        used = {
            volume["persistentVolumeClaim"]["claimName"]
            for (plural, _, _), pod in self.kube.objects.items()
            if plural == "pods"
            for volume in pod["spec"]["volumes"]
            if "persistentVolumeClaim" in volume
        }
        for key, obj in list(self.kube.objects.items()):
            if key[0] == CLAIM and "deletionTimestamp" in obj["metadata"] and key[2] not in used:
                del self.kube.objects[key]
        super().turn()

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        env = {entry["name"]: entry.get("value", "") for entry in pod["spec"]["initContainers"][0]["env"]}
        claims = [
            v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v
        ]
        found = [self.kube.objects.get((CLAIM, "kafka", name)) for name in claims]
        marks = [*env["KAFKA_FORMATTED"].split(","), *[""] * len(claims)]
        report = {}
        for name, claim, mark in zip(claims, found, marks, strict=False):
            if claim is None:
                return self._not_ready(pod, node, "", scheduled=False)
            held = self.contents.get(claim["metadata"]["uid"])
            path = f"/var/lib/kafka/data-{claim['metadata']['labels'][names.VOLUME_ID]}"
            if held is None and mark:
                words = f"DiskLost: {path} has no meta.properties, but its volume is marked with {mark}\n"
                return self._not_ready(pod, node, words)
            if mark and held != mark:
                return self._not_ready(pod, node, f"ForeignLogDir: {path} has directory id {held}\n")
            if held is None and has_peers:
                held = self._new_directory(node, name)
                self.contents[claim["metadata"]["uid"]] = held
            report[path] = held
        if report.get("/var/lib/kafka/data-0"):
            self.kafka.directories[node] = str(report["/var/lib/kafka/data-0"])
        super(Disks, self)._run(pod, node, has_peers=has_peers)
        state = {"terminated": {"message": json.dumps({"directoryIds": report} if all(report.values()) else {})}}
        pod["status"]["initContainerStatuses"][0]["state"] = state
        return None

    def _new_directory(self, node: int, claim: str) -> str:
        times = self.formatted.count(claim)
        self.formatted.append(claim)
        if times:
            self._given_up(node, claim)
        first = claim.startswith("data-0-")
        return (f"directory-{node}" if first else claim) + (f"-{times + 1}" if times else "")

    def _given_up(self, node: int, claim: str = "data-0-") -> None:
        if node in self.kafka.voters and claim.startswith("data-0-"):
            self.harms.append(f"node {node} was formatted again while its old directory had a vote")
        for name, topic in self.kafka.topics.items():
            for number, partition in enumerate(topic.partitions):
                if node in partition.isr and set(partition.isr) <= {node}:
                    self.harms.append(f"the last copy of {name}-{number} was on node {node}")


async def shelved(volumes: int = 2, nodes: int = 3) -> Shelves:
    """Combined nodes, the first three of them first voters, with some volumes each, and a topic on three of them."""
    namespace = Shelves()
    pool = combined_cluster()["spec"]["nodePools"][0]
    volume = pool["storage"]["volumes"][0]
    storage = {"volumes": [volume | {"id": number} for number in range(volumes)]}
    await namespace.declare(rollout={"soak": "2s"}, nodePools=[pool | {"storage": storage}])
    await run_until_ready(namespace, DieAt())
    if nodes > 3:
        obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        await namespace.change(nodePools=[obj["spec"]["nodePools"][0] | {"replicas": nodes}])
        await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = FakeTopic("id", [namespace.kafka.place(3) for _ in range(3)], {})
    return namespace
