"""Volumes that grow and volumes that are added, on fakes; what is refused touches nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from support.machines import Machines, furnished
from support.simulation import KEY, DieAt, Killed, run_until_ready, service

from controlplane.api import names
from controlplane.domain.cluster import growth
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.services.cluster.kind import KAFKA_CLUSTERS


async def pool(namespace: Machines) -> dict[str, Any]:
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    found: dict[str, Any] = obj["spec"]["nodePools"][0]
    return found


async def declare(namespace: Machines, *volumes: dict[str, Any], **more: Any) -> None:
    await namespace.change(nodePools=[await pool(namespace) | {"storage": {"volumes": list(volumes)}} | more])


async def passes(namespace: Machines, count: int = 4) -> DieAt:
    die = DieAt()
    one = service(namespace, die)
    for _ in range(count):
        namespace.turn()
        await one.reconcile(KEY)
    return die


async def condition(namespace: Machines, kind: str) -> dict[str, Any]:
    conditions = (await namespace.status())["conditions"]
    return next(c for c in conditions if c["type"] == kind)


def sizes(namespace: Machines) -> dict[str, str]:
    return {name: claim["spec"]["resources"]["requests"]["storage"] for name, claim in namespace.claims().items()}


async def test_a_larger_size_grows_every_claim_and_restarts_nothing() -> None:
    namespace = await furnished()
    pods = namespace.pods()
    await declare(namespace, {"id": 0, "size": "2Gi"})
    await run_until_ready(namespace, DieAt())
    assert set(sizes(namespace).values()) == {"2Gi"}
    assert namespace.pods() == pods
    assert "operation" not in await namespace.status()


async def test_claims_grow_one_node_after_the_other_and_ready_waits_for_the_driver() -> None:
    namespace = await furnished()
    await passes(namespace)
    namespace.driver_works = False
    await declare(namespace, {"id": 0, "size": "2Gi"})
    await passes(namespace, 6)
    assert sorted(sizes(namespace).values()) == ["1Gi", "1Gi", "2Gi"]
    ready = await condition(namespace, "Ready")
    assert (ready["status"], ready["reason"]) == ("False", "VolumeGrowing")
    namespace.driver_works = True
    await run_until_ready(namespace, DieAt())
    assert set(sizes(namespace).values()) == {"2Gi"}


def test_what_the_storage_says_of_a_growing_claim_is_told() -> None:
    status = {
        "phase": "Bound",
        "capacity": {"storage": "1Gi"},
        "conditions": [
            {"type": "Resizing", "status": "True"},
            {"type": "NodeResizeError", "status": "True", "message": "no space"},
        ],
    }
    labels = {names.NODE_ID: "1", names.VOLUME_ID: "0"}
    spec = {"resources": {"requests": {"storage": "2Gi"}}}
    (check,) = growth.unfinished(
        observe_nodes([], [{"metadata": {"name": "c", "labels": labels}, "spec": spec, "status": status}])
    )
    assert (check.name, check.ok) == ("VolumeGrowing", False)
    assert "has 1073741824 of 2147483648 bytes (NodeResizeError: no space)" in check.evidence
    grown = {
        "metadata": {"name": "c", "labels": labels},
        "spec": spec,
        "status": status | {"capacity": {"storage": "2Gi"}},
    }
    assert growth.unfinished(observe_nodes([], [grown])) == ()


def test_a_growth_that_waits_for_a_restart_or_was_too_much_says_how_it_ends() -> None:
    labels = {names.NODE_ID: "1", names.VOLUME_ID: "0"}
    claim = {"metadata": {"name": "c", "labels": labels}, "spec": {"resources": {"requests": {"storage": "2Gi"}}}}
    pending = {"conditions": [{"type": "FileSystemResizePending", "status": "True", "message": "Waiting"}]}
    meta = {"name": "cell-nodes-1", "uid": "u", "resourceVersion": "1", "labels": labels}
    for more, words in ((pending, "`kubectl delete pod cell-nodes-1`"), ({}, "`kubectl patch pvc c`")):
        status = {"phase": "Bound", "capacity": {"storage": "1Gi"}} | more
        (check,) = growth.unfinished(observe_nodes([{"metadata": meta}], [claim | {"status": status}]))
        assert words in check.remedy


async def test_a_size_that_the_driver_cannot_give_is_taken_back_by_the_spec() -> None:
    namespace = await furnished()
    await passes(namespace)
    namespace.driver_works = False
    await declare(namespace, {"id": 0, "size": "100Ti"})
    await passes(namespace)
    await declare(namespace, {"id": 0, "size": "1Gi"})
    await passes(namespace)
    assert (await condition(namespace, "Ready"))["reason"] == "VolumeGrowing", "not refused"
    await declare(namespace, {"id": 0, "size": "512Mi"})
    await passes(namespace)
    assert (await condition(namespace, "Ready"))["reason"] == "VolumeChangeUnsupported", "less than it has"


async def other_class(namespace: Machines) -> None:
    for claim in namespace.claims().values():
        claim["spec"]["storageClassName"] = "fixed"


async def class_gone(namespace: Machines) -> None:
    del namespace.kube.objects["storageclasses", "", "standard"]


async def lost(namespace: Machines) -> None:
    await declare(namespace, {"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"})
    await run_until_ready(namespace, DieAt())
    del namespace.kube.objects["persistentvolumeclaims", "kafka", "data-1-cell-nodes-1"]


async def forgotten(namespace: Machines) -> None:
    for node in range(3):
        del namespace.kube.objects["configmaps", "kafka", f"cell-nodes-{node}-config"]


async def nothing(_: Machines) -> None: ...


@pytest.mark.parametrize(
    ("before", "volumes", "reason", "words"),
    [
        (other_class, [{"id": 0, "size": "2Gi"}], "VolumeNotExpandable", "storage.volumes[0].size: 2Gi"),
        (class_gone, [{"id": 0, "size": "2Gi"}], "VolumeNotExpandable", "StorageClass standard"),
        (nothing, [{"id": 0, "size": "512Mi"}], "VolumeChangeUnsupported", "a claim never shrinks"),
        (lost, [{"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}], "VolumeChangeUnsupported", "is gone"),
        (forgotten, [{"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}], "VolumeChangeUnsupported", "not known"),
    ],
)
async def test_what_claims_cannot_follow_is_refused_and_touches_nothing(
    before: Callable[[Machines], Any], volumes: list[dict[str, Any]], reason: str, words: str
) -> None:
    namespace = await furnished()
    await before(namespace)
    pods, claims = namespace.pods(), sizes(namespace)
    await declare(namespace, *volumes)
    die = await passes(namespace)
    ready = await condition(namespace, "Ready")
    assert (ready["reason"], "spec.nodePools[nodes]" in ready["message"]) == (reason, True), ready
    assert words in ready["message"]
    assert (namespace.pods(), sizes(namespace)) == (pods, claims)
    assert not [call for call in die.calls if "pods" in call.split() or "persistentvolumeclaims" in call]


async def test_a_volume_below_the_metadata_log_is_refused() -> None:
    namespace = Machines()
    await namespace.furnish()
    storage = {"volumes": [{"id": 3, "size": "1Gi"}]}
    await namespace.declare()
    await namespace.change(nodePools=[await pool(namespace) | {"storage": storage}])
    await run_until_ready(namespace, DieAt())
    await declare(namespace, {"id": 1, "size": "1Gi"}, {"id": 3, "size": "1Gi"})
    await passes(namespace)
    ready = await condition(namespace, "Ready")
    assert ready["reason"] == "VolumeChangeUnsupported"
    assert "needs a higher id" in ready["message"]


def log_dirs(namespace: Machines, node: int) -> tuple[str, str]:
    """(log dirs, their marks) as the node's init container was told."""
    pod = namespace.kube.objects["pods", "kafka", f"cell-nodes-{node}"]
    env = {entry["name"]: entry.get("value", "") for entry in pod["spec"]["initContainers"][0]["env"]}
    return env["KAFKA_LOG_DIRS"], env["KAFKA_FORMATTED"]


async def test_a_volume_is_added_with_one_restart_a_node_for_all_its_reasons() -> None:
    namespace = await furnished()
    reasons = set()
    jvm = {"jvm": {"heap": "512Mi"}, "resources": {"limits": {"memory": "2Gi"}}}
    await declare(namespace, {"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}, **jvm)
    await namespace.change(config={"num.io.threads": 3}, version="4.3.1")
    one = service(namespace, DieAt())
    for _ in range(60):
        namespace.turn()
        await one.reconcile(KEY)
        step = (await namespace.status()).get("operation", {}).get("step", {})
        reasons |= {step["why"]} if step.get("verb") == "Stopping" else set()
    await run_until_ready(namespace, DieAt())
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)
    wanted = "VersionChanged, VolumesChanged, ConfigChanged, ResourcesChanged, JvmChanged"
    assert reasons == {wanted}
    for node in range(3):
        directories, marks = log_dirs(namespace, node)
        assert directories == "/var/lib/kafka/data-0,/var/lib/kafka/data-1"
        assert marks == f"directory-{node}-data-0,", "only the new one may be formatted"
    claims = namespace.claims()
    assert all(names.FORMATTED in claim["metadata"]["annotations"] for claim in claims.values())
    assert len(claims) == 6


async def test_no_ready_node_is_restarted_for_a_volume_while_a_replica_is_out() -> None:
    namespace = await furnished()
    partition = namespace.kafka.topics["t"].partitions[0]
    partition.isr = partition.isr[:2]
    pods = namespace.pods()
    await declare(namespace, {"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"})
    await passes(namespace, 8)
    blocked = await condition(namespace, "Blocked")
    assert blocked["reason"] == "VolumesWaitForReplicas"
    assert namespace.pods() == pods
    partition.isr = partition.replicas
    await run_until_ready(namespace, DieAt())
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)


async def test_another_setting_is_not_held_up_by_that() -> None:
    """The control: a replica that is out holds a roll for volumes only."""
    namespace = await furnished()
    partition = namespace.kafka.topics["t"].partitions[0]
    partition.isr = tuple(node for node in partition.isr if node != 2)
    pods = namespace.pods()
    await namespace.change(config={"compression.gzip.level": 3, "queued.max.requests": 400})
    await passes(namespace, 4)
    assert namespace.pods() != pods


@pytest.mark.parametrize("restart", ["paused", "unapproved"])
async def test_a_node_that_goes_while_a_volume_waits_for_people_comes_back_as_it_was(restart: str) -> None:
    namespace = await furnished()
    if restart == "paused":
        obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
        obj["metadata"]["annotations"] = {names.PAUSED: "true"}
        await namespace.kube.replace(KAFKA_CLUSTERS, obj)
    else:
        await namespace.change(rollout={"soak": "2s", "approval": "Required"})
    await declare(namespace, {"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"})
    await passes(namespace)
    assert len(namespace.claims()) == 3
    del namespace.kube.objects["pods", "kafka", "cell-nodes-1"]
    await passes(namespace)
    assert log_dirs(namespace, 1) == ("/var/lib/kafka/data-0", "directory-1-data-0")


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_an_operator_that_dies_at_every_write_adds_and_grows_all_the_same(phase: str) -> None:
    namespace = await furnished()
    number = 1 if phase == "after" else 2
    await declare(namespace, {"id": 0, "size": "2Gi"}, {"id": 1, "size": "1Gi"})
    for _ in range(400):
        namespace.turn()
        try:
            await service(namespace, DieAt(number, phase)).reconcile(KEY)
        except Killed:
            continue
        if await namespace.ready():
            break
    assert await namespace.ready()
    assert sorted(sizes(namespace).values()) == ["1Gi"] * 3 + ["2Gi"] * 3
    assert {name: len(uids) for name, uids in namespace.uids.items()} == dict.fromkeys(namespace.uids, 2)
