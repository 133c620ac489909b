"""Which pods stand behind a Service: pure, from the objects the API server sends.

The rules are those of Kubernetes' endpoint slice controller and kube-proxy (KEP-752), without slices: a pod is an
endpoint of a Service if its labels match the selector, it has an address, it has not finished, and it is ready and not
being deleted (unless the Service publishes addresses that are not ready). A targetPort's name is resolved in each pod.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
        )


@dataclass(frozen=True, slots=True)
class ServicePort:
    """One TCP port of a Service and the addresses it listens on."""

    label: str
    listen: tuple[Endpoint, ...]
    target: int | str


@dataclass(frozen=True, slots=True)
class ServiceRecord:
    """A Service that the proxy carries. `unsupported` says, for a person, what it asks for and does not get."""

    name: Name
    uid: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    publish_not_ready: bool = False
    affinity_seconds: int | None = None
    unsupported: tuple[str, ...] = ()

    @classmethod
    def of(cls, service: Object, node_address: str = "127.0.0.1") -> ServiceRecord | None:
        """None for a Service that is none of the proxy's business: headless, ExternalName or without a selector."""
        meta, spec = service["metadata"], service["spec"]
        address, selector = spec.get("clusterIP") or "None", spec.get("selector")
        if address == "None" or spec.get("type") == "ExternalName" or not selector:
            return None
        ports, unsupported = [], _unsupported(spec)
        for port in spec.get("ports") or []:
            label = f"{port['name']} ({port['port']})" if port.get("name") else str(port["port"])
            if (protocol := port.get("protocol", "TCP")) != "TCP":
                unsupported.append(f"port {label}: {protocol} is not carried, only TCP is")
                continue
            listen = [Endpoint(address, port["port"])]
            if port.get("nodePort"):
                listen.append(Endpoint(node_address, port["nodePort"]))
            ports.append(ServicePort(label, tuple(listen), port.get("targetPort", port["port"])))
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
        )

    def selects(self, pod: PodRecord) -> bool:
        return pod.name.namespace == self.name.namespace and all(
            pod.labels.get(key) == value for key, value in self.selector.items()
        )

    def endpoints(self, port: ServicePort, pods: Iterable[PodRecord]) -> tuple[Endpoint, ...]:
        """Sorted, so that equal worlds give equal answers. A pod that lacks a named port is left out."""
        found = set()
        for pod in pods:
            if pod.finished or not pod.address or not (pod.ready or self.publish_not_ready) or not self.selects(pod):
                continue
            number = port.target if isinstance(port.target, int) else pod.ports.get(port.target)
            if number is not None:
                found.add(Endpoint(pod.address, number))
        return tuple(sorted(found))


def _unsupported(spec: Object) -> list[str]:
    words = []
    if spec.get("type") == "LoadBalancer":
        words.append("type LoadBalancer: there is no load balancer; its ClusterIP and node ports work")
    if spec.get("externalIPs"):
        words.append("externalIPs: not carried; use the ClusterIP or a node port")
    words += [
        f"{field}: Local is treated as Cluster; all nodes are this machine"
        for field in ("internalTrafficPolicy", "externalTrafficPolicy")
        if spec.get(field) == "Local"
    ]
    if spec.get("sessionAffinity") == "ClientIP":
        words.append("sessionAffinity ClientIP: kept by address, but clients here share 127.0.0.1 and so one pod")
    return words
