"""Watching a version change: a line for each step of the operator and each change of a node."""

from __future__ import annotations

import time

from controlplane.cli.demo_cluster import DemoCluster, ready_condition
from controlplane.ports import Object

WAITS = "Awaiting"
"""The verb of steps that only wait: the nodes' own lines say as much."""
BLOCKED = "Blocked"
"""The verb where nothing is begun: the operation's message says why."""


class RollWatch:
    """`look` is called again and again until it says that the roll is over."""

    def __init__(self, cluster: DemoCluster, version: str, metadata_version: str, uids: set[str]) -> None:
        self._cluster, self._version, self._metadata_version = cluster, version, metadata_version
        self._before, self._seen = uids, set(uids)
        self.begin = time.monotonic()
        self._steps: set[tuple[str, int]] = set()
        self._nodes: dict[int, str] = {}
        self.roll_s: float | None = None
        """From the change of the spec until every node was back on the new version; the soak comes after that."""

    @property
    def replaced(self) -> int:
        """Pods that were not there before, by uid."""
        return len(self._seen - self._before)

    async def look(self) -> tuple[bool, str]:
        found = await self._cluster.cluster()
        self._seen |= await self._cluster.pod_uids()
        status = found.get("status", {})
        operation = status.get("operation") or {}
        self._tell_step(operation)
        self._tell_nodes(status.get("nodes", []))
        finished, why = ready_condition(found)
        there = all(node["ready"] and node.get("version") == self._version for node in status.get("nodes", []))
        if self.roll_s is None and there and (finished or "soakSince" in operation):
            self.roll_s = time.monotonic() - self.begin
            self._cluster.progress.say(f"  {self.roll_s:4.0f} s  every node is back on {self._version}")
        final = status.get("metadataVersion") == self._metadata_version
        done = finished and there and final and status.get("version") == self._version
        return done, _sentence(operation.get("message") or why)

    def _tell_step(self, operation: Object) -> None:
        step = operation.get("step")
        if step is None or (operation["id"], step["id"]) in self._steps:
            return
        self._steps.add((operation["id"], step["id"]))
        if step["verb"] == WAITS:
            return
        why = f" ({step['why']})" if step.get("why") else ""
        if step["verb"] == BLOCKED:
            why = f": {_sentence(operation.get('message') or 'no reason is given')}"
        target = f" {step['target']}" if step.get("target") else ""
        self._say(f"step {step['id']}: {step['verb']}{target}{why}")

    def _tell_nodes(self, nodes: list[Object]) -> None:
        for node in nodes:
            now = f"{node.get('version') or '-'} {node['state']}"
            before = self._nodes.get(node["id"])
            self._nodes[node["id"]] = now
            if before not in {None, now}:
                self._say(f"node {node['id']} ({node['pool']}, zone {node.get('rack') or '-'}): {now}")

    def _say(self, text: str) -> None:
        self._cluster.progress.say(f"  {time.monotonic() - self.begin:4.0f} s  {text}")


def _sentence(text: str) -> str:
    """The first one: what is wrong, without what to do."""
    return text.partition(". ")[0]
