"""What all users of a cluster share: the cluster, the way to its brokers, its authorities."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.api.kafka_user import KafkaUser
from controlplane.domain.access.enrolment import NOT_ENROLLED
from controlplane.domain.access.listeners import CLIENTS_CA, CLUSTER_CA
from controlplane.domain.access.pem import first, in_one_line, public_part
from controlplane.domain.cluster import naming
from controlplane.domain.cluster.access import CA_CRT, CA_KEY
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.observation import NodeObservation
from controlplane.domain.users.login import Entrance
from controlplane.ports import (
    KafkaAdmin,
    KafkaAdmins,
    KafkaError,
    KeyPair,
    KubeApi,
    KubeError,
    NotFoundError,
    Object,
)
from controlplane.services.access import secrets
from controlplane.services.access.way import way_to
from controlplane.services.cluster.kind import KAFKA_CLUSTERS
from controlplane.services.cluster.observe import CLAIMS, PODS
from controlplane.services.queue import Key
from controlplane.services.users.credentials import Case, Obstacle, Signer


class _DisagreeError(Exception):
    """The Secret with an authority's key is about another one than the public one, or than nodes trust."""


@dataclass
class Ground:
    """`admin` None: users have to wait, for `reason`; `message` where there is a cluster. `is_gone`: there is none that
    anything could be left on."""

    key: Key
    cluster: Object = field(default_factory=dict)
    admin: KafkaAdmin | None = None
    reason: str = ""
    message: str = ""
    is_gone: bool = False
    nodes: tuple[NodeObservation, ...] = ()
    """Those that have a pod."""
    authorities: dict[str, str | None] = field(default_factory=dict)
    """What is trusted (PEM) by Secret, as far as it was asked for; None where it is missing."""

    @property
    def is_coming(self) -> bool:
        """Whether it may end by itself."""
        return not self.is_gone and self.reason != NOT_ENROLLED

    def told(self, user: KafkaUser) -> str:
        """Why this user has to wait."""
        if not self.is_gone:
            return self.message
        ref = "spec.clusterRef" if user.spec.cluster_ref is not None else "spec.tenantRef"
        if self.cluster:
            return f"{ref}: KafkaCluster {self.key.name!r} is being deleted."
        here = self.key.namespace == user.metadata.namespace
        where = "this namespace" if here else f"namespace {self.key.namespace}"
        return f"{ref}: no KafkaCluster {self.key.name!r} in {where}."


class GroundReader:
    def __init__(self, kube: KubeApi, admins: KafkaAdmins, *, by_name: bool) -> None:
        self._kube, self._admins, self._by_name = kube, admins, by_name

    async def read(self, key: Key) -> Ground:
        try:
            obj = await self._kube.get(KAFKA_CLUSTERS, key.name, key.namespace)
        except NotFoundError:
            return Ground(key, reason="ClusterNotFound", is_gone=True)
        ground = Ground(key, obj)
        cluster = KafkaCluster.model_validate(obj)
        if "deletionTimestamp" in obj["metadata"]:
            ground.reason, ground.is_gone = "ClusterNotFound", True
            return ground
        ground.reason = "ClusterNotReady"
        if not cluster.status.bootstrap_servers:
            ground.message = f"KafkaCluster {key.name!r} is not up yet."
            return ground
        ours = f"{names.CLUSTER}={key.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        way = await way_to(self._kube, cluster, by_name=self._by_name)
        if way.refused is not None:
            ground.reason, ground.message = way.refused.name, way.refusal
            return ground
        ground.nodes = observe_nodes(await self._kube.list(PODS, key.namespace, labels=ours), [])
        servers = way.bootstrap(ground.nodes)
        if not servers or not way.is_open:
            ground.message = f"KafkaCluster {key.name!r} has no running broker."
            return ground
        try:
            ground.admin = self._admins.get(key.cell, servers, way.tls)
        except KafkaError as error:
            ground.reason, ground.message = "KafkaUnavailable", error.message
        return ground

    async def may_return(self, ground: Ground) -> bool:
        """Whether volumes are left that a cluster of this name takes over. Raises KubeError."""
        ours = f"{names.CLUSTER}={ground.key.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
        claims = await self._kube.list(CLAIMS, ground.key.namespace, labels=ours)
        return any("deletionTimestamp" not in claim["metadata"] for claim in claims)

    async def authority(self, ground: Ground, entrance: Entrance) -> str | Obstacle | None:
        """What clients of this listener trust (PEM); None without TLS."""
        if not entrance.tls:
            return None
        name = entrance.ca_secret or naming.cluster_ca(ground.key.name)
        if name not in ground.authorities:
            try:
                ground.authorities[name] = await self._trusted(name, ground)
            except KubeError as error:
                told = f"listener {entrance.name!r}: Secret {name!r} cannot be read: {error.message}"
                return Obstacle("AuthorityMissing", told, waiting=True)
            except _DisagreeError as error:
                return Obstacle("AuthorityMissing", f"listener {entrance.name!r}: {error}", waiting=True)
        trusted = ground.authorities[name]
        if trusted is None:
            told = f"listener {entrance.name!r}: Secret {name!r} has no {CA_CRT}, which clients need to trust brokers."
            return Obstacle("AuthorityMissing", told, waiting=True)
        return trusted

    async def signer(self, ground: Ground, cases: Iterable[Case]) -> Signer:
        """Asked for only where a user needs it."""
        if not any(case.user.is_tls and case.problem is None for case in cases):
            return Signer()
        name = naming.authority_key(naming.clients_ca(ground.key.name))
        try:
            secret = await secrets.read(self._kube, name, ground.key.namespace)
        except KubeError as error:
            return Signer(problem=f"Secret {name!r} cannot be read: {error.message}")
        if secret is not None and not secrets.is_ours(secret, ground.key.name):
            return Signer(problem=f"Secret {name!r} is not kfleet's: nothing is signed with it.")
        found = secrets.texts(secret) if secret is not None else {}
        # The first one signs; while one authority follows another the other stands behind it.
        pair = KeyPair(first(found.get(CA_CRT, "")), found.get(CA_KEY, ""))
        if not pair.certificate or not pair.key:
            missing = " and ".join(key for key in (CA_CRT, CA_KEY) if not found.get(key))
            return Signer(problem=f"Secret {name!r} has no {missing}: no certificate can be signed.")
        public = naming.clients_ca(ground.key.name)
        try:
            await self._agreeing(public, CLIENTS_CA, found, ground)
        except KubeError as error:
            return Signer(problem=f"Secret {public!r} cannot be read: {error.message}")
        except _DisagreeError as error:
            return Signer(problem=str(error))
        return Signer(pair)

    async def _trusted(self, name: str, ground: Ground) -> str | None:
        """Of the cluster's own authority what its key's Secret says: the public one may have been edited by hand.
        Raises KubeError and _DisagreeError."""
        if name == naming.cluster_ca(ground.key.name):
            secret = await secrets.read(self._kube, naming.authority_key(name), ground.key.namespace)
            data = secrets.texts(secret) if secret is not None and secrets.is_ours(secret, ground.key.name) else {}
            if found := secrets.trusted(data):
                await self._agreeing(name, CLUSTER_CA, data, ground)
                return found
        return public_part(await self._public(name, ground)) or None

    async def _public(self, name: str, ground: Ground) -> str:
        public = await secrets.read(self._kube, name, ground.key.namespace)
        return (secrets.texts(public) if public is not None else {}).get(CA_CRT, "")

    async def _agreeing(self, name: str, file: str, key_data: Mapping[str, str], ground: Ground) -> None:
        """An authority's two Secrets hold the same one, or there is none in the public one; and a node has it in this
        file, or none has any. Else one was edited, which the cluster's next pass puts right, or they are copies from
        before a succession, which it reports. Raises KubeError and _DisagreeError."""
        own, public = in_one_line(key_data.get(CA_CRT, "")), in_one_line(await self._public(name, ground))
        if public and not public & own:
            raise _DisagreeError(f"Secrets {name!r} and {naming.authority_key(name)!r} hold different authorities.")
        has_other = False
        for node in ground.nodes:
            trusted = in_one_line((await self._of_node(node, ground)).get(file, ""))
            if trusted & own:
                return
            has_other = has_other or bool(trusted)
        if has_other:
            told = "holds another authority than nodes trust, as a copy from before the last succession does."
            raise _DisagreeError(f"Secret {naming.authority_key(name)!r} {told}")

    async def _of_node(self, node: NodeObservation, ground: Ground) -> dict[str, str]:
        name = naming.node_tls(ground.key.name, node.pool, node.id)
        secret = await secrets.read(self._kube, name, ground.key.namespace)
        return secrets.texts(secret) if secret is not None and secrets.is_ours(secret, ground.key.name) else {}
