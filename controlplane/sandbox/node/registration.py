"""The Node object, its status and its Lease: how the control plane knows that this node is there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.resources import LEASES, NODES
from controlplane.ports import AlreadyExistsError, KubeError, NotFoundError, Object
from controlplane.sandbox.config import SandboxConfig
from controlplane.sandbox.node import machine, objects
from controlplane.sandbox.node.env import HOST_IP

LEASE_NAMESPACE = "kube-node-lease"
RETRY_SECONDS = 1.0

log = logging.getLogger(__name__)


class Registration:
    """`run` keeps both alive for ever; an unreachable API server is tried again, a deleted Node registered anew."""

    def __init__(self, client: KubeClient, config: SandboxConfig, node: str, port: int) -> None:
        self._client, self._config, self._node, self._port = client, config, node, port
        self._registered = asyncio.Event()

    async def run(self) -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._keep("node status", self._post_status, self._config.node_status_interval))
            tasks.create_task(self._keep("node lease", self._renew, self._config.node_lease_renew))

    async def _keep(self, what: str, call: Callable[[], Awaitable[None]], seconds: float) -> None:
        while True:
            try:
                await call()
            except KubeError as error:
                log.warning("%s: %s", what, error)
                await asyncio.sleep(min(RETRY_SECONDS, seconds))
            else:
                await asyncio.sleep(seconds)

    async def _post_status(self) -> None:
        node = await self._node_object()
        body = {"status": self._status(node)}
        await self._client.patch(NODES, self._node, None, body, subresource="status")
        self._registered.set()

    async def _node_object(self) -> Object:
        labels = self._labels()
        try:
            node = await self._client.get(NODES, self._node)
        except NotFoundError:
            return await self._create(labels)
        have = node["metadata"].get("labels") or {}
        if any(have.get(key) != value for key, value in labels.items()):
            node = await self._client.patch(NODES, self._node, None, {"metadata": {"labels": labels}})
        return node

    async def _create(self, labels: dict[str, str]) -> Object:
        try:
            return await self._client.create(NODES, {"metadata": {"name": self._node, "labels": labels}, "spec": {}})
        except AlreadyExistsError:
            return await self._client.get(NODES, self._node)

    def _labels(self) -> dict[str, str]:
        return {
            "kubernetes.io/hostname": self._node,
            "kubernetes.io/os": "linux",
            "kubernetes.io/arch": machine.architecture(),
            "topology.kubernetes.io/zone": self._node.rpartition("-")[2],
        }

    def _status(self, node: Object) -> Object:
        now = objects.now()
        before = {entry["type"]: entry for entry in (node.get("status") or {}).get("conditions") or []}
        conditions = []
        for kind, state, reason, message in (
            ("MemoryPressure", "False", "KubeletHasSufficientMemory", "kubelet has sufficient memory available"),
            ("DiskPressure", "False", "KubeletHasNoDiskPressure", "kubelet has no disk pressure"),
            ("PIDPressure", "False", "KubeletHasSufficientPID", "kubelet has sufficient PID available"),
            ("Ready", "True", "KubeletReady", "process node is posting ready status"),
        ):
            old = before.pop(kind, {})
            moved = now if old.get("status") != state else old["lastTransitionTime"]
            conditions.append(
                {
                    "type": kind,
                    "status": state,
                    "reason": reason,
                    "message": message,
                    "lastHeartbeatTime": now,
                    "lastTransitionTime": moved,
                }
            )
        resources = machine.allocatable(self._config)
        return {
            "capacity": resources,
            "allocatable": resources,
            "conditions": conditions + list(before.values()),
            "addresses": [
                {"type": "InternalIP", "address": HOST_IP},
                {"type": "ExternalIP", "address": self._config.node_addresses[self._node]},
            ],
            "daemonEndpoints": {"kubeletEndpoint": {"Port": self._port}},
            "nodeInfo": machine.node_info(),
        }

    async def _renew(self) -> None:
        await self._registered.wait()
        spec = {
            "holderIdentity": self._node,
            "leaseDurationSeconds": round(self._config.node_monitor_grace),
            "renewTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        }
        try:
            await self._client.patch(LEASES, self._node, LEASE_NAMESPACE, {"spec": spec})
        except NotFoundError:
            owner = await self._client.get(NODES, self._node)
            reference = {"apiVersion": "v1", "kind": "Node", "name": self._node, "uid": owner["metadata"]["uid"]}
            meta = {"name": self._node, "namespace": LEASE_NAMESPACE, "ownerReferences": [reference]}
            await self._client.create(LEASES, {"metadata": meta, "spec": spec}, LEASE_NAMESPACE)
