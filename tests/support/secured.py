"""Clusters whose nodes know one another by certificates, on fakes, and what their Secrets hold."""

from __future__ import annotations

import base64
import functools
from typing import Any

from support.simulation import DieAt, Namespace, passes, run_until_ready, some_topic

from controlplane.domain.access.pem import public_part

SCRAM = {"name": "clients", "port": 9093, "tls": True, "authentication": {"type": "scram-sha-512"}}
MTLS = {"name": "users", "port": 9094, "tls": True, "authentication": {"type": "tls"}}
SECURE: dict[str, Any] = {
    "security": {"nodes": "MutualTls"},
    "authorization": {"type": "Standard"},
    "listeners": [SCRAM, MTLS],
}
DAY = 86400.0


def secrets(namespace: Namespace) -> dict[str, dict[str, str]]:
    """Data of every Secret by its name, as text."""
    return {
        name: {key: decoded(value) for key, value in obj.get("data", {}).items()}
        for (kind, _, name), obj in namespace.kube.objects.items()
        if kind == "secrets"
    }


def pod_uids(namespace: Namespace) -> dict[str, str]:
    return {name: obj["metadata"]["uid"] for (kind, _, name), obj in namespace.kube.objects.items() if kind == "pods"}


def leaf(namespace: Namespace, node: int = 0) -> Any:
    pem = secrets(namespace)[f"cell-nodes-{node}-tls"]["node.pem"]
    return namespace.certificates.pki.read(public_part(pem))[0]


async def secured(**spec: Any) -> Namespace:
    namespace = Namespace()
    await namespace.declare(rollout={"soak": "2s"}, **(SECURE | spec))
    await run_until_ready(namespace, DieAt())
    namespace.kafka.topics["t"] = some_topic(namespace)
    await passes(namespace, 5)
    return namespace


async def condition(namespace: Namespace, kind: str) -> dict[str, Any]:
    return next((c for c in (await namespace.status())["conditions"] if c["type"] == kind), {})


@functools.cache
def decoded(data: str) -> str:
    return base64.b64decode(data).decode()


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
