"""The Kubernetes objects of a cluster, as values. Pure; the same spec makes the same objects to the letter."""

from __future__ import annotations

import copy
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from controlplane.api import names
from controlplane.api.access import Authorization
from controlplane.api.base import Metadata
from controlplane.api.group import API_VERSION
from controlplane.api.kafka_cluster import KafkaCluster, NodePool
from controlplane.api.owned_config import config_texts
from controlplane.api.quantity import parse_bytes
from controlplane.domain import versions
from controlplane.domain.access.listeners import CLIENTS_CA, CLUSTER_CA, LISTENER_PEM, NODE_PEM, TLS_DIR
from controlplane.domain.cluster import dynamic, naming, properties
from controlplane.domain.cluster.layout import Layout, NodeLayout, VolumeLayout
from controlplane.domain.cluster.observe import identity_mark
from controlplane.domain.observation import NodeObservation

Manifest = dict[str, Any]

CONFIG_DIR = "/etc/kafka/config"
PEERS_DIR = "/etc/kafka/peers"
RUN_DIR = "/etc/kafka/run"
ADVERTISED_DIR = "/etc/kafka/advertised"
DEFAULT_HEAP = "1Gi"


@dataclass(frozen=True, slots=True)
class Placement:
    """What an installation decides about pods: see OperatorSettings."""

    image_prefix: str
    addressing: Literal["PodIP", "DNS"]
    stop_grace_seconds: int
    probe_period_seconds: int


POD_TEMPLATE = "pod.json"
"""Key of a node's ConfigMap: the pod it was last started with, without marks."""
RENDERED = 1024
"""So many nodes' files and pods are remembered: those of a few of the largest clusters."""


@dataclass(frozen=True, slots=True)
class Design:
    """All of a cluster that one of its nodes is made from, in plain values: two that are equal make the same text.

    What is rendered is remembered by these values, since every pass over a cluster asks for all its nodes, more than
    once while they are rolled. That cannot be out of date: nothing else is at hand where it is rendered.
    """

    name: str
    namespace: str
    uid: str
    version: str
    metadata_version: str | None
    config: tuple[tuple[str, str], ...]
    listeners: tuple[properties.Listener, ...]
    mutual_tls: bool
    authorization: Authorization | None
    brokers: int
    heap_bytes: int
    resources: str
    """As JSON: numbers that are equal may be written in several ways."""


def design_of(cluster: KafkaCluster, node: NodeLayout, layout: Layout) -> Design:
    meta, spec, pool = cluster.metadata, cluster.spec, _pool(cluster, node)
    return Design(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        version=spec.version,
        metadata_version=spec.metadata_version,
        config=tuple(config_texts(spec.config).items()),
        listeners=tuple(
            properties.Listener(
                item.name,
                item.port,
                item.tls,
                item.authentication,
                given=item.certificate_secret_ref is not None,
                external=item.is_external,
            )
            for item in spec.listeners
        ),
        mutual_tls=spec.mutual_tls,
        authorization=spec.authorization,
        brokers=len(layout.brokers),
        heap_bytes=parse_bytes(pool.jvm.heap if pool.jvm and pool.jvm.heap else DEFAULT_HEAP),
        resources=json.dumps(pool.resources.to_object() if pool.resources else {}),
    )


def config_map(cluster: KafkaCluster, node: NodeLayout, layout: Layout, placement: Placement) -> Manifest:
    """server.properties and pod of one node, applied right before the pod is made."""
    design = design_of(cluster, node, layout)
    return {
        "metadata": meta_of(cluster, naming.config(cluster.metadata.name, node.pool, node.id), node, owned=True),
        "data": {
            "server.properties": _server_properties(design, node),
            POD_TEMPLATE: _pod_template(design, node, placement),
        },
    }


def server_properties(cluster: KafkaCluster, node: NodeLayout, layout: Layout) -> str:
    return _server_properties(design_of(cluster, node, layout), node)


@lru_cache(maxsize=RENDERED)
def _server_properties(design: Design, node: NodeLayout) -> str:
    declared = dict(design.config)
    _, static = dynamic.split(properties.defaults(design.brokers, design.heap_bytes) | declared)
    return properties.render(
        properties.NodeProperties(
            node_id=node.id,
            controller=node.is_controller,
            broker=node.is_broker,
            rack=node.zone,
            volumes=[volume.volume_id for volume in node.volumes],
            listeners=design.listeners,
            mutual_tls=design.mutual_tls,
            authorization=design.authorization,
            static_config=static,
            min_isr=declared.get(dynamic.MIN_ISR, properties.default_min_isr(design.brokers)),
        )
    )


def spec_hash(cluster: KafkaCluster, node: NodeLayout, layout: Layout, placement: Placement) -> str:
    """What a running pod is compared with: everything a restart would change, nothing that changes by itself.

    Min ISR in a controller's file only seeds the cluster at creation; afterwards it is set cluster-wide, so it does not
    count here (and restarts nothing).
    """
    return _spec_hash(design_of(cluster, node, layout), node, placement)


@lru_cache(maxsize=RENDERED)
def _spec_hash(design: Design, node: NodeLayout, placement: Placement) -> str:
    text = "\n".join(
        line
        for line in _server_properties(design, node).splitlines()
        if not (node.is_controller and line.startswith(f"{dynamic.MIN_ISR}="))
    )
    body = _pod_spec(design, node, placement)
    document = json.dumps([text, body], sort_keys=True)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def pod(
    cluster: KafkaCluster, node: NodeLayout, layout: Layout, placement: Placement, observed: NodeObservation
) -> Manifest:
    """The pod of one node."""
    return with_marks(_pod(design_of(cluster, node, layout), node, placement), observed)


def claims_of(pod_template: Manifest) -> set[str]:
    """The names of the claims that a pod mounts."""
    volumes = pod_template["spec"]["volumes"]
    return {v["persistentVolumeClaim"]["claimName"] for v in volumes if "persistentVolumeClaim" in v}


def with_marks(template: Manifest, observed: NodeObservation) -> Manifest:
    """A pod from its template: whether it may format is decided here, from the marks on the volumes that it mounts.

    Volumes that were declared since are not among them while the node comes back as it was.
    """
    directory = next(
        (v.identity.directory_id for v in observed.volumes if v.identity and v.identity.directory_id is not None), ""
    )
    mounted = claims_of(template)
    marks = {
        "KAFKA_FORMATTED": ",".join(v.formatted or "" for v in observed.volumes if v.name in mounted),
        "KAFKA_FIRST_VOTER": str(bool(directory)).lower(),
        "KAFKA_IDENTITY_DIRECTORY_ID": directory,
    }
    made = copy.deepcopy(template)
    made["spec"]["initContainers"][0]["env"] += [{"name": key, "value": value} for key, value in marks.items()]
    return made


@lru_cache(maxsize=RENDERED)
def _pod_template(design: Design, node: NodeLayout, placement: Placement) -> str:
    return json.dumps(_pod(design, node, placement), sort_keys=True)


def _pod(design: Design, node: NodeLayout, placement: Placement) -> Manifest:
    meta = _meta(design, naming.pod(design.name, node.pool, node.id), node, owned=True)
    meta["annotations"] = {
        names.SPEC_HASH: _spec_hash(design, node, placement),
        names.KAFKA_VERSION: design.version,
    } | ({names.RACK: node.zone} if node.zone else {})
    spec = _pod_spec(design, node, placement)
    release = {"name": "KAFKA_RELEASE_VERSION", "value": _format_version(design)}
    spec["initContainers"][0]["env"].append(release)
    return {"metadata": meta, "spec": spec}


def _pod_spec(design: Design, node: NodeLayout, placement: Placement) -> Manifest:
    """What a restart would change: without marks, and without what only a first format reads."""
    name = design.name
    volumes = [volume.volume_id for volume in node.volumes]
    image = f"{placement.image_prefix}kafka:{design.version}"
    mounts = [
        {"name": "config", "mountPath": CONFIG_DIR, "readOnly": True},
        {"name": "peers", "mountPath": PEERS_DIR, "readOnly": True},
        {"name": "run", "mountPath": RUN_DIR},
        *({"name": f"data-{v}", "mountPath": properties.DATA_DIR.format(volume=v)} for v in volumes),
    ]
    host: Manifest = {"name": "KFLEET_NODE_HOST"}
    if placement.addressing == "PodIP":
        host["valueFrom"] = {"fieldRef": {"fieldPath": "status.podIP"}}
    else:
        host["value"] = naming.pod_host(name, design.namespace, node.pool, node.id)
    format_env = {
        "KAFKA_NODE_ID": str(node.id),
        "KAFKA_CLUSTER_ID": node.volumes[0].identity.cluster_id,
        "KAFKA_LOG_DIRS": ",".join(properties.DATA_DIR.format(volume=v) for v in volumes),
    }
    secured = design.mutual_tls
    if secured:
        mounts.append({"name": "tls", "mountPath": TLS_DIR, "readOnly": True})
        format_env["KAFKA_TLS"] = ",".join(_tls_files(design, node))
    outside = [item.name.upper() for item in design.listeners if item.external and node.is_broker]
    told: list[Manifest] = []
    if outside:
        mounts.append({"name": "advertised", "mountPath": ADVERTISED_DIR, "readOnly": True})
        format_env["KAFKA_ADVERTISED"] = ",".join(outside)
        told.append({"name": "KAFKA_MACHINE", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}})
    probe_port = properties.REPLICATION_PORT if node.is_broker else properties.CONTROLLER_PORT
    return {
        "restartPolicy": "Always",
        "terminationGracePeriodSeconds": placement.stop_grace_seconds,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        **(
            {"hostname": naming.pod(name, node.pool, node.id), "subdomain": naming.headless(name)}
            if placement.addressing == "DNS"
            else {}
        ),
        **_scheduling(name, node),
        "initContainers": [
            {
                "name": "format",
                "image": image,
                "command": ["kafka-node-format"],
                "env": [host, *told, *({"name": key, "value": value} for key, value in format_env.items())],
                "volumeMounts": mounts,
            }
        ],
        "containers": [
            {
                "name": "kafka",
                "image": image,
                "command": ["kafka-node-run"],
                "env": [host, {"name": "KAFKA_HEAP", "value": _heap(design.heap_bytes)}],
                "ports": [{"name": port_name, "containerPort": port} for port_name, port in _ports(design, node)],
                "volumeMounts": mounts,
                "resources": json.loads(design.resources),
                "readinessProbe": {
                    "tcpSocket": {"port": probe_port},
                    "periodSeconds": placement.probe_period_seconds,
                    "failureThreshold": 3,
                },
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": naming.config(name, node.pool, node.id)}},
            {"name": "peers", "configMap": {"name": naming.peers(name), "optional": True}},
            {"name": "run", "emptyDir": {}},
            # Optional, since a pod's address stands in its certificate: the init container waits for the files.
            *([{"name": "tls", "secret": _tls_secret(name, node)}] if secured else []),
            # Optional as well: what clients outside are told depends on where the pod runs.
            *([{"name": "advertised", "configMap": _advertised(name, node)}] if outside else []),
            *(
                {"name": f"data-{volume.volume_id}", "persistentVolumeClaim": {"claimName": volume.claim}}
                for volume in node.volumes
            ),
        ],
    }


def _tls_secret(cluster: str, node: NodeLayout) -> Manifest:
    return {"secretName": naming.node_tls(cluster, node.pool, node.id), "optional": True}


def _advertised(cluster: str, node: NodeLayout) -> Manifest:
    return {"name": naming.advertised(cluster, node.pool, node.id), "optional": True}


def _tls_files(design: Design, node: NodeLayout) -> list[str]:
    """What has to lie in TLS_DIR before a node can start."""
    given = [item.name for item in design.listeners if item.given]
    names = [NODE_PEM, CLUSTER_CA, CLIENTS_CA] + [LISTENER_PEM.format(name=name) for name in given if node.is_broker]
    return [f"{TLS_DIR}/{name}" for name in names]


def _format_version(design: Design) -> str:
    """metadata.version that new volumes are formatted with: the pin, else the level of the declared version."""
    return design.metadata_version or versions.release(design.version).metadata_version


def _scheduling(cluster: str, node: NodeLayout) -> Manifest:
    if node.zone is not None:
        return {"nodeSelector": {names.ZONE: node.zone}}
    selector = {"matchLabels": {names.CLUSTER: cluster, names.POOL: node.pool}}
    return {
        "topologySpreadConstraints": [
            {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": selector}
            for key in (names.ZONE, names.HOSTNAME)
        ]
    }


def _ports(design: Design, node: NodeLayout) -> list[tuple[str, int]]:
    ports = [("controller", properties.CONTROLLER_PORT)] if node.is_controller else []
    if node.is_broker:
        ports += [("replication", properties.REPLICATION_PORT)]
        ports += [(listener.name, listener.port) for listener in design.listeners]
    return ports


def _pool(cluster: KafkaCluster, node: NodeLayout) -> NodePool:
    return next(pool for pool in cluster.spec.node_pools if pool.name == node.pool)


def _heap(heap_bytes: int) -> str:
    """As the JVM spells it: whole mebibytes."""
    return f"{max(1, heap_bytes // 2**20)}m"


def dns_name(cluster: KafkaCluster, node: NodeLayout) -> str:
    """The pod's name through the headless Service."""
    meta = cluster.metadata
    return naming.pod_host(meta.name, meta.namespace, node.pool, node.id)


def claim(cluster: KafkaCluster, node: NodeLayout, volume: VolumeLayout) -> Manifest:
    """A PVC with its identity mark. No owner reference: it outlives the object that asked for it (Retain)."""
    meta = meta_of(cluster, volume.claim, node, owned=False)
    meta["labels"][names.VOLUME_ID] = str(volume.volume_id)
    if node.zone is not None:
        meta["labels"][names.ZONE] = node.zone
    meta["annotations"] = {names.IDENTITY: identity_mark(volume.identity)}
    spec: Manifest = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": volume.size}}}
    if volume.storage_class is not None:
        spec["storageClassName"] = volume.storage_class
    return {"metadata": meta, "spec": spec}


def disruption_budget(cluster: KafkaCluster, min_available: int) -> Manifest:
    """The drain gate: all nodes must stay while anything is under way or out of sync, all but one otherwise."""
    name = cluster.metadata.name
    return {
        "metadata": meta_of(cluster, naming.disruption_budget(name), None, owned=True),
        "spec": {
            "minAvailable": min_available,
            "selector": {"matchLabels": {names.CLUSTER: name, names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET}},
        },
    }


def peers(cluster: KafkaCluster, bootstrap: str, initial_controllers: str) -> Manifest:
    """Where the controllers are (`peers.properties`) and who the first voters were (KIP-853's --initial-controllers).

    No owner reference: with the volumes it is what an operator that starts from nothing adopts a cluster by.
    """
    return {
        "metadata": meta_of(cluster, naming.peers(cluster.metadata.name), None, owned=False),
        "data": {
            "peers.properties": f"controller.quorum.bootstrap.servers={bootstrap}\n",
            "initial-controllers": initial_controllers,
        },
    }


def meta_of(cluster: KafkaCluster, name: str, node: NodeLayout | NodeObservation | None, *, owned: bool) -> Manifest:
    """metadata of an object of the cluster, or of one of its nodes; `owned`: it goes with the cluster's object."""
    return _meta(cluster.metadata, name, node, owned=owned)


def _meta(cluster: Metadata | Design, name: str, node: NodeLayout | NodeObservation | None, *, owned: bool) -> Manifest:
    labels = {
        names.APP_NAME: names.KAFKA_APP,
        names.APP_INSTANCE: cluster.name,
        names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET,
        names.CLUSTER: cluster.name,
    }
    if node is not None:
        labels |= {
            names.POOL: node.pool,
            names.NODE_ID: str(node.id),
            names.ROLE_CONTROLLER: str(node.is_controller).lower(),
            names.ROLE_BROKER: str(node.is_broker).lower(),
        }
    result: Manifest = {"name": name, "namespace": cluster.namespace, "labels": labels}
    if owned:
        result["ownerReferences"] = [
            {
                "apiVersion": API_VERSION,
                "kind": "KafkaCluster",
                "name": cluster.name,
                "uid": cluster.uid,
                "controller": True,
                "blockOwnerDeletion": False,
            }
        ]
    return result
