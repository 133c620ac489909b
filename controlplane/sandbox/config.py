"""One sandbox: where its files lie and what its parts must agree on.

Everything built or downloaded is cached in `cache_home()` and shared by all sandboxes; everything a sandbox writes lies
under its `root`, so that `down --purge` leaves no file.
"""

from __future__ import annotations

import os
from ipaddress import IPv4Network
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

BALANCERS_BYTE, NODES_BYTE = 254, 255
"""Third byte of addresses in the pod network that no pod gets."""


def cache_home() -> Path:
    """Builds and downloads, outside any checkout: $KFLEET_CACHE, else $XDG_CACHE_HOME/kfleet, else ~/.cache/kfleet."""
    if explicit := os.environ.get("KFLEET_CACHE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "kfleet"


def state_home() -> Path:
    """Sandboxes: $KFLEET_STATE, else $XDG_STATE_HOME/kfleet, else ~/.local/state/kfleet."""
    if explicit := os.environ.get("KFLEET_STATE"):
        return Path(explicit)
    return Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state") / "kfleet"


class SandboxConfig(BaseModel):
    """What `up` decides once and every process of it reads from `<root>/sandbox.json`. Durations in seconds."""

    model_config = ConfigDict(extra="forbid")

    name: str
    api_port: int = Field(description="kube-apiserver on 127.0.0.1")
    etcd_port: int
    etcd_peer_port: int
    controller_manager_port: int
    scheduler_port: int
    pod_cidr: str = Field(description="A /16 in 127.0.0.0/8 that no other sandbox holds, e.g. 127.20.0.0/16")
    service_cidr: str = Field(description="A /16 in 127.0.0.0/8 that no other sandbox holds, e.g. 127.21.0.0/16")
    zones: list[str] = Field(default_factory=lambda: ["a", "b", "c"], description="One process node a zone")
    node_lease_renew: float = 5.0
    node_monitor_grace: float = 20.0
    node_status_interval: float = 30.0
    sync_interval: float = 1.0
    restart_backoff: float = Field(1.0, description="First restart delay of a failed container; doubles")
    restart_backoff_max: float = 30.0
    token_seconds: int = Field(3600, ge=600, description="Longest life of bound ServiceAccount tokens")
    token_refresh_fraction: float = Field(0.8, gt=0, lt=1, description="Share of a token's life to wait with renewal")
    node_cpu: str = Field("", description="CPU each node advertises; empty: the whole machine")
    node_memory: str = Field("", description="Memory each node advertises; empty: the whole machine")
    node_pods: int = Field(250, ge=1, description="Pods each node takes")

    @property
    def nodes(self) -> list[str]:
        return [f"node-{zone}" for zone in self.zones]

    @property
    def node_addresses(self) -> dict[str, str]:
        """Each node's own address for clients outside (its ExternalIP), where its node ports are."""
        first = IPv4Network(self.pod_cidr).network_address + NODES_BYTE * 256
        return {node: str(first + number) for number, node in enumerate(self.nodes, start=1)}

    @property
    def balancer_cidr(self) -> str:
        """Where load balancers get their addresses."""
        return f"{IPv4Network(self.pod_cidr).network_address + BALANCERS_BYTE * 256}/24"


class SandboxPaths:
    """Every path under one sandbox's root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.config_file = root / "sandbox.json"
        self.pki = root / "pki"
        self.etcd = root / "etcd"
        self.logs = root / "logs"
        self.run = root / "run"
        self.audit_log = root / "logs" / "audit.jsonl"
        self.ledger_url = f"sqlite:///{root / 'ledger' / 'ledger.db'}"

    @classmethod
    def named(cls, name: str) -> SandboxPaths:
        return cls(state_home() / "sandboxes" / name)

    def kubeconfig(self, identity: str = "admin") -> Path:
        """`admin`, `node-a` ..., `proxy`, `provisioner`: each part has an identity of its own."""
        return self.root / "kubeconfigs" / f"{identity}.yaml"

    def node(self, node: str) -> Path:
        """The kubelet's directory of one node: pods/, serving certificate, supervisors' records."""
        return self.root / "nodes" / node

    def certificate(self, leaf: str) -> Path:
        """Certificate and key of one part, in one file (pki.py)."""
        return self.root / "certificates" / f"{leaf}.pem"

    def volumes(self, node: str) -> Path:
        """Local persistent volumes of one node, one directory a PV."""
        return self.root / "volumes" / node

    def load(self) -> SandboxConfig:
        return SandboxConfig.model_validate_json(self.config_file.read_text())
