"""Which pods stand behind a Service: pure, from the objects the API server sends.

The rules are those of Kubernetes' endpoint slice controller and kube-proxy (KEP-752), without slices: a pod is an
endpoint of a Service if its labels match the selector, it has an address, it has not finished, and it is ready and not
being deleted (unless the Service publishes addresses that are not ready). A targetPort's name is resolved in each pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address
from typing import NamedTuple

from controlplane.ports import Object

FINISHED = ("Succeeded", "Failed")


class Endpoint(NamedTuple):
    """Where a connection goes."""

    address: str
    port: int


class Name(NamedTuple):
    """A namespaced name, printed as `namespace/name`."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class PodRecord:
    """What routing needs of a pod; the rest of the object is not kept."""

    name: Name
    address: str
    labels: Mapping[str, str]
    ready: bool
    finished: bool
    ports: Mapping[str, int] = field(default_factory=dict)
    """Named TCP container ports."""
    node: str = ""

    @classmethod
    def of(cls, pod: Object) -> PodRecord:
        meta, spec, status = pod["metadata"], pod.get("spec") or {}, pod.get("status") or {}
        sidecars = [one for one in spec.get("initContainers") or [] if one.get("restartPolicy") == "Always"]
        conditions = status.get("conditions") or []
        return cls(
            name=Name(meta["namespace"], meta["name"]),
            address=status.get("podIP") or "",
            labels=meta.get("labels") or {},
            ready=any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)
            and not meta.get("deletionTimestamp"),
            finished=status.get("phase") in FINISHED,
            ports={
                port["name"]: port["containerPort"]
                for container in [*(spec.get("containers") or []), *sidecars]
                for port in container.get("ports") or []
                if port.get("name") and port.get("protocol", "TCP") == "TCP"
            },
            node=spec.get("nodeName") or "",
        )


@dataclass(frozen=True, slots=True)
class Network:
    """Where Services are reached beside their ClusterIPs: node ports at `machine`, which all nodes have in common, and
    at the own address of each of `nodes` (by name); load balancers at addresses in `balancers`."""

    machine: str = "127.0.0.1"
    nodes: Mapping[str, str] = field(default_factory=dict)
    balancers: IPv4Network | None = None


JUST_THE_MACHINE = Network()


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One TCP port of a Service and the addresses it listens on; those in `local` lead to the pods of one node."""

    label: str
    listen: tuple[Endpoint, ...]
    target: int | str
    local: Mapping[Endpoint, str] = field(default_factory=dict)

    def way(self, address: Endpoint) -> tuple[str, str | None]:
        """A name for what an address leads to, and the node whose pods alone that is."""
        node = self.local.get(address)
        return (f"{self.label} on {node}" if node else self.label), node


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A Service that the proxy carries. `unsupported` says, for a person, what it asks for and does not get.

    `balanced` is whether it is to have an address of a load balancer from here, `balancer` the one that it has.
    """

    name: Name
    uid: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    publish_not_ready: bool = False
    affinity_seconds: int | None = None
    unsupported: tuple[str, ...] = ()
    balanced: bool = False
    balancer: str | None = None

    @classmethod
    def of(cls, service: Object, network: Network = JUST_THE_MACHINE) -> ServiceRecord | None:
        """None for a Service that is none of the proxy's business: headless, ExternalName or without a selector."""
        meta, spec = service["metadata"], service["spec"]
        address, selector = spec.get("clusterIP") or "None", spec.get("selector")
        if address == "None" or spec.get("type") == "ExternalName" or not selector:
            return None
        ports, unsupported = [], _unsupported(spec)
        balanced = spec.get("type") == "LoadBalancer" and not spec.get("loadBalancerClass")
        balancer, strangers = _balancer(service, network) if balanced else (None, [])
        balanced, unsupported = balanced and not strangers, unsupported + strangers
        for port in spec.get("ports") or []:
            label = f"{port['name']} ({port['port']})" if port.get("name") else str(port["port"])
            if (protocol := port.get("protocol", "TCP")) != "TCP":
                unsupported.append(f"port {label}: {protocol} is not carried, only TCP is")
                continue
            listen = [Endpoint(one, port["port"]) for one in (address, balancer) if one]
            own: dict[Endpoint, str] = {}
            if number := port.get("nodePort"):
                own = {Endpoint(one, number): node for node, one in network.nodes.items()}
                listen += [Endpoint(network.machine, number), *own]
            local = own if spec.get("externalTrafficPolicy") == "Local" else {}
            ports.append(ServicePort(label, tuple(listen), port.get("targetPort", port["port"]), local))
        affinity = None
        if spec.get("sessionAffinity") == "ClientIP":
            affinity = (spec.get("sessionAffinityConfig") or {}).get("clientIP", {}).get("timeoutSeconds", 10800)
        return cls(
            name=Name(meta["namespace"], meta["name"]),
            uid=meta["uid"],
            selector=selector,
            ports=tuple(ports),
            publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
            affinity_seconds=affinity,
            unsupported=tuple(unsupported),
            balanced=balanced,
            balancer=balancer,
        )

    def selects(self, pod: PodRecord) -> bool:
        return pod.name.namespace == self.name.namespace and all(
            pod.labels.get(key) == value for key, value in self.selector.items()
        )

    def endpoints(self, port: ServicePort, pods: Iterable[PodRecord], node: str | None = None) -> tuple[Endpoint, ...]:
        """Sorted, so that equal worlds give equal answers; with `node` of that node alone. A pod that lacks a named
        port is left out."""
        found = set()
        for pod in pods:
            if pod.finished or not pod.address or not (pod.ready or self.publish_not_ready) or not self.selects(pod):
                continue
            if node is not None and pod.node != node:
                continue
            number = port.target if isinstance(port.target, int) else pod.ports.get(port.target)
            if number is not None:
                found.add(Endpoint(pod.address, number))
        return tuple(sorted(found))


def _balancer(service: Object, network: Network) -> tuple[str | None, list[str]]:
    """The address that a Service has of this sandbox's load balancer, and words about others."""
    entries = ((service.get("status") or {}).get("loadBalancer") or {}).get("ingress") or []
    found = [one.get("ip") or one.get("hostname") or "" for one in entries]
    ours = [text for text in found if _is_in(text, network.balancers)]
    others = [f"status.loadBalancer: {text} is not this sandbox's: not carried" for text in found if text not in ours]
    return next(iter(ours), None), others


def _is_in(text: str, network: IPv4Network | None) -> bool:
    try:
        return network is not None and ip_address(text) in network
    except ValueError:
        return False


def _unsupported(spec: Object) -> list[str]:
    words = []
    if wanted := spec.get("loadBalancerClass"):
        words.append(f"loadBalancerClass: there is no load balancer of class {wanted}; ClusterIP and node ports work")
    if spec.get("externalIPs"):
        words.append("externalIPs: not carried; use the ClusterIP or a node port")
    if spec.get("internalTrafficPolicy") == "Local":
        words.append("internalTrafficPolicy: Local is treated as Cluster; clients are on no node")
    if spec.get("sessionAffinity") == "ClientIP":
        words.append("sessionAffinity ClientIP: kept by address, but clients here share 127.0.0.1 and so one pod")
    return words
