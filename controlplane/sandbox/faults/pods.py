"""Faults of a pod's processes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Mapping

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.fault_state import Fault
from controlplane.sandbox.faults.base import FaultError, split
from controlplane.sandbox.node import procfs
from controlplane.sandbox.node.records import ContainerRecord, StuckContainersError, end, records

POD_TARGET = "namespace/pod, e.g. default/quickstart-broker-0"
FROZEN_SECONDS, FROZEN_POLL_SECONDS = 10.0, 0.01
"""A signal takes effect when its process is next scheduled; one that hangs in the kernel does nothing anyway."""


class Kill:
    """What an OOM kill or a crash looks like. The node restarts the containers as restartPolicy says."""

    name = "kill"
    description = "SIGKILL every process of a pod"
    target = POD_TARGET
    lasting = False
    repeatable = True

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        running(paths, target)
        return {}

    def inject(self, paths: SandboxPaths, target: str, undo: Mapping[str, str]) -> str:  # noqa: ARG002 - the port's
        found = running(paths, target)
        kill(found)
        return f"killed {_names(found)} of pod {target}; its node restarts it as its restartPolicy says"

    def heal(self, paths: SandboxPaths, fault: Fault, forget: Callable[[], None]) -> str:  # noqa: ARG002 - the port's
        raise FaultError("kill leaves nothing to heal: the node starts the containers again by itself")


class Freeze:
    """A process that hangs: its sockets stay open and nobody answers. A liveness probe ends it, as for real."""

    name = "freeze"
    description = "SIGSTOP every process of a pod; heal lets them go on"
    target = POD_TARGET
    lasting = True
    repeatable = True

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        running(paths, target)
        return {}

    def inject(self, paths: SandboxPaths, target: str, undo: Mapping[str, str]) -> str:  # noqa: ARG002 - the port's
        found = running(paths, target)
        freeze(found)
        return f"froze {_names(found)} of pod {target}"

    def heal(self, paths: SandboxPaths, fault: Fault, forget: Callable[[], None]) -> str:
        found = containers(paths, fault.target)
        for container in found:
            for pid in container.processes():
                _signal(pid, signal.SIGCONT)
        forget()
        if not found:
            return f"pod {fault.target} runs no container any more; the fault is forgotten"
        return f"{_names(found)} of pod {fault.target} goes on"


def containers(paths: SandboxPaths, target: str) -> list[ContainerRecord]:
    """The pod's running containers, on whichever node; none is an answer."""
    namespace, pod = split(target, "pod")
    nodes = paths.load().nodes
    return [one for node in nodes for one in records(paths, node) if (one.namespace, one.pod) == (namespace, pod)]


def running(paths: SandboxPaths, target: str) -> list[ContainerRecord]:
    """The same, at least one. Raises FaultError that names the pods there are."""
    found = containers(paths, target)
    if not found:
        there = sorted({f"{one.namespace}/{one.pod}" for node in paths.load().nodes for one in records(paths, node)})
        raise FaultError(f"pod {target} runs no container; running pods: {', '.join(there[:20]) or 'none'}")
    return found


def freeze(found: list[ContainerRecord]) -> None:
    """Returns when they stand still. Until nothing new appears: a process may fork before its signal reaches it."""
    stopped: set[int] = set()
    deadline = time.monotonic() + FROZEN_SECONDS
    while fresh := {pid for one in found for pid in one.processes()} - stopped:
        for pid in fresh:
            _signal(pid, signal.SIGSTOP)
        while any(map(procfs.moves, fresh)) and time.monotonic() < deadline:
            time.sleep(FROZEN_POLL_SECONDS)
        stopped |= fresh


def kill(found: list[ContainerRecord]) -> None:
    """Returns when they have ended. Raises FaultError."""
    try:
        end(found, 0.0, "its node")
    except StuckContainersError as error:
        raise FaultError(str(error)) from error


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _names(found: list[ContainerRecord]) -> str:
    return ", ".join(dict.fromkeys(one.container for one in found))
