"""Bad input as a table: what is changed in a good object, and what the refusal must say.

The same table is sent to a real API server and to the operator's own checks, so neither forgets what the other knows.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

Object = dict[str, Any]
EXAMPLES = Path(__file__).parents[2] / "examples"


class _Absent:
    """The value of a field that is taken out."""

    def __repr__(self) -> str:
        """Names of tests hold it: the same in every process."""
        return "ABSENT"


ABSENT = _Absent()


def _load(file: str, kind: str) -> Object:
    documents = yaml.safe_load_all((EXAMPLES / file).read_text())
    return next(document for document in documents if document["kind"] == kind)


def quickstart() -> Object:
    """The example as it stands: with TLS, logins and ACLs."""
    return _load("quickstart/cluster.yaml", "KafkaCluster")


def cluster() -> Object:
    """The same in plaintext, so that what a table adds about access is all that there is."""
    plaintext = [{"name": "clients", "port": 9092, "type": "Internal"}]
    return changed(quickstart(), {"spec/security": ABSENT, "spec/authorization": ABSENT, "spec/listeners": plaintext})


def topic() -> Object:
    return _load("quickstart/topic.yaml", "KafkaTopic")


def rebalance() -> Object:
    """Without an approval: who asks under whose name is another question (tests of approvals)."""
    return changed(_load("rebalance/drain.yaml", "KafkaRebalance"), {"spec/approval": "NotRequired"})


def changed(obj: Object, changes: dict[str, Any]) -> Object:
    """A copy with values set by path ("spec/nodePools/0/replicas"); ABSENT removes one."""
    result = copy.deepcopy(obj)
    for path, value in changes.items():
        *parents, last = path.split("/")
        node: Any = result
        for step in parents:
            node = node[int(step)] if isinstance(node, list) else node.setdefault(step, {})
        if value is ABSENT:
            del node[int(last) if isinstance(node, list) else last]
        elif isinstance(node, list):
            node[int(last) :] = [value, *node[int(last) + 1 :]]
        else:
            node[last] = value
    return result


@dataclass(frozen=True)
class Refusal:
    """`path` and `says` both stand in the refusal of a new object with `changes`."""

    name: str
    changes: dict[str, Any]
    path: str
    says: str = ""


@dataclass(frozen=True)
class Escape:
    """An update of an admitted object (with `before`) by `changes` that must not get through."""

    name: str
    changes: dict[str, Any]
    path: str
    says: str
    before: dict[str, Any]


_POOL = "spec/nodePools/0"
_VOLUME = f"{_POOL}/storage/volumes/0"
_POOL_OF_BROKERS = "spec/nodePools/1"

_LISTENER = "spec/listeners/0"
_EXTERNAL = "spec.listeners[].external"
_HOST = "spec.listeners[0].external.advertisedHost"
_MUTUAL = {"nodes": "MutualTls"}
_ACLS = {"type": "Standard"}
_SCRAM: Object = {"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}}

CLUSTER: tuple[Refusal, ...] = (
    Refusal("no spec", {"spec": ABSENT}, "spec", "Required"),
    Refusal("no controllers", {_POOL: ABSENT}, "spec.nodePools", "no controllers"),
    Refusal("no brokers", {_POOL_OF_BROKERS: ABSENT}, "spec.nodePools", "no brokers"),
    Refusal("no pools", {"spec/nodePools": []}, "spec.nodePools", "should have at least 1 items"),
    Refusal("two voters", {f"{_POOL}/replicas": 2}, "spec.nodePools", "even number of voters"),
    Refusal("four voters, combined", {f"{_POOL_OF_BROKERS}/roles": ["Broker", "Controller"]}, "spec.nodePools", "even"),
    Refusal("no replicas", {f"{_POOL}/replicas": 0}, "spec.nodePools[0].replicas", "greater than or equal to 1"),
    Refusal("negative replicas", {f"{_POOL}/replicas": -3}, "spec.nodePools[0].replicas"),
    Refusal("too many nodes", {f"{_POOL_OF_BROKERS}/replicas": 98}, "spec.nodePools", "more than 100 nodes"),
    Refusal("unknown role", {f"{_POOL}/roles": ["Zookeeper"]}, "spec.nodePools[0].roles[0]", "Unsupported value"),
    Refusal("no roles", {f"{_POOL}/roles": []}, "spec.nodePools[0].roles"),
    Refusal(
        "a role twice", {f"{_POOL}/roles": ["Controller", "Controller"]}, "spec.nodePools[0].roles[1]", "Duplicate"
    ),
    Refusal(
        "two pools of one name", {f"{_POOL_OF_BROKERS}/name": "controllers"}, "spec.nodePools[1]", "Duplicate value"
    ),
    Refusal("pool name with a dash", {f"{_POOL}/name": "pool-a"}, "spec.nodePools[0].name", "should match"),
    Refusal("pool name too long", {f"{_POOL}/name": "a" * 17}, "spec.nodePools[0].name", "16"),
    Refusal("negative size", {f"{_VOLUME}/size": "-1Gi"}, "spec.nodePools[].storage.volumes[].size", "above zero"),
    Refusal("zero size", {f"{_VOLUME}/size": "0"}, "spec.nodePools[].storage.volumes[].size", "above zero"),
    Refusal("size in words", {f"{_VOLUME}/size": "big"}, "spec.nodePools[].storage.volumes[].size", "above zero"),
    Refusal("no volumes", {f"{_POOL}/storage/volumes": []}, "spec.nodePools[0].storage.volumes"),
    Refusal("volume id too high", {f"{_VOLUME}/id": 8}, "spec.nodePools[0].storage.volumes[0].id"),
    Refusal(
        "two volumes of one id",
        {f"{_POOL}/storage/volumes": [{"id": 0, "size": "1Gi"}, {"id": 0, "size": "2Gi"}]},
        "spec.nodePools[0].storage.volumes[1]",
        "Duplicate value",
    ),
    Refusal(
        "negative memory", {f"{_POOL}/resources/requests/memory": "-1"}, "spec.nodePools[].resources.requests.memory"
    ),
    Refusal("negative CPU", {f"{_POOL}/resources/requests/cpu": "-1"}, "spec.nodePools[0].resources.requests.cpu"),
    Refusal(
        "negative CPU as a number", {f"{_POOL}/resources/requests/cpu": -1}, "spec.nodePools[0].resources.requests.cpu"
    ),
    Refusal(
        "request above limit",
        {f"{_POOL}/resources/limits": {"memory": "400Mi"}},
        "spec.nodePools[].resources.requests.memory",
        "must not exceed",
    ),
    Refusal("heap as large as memory", {f"{_POOL}/jvm/heap": "512Mi"}, "spec.nodePools[].jvm.heap", "requests.memory"),
    Refusal(
        "heap above the limit",
        {f"{_POOL}/resources": {"limits": {"memory": "1G"}}, f"{_POOL}/jvm/heap": "1Gi"},
        "spec.nodePools[].jvm.heap",
        "limits.memory",
    ),
    Refusal("negative heap", {f"{_POOL}/jvm/heap": "-256Mi"}, "spec.nodePools[].jvm.heap", "above zero"),
    Refusal("no listeners", {"spec/listeners": []}, "spec.listeners"),
    Refusal("port of the operator", {"spec/listeners/0/port": 9091}, "spec.listeners[0].port", "9092"),
    Refusal(
        "two listeners on one port",
        {"spec/listeners": [{"name": "one", "port": 9092}, {"name": "two", "port": 9092}]},
        "spec.listeners[].port",
        "same port",
    ),
    Refusal(
        "two listeners of one name",
        {"spec/listeners": [{"name": "one", "port": 9092}, {"name": "one", "port": 9093}]},
        "spec.listeners[1]",
        "Duplicate value",
    ),
    Refusal(
        "the operator's listener", {"spec/listeners/0/name": "replication"}, "spec.listeners[].name", "operator's own"
    ),
    Refusal(
        "unknown listener type", {"spec/listeners/0/type": "Ingress"}, "spec.listeners[0].type", "Unsupported value"
    ),
    Refusal("an internal listener with addresses outside", {f"{_LISTENER}/external": {}}, _EXTERNAL, "needs type"),
    *(
        Refusal(what, {f"{_LISTENER}/type": kind, f"{_LISTENER}/external": wrong}, path, says)
        for what, kind, wrong, path, says in (
            ("a node port of a load balancer", "LoadBalancer", {"nodePort": 31000}, _EXTERNAL, "need type NodePort"),
            ("addresses of nodes", "LoadBalancer", {"addressTypes": ["ExternalIP"]}, _EXTERNAL, "need type NodePort"),
            (
                "a node port of a broker's load balancer",
                "LoadBalancer",
                {"brokers": [{"id": 1, "nodePort": 31001}]},
                _EXTERNAL,
                "need type NodePort",
            ),
            (
                "the class of a node port",
                "NodePort",
                {"loadBalancerClass": "a/b"},
                f"{_EXTERNAL}.loadBalancerClass",
                "needs type LoadBalancer",
            ),
            (
                "the operator's annotation",
                "NodePort",
                {"annotations": {"kfleet.dev/service-hash": "x"}},
                f"{_EXTERNAL}.annotations",
                "the operator's",
            ),
            ("no port", "NodePort", {"nodePort": 70000}, "spec.listeners[0].external.nodePort", "65535"),
            *(
                (what, "NodePort", external, f"{_EXTERNAL}.{field}", "IPv6 address")
                for what, external, field in (
                    ("hosts with a port", {"advertisedHost": "kafka-{nodeId}.example.com:9094"}, "advertisedHost"),
                    ("a beginning with a port", {"bootstrapHost": "kafka.example.com:9094"}, "bootstrapHost"),
                    (
                        "a broker's host with a port",
                        {"brokers": [{"id": 1, "advertisedHost": "203.0.113.1:443"}]},
                        "brokers[].advertisedHost",
                    ),
                )
            ),
            ("a host with a line break", "NodePort", {"advertisedHost": "a\nb"}, _HOST, "should match"),
            ("a host with a placeholder", "NodePort", {"advertisedHost": "${env:HOME}"}, _HOST, "should match"),
        )
    ),
    Refusal("TLS among nodes in plaintext", {_LISTENER: _SCRAM}, "spec.security.nodes", "need MutualTls"),
    Refusal(
        "authorization among nodes in plaintext", {"spec/authorization": _ACLS}, "spec.security.nodes", "MutualTls"
    ),
    Refusal(
        "a password in the clear",
        {"spec/security": _MUTUAL, _LISTENER: _SCRAM | {"tls": False}},
        "spec.listeners[].tls",
        "authentication needs tls: true",
    ),
    Refusal(
        "a certificate without TLS",
        {"spec/security": _MUTUAL, f"{_LISTENER}/certificateSecretRef": {"name": "bought"}},
        "spec.listeners[].certificateSecretRef",
        "needs tls: true",
    ),
    Refusal(
        "anybody let in although there are ACLs",
        {"spec/security": _MUTUAL, "spec/authorization": _ACLS},
        "spec.listeners[].authentication",
        "nobody without a name",
    ),
    Refusal(
        "unknown authentication",
        {"spec/security": _MUTUAL, _LISTENER: _SCRAM | {"authentication": {"type": "plain"}}},
        "spec.listeners[0].authentication.type",
        "Unsupported value",
    ),
    Refusal("unknown authorization", {"spec/authorization": {"type": "Opa"}}, "spec.authorization.type", "Unsupported"),
    *(
        Refusal(
            f"a Secret's name with {what}",
            {"spec/security": _MUTUAL, _LISTENER: _SCRAM | {"certificateSecretRef": {"name": name}}},
            "spec.listeners[0].certificateSecretRef.name",
            "should match",
        )
        for what, name in (("a path", "../x"), ("a line break", "x\nlisteners=y"), ("a placeholder", "${env:HOME}"))
    ),
    *(
        Refusal(
            f"a listener's name with {what}",
            {"spec/security": _MUTUAL, _LISTENER: _SCRAM | {"name": name}},
            "spec.listeners[0].name",
            "should match",
        )
        for what, name in (("a line break", "a\nb"), ("quotes", 'a"b'), ("a dot", "a.ssl"), ("a placeholder", "${x}"))
    ),
    Refusal("unknown provider", {"spec/provider/type": "Strimzi"}, "spec.provider.type", "Unsupported value"),
    Refusal("no provider", {"spec/provider": ABSENT}, "spec.provider", "Required value"),
    Refusal("version in words", {"spec/version": "latest"}, "spec.version", "should match"),
    Refusal("metadata version in words", {"spec/metadataVersion": "newest"}, "spec.metadataVersion", "should match"),
    Refusal("cluster id of another shape", {"spec/clusterId": "mine"}, "spec.clusterId"),
    Refusal("soak without a unit", {"spec/rollout/soak": "15"}, "spec.rollout.soak", "should match"),
    Refusal("negative soak", {"spec/rollout/soak": "-15m"}, "spec.rollout.soak", "should match"),
    Refusal(
        "window with seconds",
        {"spec/maintenanceWindows": [{"schedule": "0 0 2 * * 6", "duration": "4h"}]},
        "spec.maintenanceWindows[0].schedule",
        "should match",
    ),
    Refusal(
        "window without an end",
        {"spec/maintenanceWindows": [{"schedule": "0 2 * * 6"}]},
        "spec.maintenanceWindows[0].duration",
        "Required",
    ),
    Refusal(
        "time zone outside",
        {"spec/maintenanceWindows": [{"schedule": "0 2 * * 6", "duration": "4h", "timeZone": "../UTC"}]},
        "spec.maintenanceWindows[0].timeZone",
        "should match",
    ),
    Refusal("an unknown policy", {"spec/rollout/unprotectedPartitions": "Evict"}, "spec.rollout.unprotectedPartitions"),
    Refusal("deletion of data, not yet", {"spec/deletionPolicy": "Delete"}, "spec.deletionPolicy", "Unsupported value"),
    Refusal("name too long", {"metadata/name": "a" * 41}, "metadata.name", "at most 40"),
    Refusal("name with a dot", {"metadata/name": "a.b"}, "metadata.name", "pods and Services"),
)

TOPIC: tuple[Refusal, ...] = (
    Refusal("no partitions", {"spec/partitions": 0}, "spec.partitions", "greater than or equal to 1"),
    Refusal("negative partitions", {"spec/partitions": -1}, "spec.partitions"),
    Refusal("partitions missing", {"spec/partitions": ABSENT}, "spec.partitions", "Required value"),
    Refusal("too many partitions", {"spec/partitions": 10_001}, "spec.partitions"),
    Refusal("no replicas", {"spec/replicas": 0}, "spec.replicas"),
    Refusal("no cluster", {"spec/clusterRef": ABSENT}, "spec.clusterRef", "exactly one"),
    Refusal("a cluster and a tenant", {"spec/tenantRef": {"name": "shop"}}, "spec.clusterRef", "exactly one"),
    Refusal("no tenant's name", {"spec/tenantRef": {}}, "spec.tenantRef.name", "Required value"),
    Refusal(
        "a cell by half",
        {"spec/clusterRef": ABSENT, "spec/tenantRef": {"name": "shop", "cell": {"name": "east"}}},
        "spec.tenantRef.cell.namespace",
        "Required value",
    ),
    Refusal(
        "no cluster's name", {"spec/clusterRef": {"kind": "KafkaCluster"}}, "spec.clusterRef.name", "Required value"
    ),
    Refusal("other kind of cluster", {"spec/clusterRef/kind": "Kafka"}, "spec.clusterRef.kind", "Unsupported value"),
    Refusal("illegal name", {"spec/topicName": "orders/v1"}, "spec.topicName", "should match"),
    Refusal("dots only", {"spec/topicName": ".."}, "spec.topicName", "must not be"),
    Refusal("Kafka's own topic", {"spec/topicName": "__consumer_offsets"}, "spec.topicName", "__"),
    Refusal("name too long for Kafka", {"metadata/name": "a" * 250}, "metadata.name", "249"),
    Refusal("deletion of data, not yet", {"spec/deletionPolicy": "Delete"}, "spec.deletionPolicy", "Unsupported value"),
)


def _config(name: str, key: str, value: Any, says: str) -> Refusal:
    shown = key.replace("\n", " ")
    return Refusal(name, {"spec/config": {"a.good.setting": "1", key: value}}, f"spec.config[{shown}]", says)


_ANY_CONFIG: tuple[Refusal, ...] = (
    _config("a list", "compression.type", ["gzip"], "must be text, a number or a boolean"),
    _config("a map", "compression.type", {"name": "gzip"}, "must be text, a number or a boolean"),
    _config("a placeholder", "compression.type", "${file:/etc/passwd:root}", "must not contain '${'"),
    _config("a placeholder in the middle", "compression.type", "x${env:HOME}y", "must not contain '${'"),
    _config("a line break", "compression.type", "gzip\nlisteners=PLAINTEXT://:1", "line break"),
    _config("a long value", "compression.type", "x" * 4097, "longer than 4096"),
    _config("a key with a space", "compression type", "gzip", "not a setting's name"),
    _config("a key with an equals sign", "a=b", "gzip", "not a setting's name"),
    _config("a key with a line break", "a\nlisteners", "gzip", "not a setting's name"),
    _config("an empty key", "", "gzip", "not a setting's name"),
    _config("a long key", "k" * 201, "gzip", "longer than 200"),
)

CLUSTER_CONFIG: tuple[Refusal, ...] = (
    *_ANY_CONFIG,
    *(
        _config(f"the operator's {key}", key, "1", "set by the operator")
        for key in (
            "listeners",
            "advertised.listeners",
            "listener.security.protocol.map",
            "listener.name.clients.ssl.keystore.location",
            "inter.broker.listener.name",
            "controller.listener.names",
            "controller.quorum.voters",
            "controller.quorum.bootstrap.servers",
            "node.id",
            "broker.id",
            "broker.rack",
            "process.roles",
            "log.dir",
            "log.dirs",
            "metadata.log.dir",
            "config.providers",
            "config.providers.env.class",
            "ssl.keystore.location",
            "sasl.enabled.mechanisms",
            "authorizer.class.name",
            "super.users",
            "zookeeper.connect",
        )
    ),
)

TOPIC_CONFIG: tuple[Refusal, ...] = (
    *_ANY_CONFIG,
    _config("throttles", "leader.replication.throttled.replicas", "*", "set by the operator"),
    _config("followers' throttles", "follower.replication.throttled.replicas", "*", "set by the operator"),
)

_ID = "MkU3OEVBNTcwNTJENDM2Qk"
_OTHER_ID = "NkU3OEVBNTcwNTJENDM2Qk"
_CLASS = {f"{_VOLUME}/storageClassName": "fast"}
_TWO_VOLUMES = {f"{_POOL}/storage/volumes": [{"id": 0, "size": "1Gi"}, {"id": 1, "size": "1Gi"}]}
_CLASS_PATH = "spec.nodePools[].storage.volumes[].storageClassName"
_VOLUMES_PATH = "spec.nodePools[].storage.volumes"

_AUTHENTICATION = f"{_LISTENER}/authentication"
_TLS_PATH = "spec.listeners[].tls"
_SECURED = {"spec/security": _MUTUAL}
_OPEN = _SECURED | {_LISTENER: _SCRAM}
_GUARDED = _OPEN | {"spec/authorization": _ACLS}

CLUSTER_ESCAPES: tuple[Escape, ...] = (
    Escape("cluster id changed", {"spec/clusterId": _OTHER_ID}, "spec.clusterId", "immutable", {"spec/clusterId": _ID}),
    Escape("cluster id removed", {"spec/clusterId": ABSENT}, "spec.clusterId", "immutable", {"spec/clusterId": _ID}),
    Escape("cluster id added", {"spec/clusterId": _ID}, "spec.clusterId", "immutable", {}),
    Escape("pool renamed", {f"{_POOL_OF_BROKERS}/name": "others"}, "spec.nodePools", "removed or renamed", {}),
    Escape(
        "pool removed",
        {_POOL_OF_BROKERS: ABSENT, f"{_POOL}/roles": ["Controller", "Broker"]},
        "spec.nodePools",
        "removed or renamed",
        {},
    ),
    Escape("roles changed", {f"{_POOL}/roles": ["Controller", "Broker"]}, "spec.nodePools[].roles", "immutable", {}),
    Escape("volume renumbered", {f"{_VOLUME}/id": 1}, _VOLUMES_PATH, "removed or renamed", {}),
    Escape("volume removed", {f"{_POOL}/storage/volumes/1": ABSENT}, _VOLUMES_PATH, "removed", _TWO_VOLUMES),
    Escape("storage class changed", {f"{_VOLUME}/storageClassName": "slow"}, _CLASS_PATH, "immutable", _CLASS),
    Escape("storage class removed", {f"{_VOLUME}/storageClassName": ABSENT}, _CLASS_PATH, "immutable", _CLASS),
    Escape("storage class added", _CLASS, _CLASS_PATH, "immutable", {}),
    Escape("nodes secured later", {"spec/security": _MUTUAL}, "spec.security.nodes", "immutable", {}),
    Escape("nodes no longer secured", {"spec/security": ABSENT}, "spec.security.nodes", "immutable", _SECURED),
    Escape("nodes in plaintext", {"spec/security/nodes": "Plaintext"}, "spec.security.nodes", "immutable", _SECURED),
    Escape("authorization taken away", {"spec/authorization": ABSENT}, "spec.authorization", "removed", _GUARDED),
    Escape("TLS taken away", {f"{_LISTENER}/tls": False, _AUTHENTICATION: ABSENT}, _TLS_PATH, "never change", _OPEN),
    Escape("TLS added", {f"{_LISTENER}/tls": True}, _TLS_PATH, "never change", _SECURED),
    Escape("authentication taken away", {_AUTHENTICATION: ABSENT}, _TLS_PATH, "never change", _OPEN),
    Escape("another authentication", {f"{_AUTHENTICATION}/type": "tls"}, _TLS_PATH, "never change", _OPEN),
    Escape("another type", {f"{_LISTENER}/type": "NodePort"}, _TLS_PATH, "never change", {}),
)

_OF_A_TENANT: dict[str, Any] = {"spec/clusterRef": ABSENT, "spec/tenantRef": {"name": "shop"}}
TOPIC_ESCAPES: tuple[Escape, ...] = (
    Escape("fewer partitions", {"spec/partitions": 5}, "spec.partitions", "cannot be reduced", {}),
    Escape("name changed", {"spec/topicName": "b"}, "spec.topicName", "immutable", {"spec/topicName": "a"}),
    Escape("name removed", {"spec/topicName": ABSENT}, "spec.topicName", "immutable", {"spec/topicName": "a"}),
    Escape("name added", {"spec/topicName": "a"}, "spec.topicName", "immutable", {}),
    Escape("another cluster", {"spec/clusterRef/name": "other"}, "spec.clusterRef", "immutable", {}),
    Escape(
        "a tenant instead of the cluster",
        {"spec/clusterRef": ABSENT, "spec/tenantRef": {"name": "shop"}},
        "spec.tenantRef",
        "immutable",
        {},
    ),
    Escape("another tenant", {"spec/tenantRef/name": "other"}, "spec.tenantRef", "immutable", _OF_A_TENANT),
    Escape(
        "another cell of the tenant",
        {"spec/tenantRef/cell": {"namespace": "kafka", "name": "west"}},
        "spec.tenantRef",
        "immutable",
        _OF_A_TENANT,
    ),
)

_GOAL = "spec/goal"

REBALANCE: tuple[Refusal, ...] = (
    Refusal("no goal", {_GOAL: ABSENT}, "spec.goal", "Required value"),
    Refusal("an unknown goal", {_GOAL: {"type": "Tidy"}}, "spec.goal.type", "Unsupported value"),
    Refusal("no cluster to work on", {"spec/clusterRef": ABSENT}, "spec.clusterRef", "Required value"),
    Refusal("a drain of nothing", {f"{_GOAL}/brokers": ABSENT}, "spec.goal.brokers", "needed by Drain"),
    Refusal("a drain of nobody", {f"{_GOAL}/brokers": []}, "spec.goal.brokers", "needed by Drain"),
    Refusal("a negative broker", {f"{_GOAL}/brokers": [-1]}, "spec.goal.brokers", "greater than or equal to 0"),
    Refusal("brokers of a balance", {f"{_GOAL}/type": "Balance"}, "spec.goal.brokers", "left out"),
    Refusal("topics of a drain", {f"{_GOAL}/topics": ["orders"]}, "spec.goal.topics", "left out"),
    Refusal("a move of nothing", {f"{_GOAL}/type": "MoveTo"}, "spec.goal.topics", "needed by MoveTo"),
    Refusal("a topic that is none", {f"{_GOAL}/topics": ["a/b"]}, "spec.goal.topics", "should match"),
    Refusal("no replication factor", {_GOAL: {"type": "ChangeReplicas"}}, "spec.goal.replicas", "needed by"),
    Refusal("replicas of a drain", {f"{_GOAL}/replicas": 3}, "spec.goal.replicas", "left out"),
    Refusal("tolerance of a drain", {f"{_GOAL}/tolerancePercent": 5}, "spec.goal.tolerancePercent", "BalanceBytes"),
    Refusal("no move at a time", {"spec/limits": {"movesPerBroker": 0}}, "spec.limits.movesPerBroker"),
    Refusal("no throttle at all", {"spec/limits": {"throttle": "0"}}, "spec.limits.throttle", "must be Auto"),
    Refusal("a throttle too low", {"spec/limits": {"throttle": "63Ki"}}, "spec.limits.throttle", "64Ki"),
    Refusal("a throttle of words", {"spec/limits": {"throttle": "fast"}}, "spec.limits.throttle", "quantity"),
    Refusal("another approval", {"spec/approval": "Maybe"}, "spec.approval", "Unsupported value"),
)

REBALANCE_ESCAPES: tuple[Escape, ...] = (
    Escape("another goal", {f"{_GOAL}/brokers": [5]}, "spec", "immutable", {}),
    Escape("another approval", {"spec/approval": "Required"}, "spec", "immutable", {}),
    Escape("limits taken away", {"spec/limits": ABSENT}, "spec", "immutable", {}),
)
