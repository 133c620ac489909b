"""Break a sandbox on purpose, and undo it: `kfleet sandbox fail | heal`.

A fault is written to faults.json before it acts, and taken out after it is undone: killed anywhere in between, `heal`
finds it and can be repeated. All functions block, for seconds at most; call them in a thread from an event loop.
"""

from __future__ import annotations

import time

from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.fault_state import Fault, active, exclusive, find, forget, record
from controlplane.sandbox.faults.base import FaultError, FaultKind
from controlplane.sandbox.faults.disks import LoseDisk
from controlplane.sandbox.faults.nodes import LoseNode, LoseZone
from controlplane.sandbox.faults.pods import Freeze, Kill
from controlplane.sandbox.faults.services import CutService, RefuseService

__all__ = ["KINDS", "Fault", "FaultError", "active", "fail", "heal"]

_KINDS: dict[str, FaultKind] = {
    kind.name: kind for kind in (Kill(), Freeze(), LoseDisk(), LoseNode(), LoseZone(), CutService(), RefuseService())
}
KINDS: dict[str, str] = {name: f"{kind.description} (target: {kind.target})" for name, kind in _KINDS.items()}
"""Kind -> what it does and what it takes."""

ALL = "all"
_BETWEEN_PODS = ("cut", "network", "partition", "pod-to-pod")


def fail(paths: SandboxPaths, kind: str, target: str) -> str:
    """Inject a fault; says in one line what happened. Raises FaultError, SandboxError."""
    chosen = _kind(kind)
    if not target:
        raise FaultError(f"{kind} needs a target: {chosen.target}")
    with exclusive(paths):
        standing = find(paths, kind, target)
        if standing is not None and not chosen.repeatable:
            raise FaultError(f"{kind} {target} is in force already; heal it first")
        undo = chosen.prepare(paths, target)
        if chosen.lasting:
            since = standing.since if standing is not None else time.time()
            record(paths, Fault(kind=kind, target=target, since=since, undo=undo))
        return chosen.inject(paths, target, undo)


def heal(paths: SandboxPaths, kind: str, target: str) -> str:
    """Undo one fault, or every one with kind `all`; says in one line what happened. Raises FaultError, SandboxError."""
    with exclusive(paths):
        if kind == ALL:
            standing = active(paths)
            return "; ".join(_heal(paths, fault) for fault in standing) or "no fault is in force"
        chosen = _kind(kind)
        if not chosen.lasting:
            raise FaultError(f"{kind} leaves nothing to heal: the node starts the containers again by itself")
        fault = find(paths, kind, target)
        if fault is None:
            known = ", ".join(f"{one.kind} {one.target}" for one in active(paths)) or "none"
            raise FaultError(f"no fault {kind} {target}".rstrip() + f"; in force: {known}")
        return _heal(paths, fault)


def _heal(paths: SandboxPaths, fault: Fault) -> str:
    return _kind(fault.kind).heal(paths, fault, lambda: forget(paths, fault.kind, fault.target))


def _kind(kind: str) -> FaultKind:
    if kind in _BETWEEN_PODS:
        raise FaultError(
            "traffic between pods cannot be cut: that needs network namespaces, which process nodes do not have; "
            "`service` and `refuse` cut what goes through a Service"
        )
    if kind not in _KINDS:
        raise FaultError(f"unknown kind of fault {kind!r}; there are {', '.join(_KINDS)}")
    return _KINDS[kind]
