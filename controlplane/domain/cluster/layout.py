"""Which Kafka nodes a spec asks for, given the volumes that exist: ids, zones, first voters, directory ids.

PVCs are the memory: a node exists once its PVC does, and its PVC carries its id, zone and identity. Everything new is
derived from the cluster's uid, never drawn at random, so that a pass that is killed half-way is repeated to the letter.
"""

from __future__ import annotations

import base64
import uuid
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from controlplane.api.kafka_cluster import KafkaCluster, NodePool
from controlplane.domain.cluster import naming
from controlplane.domain.observation import Identity, NodeObservation, Role


@dataclass(frozen=True, slots=True)
class VolumeLayout:
    """`claim` is the PVC's name; `identity` the mark it gets when it is created."""

    claim: str
    volume_id: int
    size: str
    storage_class: str | None
    identity: Identity


@dataclass(frozen=True, slots=True)
class NodeLayout:
    """One node as it should be. `zone` is None when its pool names no zones."""

    id: int
    pool: str
    roles: frozenset[Role]
    zone: str | None
    volumes: tuple[VolumeLayout, ...]
    exists: bool

    @property
    def is_controller(self) -> bool:
        return Role.CONTROLLER in self.roles

    @property
    def is_broker(self) -> bool:
        return Role.BROKER in self.roles


@dataclass(frozen=True, slots=True)
class Lost:
    """A node whose volumes are gone and that keeps its id, pool and zone: a person wants it back, or is asked."""

    id: int
    pool: str
    zone: str | None


@dataclass(frozen=True)
class Layout:
    """`nodes` are those asked for; `leaving` exist beyond what their pool asks for: its highest ids, highest first."""

    cluster_id: str
    nodes: tuple[NodeLayout, ...]
    leaving: tuple[int, ...] = ()

    @cached_property
    def controllers(self) -> tuple[NodeLayout, ...]:
        return tuple(node for node in self.nodes if node.is_controller)

    @cached_property
    def brokers(self) -> tuple[NodeLayout, ...]:
        return tuple(node for node in self.nodes if node.is_broker)


def replicas_asked(cluster: KafkaCluster, pools: Collection[str]) -> str:
    """What the spec says of how many nodes these pools have, each by its field path."""
    asked = [pool for pool in cluster.spec.node_pools if pool.name in pools]
    return ", ".join(f"spec.nodePools[{pool.name}].replicas: {pool.replicas}" for pool in asked)


def kafka_uuid(value: uuid.UUID) -> str:
    """Kafka's form (org.apache.kafka.common.Uuid): URL-safe base64 without padding, 22 characters."""
    return base64.urlsafe_b64encode(value.bytes).decode().rstrip("=")


def derived_uuid(uid: str, what: str) -> str:
    """A Kafka uuid that is always the same for the same object and purpose; never starts with '-' (Uuid.randomUuid)."""
    salt = 0
    while (text := kafka_uuid(uuid.uuid5(uuid.NAMESPACE_OID, f"{uid}/{what}/{salt}"))).startswith("-"):
        salt += 1
    return text


def cluster_id(cluster: KafkaCluster, nodes: Iterable[NodeObservation]) -> str:
    """The id on the volumes that exist, else the declared one, else one derived from the object's uid."""
    for node in nodes:
        for volume in node.volumes:
            if volume.identity is not None:
                return volume.identity.cluster_id
    return cluster.spec.cluster_id or derived_uuid(cluster.metadata.uid, "cluster")


def lay_out(
    cluster: KafkaCluster,
    nodes: tuple[NodeObservation, ...],
    zones: Mapping[int, str],
    *,
    formed: bool,
    known_ids: frozenset[int] = frozenset(),
    lost: tuple[Lost, ...] = (),
) -> Layout:
    """Existing nodes first, then those that are `lost`, then new ones with the lowest free ids.

    `zones` are those of existing nodes; `formed` says that the first voters are settled, so new controllers get no
    directory id; `known_ids` are ids that Kafka still knows (replicas, registrations), or that stand on claims of nodes
    that have left, and that no new node may take.
    """
    own_id = cluster_id(cluster, nodes)
    taken = {node.id for node in nodes} | set(known_ids) | {one.id for one in lost}
    result: list[NodeLayout] = []
    leaving: list[int] = []
    for pool in cluster.spec.node_pools:
        existing = sorted((node for node in nodes if node.pool == pool.name and node.volumes), key=lambda n: n.id)
        counts = Counter(zones[node.id] for node in existing if node.id in zones)
        members: list[tuple[int, str | None, bool]] = [
            (node.id, zones.get(node.id), True) for node in existing[: pool.replicas]
        ]
        leaving += [node.id for node in existing[pool.replicas :]]
        for one in lost:
            if one.pool == pool.name and len(members) < pool.replicas:
                members.append((one.id, one.zone, False))
                counts[one.zone or ""] += 1
        for _ in range(len(members), pool.replicas):
            node_id = next(candidate for candidate in range(len(taken) + 1) if candidate not in taken)
            taken.add(node_id)
            zone = min(pool.zones, key=lambda z: (counts[z], pool.zones.index(z))) if pool.zones else None
            if zone is not None:
                counts[zone] += 1
            members.append((node_id, zone, False))
        result += [_node(cluster, pool, own_id, member, formed=formed) for member in members]
    return Layout(own_id, tuple(sorted(result, key=lambda node: node.id)), tuple(sorted(leaving, reverse=True)))


def _node(
    cluster: KafkaCluster, pool: NodePool, own_id: str, member: tuple[int, str | None, bool], *, formed: bool
) -> NodeLayout:
    node_id, zone, exists = member
    name = cluster.metadata.name
    first_voter = Role.CONTROLLER in pool.roles and not formed
    metadata_volume = min(volume.id for volume in pool.storage.volumes)
    return NodeLayout(
        id=node_id,
        pool=pool.name,
        roles=frozenset(pool.roles),
        zone=zone,
        exists=exists,
        volumes=tuple(
            VolumeLayout(
                claim=naming.volume(name, pool.name, node_id, volume.id),
                volume_id=volume.id,
                size=volume.size,
                storage_class=volume.storage_class_name,
                identity=Identity(
                    cluster_id=own_id,
                    node_id=node_id,
                    directory_id=derived_uuid(cluster.metadata.uid, f"directory/{node_id}")
                    if first_voter and volume.id == metadata_volume
                    else None,
                ),
            )
            for volume in sorted(pool.storage.volumes, key=lambda v: v.id)
        ),
    )
