"""Clusters with listeners for clients outside Kubernetes, on fakes, and what their brokers tell."""

from __future__ import annotations

from typing import Any

from support.outside import MACHINE
from support.simulation import DieAt, Namespace, passes, run_until_ready, some_topic

from controlplane.ports import Object

INSIDE = {"name": "clients", "port": 9092}
NODE_PORT = {"name": "nodeport", "port": 9094, "type": "NodePort"}
BALANCED = {"name": "balanced", "port": 9095, "type": "LoadBalancer"}
TLS = {"tls": True, "authentication": {"type": "scram-sha-512"}}
SECURED: Object = {"security": {"nodes": "MutualTls"}}
CLASS = {"external": {"loadBalancerClass": "example.com/none"}}
"""Nobody serves it."""


def there() -> Namespace:
    """Three Kubernetes nodes with addresses of two kinds, brokers on the first."""
    namespace = Namespace()
    for number, name in enumerate((MACHINE, "other", "third"), start=1):
        namespace.outside.machine(name, InternalIP=f"10.0.0.{number}", ExternalIP=f"203.0.113.{number}")
    return namespace


async def declared(*listeners: Object, **spec: Any) -> Namespace:
    namespace = there()
    await namespace.declare(rollout={"soak": "2s"}, listeners=list(listeners), **spec)
    return namespace


async def formed(*listeners: Object, **spec: Any) -> Namespace:
    namespace = await declared(*listeners, **spec)
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await passes(namespace, 5)
    return namespace


def told(namespace: Namespace) -> dict[int, dict[str, str]]:
    """What each broker that runs tells clients."""
    pods = {name: obj["metadata"]["uid"] for (kind, _, name), obj in namespace.kube.objects.items() if kind == "pods"}
    return {int(name.rpartition("-")[2]): namespace.outside.told[uid] for name, uid in sorted(pods.items())}


def service_names(namespace: Namespace) -> set[str]:
    return {name for (kind, _, name) in namespace.kube.objects if kind == "services"}


def starts(namespace: Namespace) -> list[int]:
    return [len(uids) for _, uids in sorted(namespace.uids.items())]


def node_port(namespace: Namespace, name: str) -> int:
    return int(namespace.kube.objects["services", "kafka", name]["spec"]["ports"][0]["nodePort"])


async def condition(namespace: Namespace, kind: str) -> dict[str, Any]:
    return next((c for c in (await namespace.status())["conditions"] if c["type"] == kind), {})


async def listener(namespace: Namespace, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in (await namespace.status())["listeners"] if one["name"] == name)
    return found
