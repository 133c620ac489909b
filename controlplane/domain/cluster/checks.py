"""What must hold before anything of a cluster is touched: questions that need more than the object itself.

While one of these fails, nothing is created, restarted, formatted or deleted; `Ready=False` says which and what to do.
"""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Set as AbstractSet

from controlplane.api.owned_config import config_texts
from controlplane.api.quantity import parse_bytes
from controlplane.api.validate import check_cluster
from controlplane.domain import versions
from controlplane.domain.check import Check
from controlplane.domain.cluster import access_checks, external, growth, lost, manifests, naming, properties
from controlplane.domain.cluster.layout import Layout, replicas_asked
from controlplane.domain.cluster.reasons import last_template
from controlplane.domain.cluster.world import World
from controlplane.domain.observation import NodeObservation, PartitionObservation, VolumeObservation
from controlplane.domain.rolling import canary
from controlplane.domain.rolling.health import listing

REPLICATION_FACTORS = (
    "default.replication.factor",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "share.coordinator.state.topic.replication.factor",
)


def spec_checks(world: World, layout: Layout) -> tuple[Check, ...]:
    """Every check that fails, in the order in which a person would want to read them."""
    return tuple(check for check in _all(world, layout) if not check.ok)


def _all(world: World, layout: Layout) -> Iterator[Check]:
    spec = world.cluster.spec
    for path, message in check_cluster(world.cluster):
        yield Check("InvalidSpec", ok=False, evidence=f"{path}: {message}")
    if world.unenrolled is not None:
        yield world.unenrolled
    yield from access_checks.refusals(world)
    yield from external.refusals(world)
    yield versions.check_known(spec.version)
    if versions.check_known(spec.version).ok:
        yield from _metadata(world)
    yield from _replication(world, layout)
    yield from _replicas(world, layout)
    yield from _volumes(world, layout)
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
            yield versions.can_read_features(spec.version, kafka.features)


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


def _replicas(world: World, layout: Layout) -> Iterator[Check]:
    yield from _leaving(world, layout)
    present = {node.id for node in world.observation.nodes if node.volumes}
    if missing := sorted(world.known_ids - present - lost.excused(world, layout)):
        replaced = f"by `kfleet cluster replace-node {world.cluster.metadata.name} {missing[0]}`"
        beyond = lost.beyond(world, missing[0])
        left = (
            f" If it is to leave instead, set spec.nodePools[{beyond.name}].replicas back to {beyond.replicas + 1}, "
            "replace it, and lower the number again once it has a PVC: it need not come up."
            if beyond is not None
            else ""
        )
        yield Check(
            "VolumeMissing",
            ok=False,
            evidence=f"Kafka knows {'nodes' if len(missing) > 1 else 'node'} {', '.join(map(str, missing))}, "
            "whose volumes are gone.",
            remedy=f"Restore the PVCs. A node whose disk is lost for good comes back on an empty one {replaced}.{left}",
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


def _leaving(world: World, layout: Layout) -> Iterator[Check]:
    """Nodes go only where those that stay can hold every replica and carry what is declared; whether they have room is
    found out by whoever plans the moves (`emptying`)."""
    nodes = [node for node_id in layout.leaving if (node := world.observation.node(node_id)) is not None]
    gone = [node for node in nodes if node.is_broker]
    left, before = len(layout.brokers), len(layout.brokers) + len(gone)
    wide = {one.id: len(one.replicas) for one in (_settled(world) if gone else ()) if len(one.replicas) > left}
    if wide:
        asked, most = replicas_asked(world.cluster, {node.pool for node in gone}), max(wide.values())
        yield Check(
            "ScaleDownRefused",
            ok=False,
            evidence=f"{asked} leaves {left} brokers, {most - left} too few for {len(wide)} partitions that "
            f"have up to {most} replicas: {listing(sorted(wide))}.",
            remedy=f"Keep {most} brokers. Or lower their replication factor by a KafkaRebalance with goal "
            "ChangeReplicas, and it goes on.",
        )
    declared = config_texts(world.cluster.spec.config)
    lowered = [
        key
        for key, value in (properties.defaults(before) | properties.dynamic_defaults(before)).items()
        if key not in declared and value != (properties.defaults(left) | properties.dynamic_defaults(left))[key]
    ]
    if gone and lowered:
        yield Check(
            "ScaleDownRefused",
            ok=False,
            evidence=f"spec.nodePools: on {left} instead of {before} brokers the defaults of "
            f"{listing(lowered)} would become lower.",
            remedy=f"Keep {before} brokers, or declare those keys in spec.config as they shall be.",
        )


def _settled(world: World) -> Iterator[PartitionObservation]:
    """Without those that are being reassigned, which have more replicas than they keep, and without our canary's, which
    goes where it is in the way."""
    kafka = world.observation.kafka
    moving = frozenset(kafka.reassigning) if kafka is not None else frozenset()
    for one in kafka.partitions if kafka is not None else ():
        if one.id not in moving and not (one.topic == canary.TOPIC and world.canary_is_ours):
            yield one


def _volumes(world: World, layout: Layout) -> Iterator[Check]:
    pools = {pool.name: pool for pool in world.cluster.spec.node_pools}
    excused = lost.excused(world, layout)
    for node in world.observation.nodes:
        pool = pools.get(node.pool)
        if pool is None:
            continue
        going = node.id not in excused and any(volume.terminating for volume in node.volumes)
        if going and world.replacement is not None and world.replacement.node == node.id:
            yield from lost.kept(world, node)
        for volume in node.volumes:
            if volume.terminating and going:
                yield Check(
                    "VolumeTerminating",
                    ok=False,
                    evidence=f"PVC {volume.name} is being deleted: its data goes as soon as node {node.id}'s pod does.",
                    remedy="Nothing is restarted meanwhile. Save its data and put a claim with its marks back. "
                    + _given_up(world, node.id),
                )
        declared = {volume.id: volume for volume in pool.storage.volumes}
        present = {volume.volume_id: volume for volume in node.volumes}
        path = f"spec.nodePools[{pool.name}].storage.volumes"
        for volume_id in sorted(present.keys() - declared.keys()):
            if _never_used(world, node, present[volume_id]):
                continue
            yield _volume_changed(f"{path}: node {node.id} has a volume {volume_id} that is no longer declared.")
        if any(volume.formatted for volume in node.volumes):
            given_up = lost.lost_claims(world, node) if node.id in excused else frozenset()
            yield from _volumes_added(world, node, path, declared.keys() - present.keys() - given_up)
        for volume_id in sorted(declared.keys() & present.keys()):
            wanted, found = declared[volume_id], present[volume_id]
            if parse_bytes(wanted.size) < growth.least(found):
                yield _volume_changed(
                    f"{path}[{volume_id}].size: {wanted.size} is less than PVC {found.name} has; a claim never shrinks."
                )
            if wanted.storage_class_name not in (None, found.storage_class):
                yield _volume_changed(
                    f"{path}[{volume_id}].storageClassName: {wanted.storage_class_name} is not what {found.name} has."
                )
    for one in growth.growths(world.cluster, world.observation.nodes):
        yield growth.check(one, world.storage_classes)


def _volumes_added(world: World, node: NodeObservation, path: str, missing: AbstractSet[int]) -> Iterator[Check]:
    """Volumes that a formatted node has no claim for are new to it, unless it was started with them before."""
    template = last_template(world, node.pool, node.id)
    mounted = manifests.claims_of(template) if template is not None else None
    metadata = min((volume.volume_id for volume in node.volumes), default=0)
    for volume_id in sorted(missing):
        claim = naming.volume(world.cluster.metadata.name, node.pool, node.id, volume_id)
        if mounted is not None and claim in mounted:
            yield _volume_changed(
                f"{path}[{volume_id}]: PVC {claim} is gone, which node {node.id} was started with before.",
                f"Restore it with its marks. {_given_up(world, node.id)}",
            )
        elif mounted is None:
            yield _volume_changed(
                f"{path}[{volume_id}]: PVC {claim} is gone, or new: what node {node.id} was started with is not known, "
                "since its ConfigMap is gone.",
                f"Set the field back to what the claims are. If the volume was there: {_given_up(world, node.id)}",
            )
        elif volume_id < metadata:
            yield _volume_changed(
                f"{path}[{volume_id}]: node {node.id} has its metadata log on volume {metadata}, the lowest; a new "
                "volume needs a higher id than that."
            )


def _never_used(world: World, node: NodeObservation, volume: VolumeObservation) -> bool:
    """A volume that was declared by mistake can be taken back: one that no storage stands behind, or that this node was
    never started with, holds nothing. Its claim stays until somebody deletes it."""
    if volume.formatted is not None:
        return False
    template = last_template(world, node.pool, node.id)
    return not volume.bound or (template is not None and volume.name not in manifests.claims_of(template))


def _volume_changed(evidence: str, remedy: str = "Set the field back to what the claims are.") -> Check:
    return Check("VolumeChangeUnsupported", ok=False, evidence=evidence, remedy=remedy)


def _given_up(world: World, node_id: int) -> str:
    return (
        f"If it is lost for good: `kfleet cluster replace-node {world.cluster.metadata.name} {node_id}`, and delete "
        "the node's pod if it still runs."
    )


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
