"""What one pass of a cluster's reconciliation knows: the spec, the objects that exist, the observation. Frozen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster import naming
from controlplane.domain.observation import ClusterObservation


@dataclass(frozen=True, slots=True)
class World:
    """`services` are as the API server sent them, `config_maps` their data by name; `disruption_budget` is its
    minAvailable, None if absent.

    `zones` are the zones of nodes that exist, read from their volumes.
    """

    cluster: KafkaCluster
    observation: ClusterObservation
    services: Mapping[str, Mapping[str, Any]]
    config_maps: Mapping[str, Mapping[str, str]]
    disruption_budget: int | None
    zones: Mapping[int, str]

    @property
    def peers(self) -> Mapping[str, str]:
        """What the peers ConfigMap says; empty before it is published."""
        return self.config_maps.get(naming.peers(self.cluster.metadata.name), {})

    @property
    def formed(self) -> bool:
        """The first voters are settled: some volume was formatted, or the list of initial controllers was published."""
        return bool(self.peers) or any(v.formatted for node in self.observation.nodes for v in node.volumes)

    @property
    def known_ids(self) -> frozenset[int]:
        """Node ids that Kafka knows: registered brokers, holders of replicas, voters."""
        kafka, quorum = self.observation.kafka, self.observation.quorum
        ids: set[int] = set()
        if kafka is not None:
            ids |= {broker.id for broker in kafka.brokers}
            ids |= {replica for partition in kafka.partitions for replica in partition.replicas}
        if quorum is not None:
            ids |= {voter.id for voter in quorum.voters}
        return frozenset(ids)


def zone_of(claim: Mapping[str, Any]) -> tuple[int, str] | None:
    """(node id, zone) of a volume that was made for a zone."""
    labels = claim["metadata"].get("labels", {})
    node_id, zone = labels.get(names.NODE_ID, ""), labels.get(names.ZONE)
    return (int(node_id), zone) if zone and node_id.isdecimal() else None
