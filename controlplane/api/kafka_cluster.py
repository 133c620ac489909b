"""KafkaCluster: one cell. The models here are the source of the CRD and of docs/reference/kafkacluster.md."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any

from pydantic import ConfigDict, Field

from controlplane.api.access import (
    RULES_OF_LISTENERS,
    TLS_IS_ON,
    Authorization,
    CertificateStatus,
    Listener,
    ListenerStatus,
    NodeSecurity,
    Security,
    WhenNoAcl,
)
from controlplane.api.base import ApiModel, CamelCase, Metadata, Timestamp
from controlplane.api.group import API_VERSION
from controlplane.api.load_shedding import LoadShedding, LoadSheddingStatus
from controlplane.api.operation import OperationStatus
from controlplane.api.roles import Role
from controlplane.api.rollout import MaintenanceWindow, Rollout
from controlplane.api.rules import (
    SET_LIST,
    CpuQuantity,
    PositiveQuantity,
    Schema,
    immutable_optional,
    map_list,
    quantity_field,
    rule,
    rules,
)

KIND = "KafkaCluster"
PLURAL = "kafkaclusters"
SHORT_NAME = "kfc"

MAX_NODES = 100
MAX_POOLS = 16
MAX_VOLUMES = 8
MAX_CONFIG_KEYS = 256
MAX_WINDOWS = 16
MAX_CLUSTER_NAME = 40
MAX_POOL_NAME = 16
"""`<cluster>-<pool>-<id>` names pods, and a host name has at most 63 characters: 40 + 1 + 16 + 1 + 3."""

CLUSTER_NAME_PATTERN = "^[a-z]([-a-z0-9]*[a-z0-9])?$"
KAFKA_VERSION_PATTERN = r"^[0-9]{1,3}\.[0-9]{1,3}\.[0-9]{1,3}$"
METADATA_VERSION_PATTERN = r"^[0-9]{1,3}\.[0-9]{1,3}(-IV[0-9]{1,3})?$"

NO_CONTROLLERS = (
    "spec.nodePools: no controllers: give one pool the role Controller (3 replicas survive the loss of one)"
)
NO_BROKERS = "spec.nodePools: no brokers: give one pool the role Broker"
EVEN_VOTERS = (
    "spec.nodePools: an even number of voters (replicas of all pools with the role Controller): a majority is more "
    "than half, so an even number survives no more losses than one voter fewer, and has one more that can fail; use 1, "
    "3 or 5"
)
TOO_MANY_NODES = f"spec.nodePools: more than {MAX_NODES} nodes: a cell is bounded in size; add another cluster"
POOL_GONE = (
    "spec.nodePools: a pool cannot be removed or renamed: its nodes hold data under its name; keep it and add another"
)
ROLES_CHANGED = "spec.nodePools[].roles: immutable: its nodes are formatted for these roles; add another pool"
VOLUME_GONE = (
    "spec.nodePools[].storage.volumes: a volume id cannot be removed or renamed: log directories live under it"
)
STORAGE_CLASS_CHANGED = (
    "spec.nodePools[].storage.volumes[].storageClassName: immutable, and cannot be added or removed later: "
    "a claim never changes its storage class"
)
HEAP_OVER_MEMORY = (
    "spec.nodePools[].jvm.heap: must be smaller than resources.{section}.memory: a JVM needs room beyond its heap, and "
    "Kafka lives off the page cache"
)
REQUEST_OVER_LIMIT = "spec.nodePools[].resources.requests.memory: must not exceed resources.limits.memory"
PLAINTEXT_NODES = (
    "spec.security.nodes: a listener with tls or authentication, and authorization, need MutualTls: among nodes in "
    "plaintext whoever reaches a port is one of them"
)
SECURITY_CHANGED = (
    "spec.security.nodes: immutable, and cannot be added or removed later: nodes find one another through it; create "
    "another cluster and move its data"
)
ANONYMOUS_LISTENER = (
    "spec.listeners[].authentication: needed on every listener with spec.authorization: nobody without a name is let in"
)
AUTHORIZATION_TAKEN_AWAY = (
    "spec.authorization: cannot be removed: every client that is let in could read and write everything"
)
BAD_NAME = (
    f"metadata.name: at most {MAX_CLUSTER_NAME} of a-z, 0-9 and '-', beginning with a letter and ending with a letter "
    "or digit: pods and Services are named after it"
)


_MUTUAL = "(has({0}.security) && {0}.security.nodes == 'MutualTls')"


class ProviderType(StrEnum):
    PODS = "Pods"


class DeletionPolicy(StrEnum):
    RETAIN = "Retain"


class Provider(ApiModel):
    type: ProviderType = Field(description="Pods: one Pod and its claims for each Kafka node. Immutable.")


class Volume(ApiModel):
    """One persistent volume a node of the pool; several are JBOD."""

    id: int = Field(ge=0, le=MAX_VOLUMES - 1, description="Number of the volume; part of the claim's name.")
    size: PositiveQuantity = quantity_field(
        "spec.nodePools[].storage.volumes[].size", "Size of the volume, a Kubernetes quantity.", "10Gi"
    )
    storage_class_name: str | None = Field(
        None,
        min_length=1,
        max_length=253,
        description="StorageClass of the claim; the cluster's default class if absent. Immutable.",
    )


class Storage(ApiModel):
    volumes: tuple[Volume, ...] = Field(
        min_length=1,
        max_length=MAX_VOLUMES,
        description="Volumes of each node, by id. The one with the lowest id holds the metadata log.",
        json_schema_extra=map_list("id"),
    )


class RequestResources(ApiModel):
    cpu: CpuQuantity | None = Field(None, description="CPU, such as 500m or 2.")
    memory: PositiveQuantity | None = quantity_field(
        "spec.nodePools[].resources.requests.memory", "Memory, such as 2Gi.", "2Gi", default=None
    )


class LimitResources(ApiModel):
    cpu: CpuQuantity | None = Field(None, description="CPU, such as 500m or 2.")
    memory: PositiveQuantity | None = quantity_field(
        "spec.nodePools[].resources.limits.memory", "Memory, such as 2Gi.", "2Gi", default=None
    )


class Resources(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                "!has(self.requests) || !has(self.requests.memory) || !has(self.limits) || !has(self.limits.memory)"
                " || !quantity(self.requests.memory).isGreaterThan(quantity(self.limits.memory))",
                REQUEST_OVER_LIMIT,
            )
        )
    )
    requests: RequestResources | None = Field(None, description="What the scheduler sets aside for each node.")
    limits: LimitResources | None = Field(None, description="What each node may use at most.")


class Jvm(ApiModel):
    heap: PositiveQuantity | None = quantity_field(
        "spec.nodePools[].jvm.heap", "Java heap (-Xms and -Xmx), a Kubernetes quantity.", "1Gi", default=None
    )


def _heap_below(section: str) -> Schema:
    return rule(
        f"!has(self.resources) || !has(self.resources.{section}) || !has(self.resources.{section}.memory)"
        f" || !has(self.jvm) || !has(self.jvm.heap)"
        f" || quantity(self.jvm.heap).isLessThan(quantity(self.resources.{section}.memory))",
        HEAP_OVER_MEMORY.format(section=section),
    )


class NodePool(ApiModel):
    """Nodes that are alike."""

    model_config = ConfigDict(json_schema_extra=rules(_heap_below("limits"), _heap_below("requests")))
    name: str = Field(
        min_length=1,
        max_length=MAX_POOL_NAME,
        pattern=r"^[a-z][a-z0-9]*$",
        description="Name of the pool, without '-' so that no two clusters' pods can share a name. Immutable.",
    )
    roles: tuple[Role, ...] = Field(
        min_length=1,
        max_length=2,
        description="Controller, Broker, or both (combined nodes). Immutable.",
        json_schema_extra=SET_LIST,
    )
    replicas: int = Field(ge=1, le=MAX_NODES, description="Number of nodes.")
    zones: tuple[Annotated[str, Field(min_length=1, max_length=63)], ...] = Field(
        (),
        max_length=16,
        description="Zones (topology.kubernetes.io/zone) the nodes are spread over in turn; they become racks.",
        json_schema_extra=SET_LIST,
    )
    storage: Storage = Field(description="Volumes of each node.")
    resources: Resources | None = Field(None, description="CPU and memory of each node.")
    jvm: Jvm | None = Field(None, description="Settings of the Java virtual machine.")


_NODE_POOL_RULES = (
    rule("self.exists(p, 'Controller' in p.roles)", NO_CONTROLLERS),
    rule("self.exists(p, 'Broker' in p.roles)", NO_BROKERS),
    rule(
        "!self.exists(p, 'Controller' in p.roles)"
        " || self.filter(p, 'Controller' in p.roles).map(p, p.replicas).sum() % 2 == 1",
        EVEN_VOTERS,
    ),
    rule(f"self.map(p, p.replicas).sum() <= {MAX_NODES}", TOO_MANY_NODES),
    rule("oldSelf.all(o, self.exists(n, n.name == o.name))", POOL_GONE),
    rule(
        "oldSelf.all(o, self.all(n, n.name != o.name"
        " || (size(n.roles) == size(o.roles) && n.roles.all(r, r in o.roles))))",
        ROLES_CHANGED,
    ),
    rule(
        "oldSelf.all(o, self.all(n, n.name != o.name"
        " || o.storage.volumes.all(ov, n.storage.volumes.exists(nv, nv.id == ov.id))))",
        VOLUME_GONE,
    ),
    rule(
        "oldSelf.all(o, self.all(n, n.name != o.name"
        " || o.storage.volumes.all(ov, n.storage.volumes.all(nv, nv.id != ov.id"
        " || (has(nv.storageClassName) == has(ov.storageClassName)"
        " && (!has(nv.storageClassName) || nv.storageClassName == ov.storageClassName))))))",
        STORAGE_CLASS_CHANGED,
    ),
)


class KafkaClusterSpec(ApiModel):
    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(f"{_MUTUAL.format('self')} == {_MUTUAL.format('oldSelf')}", SECURITY_CHANGED),
            rule(
                f"{_MUTUAL.format('self')} || (!has(self.authorization)"
                f" && self.listeners.all(l, !{TLS_IS_ON.format('l')} && !has(l.authentication)))",
                PLAINTEXT_NODES,
            ),
            rule(
                "!has(self.authorization) || self.listeners.all(l, has(l.authentication))",
                ANONYMOUS_LISTENER,
            ),
            rule("!has(oldSelf.authorization) || has(self.authorization)", AUTHORIZATION_TAKEN_AWAY),
            immutable_optional("spec.clusterId", "clusterId", "it is written on every formatted volume"),
            rule(
                "self.provider.type == oldSelf.provider.type", "spec.provider.type: immutable: create another cluster"
            ),
        )
    )
    provider: Provider = Field(description="What runs the cluster. Immutable.")
    version: str = Field(
        max_length=16,
        pattern=KAFKA_VERSION_PATTERN,
        description="Kafka version that all nodes shall run, such as 4.2.0.",
    )
    metadata_version: str | None = Field(
        None,
        max_length=16,
        pattern=METADATA_VERSION_PATTERN,
        description="Holds the finalised metadata.version there, such as 4.2-IV1; if absent it follows `version` after "
        "the soak.",
    )
    cluster_id: str | None = Field(
        None,
        min_length=22,
        max_length=22,
        pattern=r"^[A-Za-z0-9_-]{22}$",
        description="Kafka's cluster id, for restores; made up if absent. Immutable.",
    )
    node_pools: tuple[NodePool, ...] = Field(
        min_length=1,
        max_length=MAX_POOLS,
        description="Pools of nodes, by name.",
        json_schema_extra=map_list("name") | rules(*_NODE_POOL_RULES),
    )
    config: dict[str, Any] = Field(
        default_factory=dict,
        max_length=MAX_CONFIG_KEYS,
        description="Kafka broker and controller settings: text, numbers and booleans. Settings that the operator owns "
        "are refused.",
    )
    listeners: tuple[Listener, ...] = Field(
        min_length=1,
        max_length=8,
        description="Listeners for clients, by name.",
        json_schema_extra=map_list("name") | rules(*RULES_OF_LISTENERS),
    )
    security: Security | None = Field(
        None, description="How the cluster's own connections are protected; in plaintext if absent."
    )
    authorization: Authorization | None = Field(
        None,
        description="Who may do what; everybody everything if absent. A cluster in use turns it on with whenNoAcl "
        "Allow, and goes on to Deny when its users have their ACLs; never off.",
    )
    rollout: Rollout = Field(Rollout(), description="How the cluster is rolled.")
    maintenance_windows: tuple[MaintenanceWindow, ...] = Field(
        (),
        max_length=MAX_WINDOWS,
        description="When nodes that are up may be stopped and features finalised; at any time if there is none. A "
        "window that closes lets the node come back that is down, and stops no further one. An Approval can waive it; "
        "so whoever changes the spec has to stand in the annotation kfleet.dev/requested-by.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    load_shedding: LoadShedding = Field(
        default_factory=LoadShedding, description="What is done when brokers are saturated; nothing by default."
    )
    deletion_policy: DeletionPolicy = Field(
        DeletionPolicy.RETAIN, description="Retain: deleting this object keeps the claims and their data."
    )

    @property
    def mutual_tls(self) -> bool:
        """Whether nodes know one another by certificates."""
        return self.security is not None and self.security.nodes is NodeSecurity.MUTUAL_TLS


class NodeStatus(ApiModel):
    """One Kafka node as last observed."""

    id: int = Field(ge=0, description="Kafka node id.")
    pool: str = Field(max_length=MAX_POOL_NAME, description="Its pool.")
    roles: tuple[Role, ...] = Field((), max_length=2, description="Its roles.", json_schema_extra=SET_LIST)
    rack: str | None = Field(None, max_length=63, description="Its zone.")
    version: str | None = Field(None, max_length=16, description="Kafka version its pod runs.")
    ready: bool = Field(description="Serving: its pod is ready.")
    state: CamelCase = Field(description="One word for what it is doing, such as Running, Starting or DiskLost.")
    message: str | None = Field(None, max_length=1024, description="What is wrong and what to do, if something is.")


class RolledBack(ApiModel):
    """An upgrade that was rolled back. While the spec asks for the same the cluster stays on the version before."""

    version: str = Field(max_length=16, description="The version that every node went back to.")
    plan_hash: str = Field(max_length=80, description="Hash of the plan that is not tried again.")
    reason: CamelCase = Field(description="The first of the checks that failed; `kfleet explain REASON` has more.")
    evidence: str = Field("", max_length=1024, description="What was seen, and since when.")
    at: Timestamp = Field(description="When the way back began.")
    retry_token: str = Field("", max_length=64, description="spec.rollout.retryToken at that time.")
    observed_generation: int = Field(
        0, ge=0, description="The newest generation of the spec that asks for the same plan."
    )


class Replacement(ApiModel):
    """A request for a node on an empty disk that was met. As long as it stands unchanged it asks for nothing more."""

    request: str = Field(max_length=64, description="Annotation kfleet.dev/replace-node as it was.")
    at: Timestamp = Field(description="When the node was whole.")


class KafkaClusterStatus(OperationStatus):
    cluster_id: str | None = Field(None, max_length=64, description="Kafka's cluster id.")
    version: str | None = Field(None, max_length=16, description="The version every node runs; the old one in a roll.")
    metadata_version: str | None = Field(None, max_length=16, description="The finalised metadata.version.")
    bootstrap_servers: tuple[Annotated[str, Field(max_length=320)], ...] = Field(
        (),
        max_length=8,
        description="host:port for clients, one a listener; appears once every node has been formatted and registered.",
        json_schema_extra={"x-kubernetes-list-type": "atomic"},
    )
    listeners: tuple[ListenerStatus, ...] = Field(
        (),
        max_length=8,
        description="Every listener, by name; appears with bootstrapServers.",
        json_schema_extra=map_list("name"),
    )
    certificates: tuple[CertificateStatus, ...] = Field(
        (),
        max_length=16,
        description="The authorities, the operator's certificate, the one of a node that ends first, and those that "
        "were given for a listener.",
        json_schema_extra=map_list("name"),
    )
    when_no_acl: WhenNoAcl | None = Field(
        None,
        description="What nodes do now where no ACL is about a resource: Allow while one of them still runs with that; "
        "absent without authorization.",
    )
    nodes: tuple[NodeStatus, ...] = Field(
        (),
        max_length=MAX_NODES,
        description="Every node, by id.",
        json_schema_extra=map_list("id"),
    )
    last_handled_reconcile_at: str | None = Field(
        None,
        max_length=64,
        description="Annotation kfleet.dev/reconcile-at as it was when the operator last looked at this object.",
    )
    dynamic_config: tuple[Annotated[str, Field(max_length=128)], ...] = Field(
        (),
        max_length=MAX_CONFIG_KEYS,
        description="Cluster-wide dynamic settings that kfleet has set, so that one no longer declared is reset.",
        json_schema_extra=SET_LIST,
    )
    rolled_back: RolledBack | None = Field(
        None, description="The upgrade that was rolled back and is not tried again; absent when there is none."
    )
    replacement: Replacement | None = Field(
        None, description="The request for a node on an empty disk that was met, while its annotation stands."
    )
    load_shedding: LoadSheddingStatus | None = Field(
        None, description="What is shed at the moment; absent while spec.loadShedding.mode is Disabled."
    )


class KafkaCluster(ApiModel):
    """A Kafka cluster. `model_validate(obj)` reads an object as the API server sends it."""

    model_config = ConfigDict(
        json_schema_extra=rules(
            rule(
                f"size(self.metadata.name) <= {MAX_CLUSTER_NAME} && "
                f"self.metadata.name.matches('{CLUSTER_NAME_PATTERN}')",
                BAD_NAME,
            )
        )
    )
    api_version: str = API_VERSION
    kind: str = KIND
    metadata: Metadata
    spec: KafkaClusterSpec = Field(description="What shall be.")
    status: KafkaClusterStatus = Field(KafkaClusterStatus(), description="What is.")
