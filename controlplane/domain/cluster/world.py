"""What one pass of a cluster's reconciliation knows: the spec, the objects that exist, the observation. Frozen."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.values import Access
from controlplane.domain.check import Check
from controlplane.domain.cluster import naming
from controlplane.domain.cluster.layout import Lost
from controlplane.domain.cluster.manifests import POD_TEMPLATE
from controlplane.domain.membership.values import Request
from controlplane.domain.observation import ClusterObservation
from controlplane.domain.rebalance.asked import AskedMove
from controlplane.domain.rolling.witness import Learning

REQUEST_LIMIT = 64
"""Characters of a request that are compared and kept; one that is longer names no node."""


@dataclass(frozen=True, slots=True)
class UserState:
    """What a cluster's own changes ask of one of its KafkaUsers. `out`: it is kept out on purpose. `reason` is that of
    its Ready, empty while this generation was not looked at.

    `trusts` and `signed_by` are fingerprints of authorities: those that its Secret trusts brokers by, and the one that
    signed its certificate ("" if that is not known). None where that is not the cluster's affair.
    """

    name: str
    out: bool
    ready: bool
    reason: str
    refused: bool = False
    """It never had credentials, and does not get any as it is declared: nothing is taken from it."""
    trusts: frozenset[str] | None = None
    signed_by: str | None = None


@dataclass(frozen=True, slots=True)
class World:
    """`services` are as the API server sent them, `config_maps` their data by name; `disruption_budget` is its
    minAvailable, None if absent.

    `zones` are the zones of nodes that exist, read from their volumes. `storage_classes` says whether volumes of a
    class can be expanded: of those whose volumes are declared larger than they are, and that we may read. `stuck` are
    classes of claims that are not bound and do not just wait for a pod: it is not there, or binds at once and has not.
    `certificates` are marks by node id, of what a node's pod has to be started with; who is not in it needs none.
    """

    cluster: KafkaCluster
    observation: ClusterObservation
    services: Mapping[str, Mapping[str, Any]]
    config_maps: Mapping[str, Mapping[str, str]]
    disruption_budget: int | None
    zones: Mapping[int, str]
    storage_classes: Mapping[str, bool] = field(default_factory=dict)
    stuck: frozenset[str] = frozenset()
    certificates: Mapping[int, str] = field(default_factory=dict)
    access: Access | None = None
    """Authorities and certificates; None where nodes talk in plaintext, and where the operator may not look."""
    unenrolled: Check | None = None
    """Why the operator may have no Secrets in the cluster's namespace, where it needs some."""
    retired: frozenset[int] = frozenset()
    """Ids of nodes that have left for good and whose claims are kept: no node is made under such an id."""
    retired_claims: frozenset[str] = frozenset()
    """Names of claims that are marked as retired, those of nodes with others that are not yet included."""

    machines: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    """Addresses (kind, address) of Kubernetes nodes that brokers run on, or ran on last; of those that a listener
    needs."""

    learning: Learning | None = None
    """How the level before an upgrade is learned; None where nobody watches clients."""
    users: tuple[UserState, ...] = ()
    """The cluster's KafkaUsers, where anything is decided by them (`users.matter`)."""
    canary_is_ours: bool = False
    """A topic of the canary's name exists, and has the settings that kfleet gives it."""
    moves: tuple[AskedMove, ...] = ()
    """KafkaRebalances that rolls of it have asked for, read before the brokers were."""
    owners: Mapping[str, str] = field(default_factory=dict)
    """Of topics with partitions that cannot spare a replica, whose they are; read while an operation may wait for them.
    """

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
        """What a person asks for by annotation, until it is met; a node id has at most three digits (MAX_POOL_NAME).

        `1/any-word` asks for node 1 as `1` does: another word makes another request of it. The annotation is its
        owner's and stays; what was met is remembered in the status.
        """
        text = self.cluster.metadata.annotations.get(names.REPLACE_NODE)
        met = self.cluster.status.replacement
        if text is None or (met is not None and met.request == text[:REQUEST_LIMIT]):
            return None
        found = re.fullmatch(r"([0-9]{1,3})(/[A-Za-z0-9._:-]{1,40})?", text)
        return Request(int(found[1]) if found else None, text)

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
        return self.trace(wanted)

    def trace(self, node_id: int) -> Lost | None:
        """What a node without volumes was: its pool and zone, from its ConfigMap; None when that is gone too."""
        for pool in self.cluster.spec.node_pools:
            config = self.config_maps.get(naming.config(self.cluster.metadata.name, pool.name, node_id))
            if config is not None:
                template = json.loads(config.get(POD_TEMPLATE) or "{}")
                zone = template.get("metadata", {}).get("annotations", {}).get(names.RACK)
                return Lost(node_id, pool.name, zone)
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


def node_id_of(claim: Mapping[str, Any]) -> int | None:
    text = claim["metadata"].get("labels", {}).get(names.NODE_ID, "")
    return int(text) if text.isdecimal() else None


def is_retired(claim: Mapping[str, Any]) -> bool:
    return bool(claim["metadata"].get("annotations", {}).get(names.RETIRED) == "true")


def retired_ids(claims: Iterable[Mapping[str, Any]]) -> frozenset[int]:
    """The ids of nodes that have left for good. A node has left when all its claims say so: they are marked one by one,
    and one of which only some are marked is whole until the rest is marked too."""
    found: dict[int, bool] = {}
    for claim in claims:
        if (node_id := node_id_of(claim)) is not None:
            found[node_id] = found.get(node_id, True) and is_retired(claim)
    return frozenset(node_id for node_id, left in found.items() if left)


def zone_of(claim: Mapping[str, Any]) -> tuple[int, str] | None:
    """(node id, zone) of a volume that was made for a zone."""
    labels = claim["metadata"].get("labels", {})
    node_id, zone = labels.get(names.NODE_ID, ""), labels.get(names.ZONE)
    return (int(node_id), zone) if zone and node_id.isdecimal() else None
