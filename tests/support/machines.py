"""A simulated cluster whose pods run on machines: these can be cordoned; volumes are tied to one or follow their pod.

Storage is there too: classes that allow expansion or do not, and a driver that gives a claim its size one turn later.
"""

from __future__ import annotations

import json
from typing import Any

from support.simulation import DieAt, Namespace, run_until_ready, some_topic

from controlplane.api import names
from controlplane.services.cluster.observe import MACHINES, STORAGE_CLASSES

SPARE = "-spare"
"""Each zone has two machines, `node-a` and `node-a-spare`; pods prefer the first that is not cordoned."""


class Machines(Namespace):
    """`tied`: volumes stay on the machine that their pod ran on first. `driver_works`: claims grow."""

    def __init__(self, *, tied: bool = False) -> None:
        super().__init__()
        self.tied, self.driver_works = tied, True

    async def furnish(self) -> None:
        for zone in "abc":
            for name in (f"node-{zone}", f"node-{zone}{SPARE}"):
                meta = {"name": name, "labels": {names.ZONE: zone, names.HOSTNAME: name}}
                await self.kube.create(MACHINES, {"metadata": meta, "spec": {}})
        for name, allowed in (("standard", True), ("fixed", False)):
            body = {"metadata": {"name": name}, "provisioner": "x", "allowVolumeExpansion": allowed}
            await self.kube.create(STORAGE_CLASSES, body)

    def cordon(self, machine: str, *, on: bool = True) -> None:
        self.kube.objects["nodes", "", machine]["spec"]["unschedulable"] = on

    def machine_of(self, node: int) -> str | None:
        pod = self.kube.objects.get(("pods", "kafka", f"cell-nodes-{node}"))
        return pod["spec"].get("nodeName") if pod else None

    def pods(self) -> dict[str, str]:
        """Uids by name."""
        return {name: obj["metadata"]["uid"] for (kind, _, name), obj in self.kube.objects.items() if kind == "pods"}

    def claims(self) -> dict[str, dict[str, Any]]:
        return {name: obj for (kind, _, name), obj in self.kube.objects.items() if kind == "persistentvolumeclaims"}

    def turn(self) -> None:
        before = {name: obj.get("status", {}) for name, obj in self.claims().items()}
        super().turn()
        for name, claim in self.claims().items():
            self._store(name, claim, before[name])

    def _store(self, name: str, claim: dict[str, Any], before: dict[str, Any]) -> None:
        spec = claim["spec"]
        spec.setdefault("storageClassName", "standard")
        size = spec["resources"]["requests"]["storage"]
        has = before.get("capacity", {}).get("storage", size)
        claim["status"] = {"phase": "Bound", "capacity": {"storage": size if self.driver_works else has}}
        if "volumeName" not in spec:
            spec["volumeName"] = f"pv-{name}"
            node = int(claim["metadata"]["labels"][names.NODE_ID])
            host = self.machine_of(node) or f"node-{'abc'[node]}"
            terms = [{"matchExpressions": [{"key": names.HOSTNAME, "operator": "In", "values": [host]}]}]
            affinity = {"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}} if self.tied else {}
            self.kube.objects["persistentvolumes", "", f"pv-{name}"] = {
                "metadata": {"name": f"pv-{name}", "uid": f"uid-pv-{name}"},
                "spec": affinity,
            }

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        """On the first machine of its zone that takes it; nowhere while none does."""
        machine = pod["spec"].get("nodeName") or self._place(pod, node)
        if machine is None:
            words = "0/6 nodes are available: 1 node(s) were unschedulable."
            pod["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", "message": words}]}
            self.kafka.stop_broker(node)
            return
        super()._run(pod, node, has_peers=has_peers)
        pod["spec"]["nodeName"] = machine
        mounted = sorted(v["name"] for v in pod["spec"]["volumes"] if "persistentVolumeClaim" in v)
        report = {"directoryIds": {f"/var/lib/kafka/{name}": f"directory-{node}-{name}" for name in mounted}}
        pod["status"]["initContainerStatuses"][0]["state"]["terminated"]["message"] = json.dumps(report)

    def _place(self, pod: dict[str, Any], node: int) -> str | None:
        zone = pod["spec"]["nodeSelector"][names.ZONE]
        hosts = [f"node-{zone}", f"node-{zone}{SPARE}"]
        if self.tied and (volume := self.kube.objects.get(("persistentvolumes", "", f"pv-data-0-cell-nodes-{node}"))):
            (term,) = volume["spec"]["nodeAffinity"]["required"]["nodeSelectorTerms"]
            hosts = term["matchExpressions"][0]["values"]
        free = (host for host in hosts if not self.kube.objects["nodes", "", host]["spec"].get("unschedulable"))
        return next(free, None)


async def furnished(*, tied: bool = False) -> Machines:
    """A cluster of three combined nodes, Ready, with a topic."""
    found = Machines(tied=tied)
    await found.furnish()
    await found.declare(rollout={"soak": "2s"})
    await run_until_ready(found, DieAt())
    found.kafka.topics["t"] = some_topic(found)
    return found
