"""Losing a node, or all nodes of a zone: power gone, disks kept."""

from __future__ import annotations

import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor

from controlplane.sandbox import control_plane, processes
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.fault_state import NODES, Fault, lost_nodes
from controlplane.sandbox.faults.base import FaultError
from controlplane.sandbox.node import procfs
from controlplane.sandbox.node.records import StuckContainersError, end_containers

GONE_SECONDS = 5.0


class _Loss:
    """The node process dies first, so that it reports nothing; the containers die a moment later."""

    lasting = True
    repeatable = True

    def inject(self, paths: SandboxPaths, target: str, undo: Mapping[str, str]) -> str:  # noqa: ARG002 - the port's
        nodes = undo[NODES].split(",")
        with ThreadPoolExecutor(len(nodes)) as pool:
            ended = sum(pool.map(lambda node: _lose(paths, node), nodes))
        grace = paths.load().node_monitor_grace
        return f"lost {', '.join(nodes)} with {ended} containers; Kubernetes notices after about {grace:g} s"

    def heal(self, paths: SandboxPaths, fault: Fault, forget: Callable[[], None]) -> str:
        nodes = fault.undo[NODES].split(",")
        forget()
        still = lost_nodes(paths)
        back = [node for node in nodes if node not in still]
        lines = [f"{node} stays down: another fault holds it" for node in nodes if node in still]
        if processes.find(paths, control_plane.APISERVER) is None:
            return "; ".join([*lines, *(f"{node} starts with the next `kfleet sandbox up`" for node in back)])
        parts = {part.name: part for part in control_plane.workers(paths, paths.load())}
        for node in back:
            processes.ensure(paths, parts[node])
        return "; ".join([*lines, *(f"{node} is starting" for node in back)])


class LoseNode(_Loss):
    name = "node"
    description = "lose a node: it and its containers are SIGKILLed and stay away; heal starts it again"
    target = "a node, e.g. node-a"

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        nodes = paths.load().nodes
        if target not in nodes:
            raise FaultError(f"no node {target}; there is: {', '.join(nodes)}")
        return {NODES: target}


class LoseZone(_Loss):
    name = "zone"
    description = "lose every node of a zone at once; heal starts them again"
    target = "a zone, e.g. a"

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        config = paths.load()
        nodes = [node for zone, node in zip(config.zones, config.nodes, strict=True) if zone == target]
        if not nodes:
            raise FaultError(f"no zone {target}; there is: {', '.join(dict.fromkeys(config.zones))}")
        return {NODES: ",".join(nodes)}


def _lose(paths: SandboxPaths, node: str) -> int:
    """Returns how many containers ended. Raises FaultError, SandboxError."""
    running = processes.find(paths, node)
    if running is not None:
        procfs.send(running.pid, running.start_time, signal.SIGKILL)
        processes.stop(running, GONE_SECONDS)
    processes.forget(paths, node)
    try:
        return end_containers(paths, node, 0.0)
    except StuckContainersError as error:
        raise FaultError(str(error)) from error
