"""What one pass of a cluster's reconciliation knows: the spec, the objects that exist, the observation. Frozen."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster import naming
from controlplane.domain.cluster.layout import Lost
from controlplane.domain.cluster.manifests import POD_TEMPLATE
from controlplane.domain.membership.values import Request
from controlplane.domain.observation import ClusterObservation


@dataclass(frozen=True, slots=True)
class World:
    """`services` are as the API server sent them, `config_maps` their data by name; `disruption_budget` is its
    minAvailable, None if absent.

    `zones` are the zones of nodes that exist, read from their volumes. `storage_classes` says whether volumes of a
    class can be expanded: of those whose volumes are declared larger than they are, and that we may read.
    `certificates` are digests by node id, of what a node's certificates are now; who is not in it needs none.
    """

    cluster: KafkaCluster
    observation: ClusterObservation
    services: Mapping[str, Mapping[str, Any]]
    config_maps: Mapping[str, Mapping[str, str]]
    disruption_budget: int | None
    zones: Mapping[int, str]
    storage_classes: Mapping[str, bool] = field(default_factory=dict)
    certificates: Mapping[int, str] = field(default_factory=dict)
    retired: frozenset[int] = frozenset()
    """Ids of nodes that have left for good and whose claims are kept: no node is made under such an id."""

    @property
    def peers(self) -> Mapping[str, str]:
        """What the peers ConfigMap says; empty before it is published."""
        return self.config_maps.get(naming.peers(self.cluster.metadata.name), {})

    @property
    def formed(self) -> bool:
        """The first voters are settled: some volume was formatted, or the list of initial controllers was published."""
        return bool(self.peers) or any(v.formatted for node in self.observation.nodes for v in node.volumes)

    @property
    def replacement(self) -> Request | None:
        """What a person asks for by annotation; a node id has at most three digits (see MAX_POOL_NAME)."""
        text = self.cluster.metadata.annotations.get(names.REPLACE_NODE)
        if text is None:
            return None
        return Request(int(text) if re.fullmatch("[0-9]{1,3}", text) else None, text)

    @property
    def lost(self) -> Lost | None:
        """The node to be replaced, if it has no volumes any more and there is a trace of its pool: its ConfigMap."""
        wanted = self.replacement.node if self.replacement is not None else None
        if (
            wanted is None
            or wanted in self.retired
            or any(node.id == wanted and node.volumes for node in self.observation.nodes)
        ):
            return None
        for pool in self.cluster.spec.node_pools:
            config = self.config_maps.get(naming.config(self.cluster.metadata.name, pool.name, wanted))
            if config is not None:
                template = json.loads(config.get(POD_TEMPLATE) or "{}")
                zone = template.get("metadata", {}).get("annotations", {}).get(names.RACK)
                return Lost(wanted, pool.name, zone)
        return None

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


def retired_id(claim: Mapping[str, Any]) -> int | None:
    """The id of the node that has left for good and whose claim this is; None for a claim of a member."""
    meta = claim["metadata"]
    node_id = meta.get("labels", {}).get(names.NODE_ID, "")
    retired = meta.get("annotations", {}).get(names.RETIRED) == "true"
    return int(node_id) if retired and node_id.isdecimal() else None


def zone_of(claim: Mapping[str, Any]) -> tuple[int, str] | None:
    """(node id, zone) of a volume that was made for a zone."""
    labels = claim["metadata"].get("labels", {})
    node_id, zone = labels.get(names.NODE_ID, ""), labels.get(names.ZONE)
    return (int(node_id), zone) if zone and node_id.isdecimal() else None
