"""What must hold before anything of a cluster is touched: questions that need more than the object itself.

While one of these fails, nothing is created, restarted, formatted or deleted; `Ready=False` says which and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.api.owned_config import config_texts
from controlplane.api.quantity import parse_bytes
from controlplane.api.validate import check_cluster
from controlplane.domain import versions
from controlplane.domain.check import Check
from controlplane.domain.cluster.layout import Layout
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import Role

REPLICATION_FACTORS = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)
LATER = "this arrives in a later release; set it back"


def spec_checks(world: World, layout: Layout) -> tuple[Check, ...]:
    """Every check that fails, in the order in which a person would want to read them."""
    return tuple(check for check in _all(world, layout) if not check.ok)


def _all(world: World, layout: Layout) -> Iterator[Check]:
    spec = world.cluster.spec
    for path, message in check_cluster(world.cluster):
        yield Check("InvalidSpec", ok=False, evidence=f"{path}: {message}")
    yield versions.check_known(spec.version)
    if versions.check_known(spec.version).ok:
        yield from _metadata(world)
    yield from _replication(world, layout)
    yield from _replicas(world)
    yield from _volumes(world)
    yield from _identity(world, layout)


def _metadata(world: World) -> Iterator[Check]:
    spec, kafka = world.cluster.spec, world.observation.kafka
    yield versions.check_pin(spec.version, spec.metadata_version)
    if kafka is None:
        return
    finalised = kafka.features.get("metadata.version")
    if finalised is None:
        return
    if spec.metadata_version is not None:
        yield versions.check_no_downgrade(spec.metadata_version, finalised)
    for running in sorted({node.pod.version for node in world.observation.nodes if node.pod}):
        if running != spec.version:
            yield versions.can_roll_binary(running, spec.version, finalised)


def _replication(world: World, layout: Layout) -> Iterator[Check]:
    brokers = len(layout.brokers)
    declared = config_texts(world.cluster.spec.config)
    for key in REPLICATION_FACTORS:
        value = declared.get(key, "")
        if value.isdecimal() and int(value) > brokers:
            yield Check(
                "ReplicationFactorTooLarge",
                ok=False,
                evidence=f"spec.config[{key}]: {value} replicas do not fit on {brokers} brokers.",
                remedy=f"Set it to at most {brokers} or add brokers.",
            )
    min_isr = declared.get("min.insync.replicas", "")
    factor = declared.get("default.replication.factor", str(min(3, brokers)))
    if min_isr.isdecimal() and factor.isdecimal() and int(min_isr) > int(factor):
        yield Check(
            "MinIsrTooLarge",
            ok=False,
            evidence=f"spec.config[min.insync.replicas]: {min_isr} exceeds the replication factor {factor}.",
            remedy="No acks=all write would succeed; lower it or raise default.replication.factor.",
        )


def _replicas(world: World) -> Iterator[Check]:
    for pool in world.cluster.spec.node_pools:
        existing = [node for node in world.observation.nodes if node.pool == pool.name and node.volumes]
        path = f"spec.nodePools[{pool.name}].replicas"
        if len(existing) > pool.replicas:
            yield Check(
                "ScaleDownUnsupported",
                ok=False,
                evidence=f"{path}: {pool.replicas} is fewer than the {len(existing)} nodes that exist.",
                remedy=f"Taking nodes away needs their data moved first: {LATER} to {len(existing)}.",
            )
        if world.formed and Role.CONTROLLER in pool.roles and len(existing) < pool.replicas:
            yield Check(
                "VoterChangeUnsupported",
                ok=False,
                evidence=f"{path}: {pool.replicas} voters are asked for and {len(existing)} exist with their volumes.",
                remedy=f"Changing the voters of a running quorum: {LATER} to {len(existing)}, or restore the volume.",
            )
    present = {node.id for node in world.observation.nodes if node.volumes}
    if missing := sorted(world.known_ids - present):
        yield Check(
            "VolumeMissing",
            ok=False,
            evidence=f"Kafka knows {'nodes' if len(missing) > 1 else 'node'} {', '.join(map(str, missing))}, "
            "whose volumes are gone.",
            remedy="Restore the PVCs; replacing a node whose disk is lost arrives in a later release.",
        )
    pools = {pool.name for pool in world.cluster.spec.node_pools}
    for node in world.observation.nodes:
        if node.pool not in pools:
            yield Check(
                "UnknownPool",
                ok=False,
                evidence=f"spec.nodePools: node {node.id} has volumes of pool {node.pool!r}, which is not declared.",
                remedy="Declare that pool as it was; its nodes hold data.",
            )


def _volumes(world: World) -> Iterator[Check]:
    pools = {pool.name: pool for pool in world.cluster.spec.node_pools}
    for node in world.observation.nodes:
        pool = pools.get(node.pool)
        if pool is None:
            continue
        for volume in node.volumes:
            if volume.terminating:
                yield Check(
                    "VolumeTerminating",
                    ok=False,
                    evidence=f"PVC {volume.name} is being deleted: its data goes as soon as node {node.id}'s pod does.",
                    remedy="Nothing is restarted meanwhile. Save its data and put a claim with its marks back.",
                )
        declared = {volume.id: volume for volume in pool.storage.volumes}
        present = {volume.volume_id: volume for volume in node.volumes}
        formatted = any(volume.formatted for volume in node.volumes)
        path = f"spec.nodePools[{pool.name}].storage.volumes"
        for volume_id in sorted(present.keys() - declared.keys()):
            yield _volume_changed(f"{path}: node {node.id} has a volume {volume_id} that is no longer declared.")
        for volume_id in sorted(declared.keys() - present.keys() if formatted else ()):
            yield _volume_changed(f"{path}[{volume_id}]: node {node.id} was formatted without it, or its PVC is gone.")
        for volume_id in sorted(declared.keys() & present.keys()):
            wanted, found = declared[volume_id], present[volume_id]
            if parse_bytes(wanted.size) != found.size_bytes:
                yield _volume_changed(f"{path}[{volume_id}].size: {wanted.size} is not what {found.name} has.")
            if wanted.storage_class_name not in (None, found.storage_class):
                yield _volume_changed(
                    f"{path}[{volume_id}].storageClassName: {wanted.storage_class_name} is not what {found.name} has."
                )


def _volume_changed(evidence: str) -> Check:
    return Check("VolumeChangeUnsupported", ok=False, evidence=evidence, remedy=f"Changing volumes: {LATER}.")


def _identity(world: World, layout: Layout) -> Iterator[Check]:
    declared = world.cluster.spec.cluster_id
    if declared is not None and declared != layout.cluster_id:
        yield Check(
            "ClusterIdMismatch",
            ok=False,
            evidence=f"spec.clusterId: {declared} is declared and the volumes belong to {layout.cluster_id}.",
            remedy="Declare the volumes' id, or give the object another name.",
        )
    for node in world.observation.nodes:
        for volume in node.volumes:
            mark = volume.identity
            if mark is None or mark.node_id != node.id or mark.cluster_id != layout.cluster_id:
                yield Check(
                    "ForeignVolume",
                    ok=False,
                    evidence=f"PVC {volume.name} does not carry the identity of node {node.id} of {layout.cluster_id}.",
                    remedy="It may hold another cluster's data; move it away or restore its kfleet.dev/identity mark.",
                )
    kafka = world.observation.kafka
    if kafka is not None and kafka.cluster_id != layout.cluster_id:
        yield Check(
            "ClusterIdMismatch",
            ok=False,
            evidence=f"The brokers answer as cluster {kafka.cluster_id}, the volumes belong to {layout.cluster_id}.",
            remedy="Nothing is touched until they agree.",
        )
