"""Observe one cluster: its objects in Kubernetes and what its brokers answer. Reads only."""

from __future__ import annotations

import asyncio
import logging

from controlplane.api import names
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster import properties
from controlplane.domain.cluster.observe import observe_nodes
from controlplane.domain.cluster.world import World, zone_of
from controlplane.domain.observation import ClusterObservation, KafkaObservation, NodeObservation, QuorumObservation
from controlplane.ports import Clock, KafkaAdmins, KafkaError, KubeApi, Resource

log = logging.getLogger(__name__)

PODS = Resource("", "v1", "pods", "Pod")
CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
SERVICES = Resource("", "v1", "services", "Service")
CONFIG_MAPS = Resource("", "v1", "configmaps", "ConfigMap")
DISRUPTION_BUDGETS = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")


async def observe_world(kube: KubeApi, admins: KafkaAdmins, clock: Clock, cluster: KafkaCluster) -> World:
    """One World. A cluster whose brokers do not answer has `kafka` and `quorum` None; raises KubeError."""
    meta = cluster.metadata
    ours = f"{names.CLUSTER}={meta.name},{names.APP_MANAGED_BY}={names.MANAGED_BY_KFLEET}"
    pods, claims, services, config_maps, budgets = await asyncio.gather(
        kube.list(PODS, meta.namespace, labels=ours),
        kube.list(CLAIMS, meta.namespace, labels=ours),
        kube.list(SERVICES, meta.namespace, labels=ours),
        kube.list(CONFIG_MAPS, meta.namespace, labels=ours),
        kube.list(DISRUPTION_BUDGETS, meta.namespace, labels=ours),
    )
    nodes = observe_nodes(pods, claims)
    kafka, quorum = await _observe_kafka(admins, cluster, nodes)
    return World(
        cluster=cluster,
        observation=ClusterObservation(
            as_of=clock.now(), namespace=meta.namespace, name=meta.name, nodes=nodes, quorum=quorum, kafka=kafka
        ),
        services={service["metadata"]["name"]: service for service in services},
        config_maps={item["metadata"]["name"]: item.get("data") or {} for item in config_maps},
        disruption_budget=next((budget["spec"].get("minAvailable", -1) for budget in budgets), None),
        zones=dict(zone for claim in claims if (zone := zone_of(claim))),
    )


def bootstrap(nodes: tuple[NodeObservation, ...]) -> list[str]:
    """The replication listeners of all brokers that have an address; the same list while addresses stick."""
    return [
        f"{node.pod.ip}:{properties.REPLICATION_PORT}" for node in nodes if node.is_broker and node.pod and node.pod.ip
    ]


async def _observe_kafka(
    admins: KafkaAdmins, cluster: KafkaCluster, nodes: tuple[NodeObservation, ...]
) -> tuple[KafkaObservation | None, QuorumObservation | None]:
    """Not even tried before some broker's pod is ready: until then nothing can answer."""
    if not any(node.is_broker and node.pod and node.pod.ready for node in nodes):
        return None, None
    meta = cluster.metadata
    try:
        return await admins.get(f"{meta.namespace}/{meta.name}", bootstrap(nodes)).observe()
    except KafkaError as error:
        log.info("%s/%s: no observation of Kafka: %s", meta.namespace, meta.name, error.message)
        return None, None
