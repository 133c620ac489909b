"""What all pods of a node share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import aiohttp

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.sandbox.config import SandboxConfig
from controlplane.sandbox.node.addresses import Addresses
from controlplane.sandbox.node.env import Place
from controlplane.sandbox.node.images import Images
from controlplane.sandbox.node.machine import allocatable
from controlplane.sandbox.node.pod_events import PodEvents
from controlplane.sandbox.node.sources import Sources
from controlplane.sandbox.node.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Context:
    node: str
    directory: Path
    config: SandboxConfig
    client: KubeClient
    sources: Sources
    tokens: Tokens
    events: PodEvents
    addresses: Addresses
    images: Images
    http: aiohttp.ClientSession
    """For probes."""
    service_env: dict[str, str]
    """KUBERNETES_SERVICE_HOST and _PORT: the API server's real address."""

    def pod_dir(self, uid: str) -> Path:
        return self.directory / "pods" / uid

    def place(self, pod_ip: str) -> Place:
        return Place(self.node, pod_ip, allocatable(self.config))
