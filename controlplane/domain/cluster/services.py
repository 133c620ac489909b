"""The Services of a cluster, as values: the headless one, and each listener's. Pure.

A listener for clients outside has a Service for each broker beside the one at which they begin. Which traffic a node
port takes follows from what is advertised: the address of the broker's own Kubernetes node leads to that broker alone,
and so only there is it served (`Local`: no second hop, and clients keep their addresses); a name of somebody's own may
lead to any node (`Cluster`). Load balancers may use any node: with `Local` they find out by health checks that a broker
is back, while the roll goes on to the next one.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from controlplane.api import names
from controlplane.api.access import Listener
from controlplane.api.external import ListenerType
from controlplane.api.kafka_cluster import KafkaCluster
from controlplane.domain.cluster import naming, properties
from controlplane.domain.cluster.manifests import Manifest, meta_of

_TYPES = {"NodePort": ListenerType.NODE_PORT, "LoadBalancer": ListenerType.LOAD_BALANCER}


@dataclass(frozen=True, slots=True)
class Wanted:
    """A Service as it should be; `field` is the path of what in the spec it is made from."""

    manifest: Manifest
    field: str = "spec.listeners"

    @property
    def name(self) -> str:
        return str(self.manifest["metadata"]["name"])


def services(cluster: KafkaCluster, brokers: Iterable[int]) -> list[Wanted]:
    """`brokers` are the ids of those that are declared or there."""
    ids = sorted(brokers)
    found = [Wanted(_headless(cluster))]
    for item in cluster.spec.listeners:
        found += _outside(cluster, item, ids) if item.is_external else [Wanted(_internal(cluster, item))]
    return found


def differs(wanted: Manifest, found: Mapping[str, Any]) -> bool:
    """Whether it has to be applied: what Kubernetes and its webhooks add by themselves (a class of load balancers
    where none is declared), and others' annotations, do not count."""
    spec, now = wanted["spec"], found["spec"]
    marks = wanted["metadata"].get("annotations") or {}
    mark = marks.get(names.SERVICE_HASH)
    if mark is not None and mark != (found["metadata"].get("annotations") or {}).get(names.SERVICE_HASH):
        return True
    kept = {"type", "externalTrafficPolicy", "loadBalancerClass"} if mark is not None else set()
    asked = {port["port"]: port["nodePort"] for port in spec["ports"] if "nodePort" in port}
    has = {port["port"]: port.get("nodePort") for port in now.get("ports") or []}
    return bool(
        _ports(spec) != _ports(now)
        or spec["selector"] != now.get("selector")
        or any(spec[key] != now.get(key) for key in kept & spec.keys())
        or any(has.get(port) != number for port, number in asked.items())
    )


def as_served(wanted: Manifest, found: Mapping[str, Any]) -> Manifest:
    """A listener's Service as it should be, but for the traffic that it takes: that stays as it is."""
    policy = found["spec"].get("externalTrafficPolicy") or wanted["spec"]["externalTrafficPolicy"]
    meta, spec = wanted["metadata"], wanted["spec"] | {"externalTrafficPolicy": policy}
    marks = {names.LISTENER_TYPE, names.SERVICE_HASH}
    own = {key: text for key, text in meta["annotations"].items() if key not in marks}
    return wanted | {"metadata": meta | {"annotations": own | _marks(spec, own)}, "spec": spec}


def listener_type(service: Mapping[str, Any]) -> ListenerType:
    """The type of the listener that a Service was made for."""
    told = (service["metadata"].get("annotations") or {}).get(names.LISTENER_TYPE)
    if told in set(ListenerType):
        return ListenerType(told)
    return _TYPES.get(service["spec"].get("type", ""), ListenerType.INTERNAL)


def _ports(spec: Mapping[str, Any]) -> list[tuple[str, int]]:
    return sorted((port.get("name", ""), port["port"]) for port in spec.get("ports") or [])


def _selector(cluster: KafkaCluster) -> dict[str, str]:
    return {names.CLUSTER: cluster.metadata.name, names.APP_MANAGED_BY: names.MANAGED_BY_KFLEET}


def _headless(cluster: KafkaCluster) -> Manifest:
    return {
        "metadata": meta_of(cluster, naming.headless(cluster.metadata.name), None, owned=True),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": _selector(cluster),
            "ports": [
                {"name": "controller", "port": properties.CONTROLLER_PORT},
                {"name": "replication", "port": properties.REPLICATION_PORT},
            ],
        },
    }


def _internal(cluster: KafkaCluster, item: Listener) -> Manifest:
    name = naming.listener_service(cluster.metadata.name, item.name)
    return {
        "metadata": meta_of(cluster, name, None, owned=True),
        "spec": {
            "type": "ClusterIP",
            "selector": _selector(cluster) | {names.ROLE_BROKER: "true"},
            "ports": [{"name": item.name, "port": item.port, "targetPort": item.port}],
        },
    }


def _outside(cluster: KafkaCluster, item: Listener, brokers: Iterable[int]) -> Iterator[Wanted]:
    """Where clients begin, then each broker's."""
    path, outside, name = f"spec.listeners[{item.name}].external", item.outside, cluster.metadata.name
    selector = _selector(cluster) | {names.ROLE_BROKER: "true"}
    spec = _external(item, selector, outside.node_port, own=outside.bootstrap_host is not None)
    made = _marked(cluster, naming.listener_service(name, item.name), spec, outside.annotations)
    yield Wanted(made, f"{path}.nodePort" if outside.node_port is not None else path)
    for node in brokers:
        broker = outside.broker(node)
        own = bool(broker.advertised_host or outside.advertised_host)
        spec = _external(item, selector | {names.NODE_ID: str(node)}, broker.node_port, own=own)
        annotations = {**outside.annotations, **broker.annotations}
        made = _marked(cluster, naming.broker_service(name, item.name, node), spec, annotations)
        yield Wanted(made, f"{path}.brokers[{node}].nodePort" if broker.node_port is not None else path)


def _external(item: Listener, selector: Mapping[str, str], node_port: int | None, *, own: bool) -> Manifest:
    """`own`: clients come by a name of somebody's own, which may lead to any Kubernetes node."""
    local = item.type is ListenerType.NODE_PORT and not own
    port = {"name": item.name, "port": item.port, "targetPort": item.port}
    spec: Manifest = {
        "type": item.type.value,
        "externalTrafficPolicy": "Local" if local else "Cluster",
        "selector": dict(selector),
        "ports": [port | ({"nodePort": node_port} if node_port is not None else {})],
    }
    if item.outside.load_balancer_class is not None:
        spec["loadBalancerClass"] = item.outside.load_balancer_class
    return spec


def _marked(cluster: KafkaCluster, name: str, spec: Manifest, annotations: Mapping[str, str]) -> Manifest:
    meta = meta_of(cluster, name, None, owned=True)
    meta["annotations"] = {**annotations, **_marks(spec, annotations)}
    return {"metadata": meta, "spec": spec}


def _marks(spec: Manifest, annotations: Mapping[str, str]) -> dict[str, str]:
    text = json.dumps([spec, dict(annotations)], sort_keys=True)
    return {names.LISTENER_TYPE: spec["type"], names.SERVICE_HASH: hashlib.sha256(text.encode()).hexdigest()[:16]}
