"""What went wrong once with volumes and drains, on fakes: each test is a defect that a review found."""

from __future__ import annotations

from typing import Any

from support.machines import Machines, furnished
from support.simulation import KEY, DieAt, run_until_ready, service

from controlplane.api import names
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import STORAGE_CLASSES

VOLUME = {"id": 0, "size": "1Gi"}


async def passes(namespace: Machines, count: int = 6) -> None:
    one = service(namespace, DieAt())
    for _ in range(count):
        namespace.turn()
        await one.reconcile(KEY)


def gate(namespace: Machines) -> int:
    return int(namespace.kube.objects["poddisruptionbudgets", "kafka", "cell-nodes"]["spec"]["minAvailable"])


async def condition(namespace: Machines, kind: str) -> dict[str, Any]:
    return next(c for c in (await namespace.status())["conditions"] if c["type"] == kind)


async def pool(namespace: Machines) -> dict[str, Any]:
    found: dict[str, Any] = (await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka"))["spec"]["nodePools"][0]
    return found


async def declare(namespace: Machines, *volumes: dict[str, Any]) -> None:
    await namespace.change(nodePools=[await pool(namespace) | {"storage": {"volumes": list(volumes)}}])


async def until_one_is_down(namespace: Machines) -> None:
    one = service(namespace, DieAt())
    for _ in range(20):
        namespace.turn()
        await one.reconcile(KEY)
        if len(namespace.pods()) < 3:
            return
    raise AssertionError("nobody was stopped")


async def test_a_spec_that_is_refused_spares_no_node_of_a_pool_that_it_forgot() -> None:
    namespace = Machines()
    await namespace.furnish()
    await namespace.declare()
    first = await pool(namespace)
    one, two = first | {"replicas": 1}, first | {"name": "more", "roles": ["Broker"], "replicas": 2}
    await namespace.change(nodePools=[one, two], rollout={"unprotectedPartitions": "Accept"})
    namespace.kafka.voters = {0: "directory-0"}
    await passes(namespace, 14)
    assert (gate(namespace), len(namespace.pods())) == (2, 3)
    await namespace.change(nodePools=[one])
    await passes(namespace)
    assert (await condition(namespace, "Ready"))["reason"] == "UnknownPool"
    assert gate(namespace) == 3


async def test_a_node_that_is_down_when_a_volume_is_declared_under_a_pause_comes_back() -> None:
    namespace = await furnished()
    await namespace.change(config={"queued.max.requests": 400})
    await until_one_is_down(namespace)
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"]["annotations"] = {names.PAUSED: "true"}
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await declare(namespace, VOLUME, VOLUME | {"id": 1})
    await passes(namespace)
    assert len(namespace.pods()) == 3
    assert len(namespace.claims()) == 3, "no claim is made under a pause"
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["metadata"]["annotations"] = {}
    await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    await run_until_ready(namespace, DieAt())
    assert len(namespace.claims()) == 6


class Misspelt(Machines):
    """No volume of a class `typo` is ever made, and a pod with such a claim is never scheduled."""

    def _store(self, name: str, claim: dict[str, Any], before: dict[str, Any]) -> None:
        if claim["spec"].get("storageClassName") == "typo":
            claim["status"] = {"phase": "Pending"}
        else:
            super()._store(name, claim, before)

    def _run(self, pod: dict[str, Any], node: int, *, has_peers: bool) -> None:
        mounted = (v.get("persistentVolumeClaim") for v in pod["spec"]["volumes"])
        claims = [claim["claimName"] for claim in mounted if claim]
        if any(self.claims()[claim]["spec"].get("storageClassName") == "typo" for claim in claims):
            words = "pod has unbound immediate PersistentVolumeClaims"
            pod["status"] = {"conditions": [{"type": "PodScheduled", "status": "False", "message": words}]}
            self.kafka.stop_broker(node)
        else:
            super()._run(pod, node, has_peers=has_peers)


async def test_a_volume_that_was_declared_by_mistake_can_be_taken_back() -> None:
    namespace = Misspelt()
    await namespace.furnish()
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    pods = namespace.pods()
    await declare(namespace, VOLUME, VOLUME | {"id": 1, "storageClassName": "typo"})
    await passes(namespace, 15)
    assert (await condition(namespace, "Blocked"))["reason"] == "VolumeNotBound"
    assert namespace.pods() == pods, "nobody is stopped for a class that is not there"
    await declare(namespace, VOLUME)
    await run_until_ready(namespace, DieAt())
    assert (namespace.pods(), len(namespace.claims())) == (pods, 6)


async def test_a_node_that_waits_for_such_a_volume_comes_back_without_it() -> None:
    """Its class waits for a pod, which is all that can be known before one does."""
    namespace = Misspelt()
    await namespace.furnish()
    waits = {"metadata": {"name": "typo"}, "provisioner": "x", "volumeBindingMode": "WaitForFirstConsumer"}
    await namespace.kube.create(STORAGE_CLASSES, waits)
    await namespace.declare(rollout={"soak": "2s"})
    await run_until_ready(namespace, DieAt())
    await declare(namespace, VOLUME, VOLUME | {"id": 1, "storageClassName": "typo"})
    await passes(namespace, 15)
    assert sum(namespace.machine_of(node) is not None for node in range(3)) == 2
    await declare(namespace, VOLUME)
    await run_until_ready(namespace, DieAt())
    assert sum(namespace.machine_of(node) is not None for node in range(3)) == 3
    assert len(namespace.claims()) == 6, "claims are never deleted"


async def test_a_volume_that_holds_something_cannot_be_taken_back() -> None:
    """The control."""
    namespace = await furnished()
    await declare(namespace, VOLUME, VOLUME | {"id": 1})
    await run_until_ready(namespace, DieAt())
    await declare(namespace, VOLUME)
    await passes(namespace)
    assert (await condition(namespace, "Ready"))["reason"] == "VolumeChangeUnsupported"
