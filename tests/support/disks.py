"""A namespace whose claims have disks: they can be lost, and a pod does with its own what kafka-node-format does.

`harms` counts what must never happen: a voter set without a live majority, a partition whose last copy was given up, a
marked disk formatted again, a claim deleted.
"""

from __future__ import annotations

import json
from typing import Any

from support.fake_kube import DELETED_AT
from support.simulation import Namespace

from controlplane.api import names
from controlplane.services.cluster.kind import KAFKA_CLUSTERS

CLAIM = "persistentvolumeclaims"


class Disks(Namespace):
    """`contents` are directory ids by the uid of a claim; a claim that is not in it has an empty disk."""

    def __init__(self) -> None:
        super().__init__()
        self.contents: dict[str, str] = {}
        self.formats: dict[int, int] = {}
        self.seen: set[str] = set()
        self.unplaced: set[int] = set()
        """Nodes for whose pods there is no machine."""

    @property
    def harms(self) -> list[str]:
        return self.kafka.harms

    def claim(self, node: int, pool: str = "nodes") -> dict[str, Any] | None:
        return self.kube.objects.get((CLAIM, "kafka", f"data-0-cell-{pool}-{node}"))

    def lose_disk(self, node: int) -> None:
        """What was on it is gone, and so is the process that had it open."""
        claim = self.claim(node)
        assert claim is not None
        self.contents.pop(claim["metadata"]["uid"])
        self._crash(node)

    def lose_claim(self, node: int, pool: str = "nodes") -> None:
        claim = self.claim(node, pool)
        assert claim is not None
        self.contents.pop(claim["metadata"]["uid"])
        del self.kube.objects[(CLAIM, "kafka", claim["metadata"]["name"])]
        self._crash(node, pool)

    def lose_machine(self, node: int, pool: str = "nodes") -> None:
        """With its disk. Nobody says that the process has ended: the pod, whose deletion was asked for, stays."""
        claim, meta = self.claim(node, pool), self.kube.objects[("pods", "kafka", f"cell-{pool}-{node}")]["metadata"]
        assert claim is not None
        self.contents.pop(claim["metadata"]["uid"])
        meta |= {"finalizers": ["test/machine-is-lost"], "deletionTimestamp": DELETED_AT}
        self.kafka.stop_broker(node)

    def remove_machine(self, node: int, pool: str = "nodes") -> None:
        """Kubernetes then lets go of its pods."""
        del self.kube.objects[("pods", "kafka", f"cell-{pool}-{node}")]

    def _crash(self, node: int, pool: str = "nodes") -> None:
        self.kube.objects.pop(("pods", "kafka", f"cell-{pool}-{node}"))
        self.kafka.stop_broker(node)

    async def ask_replacement(self, text: str) -> None:
        body = {"metadata": {"annotations": {names.REPLACE_NODE: text}}}
        await self.kube.patch(KAFKA_CLUSTERS, "cell", "kafka", body)

    async def asked(self) -> bool:
        """Whether a request stands that is not answered yet."""
        found = await self.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        text = (found["metadata"].get("annotations") or {}).get(names.REPLACE_NODE)
        return text is not None and text != found.get("status", {}).get("replacement", {}).get("request")

    def retired(self) -> set[int]:
        return {
            int(obj["metadata"]["labels"][names.NODE_ID])
            for (plural, _, _), obj in self.kube.objects.items()
            if plural == CLAIM and obj["metadata"].get("annotations", {}).get(names.RETIRED) == "true"
        }

    def turn(self) -> None:
        super().turn()
        claims = {name for plural, _, name in self.kube.objects if plural == CLAIM}
        self.seen |= claims

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        env = {entry["name"]: entry.get("value", "") for entry in pod["spec"]["initContainers"][0]["env"]}
        volume = next(v for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v)
        claim = self.kube.objects.get((CLAIM, "kafka", volume["persistentVolumeClaim"]["claimName"]))
        if claim is None or node in self.unplaced:
            return self._not_ready(pod, node, "", scheduled=False)
        uid = claim["metadata"]["uid"]
        held, mark = self.contents.get(uid), env["KAFKA_FORMATTED"]
        if held is None and mark:
            words = f"DiskLost: /var/lib/kafka/data-0 has no meta.properties, but its volume is marked with {mark}\n"
            return self._not_ready(pod, node, words)
        if mark and held != mark:
            return self._not_ready(pod, node, f"ForeignLogDir: /var/lib/kafka/data-0 has directory id {held}\n")
        if held is None and has_peers:
            held = self._format(node, env)
            self.contents[uid] = held
        if held is not None:
            self.kafka.directories[node] = held
        super()._run(pod, node, has_peers=has_peers)
        report = {"directoryIds": {"/var/lib/kafka/data-0": held}} if held else {}
        pod["status"]["initContainerStatuses"][0]["state"] = {"terminated": {"message": json.dumps(report)}}
        return None

    def _format(self, node: int, env: dict[str, str]) -> str:
        before = self.formats.get(node, 0)
        self.formats[node] = before + 1
        if before:
            self._given_up(node)
        if env["KAFKA_FIRST_VOTER"] == "true" and before:
            self.harms.append(f"node {node} was formatted again as a first voter")
        return f"directory-{node}" if not before else f"directory-{node}-{before + 1}"

    def _given_up(self, node: int) -> None:
        if node in self.kafka.voters:
            self.harms.append(f"node {node} was formatted again while its old directory had a vote")
        for name, topic in self.kafka.topics.items():
            for number, partition in enumerate(topic.partitions):
                if node in partition.isr and set(partition.isr) <= {node}:
                    self.harms.append(f"the last copy of {name}-{number} was on node {node}")

    def _not_ready(self, pod: dict[str, Any], node: int, words: str, *, scheduled: bool = True) -> None:
        self.kafka.stop_broker(node)
        ended = {"terminated": {"message": words, "exitCode": 1}}
        pod["status"] = {
            "podIP": f"127.9.1.{node}",
            "conditions": [{"type": "Ready", "status": "False"}],
            "initContainerStatuses": [{"name": "format", "restartCount": 3, "state": ended}] if words else [],
        }
        pod["spec"]["nodeName"] = "node" if scheduled else ""
