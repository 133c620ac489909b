"""Why a pod is replaced, all of it; and certificates, which count beside the spec hash."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from support.machines import Machines, furnished
from support.simulation import KEY, SETTINGS, DieAt, Killed, around, run_until_ready

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.course import roll_target
from controlplane.domain.cluster.layout import lay_out
from controlplane.domain.cluster.manifests import Placement
from controlplane.domain.cluster.world import World
from controlplane.domain.rolling.values import RestartReason as Reason
from controlplane.services.cluster.kind import KAFKA_CLUSTERS, ClusterKind, placement
from controlplane.services.cluster.observe import observe_world
from controlplane.services.events import EventRecorder
from controlplane.services.intercept import intercept_admins, intercept_kube
from controlplane.services.operation.engine import Engine
from controlplane.services.operation.lock import CellGuard

PLACEMENT = placement(SETTINGS)
BOUND = {"requests": {"memory": "1Gi"}, "limits": {"memory": "2Gi"}}
TWO = {"volumes": [{"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}]}


async def world_of(namespace: Machines, spec: dict[str, Any], pool: dict[str, Any]) -> World:
    """The world as it is, with another spec declared."""
    obj = await namespace.kube.get(KAFKA_CLUSTERS, "cell", "kafka")
    obj["spec"] |= spec
    obj["spec"]["nodePools"] = [obj["spec"]["nodePools"][0] | pool]
    return await observe_world(namespace.kube, namespace.admins, namespace.clock, KafkaCluster.model_validate(obj))


def reasons(world: World, at: Placement = PLACEMENT) -> set[tuple[Reason, ...]]:
    layout = lay_out(world.cluster, world.observation.nodes, world.zones, formed=True)
    return {node.reasons for node in roll_target(world, layout, at).nodes}


@pytest.mark.parametrize(
    ("spec", "pool", "wanted"),
    [
        ({}, {}, ()),
        ({"version": "4.3.1"}, {}, (Reason.VERSION_CHANGED,)),
        ({"config": {"queued.max.requests": 9}}, {}, (Reason.CONFIG_CHANGED,)),
        ({"config": {"min.insync.replicas": 1}}, {}, ()),
        ({"listeners": [{"name": "clients", "port": 9093}]}, {}, (Reason.CONFIG_CHANGED, Reason.POD_TEMPLATE_CHANGED)),
        ({}, {"jvm": {"heap": "512Mi"}}, (Reason.JVM_CHANGED,)),
        ({}, {"resources": BOUND}, (Reason.RESOURCES_CHANGED,)),
        ({}, {"storage": TWO}, (Reason.VOLUMES_CHANGED,)),
        (
            {"version": "4.3.1", "config": {"queued.max.requests": 9}},
            {"jvm": {"heap": "512Mi"}, "resources": BOUND, "storage": TWO},
            (
                Reason.VERSION_CHANGED,
                Reason.VOLUMES_CHANGED,
                Reason.CONFIG_CHANGED,
                Reason.RESOURCES_CHANGED,
                Reason.JVM_CHANGED,
            ),
        ),
    ],
)
async def test_every_reason_is_told(spec: dict[str, Any], pool: dict[str, Any], wanted: tuple[Reason, ...]) -> None:
    world = await world_of(await furnished(), spec, pool)
    assert reasons(world) == {wanted}


async def test_another_installation_is_a_reason_too() -> None:
    world = await world_of(await furnished(), {}, {})
    assert reasons(world, replace(PLACEMENT, stop_grace_seconds=7)) == {(Reason.POD_TEMPLATE_CHANGED,)}


async def test_without_what_it_was_started_with_only_the_version_is_told() -> None:
    namespace = await furnished()
    for node in range(3):
        del namespace.kube.objects["configmaps", "kafka", f"cell-nodes-{node}-config"]
    assert reasons(await world_of(namespace, {}, {"jvm": {"heap": "512Mi"}})) == {(Reason.CONFIG_CHANGED,)}
    assert reasons(await world_of(namespace, {"version": "4.3.1"}, {"resources": BOUND})) == {(Reason.VERSION_CHANGED,)}


class Certified(ClusterKind):
    """What supplies the digests of certificates will be one day."""

    digests: dict[int, str]

    async def observe(self, obj: dict[str, Any]) -> World:
        return replace(await super().observe(obj), certificates=dict(self.digests))


def engine(namespace: Machines, digests: dict[int, str], die: DieAt) -> Engine:
    kube = intercept_kube(namespace.kube, [die, CellGuard()])
    admins = intercept_admins(namespace.admins, [die, CellGuard()])
    kind = Certified(kube, admins, namespace.clock, EventRecorder(kube, namespace.clock), SETTINGS)
    kind.digests = digests
    return Engine(kind, around(kube, namespace.clock, SETTINGS))


@pytest.mark.parametrize("phase", ["before", "after"])
async def test_new_certificates_restart_their_node_once_whenever_the_operator_dies(phase: str) -> None:
    namespace = await furnished()
    before, number = namespace.pods(), 1 if phase == "after" else 2
    hashes = {name: pod["metadata"]["annotations"][names.SPEC_HASH] for name, pod in pods(namespace).items()}
    why: set[str] = set()
    for _ in range(150):
        namespace.turn()
        with suppress(Killed):
            await engine(namespace, {1: "sha-2"}, DieAt(number, phase)).reconcile(KEY)
        step = (await namespace.status()).get("operation", {}).get("step", {})
        why |= {step["why"]} if step.get("verb") == "Stopping" else set()
        if await namespace.ready() and pods(namespace)["cell-nodes-1"]["metadata"]["uid"] != before["cell-nodes-1"]:
            break
    after = namespace.pods()
    assert {name for name in after if after[name] != before[name]} == {"cell-nodes-1"}
    assert len(namespace.uids["cell-nodes-1"]) == 2
    assert why == {"CertificateChanged"}
    assert pods(namespace)["cell-nodes-1"]["metadata"]["annotations"][names.CERTIFICATES] == "sha-2"
    assert names.CERTIFICATES not in pods(namespace)["cell-nodes-0"]["metadata"]["annotations"]
    assert hashes == {name: pod["metadata"]["annotations"][names.SPEC_HASH] for name, pod in pods(namespace).items()}


async def test_without_digests_nothing_is_restarted_for_certificates() -> None:
    """The control."""
    namespace = await furnished()
    before = namespace.pods()
    one = engine(namespace, {}, DieAt())
    for _ in range(5):
        namespace.turn()
        await one.reconcile(KEY)
    await run_until_ready(namespace, DieAt())
    assert namespace.pods() == before


def pods(namespace: Machines) -> dict[str, dict[str, Any]]:
    return {name: obj for (kind, _, name), obj in namespace.kube.objects.items() if kind == "pods"}
