"""How the operator reaches a cluster's brokers: at which addresses, and with which certificate."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.access.values import ClientTls
from controlplane.domain.cluster import naming, properties
from controlplane.domain.observation import NodeObservation
from controlplane.ports import ForbiddenError, KubeApi
from controlplane.services.access import secrets


@dataclass(frozen=True, slots=True)
class Way:
    """`by_name`: at the names that certificates say, where addresses do not stick to pods (addressing DNS)."""

    cluster: KafkaCluster
    tls: ClientTls | None
    by_name: bool

    @property
    def is_open(self) -> bool:
        """Whether brokers can be asked: those that want a certificate only with one."""
        return self.tls is not None or not self.cluster.spec.mutual_tls

    def host(self, node: NodeObservation) -> str | None:
        """None for a node whose pod has no address yet."""
        if node.pod is None or not node.pod.ip:
            return None
        meta = self.cluster.metadata
        if self.by_name and self.cluster.spec.mutual_tls:
            return naming.pod_host(meta.name, meta.namespace, node.pool, node.id)
        return node.pod.ip

    def bootstrap(self, nodes: tuple[NodeObservation, ...]) -> list[str]:
        """The replication listeners of all brokers that have an address; the same list while addresses stick."""
        hosts = [host for node in nodes if node.is_broker and (host := self.host(node))]
        return [f"{host}:{properties.REPLICATION_PORT}" for host in hosts]

    def own_listener(self, node: NodeObservation) -> tuple[str, int] | None:
        """Host and port of a node's own listener for the cluster: that of brokers where it is one."""
        port = properties.REPLICATION_PORT if node.is_broker else properties.CONTROLLER_PORT
        host = self.host(node)
        return (host, port) if host is not None else None


def plaintext(nodes: tuple[NodeObservation, ...]) -> list[str]:
    """The replication listeners of all brokers that have an address, of a cluster without certificates."""
    found = [node.pod.ip for node in nodes if node.is_broker and node.pod is not None and node.pod.ip]
    return [f"{address}:{properties.REPLICATION_PORT}" for address in found]


async def way_to(kube: KubeApi, cluster: KafkaCluster, *, by_name: bool) -> Way:
    """With the operator's certificate, if it is there and this account may read it. Raises KubeError."""
    return Way(cluster, await _operator_tls(kube, cluster), by_name)


async def _operator_tls(kube: KubeApi, cluster: KafkaCluster) -> ClientTls | None:
    if not cluster.spec.mutual_tls:
        return None
    meta = cluster.metadata
    try:
        secret = await secrets.read(kube, naming.operator_tls(meta.name), meta.namespace)
    except ForbiddenError:
        return None
    if secret is None or not secrets.is_ours(secret, meta.name):
        return None
    return secrets.client_tls(secrets.texts(secret))
