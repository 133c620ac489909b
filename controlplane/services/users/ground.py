"""What all users of a cluster share: the cluster, the way to its brokers, its authorities."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.users.login import Entrance
from controlplane.ports import KafkaAdmin, KafkaAdmins, KeyPair, KubeApi, NotFoundError, Object
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import PODS, bootstrap
from controlplane.services.queue import Key
from controlplane.services.users.credentials import Case, Problem, Signer
from controlplane.services.users.secrets import SECRETS, texts

CA_CRT, CA_KEY = "ca.crt", "ca.key"


@dataclass
class Ground:
    """`admin` None: users have to wait, for `reason`. `is_gone`: there is no cluster that anything could be left on."""

    key: Key
    cluster: Object = field(default_factory=dict)
    admin: KafkaAdmin | None = None
    reason: str = ""
    message: str = ""
    is_gone: bool = False
    authorities: dict[str, str | None] = field(default_factory=dict)
    """What is trusted (PEM) by Secret, as far as it was asked for; None where it is missing."""


class GroundReader:
    def __init__(self, kube: KubeApi, admins: KafkaAdmins) -> None:
        self._kube, self._admins = kube, admins

    async def read(self, key: Key) -> Ground:
        try:
            obj = await self._kube.get(KAFKA_CLUSTERS, key.name, key.namespace)
        except NotFoundError:
            told = f"spec.clusterRef: no KafkaCluster {key.name!r} in this namespace."
            return Ground(key, reason="ClusterNotFound", message=told, is_gone=True)
        ground = Ground(key, obj)
        cluster = KafkaCluster.model_validate(obj)
        if "deletionTimestamp" in obj["metadata"]:
            ground.reason, ground.is_gone = "ClusterNotFound", True
            ground.message = f"spec.clusterRef: KafkaCluster {key.name!r} is being deleted."
            return ground
        ground.reason = "ClusterNotReady"
        if not cluster.status.bootstrap_servers:
            ground.message = f"KafkaCluster {key.name!r} is not up yet."
            return ground
        ours = f"{names.CLUSTER}={key.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        servers = bootstrap(observe_nodes(await self._kube.list(PODS, key.namespace, labels=ours), []))
        if not servers:
            ground.message = f"KafkaCluster {key.name!r} has no running broker."
            return ground
        ground.admin = self._admins.get(key.cell, servers)
        return ground

    async def authority(self, ground: Ground, entrance: Entrance) -> str | Problem | None:
        """What clients of this listener trust (PEM); None without TLS."""
        if not entrance.tls:
            return None
        name = entrance.ca_secret or f"{ground.key.name}-cluster-ca"
        if name not in ground.authorities:
            ground.authorities[name] = (await self._texts(name, ground)).get(CA_CRT) or None
        found = ground.authorities[name]
        if found is None:
            told = f"listener {entrance.name!r}: Secret {name!r} has no {CA_CRT}, which clients need to trust brokers."
            return Problem("AuthorityMissing", told, waiting=True)
        return found

    async def signer(self, ground: Ground, cases: Iterable[Case]) -> Signer:
        """Asked for only where a user needs it."""
        if not any(case.user.is_tls and case.problem is None for case in cases):
            return Signer()
        name = f"{ground.key.name}-clients-ca-key"
        found = await self._texts(name, ground)
        pair = KeyPair(found.get(CA_CRT, ""), found.get(CA_KEY, ""))
        if not pair.certificate or not pair.key:
            missing = " and ".join(key for key in (CA_CRT, CA_KEY) if not found.get(key))
            return Signer(problem=f"Secret {name!r} has no {missing}: no certificate can be signed.")
        return Signer(pair)

    async def _texts(self, name: str, ground: Ground) -> dict[str, str]:
        try:
            return texts(await self._kube.get(SECRETS, name, ground.key.namespace))
        except NotFoundError:
            return {}
