"""What a sandbox is doing now, as a value."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path

from controlplane.adapters.kubernetes.client import KubeClient
from controlplane.adapters.kubernetes.config import from_kubeconfig
from controlplane.adapters.kubernetes.resources import NODES
from controlplane.ports import KubeError, Object
from controlplane.sandbox import claims, control_plane, processes
from controlplane.sandbox.config import SandboxConfig, SandboxPaths
from controlplane.sandbox.fault_state import Fault, active, lost_nodes

ANSWER_SECONDS = 5.0


@dataclass(frozen=True)
class PartStatus:
    """`state` is Running, or Stopped; nodes also say NotReady or Unknown as the API server sees them."""

    name: str
    state: str
    pid: int | None
    note: str = ""

    @property
    def healthy(self) -> bool:
        return self.state == "Running"


@dataclass(frozen=True)
class SandboxStatus:
    config: SandboxConfig
    root: Path
    kubeconfig: Path
    server: str
    parts: tuple[PartStatus, ...]
    faults: tuple[Fault, ...] = ()
    """Faults in force, oldest first."""

    @property
    def state(self) -> str:
        """Running, Stopped (by `down`, or never started) or Degraded."""
        if all(part.healthy for part in self.parts):
            return "Running"
        return "Degraded" if any(part.pid for part in self.parts) else "Stopped"


def status(paths: SandboxPaths) -> SandboxStatus:
    """Raises SandboxError when there is no such sandbox; parts that do not answer are part of the answer."""
    config = claims.require(paths)
    names = [*control_plane.ORDER, "proxy", "provisioner", *config.nodes]
    running = {name: processes.find(paths, name) for name in names}
    nodes = asyncio.run(_nodes(paths)) if running[control_plane.APISERVER] else None
    lost = lost_nodes(paths)
    parts = []
    for name in names:
        process = running[name]
        if process is None:
            stopped = (paths.run / f"{name}.json").exists()
            note = "a fault keeps it down" if name in lost else "ended unexpectedly" if stopped else ""
            parts.append(PartStatus(name, "Stopped", None, note))
        else:
            state, note = _node_state(nodes, name) if name in config.nodes else ("Running", "")
            if name == control_plane.APISERVER and nodes is None:
                state, note = "NotReady", "does not answer"
            parts.append(PartStatus(name, state, process.pid, note))
    return SandboxStatus(
        config, paths.root, paths.kubeconfig(), control_plane.server(config), tuple(parts), tuple(active(paths))
    )


def to_json(value: SandboxStatus) -> dict[str, object]:
    return {
        "name": value.config.name,
        "state": value.state,
        "server": value.server,
        "root": str(value.root),
        "kubeconfig": str(value.kubeconfig),
        "podCIDR": value.config.pod_cidr,
        "serviceCIDR": value.config.service_cidr,
        "parts": [{"name": part.name, "state": part.state, "pid": part.pid, "note": part.note} for part in value.parts],
        "faults": [{"kind": fault.kind, "target": fault.target, "since": fault.since} for fault in value.faults],
    }


def _node_state(nodes: dict[str, Object] | None, name: str) -> tuple[str, str]:
    if nodes is None:
        return "Unknown", "the API server does not answer"
    conditions = nodes.get(name, {}).get("status", {}).get("conditions") or []
    ready = next((condition for condition in conditions if condition["type"] == "Ready"), None)
    if ready is None:
        return "NotReady", "has not registered"
    return ("Running", "") if ready["status"] == "True" else ("NotReady", str(ready.get("message", "")))


async def _nodes(paths: SandboxPaths) -> dict[str, Object] | None:
    async with KubeClient(from_kubeconfig(paths.kubeconfig()), timeout=ANSWER_SECONDS) as kube:
        try:
            return {node["metadata"]["name"]: node for node in await kube.list(NODES)}
        except (KubeError, json.JSONDecodeError):
            return None
