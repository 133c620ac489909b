"""Faults of a Service: the proxy follows faults.json and does them."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from controlplane.adapters.kubernetes.resources import SERVICES
from controlplane.sandbox.config import SandboxPaths
from controlplane.sandbox.fault_state import Fault, find
from controlplane.sandbox.faults.base import FaultError, fetch, split
from controlplane.sandbox.proxy.endpoints import ServiceRecord


class _ServiceFault:
    """Effective within 0.2 s, the proxy's interval of looking."""

    name: str
    other: str
    says: str
    target = "namespace/service, e.g. default/quickstart-bootstrap"
    lasting = True
    repeatable = False

    def prepare(self, paths: SandboxPaths, target: str) -> dict[str, str]:
        namespace, name = split(target, "Service")
        if ServiceRecord.of(fetch(paths, SERVICES, name, namespace)) is None:
            raise FaultError(f"Service {target} is headless or has no selector: no traffic goes through the proxy")
        if find(paths, self.other, target):
            raise FaultError(f"{self.other} {target} is in force; heal it first")
        return {}

    def inject(self, paths: SandboxPaths, target: str, undo: Mapping[str, str]) -> str:  # noqa: ARG002 - the port's
        return f"Service {target}: {self.says}"

    def heal(self, paths: SandboxPaths, fault: Fault, forget: Callable[[], None]) -> str:  # noqa: ARG002 - the port's
        forget()
        return f"Service {fault.target} carries traffic again"


class CutService(_ServiceFault):
    name = "service"
    other = "refuse"
    description = "cut a Service: connections, old and new, hang as behind a network that drops packets"
    says = "its connections, old and new, hang"


class RefuseService(_ServiceFault):
    name = "refuse"
    other = "service"
    description = "refuse a Service: its connections are reset, new ones refused"
    says = "its connections are reset, new ones refused"
