"""Volumes that are declared larger than they are: what may be asked of Kubernetes, and when. Pure.

A claim is only ever patched to a larger size, of a StorageClass that allows it, one Kafka node at a time: a storage
driver that fails at it does so under one node, and the rest keep what they have. Nothing is restarted: file systems
grow under running pods (KEP-284), and a driver that cannot do that says so in the claim's conditions.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from controlplane.api.kafka_cluster import KafkaCluster, Volume
from controlplane.api.quantity import parse_bytes
from controlplane.domain.check import Check
from controlplane.domain.observation import NodeObservation, VolumeObservation

PENDING_RESTART = "FileSystemResizePending"
"""Condition of a claim whose volume has grown and whose file system has not, because no node has mounted it since."""


@dataclass(frozen=True, slots=True)
class Growth:
    """`wanted` is what the spec declares for a volume that is smaller. `path` is the field."""

    node: int
    path: str
    wanted: Volume
    found: VolumeObservation


def growths(cluster: KafkaCluster, nodes: tuple[NodeObservation, ...]) -> Iterator[Growth]:
    """Claims that ask for less than is declared, by node and volume id."""
    pools = {pool.name: pool for pool in cluster.spec.node_pools}
    for node in nodes:
        pool = pools.get(node.pool)
        declared = {volume.id: volume for volume in pool.storage.volumes} if pool else {}
        for found in node.volumes:
            wanted = declared.get(found.volume_id)
            if wanted is not None and parse_bytes(wanted.size) > found.size_bytes:
                path = f"spec.nodePools[{node.pool}].storage.volumes[{wanted.id}].size"
                yield Growth(node.id, path, wanted, found)


def classes(cluster: KafkaCluster, nodes: tuple[NodeObservation, ...]) -> frozenset[str]:
    """StorageClasses whose permission is needed now."""
    return frozenset(one.found.storage_class for one in growths(cluster, nodes) if one.found.storage_class)


def check(growth: Growth, storage_classes: Mapping[str, bool]) -> Check:
    """Whether the claim may grow. A class that could not be read passes: the API server refuses what is not allowed."""
    name, found = growth.found.storage_class, growth.found
    allowed = storage_classes.get(name, True) if name else False
    of = f"StorageClass {name}" if name else "no StorageClass"
    return Check(
        "VolumeNotExpandable",
        ok=allowed,
        evidence=f"{growth.path}: {growth.wanted.size} is more than PVC {found.name} has, and it is of {of}, which "
        "does not allow expansion.",
        remedy="Set the size back, or let whoever owns the class set allowVolumeExpansion: true if its driver can.",
    )


def next_to_grow(cluster: KafkaCluster, nodes: tuple[NodeObservation, ...]) -> tuple[Growth, ...]:
    """The bound claims of the first node that has any to grow; none while another node's are still growing."""
    wanting = [growth for growth in growths(cluster, nodes) if growth.found.bound]
    busy = {node.id for node in nodes if any(is_growing(volume) for volume in node.volumes)}
    first = min(busy) if busy else min((growth.node for growth in wanting), default=None)
    return tuple(growth for growth in wanting if growth.node == first)


def least(volume: VolumeObservation) -> int:
    """The smallest size, in bytes, that may be declared: what a claim was asked to grow to can be taken back."""
    return volume.capacity_bytes if is_growing(volume) and volume.capacity_bytes is not None else volume.size_bytes


def is_growing(volume: VolumeObservation) -> bool:
    """It has been asked for more than it has."""
    return volume.capacity_bytes is not None and volume.capacity_bytes < volume.size_bytes


def _remedy(node: NodeObservation, volume: VolumeObservation) -> str:
    """What ends a growth that does not end by itself: a restart where the driver asks for one, or a size it can give.

    A claim's size can be lowered again while it is above what the claim has (Kubernetes 1.34, KEP-1790).
    """
    if volume.resizing.startswith(PENDING_RESTART) and node.pod is not None:
        return (
            "Its storage driver grows the file system when the volume is mounted anew: restart the node "
            f"(`kubectl delete pod {node.pod.name}`), one node at a time."
        )
    return (
        "Its storage driver does it while the node runs; if it does not end, see the Events of the claim. A size that "
        f"the driver refuses is taken back by a lower one in the spec and `kubectl patch pvc {volume.name}`."
    )


def unfinished(nodes: tuple[NodeObservation, ...]) -> tuple[Check, ...]:
    """A failed check for each volume that is still growing."""
    return tuple(
        Check(
            "VolumeGrowing",
            ok=False,
            evidence=f"PVC {volume.name} of node {node.id} has {volume.capacity_bytes} of {volume.size_bytes} bytes"
            + (f" ({volume.resizing})" if volume.resizing else "")
            + ".",
            remedy=_remedy(node, volume),
        )
        for node in nodes
        for volume in node.volumes
        if is_growing(volume)
    )
