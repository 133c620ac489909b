"""Why a running pod has to be replaced, all of it: several reasons are one restart. Pure, and for people.

The spec hash decides whether a pod is out of date; what it is out of date in is read by comparing what the node was
last started with (its ConfigMap, written right before the pod is made) with what it would be started with now.
Three reasons are not in the hash, because they end with the pod and not with the spec: `leaving`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.check import Check
from controlplane.domain.cluster import drain, dynamic, external, manifests, naming
from controlplane.domain.cluster.layout import Layout, NodeLayout
from controlplane.domain.cluster.manifests import Manifest, Placement
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import ClusterObservation, NodeObservation, PodObservation
from controlplane.domain.rolling.health import listing
from controlplane.domain.rolling.values import NodeTarget, RestartReason

ASPECTS = 512
"""So many pods are remembered by what they are made of: as they are and as they are wanted in one large cluster."""
_FOLLOWS_THE_HEAP = "log.cleaner.dedupe.buffer.size"


def last_template(world: World, pool: str, node_id: int) -> Manifest | None:
    """The pod that the node was last started with, without marks; None for one that never was."""
    name = naming.config(world.cluster.metadata.name, pool, node_id)
    template: Manifest | None = json.loads(world.config_maps.get(name, {}).get(manifests.POD_TEMPLATE) or "null")
    return template


def restart_reasons(
    world: World,
    cluster: KafkaCluster,
    wanted: NodeLayout,
    layout: Layout,
    placement: Placement,
    *,
    pod: PodObservation,
) -> tuple[RestartReason, ...]:
    """Every reason to replace a pod whose spec hash is not the wanted one; never empty.

    `cluster` is what the node is to be made from, which a way back makes from an older version than is declared. Where
    what the pod was started with is not known any more only its version can be told from the rest.
    """
    version = (RestartReason.VERSION_CHANGED,) if pod.version != cluster.spec.version else ()
    before = world.config_maps.get(naming.config(cluster.metadata.name, wanted.pool, wanted.id), {})
    template = last_template(world, wanted.pool, wanted.id)
    if template is None or template["metadata"]["annotations"].get(names.SPEC_HASH) != pod.spec_hash:
        return version or (RestartReason.CONFIG_CHANGED,)
    now = manifests.config_map(cluster, wanted, layout, placement)["data"]
    old, new = (_aspects(data[manifests.POD_TEMPLATE]) for data in (before, now))
    changed = {reason for reason in old if old[reason] != new[reason]}
    kept = set(cluster.spec.config) if RestartReason.JVM_CHANGED in changed else {_FOLLOWS_THE_HEAP}
    if _settings(before, wanted, kept) != _settings(now, wanted, kept):
        changed.add(RestartReason.CONFIG_CHANGED)
    found = (*version, *(reason for reason in RestartReason if reason in changed))
    return found or (RestartReason.CONFIG_CHANGED,)


def leaving(world: World, node: NodeObservation) -> tuple[RestartReason, ...]:
    """Why this very pod has to go, whatever it was made from: `NodeTarget.leaving` is then its uid."""
    pod = node.pod
    if pod is None:
        return ()
    certificates = world.certificates.get(node.id)
    changed = certificates is not None and pod.certificates != certificates
    return (
        *((RestartReason.CERTIFICATE_CHANGED,) if changed else ()),
        *((RestartReason.ADVERTISED_CHANGED,) if external.is_stale(world, node) else ()),
        *((RestartReason.DRAIN,) if drain.is_leaving(world.observation, node) else ()),
    )


def volume_gate(observation: ClusterObservation, nodes: tuple[NodeTarget, ...]) -> tuple[Check, ...]:
    """No ready node is restarted for another volume while any replica is out: a log dir that is new and one that has
    failed look alike to the broker that lost it, and what is out must be known to be back before disks change."""
    kafka = observation.kafka
    if kafka is None or not any(RestartReason.VOLUMES_CHANGED in node.reasons for node in nodes):
        return ()
    out = sorted(p.id for p in kafka.partitions if set(p.replicas) - set(p.isr))
    if not out:
        return ()
    return (
        Check(
            "VolumesWaitForReplicas",
            ok=False,
            evidence=f"Volumes are to be added, and {len(out)} partitions have replicas out of sync: {listing(out)}.",
            remedy="It goes on when they are back; if they do not come back, see those brokers' disks.",
        ),
    )


def version_gate(world: World, layout: Layout, nodes: tuple[NodeTarget, ...]) -> tuple[Check, ...]:
    """No other version is rolled out while nodes are to leave: they would stay on theirs, and no level can be made
    final that a broker which is registered does not know."""
    wanted = {node.version for node in nodes}
    behind = [
        node.id
        for node_id in sorted(layout.leaving)
        if (node := world.observation.node(node_id)) is not None and node.pod and node.pod.version not in wanted
    ]
    if not behind:
        return ()
    return (
        Check(
            "NodesLeaving",
            ok=False,
            evidence=f"Node {listing(behind)} is to leave, and would never run Kafka {listing(sorted(wanted))}.",
            remedy="It goes on when they have left. If they cannot, or their leaving was cancelled, set spec.nodePools "
            "back to the replicas that there are.",
        ),
    )


def claim_gate(world: World, layout: Layout, nodes: tuple[NodeTarget, ...]) -> tuple[Check, ...]:
    """No ready node is stopped for a volume that its pod would wait for: no storage is going to stand behind it."""
    changed = {node.node for node in nodes if RestartReason.VOLUMES_CHANGED in node.reasons}
    declared = {volume.claim for node in layout.nodes if node.id in changed for volume in node.volumes}
    waiting = [
        volume
        for node in world.observation.nodes
        for volume in node.volumes
        if volume.name in declared and not volume.bound and volume.storage_class in world.stuck
    ]
    if not waiting:
        return ()
    return (
        Check(
            "VolumeNotBound",
            ok=False,
            evidence=f"Volumes are to be added, and {len(waiting)} of their PVCs are not bound, such as "
            f"{waiting[0].name} of StorageClass {waiting[0].storage_class}, which is not there or does not wait for "
            "pods.",
            remedy="See the claim's Events. If the class is wrong, take the volume out of the spec again and delete "
            "its claims.",
        ),
    )


@lru_cache(maxsize=ASPECTS)
def _aspects(text: str) -> Mapping[RestartReason, Any]:
    """What a pod is made of by reason, from its template; what no other one covers is POD_TEMPLATE_CHANGED. Not to be
    changed: the same text is asked about at every pass until its node was restarted."""
    template = json.loads(text)
    spec = template["spec"]
    containers = [*spec["initContainers"], *spec["containers"]]
    kafka = spec["containers"][0]
    found: dict[RestartReason, Any] = {
        RestartReason.VOLUMES_CHANGED: sorted(manifests.claims_of(template)),
        RestartReason.RESOURCES_CHANGED: kafka.pop("resources", {}),
        RestartReason.JVM_CHANGED: [e.get("value") for e in kafka["env"] if e["name"] == "KAFKA_HEAP"],
    }
    spec["volumes"] = [volume for volume in spec["volumes"] if "persistentVolumeClaim" not in volume]
    mounted = {volume["name"] for volume in spec["volumes"]}
    for container in containers:
        container["image"] = container["image"].rpartition(":")[0]
        container["env"] = [entry for entry in container["env"] if entry["name"] not in _ENV_ELSEWHERE]
        container["volumeMounts"] = [mount for mount in container["volumeMounts"] if mount["name"] in mounted]
    return found | {RestartReason.POD_TEMPLATE_CHANGED: spec}


_ENV_ELSEWHERE = frozenset({"KAFKA_HEAP", "KAFKA_LOG_DIRS", "KAFKA_RELEASE_VERSION"})


def _settings(data: Mapping[str, str], node: NodeLayout, kept: set[str]) -> list[str]:
    """Lines of server.properties that are settings of their own: log.dirs are volumes, a controller's min ISR is
    cluster-wide, and the log cleaner's buffer follows the heap unless it is declared."""
    ignored = {"log.dirs", *({dynamic.MIN_ISR} if node.is_controller else ())}
    if _FOLLOWS_THE_HEAP not in kept:
        ignored.add(_FOLLOWS_THE_HEAP)
    lines = data.get("server.properties", "").splitlines()
    return [line for line in lines if line.partition("=")[0] not in ignored]
